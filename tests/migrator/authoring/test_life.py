"""The life of what is written, on 200,000 rows under traffic: both codes at once, paid, a new database, and back."""

from __future__ import annotations

import psycopg2
import pytest

from tests.conftest import new_database
from tests.migrator.authoring.changes import CHANGES, Change
from tests.migrator.authoring.project import Project
from tests.migrator.authoring.traffic import OLD, traffic

pytestmark = pytest.mark.authoring

ROWS = 200_000
LIVED = ("an identifier for each row", "a field removed and one added")
SQUASHED = ("an identifier for each row", "a slug", "several at once")
FILL = (
    "INSERT INTO shop_maker (name) VALUES ('one')",
    "INSERT INTO shop_item (name, colour, amount, maker_id) "
    f"SELECT 'n' || n, 'red', n, 1 FROM generate_series(1, {ROWS}) n",
    "ANALYZE shop_item",
)


def new_code(change: Change, name: str) -> tuple[str, ...]:
    """An insert and a select of the code that these models are."""
    columns = [] if "removed" in name else ["colour"]
    columns += [change.column] if change.column else []
    values = {"colour": "'black'", change.column: change.value}
    listed = "".join(f", {column}" for column in columns)
    inserted = "".join(f", {values[column]}" for column in columns)
    return (
        f"INSERT INTO shop_item (name, amount, maker_id{listed}) VALUES ('new', 5, 1{inserted})",
        f"SELECT id, name, amount, maker_id{listed} FROM shop_item WHERE id = 1 + floor(random() * 1000)",
    )


def execute(url: str, *statements: str) -> None:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    connection.close()


@pytest.mark.parametrize("name", LIVED)
def test_both_codes_live_through_it(project: Project, database_url: str, name: str) -> None:
    change = CHANGES[name]
    new = new_code(change, name)
    project.succeed("migrate", "--noinput", url=database_url, RELEASE="v1")
    execute(database_url, *FILL)
    project.write_models(change.models)
    project.succeed("makemigrations", "--noinput")
    with traffic(database_url, OLD) as old_sent:
        project.succeed("migrate", "--noinput", url=database_url, RELEASE="v2")
        with traffic(database_url, new) as new_sent:
            project.succeed("showmigrations", url=database_url, RELEASE="v2")
    old_sent.check()
    new_sent.check()
    with traffic(database_url, new) as new_sent:
        project.succeed("migrate", "--contract", "--noinput", url=database_url, RELEASE="v2")
    new_sent.check()
    project.succeed("schemadiff", url=database_url, RELEASE="v2")
    project.succeed("migrate", "shop", "0001", "--noinput", url=database_url, RELEASE="v2")
    execute(database_url, *OLD)


@pytest.mark.parametrize("name", SQUASHED)
def test_a_new_database_gets_the_same_squashed_or_not(project: Project, server_url: str, name: str) -> None:
    project.write_models(CHANGES[name].models)
    project.succeed("makemigrations", "--noinput")
    with new_database(server_url) as url:
        project.succeed("migrate", "--noinput", url=url)
        project.succeed("schemadiff", url=url)
    last = max(project.written())
    project.succeed("squashmigrations", "shop", "0001", last, "--noinput")
    assert "No changes" in project.succeed("makemigrations", "--check")
    with new_database(server_url) as url:
        project.succeed("migrate", "--noinput", url=url)
        project.succeed("schemadiff", url=url)
