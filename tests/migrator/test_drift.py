"""A run says what somebody changed by hand since the last one, and never takes its own work for that."""

from __future__ import annotations

import io
import signal
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path

import psycopg2
import pytest
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test.utils import isolate_apps

from rupaya.migrator.errors import HistoryRefused
from rupaya.migrator.ledger.snapshots import last_snapshot, what_a_run_did
from rupaya.migrator.run import drift as module
from rupaya.migrator.run.context import RunContext
from tests.faults.migrator import Migrator, applied, migrate, query, wait_for

APP = "points"
SAID = "Somebody changed the schema by hand since run "


@pytest.fixture
def live(database_url: str) -> str:
    """The first two migrations of six are applied."""
    assert migrate(database_url, "migrate", APP, "0002", apps=APP).process.returncode == 0
    return database_url


def snapshots(url: str) -> list[tuple[int, int]]:
    """Which run left each, and with how many lines about changes before it."""
    return query(url, "SELECT run_id, jsonb_array_length(drift) FROM migrator_snapshots ORDER BY snapshot_id")


def test_a_change_by_hand_is_told_by_the_next_run_once(live: str) -> None:
    query(live, "ALTER TABLE points_order ALTER total DROP NOT NULL; CREATE TABLE alien (id serial)")
    query(live, "CREATE INDEX by_hand ON points_order (done)")

    first = migrate(live, "migrate", APP, "0003", apps=APP)
    second = migrate(live, "migrate", APP, "0004", apps=APP)

    assert first.process.returncode == second.process.returncode == 0
    lines = first.output.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith(SAID))
    assert lines[at + 1 : at + 4] == [
        "  column points_order.total: not null in the last snapshot, nullable in the database",
        "  index by_hand on points_order: in the database, not in the last snapshot",
        "Batch 2 run: 1 migration",
    ]
    assert SAID not in second.output
    assert snapshots(live) == [(1, 0), (2, 2), (3, 0)]


def test_error_refuses_and_changes_nothing(live: str) -> None:
    query(live, "ALTER TABLE points_order DROP note")

    refused = migrate(live, apps=APP, MIGRATE_ON_DRIFT="error")

    assert refused.process.returncode == 14
    assert "    column points_order.note: in the last snapshot, not in the database" in refused.output
    assert len(applied(live)) == 2
    again = migrate(live, apps=APP, MIGRATE_ON_DRIFT="error")
    assert again.process.returncode == 14, "what was refused once must be refused until it is fixed"
    query(live, "ALTER TABLE points_order ADD note text")
    assert migrate(live, apps=APP, MIGRATE_ON_DRIFT="error").process.returncode == 0


def test_nonsense_is_refused(database_url: str) -> None:
    refused = migrate(database_url, apps=APP, MIGRATE_ON_DRIFT="ignore")

    assert refused.process.returncode == 16
    assert "MIGRATE_ON_DRIFT='ignore' is not one of error, warn" in refused.output


def test_runs_one_after_the_other_are_no_drift(database_url: str) -> None:
    outputs = [
        migrate(database_url, "migrate", APP, target, apps=APP, MIGRATE_ON_DRIFT="error").output
        for target in ("0001", "0004", "0002", "zero", "0006")
    ]

    assert not [output for output in outputs if SAID in output]
    assert len(snapshots(database_url)) == 5
    assert query(database_url, "SELECT count(*) FROM migrator_runs WHERE outcome = 'succeeded'") == [(5,)]


def test_a_run_without_work_leaves_no_snapshot(live: str) -> None:
    assert migrate(live, "migrate", APP, "0002", apps=APP).process.returncode == 0

    assert snapshots(live) == [(1, 0)]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_an_interrupted_run_did_is_not_taken_for_somebodys_handiwork(
    live: str, tmp_path: Path, number: int
) -> None:
    assert migrate(live, "migrate", APP, "0003", apps=APP).process.returncode == 0
    gate = tmp_path / "between_statement_and_history_row"
    gate.touch()
    migrator = Migrator(live, apps=APP, gates=tmp_path)
    wait_for(lambda: gate.with_suffix(".reached").exists() or migrator.process.poll() is not None, "the gate")
    migrator.kill(number)
    migrator.end()
    gate.unlink()

    after = migrate(live, apps=APP, MIGRATE_ON_DRIFT="error")

    assert after.process.returncode == 0, after.output
    assert SAID not in after.output
    query(live, "DROP INDEX points_order_total")
    assert SAID in migrate(live, "migrate", APP, "0005", apps=APP).output


def test_what_a_failed_run_left_applied_is_not_taken_for_somebodys_handiwork(database_url: str) -> None:
    failed = migrate(database_url, apps="division", MIGRATE_BATCH="each")
    assert failed.process.returncode == 13
    assert len(snapshots(database_url)) == 1
    query(database_url, "UPDATE division_share SET divisor = 1")

    again = migrate(
        database_url, "migrate", "--retry-failed", apps="division", MIGRATE_BATCH="each", MIGRATE_ON_DRIFT="error"
    )

    assert again.process.returncode == 0, again.output
    assert query(
        database_url, "SELECT catalog #> '{relations,division_share,columns}' ? 'result' FROM migrator_snapshots"
    ) == [
        (True,),
        (True,),
    ]


def test_another_major_version_of_the_server_is_a_new_baseline(live: str) -> None:
    query(live, "ALTER TABLE points_order DROP note")
    query(live, "ALTER TABLE migrator_snapshots DISABLE TRIGGER USER")
    query(live, "UPDATE migrator_snapshots SET server_version_num = 120005")
    query(live, "ALTER TABLE migrator_snapshots ENABLE TRIGGER USER")

    ran = migrate(live, "migrate", APP, "0003", apps=APP, MIGRATE_ON_DRIFT="error")

    assert ran.process.returncode == 0
    query(live, "ALTER TABLE points_order DROP done")
    assert SAID in migrate(live, "migrate", APP, "0004", apps=APP).output


def test_an_environment_older_than_snapshots_begins_with_one(live: str) -> None:
    query(
        live,
        "DROP TABLE migrator_traces, migrator_snapshots, migrator_settled_releases, migrator_debts, "
        "migrator_accepted_drift, migrator_progress, migrator_use_baselines, migrator_paid_in_use, "
        "migrator_attic",
    )
    query(live, "DROP FUNCTION migrator_refuse_changes, migrator_refuse_forgetting")
    query(live, "DELETE FROM migrator_versions WHERE version > 1; ALTER TABLE points_order DROP note")

    assert SAID not in migrate(live, "migrate", APP, "0003", apps=APP).output

    assert query(live, "SELECT catalog -> 'relations' ? 'points_order' FROM migrator_snapshots") == [(True,)]


def test_a_snapshot_holds_what_migrations_build_and_nothing_else(live: str, migrated_url: str) -> None:
    query(live, "CREATE TABLE alien (id serial)")
    assert migrate(live, apps=APP).process.returncode == 0

    (names,), *_ = query(
        live, "SELECT array(SELECT jsonb_object_keys(catalog -> 'relations')) FROM migrator_snapshots ORDER BY 1 DESC"
    )
    # What a handler of post_migrate made is not there either.
    assert sorted(names) == ["django_migrations", "django_migrations_id_seq", "points_order", "points_order_id_seq"]
    ((relations, functions),) = query(
        migrated_url, "SELECT catalog -> 'relations', catalog -> 'functions' FROM migrator_snapshots"
    )
    assert {"users", "users_groups", "auth_group", "budget_progress", "django_migrations"} <= relations.keys()
    assert not [name for name in relations if name.startswith("migrator_")]
    assert list(functions) == ["set_updated_at()"]


@pytest.mark.parametrize("sql", ["UPDATE {} SET hash = ''", "DELETE FROM {}", "TRUNCATE {}"])
def test_snapshots_are_for_good(live: str, sql: str) -> None:
    with pytest.raises(psycopg2.errors.RestrictViolation, match="append-only"):
        query(live, sql.format("migrator_snapshots"))


def test_two_snapshots_tell_what_a_run_did(live: str) -> None:
    assert migrate(live, "migrate", APP, "0004", apps=APP).process.returncode == 0

    connection = psycopg2.connect(live)
    try:
        did = what_a_run_did(connection, 2)
        assert did is not None
        assert [item.happened() for item in did] == ["index points_order_total on points_order: created"]
        assert what_a_run_did(connection, 1) is None
        snapshot = last_snapshot(connection)
        assert snapshot is not None
        assert not snapshot.is_superseded
    finally:
        connection.close()


@pytest.mark.slow
@pytest.mark.parametrize("by_hand", ["CREATE TABLE alien ()", "ANALYZE"])
def test_a_locked_table_does_not_hold_the_run_up(migrated_url: str, by_hand: str) -> None:
    assert migrate(migrated_url, "migrate", "accounts", "0003").process.returncode == 0
    query(migrated_url, by_hand)
    blocker = psycopg2.connect(migrated_url)
    with blocker.cursor() as cursor:
        cursor.execute("LOCK TABLE budgets IN ACCESS EXCLUSIVE MODE")  # a view reads it
    try:
        ran = migrate(migrated_url, MIGRATE_LOCK_TIMEOUT_MS="100")
    finally:
        blocker.close()

    assert ran.process.returncode == 0, ran.output
    unread = "Could not check for changes by hand: canceling statement due to lock timeout"
    assert (unread in ran.output) == (by_hand != "ANALYZE"), "where nothing was written, nothing needs to be read"
    assert "The schema's snapshot was not taken because a table is locked" in ran.output
    assert SAID not in migrate(migrated_url, "migrate", "accounts", "0003", MIGRATE_ON_DRIFT="error").output


def a_model(name: str, table: str, base: type[models.Model] = models.Model, **meta: bool) -> type[models.Model]:
    """A model of nobody's app, called as it is told."""
    described = type("Meta", (), {"app_label": "drifted", **({} if meta.get("proxy") else {"db_table": table}), **meta})
    return type(name, (base,), {"__module__": __name__, "Meta": described})


TABLES = """
    CREATE TABLE ours (id bigint); CREATE TABLE theirs (id bigint); CREATE TABLE nobodys (id bigint);
    CREATE VIEW seen AS SELECT id FROM ours
"""


@pytest.fixture
def several(working: BaseDatabaseWrapper) -> Iterator[list[type[models.Model]]]:
    """Models of a table, of somebody else's table with a proxy of that one, and of a view."""
    with working.cursor() as cursor:
        cursor.execute(TABLES)
    with isolate_apps():
        theirs = a_model("Theirs", "theirs", managed=False)
        yield [
            a_model("Ours", "ours"),
            theirs,
            a_model("Proxy", "theirs", theirs, proxy=True),
            a_model("Seen", "seen", managed=False),
        ]


def test_of_unmanaged_models_only_views_are_ours(context: RunContext, several: list[type[models.Model]]) -> None:
    assert context.drift.keep(several)

    snapshot = last_snapshot(context.ledger.connection)
    assert snapshot is not None
    assert {"ours", "theirs", "nobodys", "seen"} & set(snapshot.catalog["relations"]) == {"ours", "seen"}


def test_who_keeps_a_table_locked_costs_the_snapshot_and_not_the_run(
    context: RunContext,
    several: list[type[models.Model]],
    said: io.StringIO,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PAUSES_S", (0.0, 0.1))
    context.drift.lock_timeout_ms = 50
    assert context.drift.keep(several)
    query(database_url, "CREATE INDEX by_hand ON ours (id)")
    with closing(psycopg2.connect(database_url)) as holder, holder.cursor() as cursor:
        cursor.execute("LOCK TABLE ours IN ACCESS EXCLUSIVE MODE")
        context.drift.look(context.output)
        context.drift.keep_or_say(context.output, several)

    could_not, was_not = said.getvalue().splitlines()
    assert could_not.startswith("Could not check for changes by hand: canceling statement due to lock timeout")
    assert was_not == "The schema's snapshot was not taken because a table is locked"
    assert context.drift.lines == []
    context.drift.look(context.output)
    assert [line for line in context.drift.lines if "by_hand" in line]


def test_of_many_changes_by_hand_the_first_are_shown(context: RunContext, said: io.StringIO) -> None:
    for number, shown in ((0, 0), (30, 31), (31, 32)):
        context.drift.lines = [f"line {number}" for number in range(number)]
        said.truncate(said.seek(0))

        context.drift.say_or_refuse(context.output, "warn")

        told = said.getvalue().splitlines()
        assert len(told) == shown
        assert ("  and 1 more: manage.py schemadiff --against snapshot" in told) == (number == 31)
        with pytest.raises(HistoryRefused, match="line 29") if number else nullcontext():
            context.drift.say_or_refuse(context.output, "error")
