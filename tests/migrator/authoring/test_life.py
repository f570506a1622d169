"""The life of what is written, on 200,000 rows under traffic: both codes at once, paid, a new database, and back."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg2
import pytest

from tests.conftest import new_database
from tests.migrator.authoring.changes import CHANGES, Change
from tests.migrator.authoring.project import Project
from tests.migrator.authoring.traffic import ANY_ROW, OLD, traffic, upsert

pytestmark = pytest.mark.authoring

ROWS = 200_000
ADDRESSES = "('10.0.0.1', '10.0.0.2', '10.0.0.3')"
FILL = (
    "INSERT INTO shop_maker (name) VALUES ('one')",
    "INSERT INTO shop_item (name, colour, amount, maker_id, note, address) "
    f"SELECT 'n' || n, 'red', n, 1, '{{\"n\": ' || n || '}}', '10.0.0.1' FROM generate_series(1, {ROWS}) n",
    "INSERT INTO shop_part (code, kind, serial, shelf, place, weight, maker_id, tag, lot, mark) "
    f"SELECT n, 'a', n, n, 1, 1, 1, n, n, n FROM generate_series(1, {ROWS}) n",
    "INSERT INTO crates_crate (label, item_id, part_id, lid_id) SELECT 'a', 1, 1 + n % 1000, n + 1 "
    f"FROM generate_series(1, {ROWS // 10}) n",
    "ANALYZE",
)


def new_code(change: Change) -> tuple[str, ...]:
    """An insert, an update and a select of the code that these models are."""
    values = {"name": "'new'", "colour": "'black'", "amount": "5", "maker_id": "1"}
    for column in change.gone.split(", "):
        values.pop(column, None)
    if change.columns:
        values |= dict(zip(change.columns.split(", "), change.values.split(", "), strict=True))
    columns, inserted = ", ".join(values), ", ".join(values.values())
    return (
        f"INSERT INTO shop_item ({columns}) VALUES ({inserted})",
        f"UPDATE shop_item SET ({columns}) = ROW({inserted}) WHERE id = {ANY_ROW}",
        f"SELECT id, {columns} FROM shop_item WHERE id = {ANY_ROW}",
        upsert("shop_item", "id", id=ANY_ROW, **values),
        upsert("shop_maker", "name", name="'one'", city="'here'"),
        *change.sends,
    )


def write(project: Project, change: Change) -> None:
    project.write_models(change.models)
    project.write_models(change.crates, "crates")


def count(url: str, query: str) -> int:
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        row = cursor.fetchone()
    connection.close()
    assert row
    return int(row[0])


@pytest.fixture(scope="module")
def filled(_deployed: Project, server_url: str) -> Iterator[str]:
    """The name of a database of the deployed release with rows in it, to be copied."""
    with new_database(server_url) as url:
        _deployed.succeed("migrate", "--noinput", url=url, RELEASE="v1")
        _deployed.execute(url, *FILL)
        yield urlsplit(url).path.strip("/")


@pytest.mark.parametrize("name", CHANGES)
def test_both_codes_live_through_it(project: Project, filled: str, server_url: str, name: str) -> None:
    change = CHANGES[name]
    new = new_code(change)
    write(project, change)
    project.succeed(*change.makemigrations)
    with new_database(server_url, template=filled) as url:
        with traffic(url, OLD) as old_sent:
            project.succeed("migrate", "--noinput", url=url, RELEASE="v2")
            with traffic(url, new) as new_sent:
                project.succeed("showmigrations", url=url, RELEASE="v2")
        old_sent.check()
        new_sent.check()
        renamed = list(
            zip(change.gone.split(", "), change.columns.split(", "), change.values.split(", "), strict=False)
        )
        if change.renames:
            differs = " OR ".join(f"record_image_ne(ROW({old}), ROW({new}))" for old, new, _value in renamed)
            assert count(url, f"SELECT count(*) FROM shop_item WHERE {differs}") == 0
            for _old, new_column, value in renamed:
                assert count(url, f"SELECT count(*) FROM shop_item WHERE {new_column} = {value}") > 0
        with traffic(url, new) as new_sent:
            project.succeed("migrate", "--contract", "--noinput", url=url, RELEASE="v2")
        new_sent.check()
        project.succeed("schemadiff", url=url, RELEASE="v2")
        for app in ("crates", "shop"):
            project.succeed("migrate", app, "0001", "--noinput", url=url, RELEASE="v2")
        project.execute(url, *OLD)
        assert count(url, f"SELECT count(*) FROM shop_item WHERE address IN {ADDRESSES}") >= ROWS
        for old_column, _new_column, value in change.renamed:
            assert count(url, f"SELECT count(*) FROM shop_item WHERE {old_column} = {value}") > 0


@pytest.mark.parametrize("name", CHANGES)
def test_a_new_database_gets_the_same_squashed_or_not(project: Project, server_url: str, name: str) -> None:
    write(project, CHANGES[name])
    project.succeed(*CHANGES[name].makemigrations)
    with new_database(server_url) as url:
        project.succeed("migrate", "--noinput", url=url)
        project.succeed("schemadiff", url=url)
    for app in ("shop", "crates"):
        if CHANGES[name].is_squashed and (written := project.written(app)):
            project.succeed("squashmigrations", app, "0001", max(written), "--noinput")
    assert "No changes" in project.succeed("makemigrations", "--check")
    with new_database(server_url) as url:
        project.succeed("migrate", "--noinput", url=url)
        project.succeed("schemadiff", url=url)
