"""The life of what is written, on 200,000 rows under traffic: both codes at once, paid, a new database, and back."""

from __future__ import annotations

import psycopg2
import pytest

from tests.conftest import new_database
from tests.migrator.authoring.changes import CHANGES, Change
from tests.migrator.authoring.project import Project
from tests.migrator.authoring.traffic import OLD, traffic, upsert

pytestmark = pytest.mark.authoring

ROWS = 200_000
ADDRESSES = "('10.0.0.1', '10.0.0.2', '10.0.0.3')"
FILL = (
    "INSERT INTO shop_maker (name) VALUES ('one')",
    "INSERT INTO shop_item (name, colour, amount, maker_id, note, address) "
    f"SELECT 'n' || n, 'red', n, 1, '{{\"n\": ' || n || '}}', '10.0.0.1' FROM generate_series(1, {ROWS}) n",
    "ANALYZE shop_item",
)


def new_code(change: Change) -> tuple[str, ...]:
    """An insert, an update and a select of the code that these models are."""
    values = {"name": "'new'", "colour": "'black'", "amount": "5", "maker_id": "1"}
    values.pop(change.gone, None)
    if change.column:
        values |= dict(zip(change.column.split(", "), change.value.split(", "), strict=True))
    columns, inserted = ", ".join(values), ", ".join(values.values())
    return (
        f"INSERT INTO shop_item ({columns}) VALUES ({inserted})",
        f"UPDATE shop_item SET ({columns}) = ROW({inserted}) WHERE id = 1 + floor(random() * 1000)",
        f"SELECT id, {columns} FROM shop_item WHERE id = 1 + floor(random() * 1000)",
        upsert("shop_item", "id", id="1 + floor(random() * 1000)", **values),
        upsert("shop_maker", "name", name="'one'", city="'here'"),
    )


def execute(url: str, *statements: str) -> None:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    connection.close()


def count(url: str, query: str) -> int:
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        row = cursor.fetchone()
    connection.close()
    assert row
    return int(row[0])


@pytest.mark.parametrize("name", CHANGES)
def test_both_codes_live_through_it(project: Project, database_url: str, name: str) -> None:
    change = CHANGES[name]
    new = new_code(change)
    project.succeed("migrate", "--noinput", url=database_url, RELEASE="v1")
    execute(database_url, *FILL)
    project.write_models(change.models)
    project.succeed(*change.makemigrations)
    with traffic(database_url, OLD) as old_sent:
        project.succeed("migrate", "--noinput", url=database_url, RELEASE="v2")
        with traffic(database_url, new) as new_sent:
            project.succeed("showmigrations", url=database_url, RELEASE="v2")
    old_sent.check()
    new_sent.check()
    if change.rename:
        unlike = f"record_image_ne(ROW({change.gone}), ROW({change.column}))"
        assert count(database_url, f"SELECT count(*) FROM shop_item WHERE {unlike}") == 0
        assert count(database_url, f"SELECT count(*) FROM shop_item WHERE {change.column} = {change.value}") > 0
    with traffic(database_url, new) as new_sent:
        project.succeed("migrate", "--contract", "--noinput", url=database_url, RELEASE="v2")
    new_sent.check()
    project.succeed("schemadiff", url=database_url, RELEASE="v2")
    project.succeed("migrate", "shop", "0001", "--noinput", url=database_url, RELEASE="v2")
    execute(database_url, *OLD)
    assert count(database_url, f"SELECT count(*) FROM shop_item WHERE address IN {ADDRESSES}") >= ROWS
    if change.rename:
        assert count(database_url, f"SELECT count(*) FROM shop_item WHERE {change.gone} = {change.value}") > 0


@pytest.mark.parametrize("name", CHANGES)
def test_a_new_database_gets_the_same_squashed_or_not(project: Project, server_url: str, name: str) -> None:
    project.write_models(CHANGES[name].models)
    project.succeed(*CHANGES[name].makemigrations)
    with new_database(server_url) as url:
        project.succeed("migrate", "--noinput", url=url)
        project.succeed("schemadiff", url=url)
    last = max(project.written())
    project.succeed("squashmigrations", "shop", "0001", last, "--noinput")
    assert "No changes" in project.succeed("makemigrations", "--check")
    with new_database(server_url) as url:
        project.succeed("migrate", "--noinput", url=url)
        project.succeed("schemadiff", url=url)
