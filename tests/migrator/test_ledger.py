"""What the ledger answers about a past that a test gives it, asked in this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.recorder import MigrationRecorder

from rupaya.migrator.ledger import snapshots
from rupaya.migrator.ledger.ledger import Done, Failure, Interrupted, Ledger, comparable_versions, versions
from rupaya.migrator.ledger.trace import Trace
from tests.migrator.conftest import Record

NOTHING = Trace(keeps_literals=True)


@pytest.fixture(scope="module")
def _made(_empty: BaseDatabaseWrapper) -> None:
    """The ledger's tables and Django's, empty, in the database of this module."""
    MigrationRecorder(_empty).ensure_schema()
    Ledger(_empty.connection).ensure_schema()


@pytest.fixture
def record(_made: None, scratch: BaseDatabaseWrapper) -> Record:
    """A ledger whose first run has begun, and an empty history beside it."""
    record = Record(scratch.connection)
    record.begin()
    return record


def begun(record: Record, name: str, **others: Any) -> int:
    """An attempt that is under way."""
    facts = {"batch": 1, "direction": "apply", "phase": "expand", "atomic": True, "fingerprint": "f", "file_hash": "h"}
    return record.start_attempt(app="shop", name=name, **facts | others)


def ended(record: Record, name: str, outcome: str = "succeeded", code: str = "", **others: Any) -> int:
    """An attempt that has ended so."""
    attempt = begun(record, name, **others)
    if outcome == "succeeded":
        finish(record, [attempt])
    else:
        record.fail_attempt(attempt, outcome, 2, code, f"{name} {outcome}", NOTHING)
    return attempt


def finish(record: Record, attempts: Sequence[int], trace: Trace = NOTHING, took_s: float = 0.0) -> bool:
    with record.connection.cursor() as cursor:
        return record.finish_attempts(cursor, [Done(attempt, 3, False, took_s, trace) for attempt in attempts])


def in_history(record: Record, *names: str) -> None:
    for name in names:
        record._fetch("INSERT INTO django_migrations (app, name, applied) VALUES ('shop', %s, now())", [name])


def asked(record: Record, sql: str) -> list[tuple[Any, ...]]:
    return record._fetch(sql)


def test_its_tables_are_made_once_and_those_that_are_gone_are_named(record: Record) -> None:
    made = asked(record, "SELECT count(*), max(version) FROM migrator_versions")
    record.ensure_schema()

    assert asked(record, "SELECT count(*), max(version) FROM migrator_versions") == made == [(len(versions()),) * 2]
    assert record.missing_tables() == []
    asked(record, "DROP TABLE migrator_traces, migrator_progress")
    assert sorted(record.missing_tables()) == ["migrator_progress", "migrator_traces"]


def test_before_there_is_a_ledger_nothing_is_known(scratch: BaseDatabaseWrapper) -> None:
    none = Ledger(scratch.connection)
    none._fetch("SET LOCAL search_path = elsewhere")

    assert not none.exists
    assert not none.has_open_runs()
    assert not none.is_settled("d1")
    assert none.last_outcome("v1") == none.under_way() == ""
    assert none.in_force() == none.unattested() == []
    assert none.contradicted() == none.last_failures() == none.failures_of([("shop", "0001")]) == {}


def test_a_run_is_open_until_it_has_ended_once(record: Record) -> None:
    first = record.run_id
    assert record.has_open_runs()
    assert record.next_batch() == 1
    record.finish_run("failed", 13, "why")
    record.finish_run("succeeded", 0)

    assert not record.has_open_runs()
    rows = "SELECT outcome, exit_code, error, python_version, django_version FROM migrator_runs ORDER BY run_id"
    assert asked(record, rows) == [("failed", 13, "why", *comparable_versions())]
    assert record.last_outcome("v1") == ""  # that is this run itself
    record.begin()
    assert record.run_id > first
    assert (record.last_outcome("v1"), record.last_outcome("v2")) == ("failed", "")
    record.finish_run("succeeded", 0)
    assert asked(record, rows)[1][:3] == ("succeeded", 0, None)
    ended(record, "0001", batch=4)
    assert record.next_batch() == 5


def test_a_release_is_settled_until_it_is_not_and_follows_the_history_if_told_to(record: Record) -> None:
    row = "SELECT held, history FROM migrator_settled_releases"
    record.settle("d1", ["shop.0009"])
    assert record.is_settled("d1")
    assert not record.is_settled("d2")
    first = asked(record, row)[0]
    assert first[0] == ["shop.0009"]
    in_history(record, "0001")
    record.keep_settled("d2")
    assert asked(record, row) == [first]
    record.keep_settled("d1")
    ((held, history),) = asked(record, row)
    assert held == ["shop.0009"]
    assert history != first[1]
    record.settle("d1", [])
    assert asked(record, row) == [([], history)]
    record.unsettle("d1")
    assert not record.is_settled("d1")


@pytest.mark.parametrize(
    ("direction", "is_recorded", "outcome"),
    [("apply", True, "succeeded"), ("apply", False, "interrupted"), ("unapply", False, "succeeded"),
     ("unapply", True, "interrupted")],
)  # fmt: skip
def test_what_a_dead_run_left_open_is_closed_by_what_the_history_says(
    record: Record, direction: str, is_recorded: bool, outcome: str
) -> None:
    begun(record, "0001", direction=direction)
    ended(record, "0002", "failed", "22012")
    if is_recorded:
        in_history(record, "0001")
    record.begin()
    begun(record, "0003")

    found = record.close_abandoned()

    assert found == ([Interrupted("shop", "0001")] if outcome == "interrupted" else [])
    outcomes = "SELECT name, outcome FROM migrator_attempts ORDER BY name"
    assert asked(record, outcomes) == [("0001", outcome), ("0002", "failed"), ("0003", "started")]
    assert asked(record, "SELECT outcome FROM migrator_runs ORDER BY run_id") == [("interrupted",), ("started",)]


def test_in_force_is_what_was_applied_last_and_not_unapplied_since(record: Record) -> None:
    for name in ("0002", "0001", "0003"):
        ended(record, name, fingerprint="old")
    ended(record, "0003", direction="unapply")
    ended(record, "0002", fingerprint="new", batch=2)
    ended(record, "0004", "failed", "22012")
    begun(record, "0005")

    found = record.in_force()

    assert [(item.key, item.fingerprint, item.batch) for item in found] == [
        (("shop", "0001"), "old", 1),
        (("shop", "0002"), "new", 2),
    ]
    assert {(item.release, item.tries, item.faked, item.phase) for item in found} == {("v1", 3, False, "expand")}
    record.accept(found[0], "as it is now", "another hash")
    accepted = record.in_force()[-1]
    assert (accepted.key, accepted.batch, accepted.faked) == (("shop", "0001"), 1, True)
    assert (accepted.fingerprint, accepted.file_hash) == ("as it is now", "another hash")
    assert record.last_end("shop", "0004") == ("failed", "f")
    assert record.last_end("shop", "0009") == ("", "")
    assert [
        attested(record, name, direction)
        for name, direction in (("0001", "apply"), ("0003", "unapply"), ("0003", "apply"), ("0004", "apply"))
    ] == [False, False, True, True]


def attested(record: Record, name: str, direction: str) -> bool:
    """Whether the ledger takes what somebody recorded for a change."""
    with record.connection.cursor() as cursor:
        record.attest_change(cursor, ("shop", name), direction)
        return bool(cursor.rowcount)


def test_the_last_attempt_decides_whether_a_migration_counts_as_failed(record: Record) -> None:
    ended(record, "0001", "failed", "22012", fingerprint="a")
    ended(record, "0001", "failed", "22003", fingerprint="b")
    ended(record, "0002", "failed", "22012")
    ended(record, "0002")
    ended(record, "0003", "failed", "22012", direction="unapply")
    ended(record, "0004", "interrupted")
    ended(record, "0005", "failed")

    asked_for = [("shop", name) for name in ("0001", "0002", "0003", "0004")]
    ((key, failure),) = record.failures_of(asked_for).items()

    assert key == ("shop", "0001")
    assert isinstance(failure, Failure)
    assert (failure.fingerprint, failure.sqlstate, failure.error) == ("b", "22003", "0001 failed")
    assert (failure.release, failure.task) == ("v1", "task-1")
    assert 0 <= failure.age_s < 300
    assert record.last_failures() == {("shop", "0001"): "0001 failed", ("shop", "0005"): "0005 failed"}


def test_what_the_history_has_although_its_last_attempt_failed_for_good_is_contradicted(record: Record) -> None:
    ended(record, "0001", "failed", "22012")
    ended(record, "0002", "failed", "55P03")  # a lock: somebody else may have gone on with it
    ended(record, "0003", "failed")
    ended(record, "0004", "failed", "22012")
    in_history(record, "0001", "0002", "0003")

    assert record.contradicted() == {("shop", "0001"): "0001 failed"}


def test_what_was_recorded_since_by_nobody_here_is_unattested(record: Record) -> None:
    in_history(record, "0001")  # before the ledger began
    ended(record, "0002")
    in_history(record, "0002", "0003", "0004")
    begun(record, "0004")
    ended(record, "0005")
    ended(record, "0005", direction="unapply")
    in_history(record, "0005")

    assert record.unattested() == [("shop", "0003"), ("shop", "0005")]


def test_releases_that_ran_before_a_run_and_not_since(record: Record) -> None:
    for release in ("v2", "v1", "v3"):
        record.start_run(command="migrate", release=release, git_sha="", environment="", task="")

    assert record.releases_before(record.run_id) == {"v1", "v2"}
    assert record.releases_before(record.run_id - 1) == {"v2"}


def test_who_waits_is_told_what_is_under_way_and_how_far(record: Record) -> None:
    assert record.under_way() == ""
    ended(record, "0001")
    assert record.under_way() == ""
    begun(record, "0002")
    before = "release v1, task task-1, on shop.0002 since 0 s"
    record._fetch("UPDATE migrator_attempts SET started_at = clock_timestamp() WHERE name = '0002'")
    assert record.under_way() == before
    say = (
        "INSERT INTO migrator_progress (run_id, what, phase, percent, basis, running_s, updated_at) "
        "VALUES (%s, '', 'building index', %s, '', 0, clock_timestamp() - %s::interval) "
        "ON CONFLICT (run_id) DO UPDATE SET percent = EXCLUDED.percent, updated_at = EXCLUDED.updated_at"
    )
    record._fetch(say, [record.run_id, None, "0"])
    assert record.under_way() == f"{before} (building index)"
    record._fetch(say, [record.run_id, 41.6, "0"])
    assert record.under_way() == f"{before} (42 %, building index)"
    record._fetch(say, [record.run_id, 41.6, "20 seconds"])
    assert record.under_way() == before
    record._fetch("DROP TABLE migrator_progress")
    assert record.under_way() == before


def test_an_attempt_that_is_closed_is_not_finished_again(record: Record) -> None:
    trace = Trace(keeps_literals=True)
    trace.executed("SELECT 1", None, 0.001)
    one, other = begun(record, "0001"), begun(record, "0002")

    assert finish(record, [one, other], trace, 1.5)
    assert not finish(record, [one, begun(record, "0003")])
    record.fail_attempt(one, "failed", 1, "22012", "too late", NOTHING)

    ends = "SELECT DISTINCT outcome, tries, sqlstate, error, finished_at - started_at FROM migrator_attempts ORDER BY 5"
    assert asked(record, ends) == [("succeeded", 3, None, None, timedelta(seconds=s)) for s in (0, 1.5)]
    kept = "SELECT statements, omitted FROM migrator_traces ORDER BY attempt_id"
    assert asked(record, kept)[:2] == 2 * [([{"ms": 1.0, "sql": "SELECT 1", "times": 1}], 0)]


def test_what_no_server_can_keep_is_kept_as_it_would_be_written(record: Record) -> None:
    record.finish_run("failed", 13, "a\0b\ud800c")

    assert asked(record, "SELECT error FROM migrator_runs") == [("a\\x00b\\ud800c",)]


# Snapshots

ITEM = {"relations": {"shop_item": {"kind": "table", "columns": {}}}}


def test_two_snapshots_of_one_major_version_tell_what_a_run_did(record: Record) -> None:
    connection, first = record.connection, record.run_id
    assert snapshots.last_snapshot(connection) is None
    snapshots.add_snapshot(connection, first, {}, ["by hand"], "versions-1")
    assert snapshots.what_a_run_did(connection, first) is None
    record.begin()
    assert snapshots.what_a_run_did(connection, record.run_id) is None
    snapshots.add_snapshot(connection, record.run_id, ITEM, [], "versions-2")

    newest = snapshots.last_snapshot(connection)
    did = snapshots.what_a_run_did(connection, record.run_id)

    assert newest is not None
    assert (newest.run_id, newest.catalog, newest.is_superseded) == (record.run_id, ITEM, False)
    assert str(newest) == f"run {newest.run_id} (release v1, {newest.taken_at:%Y-%m-%d %H:%M} UTC)"
    assert snapshots.row_versions_of(connection, newest) == "versions-2"
    assert snapshots.row_versions_of(connection, replace(newest, snapshot_id=0)) is None
    assert snapshots.snapshot_before(connection, record.run_id) == snapshots.snapshot_of(connection, first)
    assert did is not None
    assert len(did) == 1
    record._fetch("SET session_replication_role = replica")
    record._fetch("UPDATE migrator_snapshots SET server_version_num = 90600 WHERE run_id = %s", [first])
    assert snapshots.what_a_run_did(connection, record.run_id) is None


@pytest.mark.parametrize(
    ("outcome", "atomic", "is_superseded"),
    [
        ("succeeded", True, True),
        ("failed", True, False),
        ("failed", False, True),
        ("interrupted", False, True),
        ("rolled back", False, False),
    ],
)
def test_a_snapshot_is_superseded_by_what_changed_the_schema_since(
    record: Record, outcome: str, atomic: bool, is_superseded: bool
) -> None:
    ended(record, "0001")
    snapshots.add_snapshot(record.connection, record.run_id, {}, [], "")
    ended(record, "0002", outcome, atomic=atomic)

    newest = snapshots.last_snapshot(record.connection)

    assert newest is not None
    assert newest.is_superseded is is_superseded


@pytest.mark.parametrize(("number", "major"), [(150000, 15), (159999, 15), (180000, 18), (90624, 9)])
def test_a_servers_number_has_its_major_version(record: Record, number: int, major: int) -> None:
    snapshots.add_snapshot(record.connection, record.run_id, {}, [], "")
    newest = snapshots.last_snapshot(record.connection)

    assert newest is not None
    assert replace(newest, server_version_num=number).server_major == major
