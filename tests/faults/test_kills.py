"""A migrator that is killed or terminated at each point leaves nothing lost, nothing doubled, and no waiting line."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import pytest

from rupaya.migrator.session.lock import FIRST_KEY
from tests.faults.migrator import Migrator, applied, invalid_indexes, migrate, query, wait_for

ALL = [
    "points.0001_initial",
    "points.0002_inside_ddl",
    "points.0003_double_every_order",
    "points.0004_add_index",
    "points.0005_mark_as_done",
    "points.0006_backfill_filled",
]
GATES = (
    "holding_the_lock",
    "inside_ddl",
    "before_the_history_row",
    "between_statement_and_history_row",
    "before_post_migrate",
)
RECOVERY_S = 2.0


@contextmanager
def held_at(point: str, url: str, gates: Path) -> Iterator[Migrator]:
    """A migrator that stands at a point; on leaving, whatever held it there is gone."""
    if point in GATES:
        gate = gates / point
        gate.touch()
        migrator = Migrator(url, apps="points", gates=gates)
        wait_for(lambda: gate.with_suffix(".reached").exists() or migrator.process.poll() is not None, point)
        if point == "inside_ddl":
            wait_for(lambda: running(url, "SELECT pg_sleep%"), "the long statement")
        gate_path, blocker = gate, None
    else:
        migrator, blocker, gate_path = held_by_another_session(point, url, gates)
    try:
        yield migrator
    finally:
        if gate_path is not None:
            gate_path.unlink()
        if blocker is not None:
            blocker.close()
        if migrator.process.poll() is None:
            migrator.kill()
        migrator.end()


def held_by_another_session(
    point: str, url: str, gates: Path
) -> tuple[Migrator, psycopg2.extensions.connection, Path | None]:
    blocker = psycopg2.connect(url)
    with blocker.cursor() as cursor:
        if point == "before_the_lock":
            cursor.execute("SELECT pg_advisory_lock(%s)", [FIRST_KEY])
            migrator = Migrator(url, apps="points", gates=gates)
            # One that waits holds no connection by which it could be seen.
            wait_for(lambda: migrator.says("Waiting for"), point)
            return migrator, blocker, None
        if point == "inside_create_index_concurrently":
            assert migrate(url, "migrate", "points", "0003", apps="points").process.returncode == 0
            cursor.execute("UPDATE points_order SET total = total WHERE id = 1")  # the build waits for its end
            migrator = Migrator(url, apps="points", gates=gates)
            waiting = "CREATE INDEX CONCURRENTLY%"
        else:
            assert migrate(url, "migrate", "points", "0005", apps="points").process.returncode == 0
            cursor.execute("SELECT * FROM points_order WHERE id = 1200 FOR UPDATE")
            migrator = Migrator(url, apps="points", gates=gates, MIGRATE_LOCK_TIMEOUT_MS="4000")
            waiting = '%UPDATE "points_order" SET%'
    wait_for(lambda: running(url, waiting), point)
    return migrator, blocker, None


def running(url: str, pattern: str) -> bool:
    return bool(
        query(
            url,
            "SELECT 1 FROM pg_stat_activity WHERE query ILIKE %s AND pid <> pg_backend_pid()"
            " AND datname = current_database() AND application_name LIKE 'migrate%%'"
            " AND state = 'active'",
            pattern,
        )
    )


POINTS = ("before_the_lock", *GATES, "inside_create_index_concurrently", "inside_a_backfill_batch")
BETWEEN_MIGRATIONS = ("before_the_lock", "holding_the_lock", "before_post_migrate")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
@pytest.mark.parametrize("point", POINTS)
def test_after_a_kill_the_next_run_succeeds_and_nothing_is_lost_or_doubled(
    database_url: str, tmp_path: Path, point: str, number: int
) -> None:
    with held_at(point, database_url, tmp_path) as migrator:
        killed_at = time.time()
        migrator.kill(number)
        status = migrator.end(timeout_s=10)

    assert status == (143 if number == signal.SIGTERM else -signal.SIGKILL), migrator.output
    after = migrate(database_url, apps="points")
    assert after.process.returncode == 0, after.output
    died_at_work = number == signal.SIGKILL and point not in BETWEEN_MIGRATIONS
    assert after.output.count(" was interrupted: its process died") == died_at_work, after.output
    assert applied(database_url) == ALL
    assert invalid_indexes(database_url) == []
    assert query(
        database_url,
        "SELECT count(*), sum(doubled) = 2 * sum(total), bool_and(done), bool_and(filled = total) FROM points_order",
    ) == [(3000, True, True, True)]
    assert query(database_url, "SELECT count(*) >= 1 FROM points_post_migrate") == [(True,)]
    assert query(database_url, "SELECT count(*) FROM migrator_attempts WHERE finished_at IS NULL") == [(0,)]
    assert query(database_url, "SELECT count(*) FROM migrator_runs WHERE finished_at IS NULL") == [(0,)]
    assert killed_at < time.time()


def test_a_run_without_work_closes_the_run_of_the_dead_and_of_nobody_else(database_url: str, tmp_path: Path) -> None:
    unfinished = "SELECT count(*) FROM migrator_runs WHERE finished_at IS NULL"
    without_work = ("migrate", "points", "0001")
    with held_at("inside_ddl", database_url, tmp_path) as migrator:
        assert migrate(database_url, *without_work, apps="points").process.returncode == 0
        assert query(database_url, unfinished) == [(1,)], "it was at work"
        migrator.kill()
        migrator.end()

    wait_for(lambda: not running(database_url, "SELECT pg_sleep%"), "the dead one's session to end")
    assert migrate(database_url, *without_work, apps="points").process.returncode == 0
    assert query(database_url, unfinished) == [(0,)]


@pytest.mark.parametrize("point", ["holding_the_lock", "inside_ddl", "between_statement_and_history_row"])
def test_a_waiter_proceeds_within_two_seconds_of_the_kill(database_url: str, tmp_path: Path, point: str) -> None:
    with held_at(point, database_url, tmp_path) as migrator:
        waiter = Migrator(database_url, apps="points")
        wait_for(
            lambda: (
                query(
                    database_url,
                    "SELECT count(DISTINCT pid) >= 3 FROM pg_stat_activity WHERE datname = current_database()"
                    " AND application_name LIKE 'migrate%%'",
                )
                == [(True,)]
            ),
            "the waiter",
        )
        (killed_at,) = query(database_url, "SELECT clock_timestamp()")[0]
        migrator.kill()
        migrator.end()
    assert waiter.end() == 0, waiter.output

    ((started_at,),) = query(database_url, "SELECT max(started_at) FROM migrator_runs")
    assert (started_at - killed_at).total_seconds() < RECOVERY_S
    assert applied(database_url) == ALL
