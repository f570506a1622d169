"""What is seen while a migration runs: who blocks it, at which statement it is, what it keeps from traffic."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from itertools import pairwise
from typing import Any

import psycopg2
import pytest
from django.db import DatabaseError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.migrator.session.lock import MigrationLock
from rupaya.migrator.session.vigil import Vigil
from rupaya.migrator.session.watch import Blockers, Watch, blockers_of
from tests.faults.migrator import query, wait_for
from tests.migrator.test_reaching import output, said
from tests.patience import HANGING_S

IN_NOBODYS_WAY = (
    "LOCK note IN ROW EXCLUSIVE MODE; CREATE TABLE own AS SELECT 1 AS one; LOCK own; "
    "SAVEPOINT s; LOCK item; ROLLBACK TO s"
)
CONCURRENT = [
    "CREATE INDEX CONCURRENTLY i ON item (id)",
    "  create unique index\n  concurrently i ON item (id)",
    "DROP INDEX CONCURRENTLY i",
    "REINDEX TABLE\nCONCURRENTLY item",
]
OTHERS = ["SELECT 'CREATE INDEX CONCURRENTLY'", "CREATE INDEX i ON item (id)"]


@pytest.fixture
def watch(lock: MigrationLock, database_url: str) -> Watch:
    query(database_url, "CREATE TABLE item (id bigint, name text); CREATE TABLE note (id bigint)")
    lock.working.ensure_connection()
    return Watch(lock.lock_connection)


@pytest.fixture
def holder(database_url: str) -> Iterator[Any]:
    """Another session, in a transaction that has locked a table."""
    with closing(psycopg2.connect(database_url, application_name="report")) as connection:
        connection.cursor().execute("LOCK item; SELECT 'a secret' AS word")
        yield connection


def pid_of(connection: BaseDatabaseWrapper) -> int:
    pid: int = connection.connection.info.backend_pid
    return pid


def test_a_session_that_waits_for_nobody_is_blocked_by_nobody(watch: Watch, working: BaseDatabaseWrapper) -> None:
    assert blockers_of(watch._connection, pid_of(working)) is None
    with watch.observing(pid_of(working)), working.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(0.3)")

    assert watch.blockers is None
    assert watch.trace.blockers == []


def test_who_holds_what_is_waited_for_is_seen_and_kept_and_forgotten_at_the_next_try(
    watch: Watch, working: BaseDatabaseWrapper, holder: Any
) -> None:
    looked: list[tuple[Any, int]] = []

    def look(connection: Any, pid: int) -> None:
        looked.append((connection, pid))
        if watch.blockers:
            connection.cursor().execute("SELECT pg_cancel_backend(%s)", [pid])

    watch.look = look
    with working.cursor() as cursor, watch.observing(pid_of(working)):  # noqa: SIM117 - what it must raise is one line
        with pytest.raises(DatabaseError, match="canceling statement"):
            cursor.execute("SELECT FROM item")

    blockers = watch.blockers
    assert isinstance(blockers, Blockers)
    assert blockers.table == "item"
    (seen,) = blockers.sessions
    pid = holder.info.backend_pid
    assert seen.startswith(f"backend pid {pid}, user postgres (report), idle in transaction, its transaction ")
    assert seen.endswith("s old: LOCK item; SELECT ? AS word")
    assert str(blockers) == f"item, held by {seen}"
    ((kept),) = watch.trace.blockers
    assert (kept["table"], kept["session"]) == ("item", seen)
    assert 0 < kept["waited_s"] < HANGING_S
    assert set(looked) == {(watch._connection, pid_of(working))}
    watch.begin_try(0)
    assert (watch.blockers, watch.held_too_long, watch.last_sql) == (None, "", "")


@pytest.mark.parametrize("sql", ["LOCK item IN SHARE MODE", "LOCK item"])
def test_a_table_that_is_kept_from_traffic_for_too_long_is_given_back(
    watch: Watch, working: BaseDatabaseWrapper, sql: str
) -> None:
    with watch.observing(pid_of(working), hold_at_most_ms=200), transaction.atomic(), working.cursor() as cursor:
        cursor.execute(sql)
        with pytest.raises(DatabaseError, match="canceling statement"):
            cursor.execute("SELECT pg_sleep(%s)", [HANGING_S])
        transaction.set_rollback(True)

    assert watch.held_too_long == "item"


@pytest.mark.parametrize(("sql", "at_most_ms"), [(IN_NOBODYS_WAY, 200), ("LOCK item", 0)])
def test_what_is_in_nobodys_way_or_has_no_limit_is_kept(
    watch: Watch, working: BaseDatabaseWrapper, sql: str, at_most_ms: int
) -> None:
    with watch.observing(pid_of(working), hold_at_most_ms=at_most_ms), transaction.atomic(), working.cursor() as cursor:
        cursor.execute(sql)
        cursor.execute("SELECT pg_sleep(0.7)")

    assert watch.held_too_long == ""


def test_a_connection_that_is_lost_ends_the_watch_alone(watch: Watch, working: BaseDatabaseWrapper) -> None:
    with watch.observing(pid_of(working)):
        query_pid = watch._connection.info.backend_pid
        with working.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [query_pid])
            wait_for(lambda: watch._connection.closed, "the watch has met the error")
            cursor.execute("SELECT 1")


def test_a_concurrent_build_waits_as_long_as_it_must(watch: Watch, working: BaseDatabaseWrapper) -> None:
    with working.cursor() as cursor:
        cursor.execute("SET lock_timeout = '5s'")

    def lock_timeout(*_arguments: Any) -> str:
        with working.connection.cursor() as cursor:
            cursor.execute("SHOW lock_timeout")
            return str(cursor.fetchone()[0])

    def during(sql: str) -> str:
        return str(watch.statement(lock_timeout, sql, None, False, {"connection": working}))

    assert {during(sql) for sql in CONCURRENT} == {"0"}
    assert {during(sql) for sql in OTHERS} == {"5s"}
    assert watch.last_sql == OTHERS[-1]
    assert [statement["times"] for statement in watch.trace.statements] == [1] * len(CONCURRENT + OTHERS)
    with transaction.atomic():
        assert during(CONCURRENT[0]) == during('SAVEPOINT "s1"') == during('ROLLBACK TO SAVEPOINT "s1"') == "5s"
    assert watch.last_sql == CONCURRENT[0]
    assert lock_timeout() == "5s"


def test_what_a_run_waits_for_is_said_now_and_then(
    watch: Watch, working: BaseDatabaseWrapper, holder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rupaya.migrator.session.vigil.LOOK_EVERY_S", 0.15)
    to, pid, looks = output(), pid_of(working), [time.monotonic()]

    @contextmanager
    def asking() -> Iterator[Any]:
        looks.append(time.monotonic())
        if len(looks) == 2:
            raise psycopg2.OperationalError("no connection to spare")
        yield watch._connection
        if len(said(to)) == 2:
            watch._connection.cursor().execute("SELECT pg_cancel_backend(%s)", [pid])

    vigil = Vigil(to, lambda: [pid], asking)
    with vigil.kept(), working.cursor() as cursor, pytest.raises(DatabaseError, match="canceling statement"):
        cursor.execute("SELECT FROM item")

    seen = rf"Waiting for item, held by backend pid {holder.info.backend_pid}, .*, for \d+ s"
    assert [bool(re.fullmatch(seen, line)) for line in said(to)[:2]] == [True, True]
    assert vigil.blockers is not None
    assert vigil.blockers.table == "item"
    assert all(later - earlier >= 0.15 for earlier, later in pairwise(looks))


def test_who_waits_for_nobody_is_left_alone_past_the_deadline_too(
    watch: Watch, working: BaseDatabaseWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOOK_EVERY_S", "LET_GO_EVERY_S"):
        monkeypatch.setattr(f"rupaya.migrator.session.vigil.{name}", 0.05)
    to, pid = output(), pid_of(working)
    vigil = Vigil(to, lambda: [pid], lambda: nullcontext(watch._connection))
    vigil.stop_after(0)

    with vigil.kept(), working.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(0.3)")

    assert (said(to), vigil.blockers) == ([], None)
