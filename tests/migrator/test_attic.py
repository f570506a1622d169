"""Releases that take away, regret it, and have back: in real processes, under traffic, killed at every step."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from tests.faults.migrator import query
from tests.migrator.releases import Deployed, Release, migration

CREATE = """
        migrations.CreateModel("Maker", [
            ("id", models.BigAutoField(primary_key=True)), ("name", models.CharField(max_length=50)),
        ]),
        migrations.CreateModel("Item", [
            ("id", models.BigAutoField(primary_key=True)),
            ("name", models.CharField(max_length=50)),
            ("colour", models.CharField(max_length=20, default="white", db_index=True)),
            ("maker", models.ForeignKey("shop.Maker", models.CASCADE)),
        ]),
        migrations.CreateModel("Note", [
            ("id", models.BigAutoField(primary_key=True)), ("item", models.ForeignKey("shop.Item", models.CASCADE)),
        ]),
        migrations.CreateModel("Page", [
            ("id", models.BigAutoField(primary_key=True)),
            ("note", models.ForeignKey("shop.Note", models.CASCADE, null=True)),
        ]),
"""
REMOVE = """
        migrations.RemoveField("page", "note"),
        migrations.RemoveField("item", "colour"),
        migrations.DeleteModel("Note"),
"""
V1 = {"0001_initial": migration(CREATE)}
V2 = V1 | {"0002_remove": migration(REMOVE, "0001_initial")}
ADD_SIZE = 'migrations.AddField("item", "size", models.IntegerField(null=True))'
ROWS = 2_000


@pytest.fixture
def v1(tmp_path: Path) -> Release:
    return Release(tmp_path, "v1", V1)


@pytest.fixture
def v2(tmp_path: Path) -> Release:
    return Release(tmp_path, "v2", V2)


@pytest.fixture
def url(deployed: Deployed, v1: Release) -> str:
    """A database as release v1 uses it, with rows."""
    url = deployed(v1)
    fill(url, ROWS)
    return url


def fill(url: str, rows: int) -> None:
    query(url, "INSERT INTO shop_maker (name) SELECT 'maker ' || n FROM generate_series(1, 10) n")
    query(
        url,
        "INSERT INTO shop_item (name, colour, maker_id) "
        f"SELECT 'item ' || n, 'colour ' || n % 7, 1 + n % 10 FROM generate_series(1, {rows}) n",
    )
    query(url, "INSERT INTO shop_note (item_id) SELECT id FROM shop_item")
    query(url, "INSERT INTO shop_page (note_id) SELECT id FROM shop_note WHERE id % 10 = 0")


TABLES = ("maker", "item", "note", "page")


def contents(url: str, up_to: int = 10**9) -> list[Any]:
    """Every row and value, whatever the order of columns."""
    return [
        query(
            url, f"SELECT md5(string_agg(to_jsonb(t)::text, '|' ORDER BY id)) FROM shop_{table} t WHERE id <= {up_to}"
        )
        for table in TABLES
    ]


def schema(release: Release, url: str) -> str:
    return release.run(url, "schemasql").stdout


@pytest.mark.slow
def test_a_release_takes_away_regrets_it_and_has_every_row_back(url: str, v1: Release, v2: Release) -> None:
    before, drawn = contents(url), schema(v1, url)
    assert v2.run(url).returncode == 0
    assert v2.run(url, "migrate", "--contract").returncode == 0
    assert query(url, "SELECT to_regclass('shop_note')") == [(None,)]
    assert v1.run(url).returncode == 14  # what it reads is not there
    assert "migrator_attic" not in schema(v2, url)
    assert v2.run(url, "schemadiff", "--against", "snapshot").returncode == 0
    query(url, "INSERT INTO shop_item (name, maker_id) SELECT 'new ' || n, 1 FROM generate_series(1, 3) n")
    query(url, "INSERT INTO shop_page DEFAULT VALUES")

    plan = v2.run(url, "rollback", "--plan")
    assert plan.returncode == 0, plan.stderr
    assert "table shop_note comes back with 2000 rows" in plan.stdout
    assert "column shop_item.colour comes back with 2000 values; 3 rows written meanwhile get 'white'" in plan.stdout, (
        plan.stdout
    )

    undone = v2.run(url, "rollback")
    assert undone.returncode == 0, undone.stderr

    query(url, "DELETE FROM shop_page WHERE note_id IS NULL")  # what was written meanwhile
    assert contents(url, ROWS) == before
    assert schema(v1, url) == drawn
    assert query(url, "SELECT colour, count(*) FROM shop_item WHERE name LIKE 'new%%' GROUP BY 1") == [("white", 3)]
    assert query(url, "SELECT count(*) FROM pg_constraint WHERE NOT convalidated") == [(0,)]
    assert v1.run(url).returncode == 0


def test_rollback_shows_the_plan_first_and_then_what_stands_in_its_way(url: str, v2: Release) -> None:
    assert v2.run(url).returncode == 0
    assert v2.run(url, "migrate", "--contract").returncode == 0
    serving = psycopg2.connect(url, application_name="release v2")

    refused = v2.run(url, "rollback", "--plan")

    serving.close()
    assert refused.returncode == 14
    assert "shop.0002_remove, applied" in refused.stdout
    assert "table shop_note comes back with 2000 rows" in refused.stdout
    assert "whose release may need this batch" in refused.stderr


def test_what_dangles_when_it_comes_back_is_named(url: str, v2: Release) -> None:
    assert v2.run(url).returncode == 0
    assert v2.run(url, "migrate", "--contract").returncode == 0
    query(url, "DELETE FROM shop_item WHERE id IN (5, 6)")

    undone = v2.run(url, "rollback")

    assert undone.returncode == 0, undone.stderr
    assert "rows written meanwhile do not allow the foreign key" in undone.stdout
    assert "2 rows (id 5, 6)" in undone.stdout


@contextmanager
def traffic(url: str, statements: list[str]) -> Iterator[list[float]]:
    """Somebody who executes these one after the other; how long each took, in seconds."""
    took: list[float] = []
    stop = threading.Event()
    failed: list[BaseException] = []

    def work() -> None:
        connection = psycopg2.connect(url)
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                while not stop.is_set():
                    for statement in statements:
                        began = time.monotonic()
                        cursor.execute(statement)
                        took.append(time.monotonic() - began)
        except BaseException as error:
            failed.append(error)
        finally:
            connection.close()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield took
    finally:
        stop.set()
        worker.join()
    assert failed == []
    assert took


def test_nothing_fails_while_it_is_paid_and_brought_back(url: str, v1: Release, v2: Release) -> None:
    assert v2.run(url).returncode == 0
    read, write = "SELECT id, name FROM shop_item LIMIT 5", "INSERT INTO shop_item (name, maker_id) VALUES ('t', 1)"
    with traffic(url, [read, write]):
        assert v2.run(url, "migrate", "--contract").returncode == 0
    query(url, "INSERT INTO shop_item (name, maker_id) VALUES ('late', 1); INSERT INTO shop_page DEFAULT VALUES")
    with traffic(url, [read]):
        undone = v2.run(url, "rollback")
    assert undone.returncode == 0, undone.stderr
    assert "✓ table shop_note is back" in undone.stdout
    assert query(url, "SELECT count(*) FROM shop_item WHERE colour IS NULL") == [(0,)]
    assert query(url, "SELECT colour FROM shop_item WHERE name = 'late'") == [("white",)]
    assert query(url, "SELECT note_id FROM shop_page ORDER BY id DESC LIMIT 1") == [(None,)]
    assert query(url, "SELECT count(*) FROM pg_constraint WHERE NOT convalidated") == [(0,)]
    assert v1.run(url).returncode == 0


def test_the_attic_is_listed_restored_and_purged(url: str, v2: Release) -> None:
    assert v2.run(url).returncode == 0
    assert v2.run(url, "migrate", "--contract").returncode == 0
    query(url, "ANALYZE")

    found = {item["what"]: item for item in json.loads(v2.run(url, "attic", "list", "--format", "json").stdout)}
    assert set(found) == {"shop_item.colour", "shop_note", "shop_page.note_id"}
    assert found["shop_note"]["size_bytes"] > 50_000
    assert found["shop_item.colour"]["size_bytes"] > ROWS * 5
    assert (found["shop_note"]["migration"], found["shop_note"]["reason"]) == ("shop.0002_remove", "debt")
    table = v2.run(url, "attic", "list").stdout
    assert "shop.0002_remove (debt)" in table

    restored = v2.run(url, "attic", "restore", "shop_note")
    assert restored.returncode == 0, restored.stderr
    assert query(url, "SELECT count(*) FROM shop_note") == [(ROWS,)]

    young = v2.run(url, "attic", "purge", "--older-than", "30d")
    assert young.returncode == 0
    assert "Nothing in the attic is older than 30 days, 0:00:00.\nThe attic holds 2 items, about " in young.stdout
    assert len(json.loads(v2.run(url, "attic", "list", "--format", "json").stdout)) == 2
    purged = v2.run(url, "attic", "purge", "--older-than", "0d")
    assert purged.returncode == 0, purged.stderr
    assert "✓ purged column shop_item.colour (" in purged.stdout
    assert re.search(r"\(2 of 2; about \d.* KiB\)", purged.stdout)
    assert "The attic holds 0 items, about 0 bytes\nPurged 2 items; a column's space" in purged.stdout
    assert query(url, "SELECT command, outcome FROM migrator_runs ORDER BY run_id DESC LIMIT 2") == [
        ("attic purge", "succeeded"),
        ("attic restore", "succeeded"),
    ]
    assert query(url, "SELECT count(*) FROM pg_attribute WHERE attname ~ '^migrator_attic_' AND NOT attisdropped") == [
        (0,)
    ]
    plan = v2.run(url, "rollback", "--plan").stdout
    assert "column shop_item.colour comes back empty: it was purged on" in plan
    query(url, "DROP TABLE shop_note")
    assert v2.run(url, "rollback").returncode == 0
    assert query(url, "SELECT count(*) FROM shop_note") == [(0,)]


def test_what_was_restored_is_nobodys_change_by_hand(url: str, v2: Release, tmp_path: Path) -> None:
    assert v2.run(url).returncode == 0
    assert v2.run(url, "migrate", "--contract").returncode == 0
    query(url, "CREATE INDEX by_hand ON shop_item (name)")

    column, table = (v2.run(url, "attic", "restore", name) for name in ("shop_item.colour", "shop_note"))

    assert "Somebody changed the schema by hand" in column.stderr + column.stdout
    assert "by_hand" in column.stderr + column.stdout
    assert table.returncode == 0, table.stderr
    assert "by hand" not in table.stderr + table.stdout
    assert v2.run(url, "schemadiff", "--against", "snapshot").returncode == 0
    v3 = Release(tmp_path, "v3", V2 | {"0003_more": migration(ADD_SIZE, "0002_remove")}).run(url)
    assert v3.returncode == 0, v3.stderr
    assert "by hand" not in v3.stderr + v3.stdout


def test_a_lock_on_the_table_keeps_no_list_waiting_and_a_purge_says_what_became_of_it(url: str, v2: Release) -> None:
    assert v2.run(url).returncode == 0
    assert v2.run(url, "migrate", "--contract").returncode == 0
    holder = psycopg2.connect(url)
    try:
        holder.cursor().execute("LOCK TABLE shop_item IN ACCESS EXCLUSIVE MODE")
        listed = json.loads(v2.run(url, "attic", "list", "--format", "json").stdout)
        limits = {"MIGRATE_LOCK_TIMEOUT_MS": "100", "MIGRATE_RETRIES": "1"}
        refused = v2.run(url, "attic", "purge", "--older-than", "0d", **limits)
    finally:
        holder.close()

    assert "shop_item.colour" in {item["what"] for item in listed}
    assert refused.returncode == 12, refused.stderr
    assert "Purging the column shop_item.colour could not lock" in refused.stderr
    assert "The column shop_item.colour is still in the attic." in refused.stderr
    assert query(url, "SELECT count(*) FROM migrator_attic WHERE state = 'kept' AND object = 'colour'") == [(1,)]
    assert v2.run(url, "attic", "purge", "--older-than", "0d").returncode == 0
    assert query(url, "SELECT count(*) FROM migrator_attic WHERE state = 'kept'") == [(0,)]


def test_within_the_window_nothing_is_paid_and_both_neighbours_start(
    url: str, v1: Release, v2: Release, tmp_path: Path
) -> None:
    v3 = Release(tmp_path, "v3", V2 | {"0003_more": migration(ADD_SIZE, "0002_remove")})
    window = {"MIGRATE_CONTRACT_AFTER_H": "24"}
    applied = v2.run(url, **window)
    assert applied.returncode == 0
    assert "until then the release before can serve again" in applied.stdout

    paid = v2.run(url, "migrate", "--contract", **window)
    assert paid.returncode == 0
    assert "✓ paid" not in paid.stdout
    assert " due 20" in v2.run(url, "showmigrations", "--audit", **window).stdout
    assert v1.run(url, **window).returncode == 0
    assert v3.run(url, **window).returncode == 0
    assert query(url, "SELECT count(*) FROM migrator_debts WHERE state = 'owed'") == [(3,)]

    query(url, "ALTER TABLE migrator_runs DISABLE TRIGGER USER")
    query(url, "UPDATE migrator_runs SET finished_at = finished_at - interval '25 h' WHERE release = 'v2'")
    query(url, "ALTER TABLE migrator_runs ENABLE TRIGGER USER")
    assert "✓ paid" in v3.run(url, "migrate", "--contract", **window).stdout
    assert query(url, "SELECT count(*) FROM migrator_debts WHERE state = 'owed'") == [(0,)]
    assert v1.run(url, **window).returncode == 14


def test_what_was_restored_stays_so_though_its_snapshot_cannot_be_taken(url: str, v2: Release) -> None:
    assert v2.run(url).returncode == 0
    assert v2.run(url, "migrate", "--contract").returncode == 0
    query(url, "ALTER TABLE migrator_snapshots ADD CONSTRAINT full_up CHECK (run_id < 0) NOT VALID")

    restored = v2.run(url, "attic", "restore", "shop_note")

    assert restored.returncode == 0, restored.stderr
    assert "The schema's snapshot was not taken: " in restored.stdout + restored.stderr
    assert query(url, "SELECT outcome FROM migrator_runs ORDER BY run_id DESC LIMIT 1") == [("succeeded",)]
    assert query(url, "SELECT count(*) FROM shop_note") == [(ROWS,)]


def test_what_was_paid_of_an_earlier_batch_is_taken_back_by_its_number(
    url: str, v1: Release, v2: Release, tmp_path: Path
) -> None:
    v3 = Release(tmp_path, "v3", V2 | {"0003_more": migration(ADD_SIZE, "0002_remove")})
    for release in (v2, v3):
        assert release.run(url).returncode == 0
    assert v3.run(url, "migrate", "--contract").returncode == 0

    told = v3.run(url, "rollback", "--paid")
    assert told.returncode == 0, told.stderr
    command = re.search(r"Of batch 2 something was: 'manage.py (rollback --paid --to 1)' takes it back", told.stdout)
    assert command, told.stdout

    assert "3 debts owed again" in v3.run(url, *command[1].split()).stdout
    assert v1.run(url).returncode == 0


def test_what_was_paid_is_owed_again_while_the_newer_release_serves(url: str, v1: Release, v2: Release) -> None:
    before, drawn = contents(url), schema(v1, url)
    assert v2.run(url).returncode == 0
    assert v2.run(url, "migrate", "--contract").returncode == 0
    write = "INSERT INTO shop_item (name, maker_id) VALUES ('meanwhile', 1)"
    serving = psycopg2.connect(url, application_name="release v2")
    with traffic(url, [write]):
        reopened = v2.run(url, "rollback", "--paid")
    serving.close()
    assert reopened.returncode == 0, reopened.stderr
    assert "3 debts owed again" in reopened.stdout

    assert v1.run(url).returncode == 0  # and serves, beside v2
    query(url, write)
    query(url, "INSERT INTO shop_note (item_id) VALUES (1)")
    assert v2.run(url, "rollback").returncode == 0

    query(url, f"DELETE FROM shop_note WHERE id > {ROWS}")
    query(url, f"DELETE FROM shop_item WHERE id > {ROWS}")
    assert contents(url) == before
    assert schema(v1, url) == drawn
