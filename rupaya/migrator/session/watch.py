"""Who blocks a migration, and at which statement it is: sampled while it runs, because afterwards nobody waits."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2.extensions import connection as PgConnection  # noqa: N812 - a class, whatever its author named it

from rupaya.migrator.ledger.trace import Trace
from rupaya.migrator.sessionsettings import session_settings
from rupaya.migrator.statements import mask_literals, one_line

SAMPLE_EVERY_S = 0.2

_CONCURRENTLY = re.compile(
    r"^\s*(CREATE\s+(UNIQUE\s+)?INDEX|DROP\s+INDEX|REINDEX)\b.*\bCONCURRENTLY\b", re.IGNORECASE | re.DOTALL
)

_BLOCKERS = """
    SELECT a.pid, a.usename, coalesce(a.application_name, ''), coalesce(a.state, ''),
           round(extract(epoch FROM clock_timestamp() - a.xact_start)), a.query,
           (SELECT relation::regclass::text FROM pg_locks
            WHERE pid = %(pid)s AND NOT granted AND relation IS NOT NULL LIMIT 1)
    FROM unnest(pg_blocking_pids(%(pid)s)) AS blocker JOIN pg_stat_activity a ON a.pid = blocker
"""


# Of tables that others can see: one that this transaction makes is in nobody's way. Nor is the lock on the history that
# a run takes before it records, and keeps for all of a batch: it lets readers in, and only migrators write there.
_STRONG_LOCKS = """
    SELECT c.oid::regclass::text FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
    WHERE l.pid = %s AND l.granted AND l.locktype = 'relation' AND c.relkind IN ('r', 'p', 'm')
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
      AND NOT (c.relname = 'django_migrations' AND l.mode = 'ShareRowExclusiveLock')
"""


@dataclass(frozen=True)
class Blockers:
    """A table that could not be locked, and a line for each session that holds it."""

    table: str
    sessions: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.table or 'a lock'}, held by " + "; ".join(self.sessions)


class Watch:
    """Samples the blockers of the working connection, on the lock connection, while a migration runs."""

    def __init__(self, lock_connection: PgConnection) -> None:
        self._connection = lock_connection
        self.blockers: Blockers | None = None
        self.last_sql = ""
        self.took_ms: float | None = None
        """For how long the last statement ran; None: not known."""
        self.held_too_long = ""
        """The table that was kept from traffic for too long, if one was."""
        self._hold_at_most_s = 0.0
        self.trace = Trace(keeps_literals=False)
        """Of the attempt that is under way."""
        self.look: Callable[[PgConnection, int], None] | None = None
        """Called at each sample, with the lock connection and the pid that is at work: to see how far that is."""

    @contextmanager
    def observing(self, backend_pid: int, *, hold_at_most_ms: int = 0) -> Iterator[None]:
        """Sample for as long as the block runs; `blockers` afterwards holds what was last seen, if anything.

        With `hold_at_most_ms`, the statement under way is cancelled once the session has held a lock that keeps traffic
        away from a table for longer: each statement may be short, and the lock stays to the transaction's end.
        """
        self.begin_try(hold_at_most_ms)
        finished = threading.Event()
        thread = threading.Thread(target=self._sample, args=(backend_pid, finished), name="migrate-watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            finished.set()
            thread.join(SAMPLE_EVERY_S * 5)

    def begin_try(self, hold_at_most_ms: int) -> None:
        """Forget what was seen before: another try begins, or another migration in the same block, with its limit."""
        self._hold_at_most_s = hold_at_most_ms / 1000
        self.blockers = None
        self.held_too_long = ""
        self.begin_statement("")
        self.trace.begin_try()

    def begin_statement(self, sql: str) -> None:
        """Note what is executed now."""
        self.last_sql, self.took_ms = sql, None

    def statement(
        self, execute: Callable[..., Any], sql: str, parameters: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        """Django's execute wrapper: note the statement, and let a concurrent index build wait as long as it must.

        A concurrent build waits for old transactions without blocking anybody; a lock timeout would only break it and
        leave an INVALID index behind.
        """
        is_noted = "SAVEPOINT " not in str(sql)[:25]  # Django's own, on the way out of a failure as well
        if is_noted:
            self.begin_statement(str(sql))
        connection = context["connection"]
        began = time.perf_counter()
        try:
            return self._execute(execute, sql, parameters, many, context)
        finally:
            took_s = time.perf_counter() - began
            if is_noted:
                self.took_ms = took_s * 1000
            self.trace.executed(sql, connection.connection, took_s)

    @staticmethod
    def _execute(execute: Callable[..., Any], sql: str, parameters: Any, many: bool, context: dict[str, Any]) -> Any:
        connection = context["connection"]
        if not connection.in_atomic_block and _CONCURRENTLY.match(str(sql)):
            with session_settings(connection, lock_timeout=0):
                return execute(sql, parameters, many, context)
        return execute(sql, parameters, many, context)

    def _end_if_held_too_long(self, backend_pid: int, held_since: dict[str, float]) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(_STRONG_LOCKS, [backend_pid])
            held = {table for (table,) in cursor.fetchall()}
            now = time.monotonic()
            for table in list(held_since):
                if table not in held:
                    del held_since[table]
            for table in held:
                if now - held_since.setdefault(table, now) > self._hold_at_most_s:
                    self.held_too_long = table
                    cursor.execute("SELECT pg_cancel_backend(%s)", [backend_pid])
                    return

    def _sample(self, backend_pid: int, finished: threading.Event) -> None:
        held_since: dict[str, float] = {}
        while not finished.wait(SAMPLE_EVERY_S):
            try:
                if self._hold_at_most_s:
                    self._end_if_held_too_long(backend_pid, held_since)
                rows = _blockers(self._connection, backend_pid)
            except psycopg2.Error:
                return  # the main thread will meet the same error, and say it
            if self.look is not None:
                self.look(self._connection, backend_pid)
            if rows:
                self.blockers = _described(rows)
                for row, session in zip(rows, self.blockers.sessions, strict=True):
                    self.trace.blocked(self.blockers.table, row[0], session, SAMPLE_EVERY_S)


def blockers_of(connection: PgConnection, backend_pid: int) -> Blockers | None:
    """Who holds what a session waits for; None if it waits for nobody."""
    rows = _blockers(connection, backend_pid)
    return _described(rows) if rows else None


def _blockers(connection: PgConnection, backend_pid: int) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(_BLOCKERS, {"pid": backend_pid})
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _described(rows: list[tuple[Any, ...]]) -> Blockers:
    return Blockers(rows[0][6] or "", tuple(_describe(row) for row in rows))


def _describe(row: tuple[Any, ...]) -> str:
    pid, user, application, state, age_s, query, _table = row
    if user is None or query == "<insufficient privilege>":
        return f"backend pid {pid} (grant pg_read_all_stats to this role to see its user, age and query)"
    name = f" ({application})" if application else ""
    age = f", its transaction {age_s} s old" if age_s is not None else ""
    return f"backend pid {pid}, user {user}{name}, {state}{age}: {one_line(mask_literals(query))}"
