"""`migrate --rehearse` tells what really happens, in a scratch database that is gone afterwards, come what may."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest

from rupaya.migrator.analysis.scratch import name_prefix
from rupaya.migrator.session.lock import advisory_key
from tests.faults.migrator import Migrator, applied, migrate, query, wait_for

APP = "rehearsed"


@pytest.fixture
def live(database_url: str) -> str:
    """A database whose next migration is the second."""
    assert migrate(database_url, "migrate", APP, "0001", apps=APP).process.returncode == 0
    return database_url


def rehearse(url: str, *arguments: str, apps: str = APP, **options: Any) -> Migrator:
    return migrate(url, "migrate", "--rehearse", *arguments, apps=apps, **options)


def scratch_databases(url: str) -> list[str]:
    """Those of this test's database."""
    return [
        name
        for (name,) in query(
            url, "SELECT datname FROM pg_database WHERE starts_with(datname, current_database() || '_scratch_')"
        )
    ]


def sessions_in(url: str, database: str) -> bool:
    return query(url, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = %s)", database) == [(True,)]


def test_locks_rewrites_and_scans_are_the_servers_word_and_nothing_live_is_touched(live: str) -> None:
    rehearsal = rehearse(live, APP, "0006", "--format", "json")

    assert rehearsal.process.returncode == 0, rehearsal.output
    document = json.loads(rehearsal.output)
    table, shelf = "rehearsed_item", "rehearsed_shelf"
    told = [
        [(statement["locks"], statement["rewritten"], statement["scanned"]) for statement in step["statements"]]
        for step in document["steps"]
    ]
    assert told == [
        [({table: "AccessExclusive"}, [table], [table])],
        [({table: "ShareUpdateExclusive"}, [], [])],
        [({table: "AccessExclusive", shelf: "ShareRowExclusive"}, [], []), ({}, [], [table])],
        [({table: "RowExclusive", f"{table}_id_seq": "RowExclusive"}, [], [])],
        [({table: "RowExclusive"}, [], [table])],
    ]
    assert [step["atomic"] for step in document["steps"]] == [True, False, True, True, True]
    # Work is counted: migration 0005 adds rows, and 0006 reads and deletes all that are there.
    counted = [
        [(statement["read"], statement["written"]) for statement in step["statements"]] for step in document["steps"]
    ]
    assert counted[3:] == [[({}, {table: 1})], [({table: 1}, {table: 1})]]
    assert [statement["part"] for statement in document["steps"][2]["statements"]] == [1, 2]
    assert "column rehearsed_item.number: integer, now bigint" in document["changes"]
    assert "rehearsed.0006_forget is not reversible" in document["irreversible"]
    assert document["failure"] is None
    # Migration 0005 adds a row without saying to which connection.
    assert query(live, "SELECT count(*) FROM rehearsed_item") == [(0,)]
    assert applied(live) == ["rehearsed.0001_initial"]
    assert scratch_databases(live) == []


def test_it_goes_back_and_there_once_more(live: str) -> None:
    document = json.loads(rehearse(live, APP, "0005", "--format", "json").output)

    there = [step["migration"] for step in document["steps"]]
    assert [step["migration"] for step in document["reversed"]] == there[::-1]
    assert [step["migration"] for step in document["again"]] == there
    assert document["left_behind"] == document["differs_again"] == []
    assert document["irreversible"] == ""


def test_a_way_back_that_is_none_is_told(live: str) -> None:
    rehearsal = rehearse(live)

    assert rehearsal.process.returncode == 0
    assert (
        "Reversing does not undo rehearsed.0007_drop_note: column rehearsed_item.note: before, not after reversing"
        in rehearsal.output
    )


def test_backwards_is_rehearsed_too(live: str) -> None:
    assert migrate(live, "migrate", APP, "0002", apps=APP).process.returncode == 0

    document = json.loads(rehearse(live, APP, "0001", "--format", "json").output)

    assert [(step["migration"], step["direction"]) for step in document["steps"]] == [
        ("rehearsed.0002_widen_number", "unapply")
    ]
    assert document["changes"] == ["column rehearsed_item.number: bigint, now integer"]


def test_people_read_a_table(live: str) -> None:
    lines = rehearse(live, APP, "0003").output.splitlines()

    assert lines[0].startswith("Rehearsed 2 migrations in a scratch database on PostgreSQL ")
    cells = [line.split("  ") for line in lines]
    assert any({"rehearsed_item AccessExclusive", "rewrites rehearsed_item"} <= set(row) for row in cells)
    assert any(row[-1].strip() == "rehearsed_item ShareUpdateExclusive" for row in cells)


def test_a_pull_request_gets_markdown(live: str) -> None:
    output = rehearse(live, APP, "0002", "--format", "markdown").output

    row = next(line for line in output.splitlines() if line.startswith("| `rehearsed.0002_widen_number`"))
    assert row.split(" | ")[2:] == [
        "AccessExclusive on `rehearsed_item`",
        "reads and writes wait",
        "`rehearsed_item`",
        "`rehearsed_item` |",
    ]


def test_nothing_pending_is_nothing_to_rehearse(live: str) -> None:
    rehearsal = rehearse(live, APP, "0001")

    assert (rehearsal.process.returncode, rehearsal.output) == (
        0,
        "Nothing to rehearse: no migration is pending.\n",
    )


def test_a_migration_that_fails_has_the_exit_code_of_one(database_url: str) -> None:
    rehearsal = rehearse(database_url, apps="exception")

    assert rehearsal.process.returncode == 13
    assert "exception.0002_raise failed when it was applied in the rehearsal: ValueError: a note without a text" in (
        rehearsal.output
    )
    assert query(database_url, "SELECT to_regclass('exception_note'), to_regclass('django_migrations')") == [
        (None, None)
    ]
    assert scratch_databases(database_url) == []


def test_a_role_that_may_not_create_databases_is_told_so(live: str) -> None:
    role = f"poor_{urlsplit(live).path.rpartition('_')[2]}"
    query(live, f"CREATE ROLE {role} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    try:
        rehearsal = rehearse(f"{live}&user={role}" if "?" in live else f"{live}?user={role}")

        assert rehearsal.process.returncode == 16, rehearsal.output
        assert f"The role '{role}' cannot create a scratch database: permission denied" in rehearsal.output
        assert f"ALTER ROLE {role} CREATEDB" in rehearsal.output
    finally:
        query(live, f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_what_a_killed_rehearsal_leaves_is_swept_by_the_next_and_a_living_ones_is_not(
    live: str, tmp_path: Path
) -> None:
    with_gate = tmp_path / "in_python"
    with_gate.touch()
    first = Migrator(live, "migrate", "--rehearse", APP, "0005", apps=APP, gates=tmp_path)
    wait_for(lambda: with_gate.with_suffix(".reached").exists() or first.process.poll() is not None, "the gate")
    (left,) = scratch_databases(live)

    assert rehearse(live, APP, "0002").process.returncode == 0
    assert scratch_databases(live) == [left], "a rehearsal swept the scratch database of a living one"

    first.kill()
    first.end()
    wait_for(lambda: not sessions_in(live, left), "the server to notice the death")
    assert scratch_databases(live) == [left]
    assert rehearse(live, APP, "0002").process.returncode == 0
    assert scratch_databases(live) == []


def test_a_scratch_database_that_its_creator_has_not_entered_yet_is_not_swept(live: str) -> None:
    name = name_prefix(urlsplit(live).path.strip("/")) + "00c0ffee"
    keeper = psycopg2.connect(live)
    keeper.autocommit = True
    with keeper.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [advisory_key(f"scratch database: {name}")])
        cursor.execute(f"CREATE DATABASE {name}")

    assert rehearse(live, APP, "0002").process.returncode == 0
    assert scratch_databases(live) == [name]

    keeper.close()
    wait_for(lambda: rehearse(live, APP, "0002") and scratch_databases(live) == [], "the sweep")


def test_a_rehearsal_that_is_terminated_drops_its_database_itself(live: str, tmp_path: Path) -> None:
    gate = tmp_path / "in_python"
    gate.touch()
    rehearsal = Migrator(live, "migrate", "--rehearse", APP, "0005", apps=APP, gates=tmp_path)
    wait_for(lambda: gate.with_suffix(".reached").exists() or rehearsal.process.poll() is not None, "the gate")

    rehearsal.kill(signal.SIGTERM)

    assert rehearsal.end(timeout_s=10) == 143, rehearsal.output
    assert scratch_databases(live) == []
