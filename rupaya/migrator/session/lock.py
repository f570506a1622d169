"""One migrator at a time: two session advisory locks, polled; who holds them; whether they are still ours.

One lock is on a connection of its own, as a migration may close Django's. The other is on the working connection: a
killed migrator's first lock frees at once, while the statement that it left behind may run on and even commit; its
second lock frees only when that statement has ended. Whoever wants to migrate needs both.

Locks are polled and never waited for in the server: a session that waits in `pg_advisory_lock` holds a snapshot, and
CREATE INDEX CONCURRENTLY waits for every snapshot, so that the holder and the waiter would wait for each other.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg2.extensions import connection as PgConnection  # noqa: N812 - a class, whatever its author named it

from rupaya.migrator.conf import Conf
from rupaya.migrator.errors import DatabaseUnreachable, LockWaitExceeded
from rupaya.migrator.output import Output
from rupaya.migrator.session.stop import Stop

POLL_S = 0.1
POLL_JITTER_S = 0.1
SAY_EVERY_S = 10.0
SAY_AFTER_S = 1.0
"""A shorter wait is not worth a line."""
FREED_WITHIN_S = 5.0


def advisory_key(name: str) -> int:
    """The advisory lock key (a signed 64-bit integer) of a readable name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


FIRST_KEY = advisory_key("migrator: the lock connection")
SECOND_KEY = advisory_key("migrator: the working connection")

_HELD = """
    SELECT EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid() AND objsubid = 1
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND ((classid::bigint << 32) | objid::bigint) = %s
    )
"""
_HOLDER = """
    SELECT l.pid, coalesce(nullif(a.application_name, ''), 'unknown'), coalesce(a.usename, 'unknown'),
           round(extract(epoch FROM now() - a.backend_start)), a.state LIKE 'idle%%',
           round(extract(epoch FROM now() - a.state_change))
    FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND ((l.classid::bigint << 32) | l.objid::bigint) = %s
"""


class MigrationLock:
    """Both locks; `acquire` and `release` them around a run, `verify` them before each migration."""

    def __init__(self, lock_connection: PgConnection, working: BaseDatabaseWrapper) -> None:
        self.lock_connection = lock_connection
        self.working = working

    def acquire(
        self,
        conf: Conf,
        stop: Stop,
        output: Output,
        *,
        somebody_else_did_it: Callable[[], bool],
        doing: Callable[[], str],
    ) -> bool:
        """Poll until both locks are ours (True), or until nothing is left to do for this process (False).

        `doing` returns what the ledger knows of the migrator that holds the lock.

        Raises:
            LockWaitExceeded: after `MIGRATE_LOCK_WAIT_S`.
            Terminated: if told to stop meanwhile.
        """
        began = time.monotonic()
        said = began - SAY_EVERY_S + SAY_AFTER_S
        has_first = False
        while True:
            stop.check()
            has_first = has_first or try_lock(self.lock_connection, FIRST_KEY)
            if has_first and self.take_second():
                return True
            if not has_first and somebody_else_did_it():
                return False
            waited_s = time.monotonic() - began
            if waited_s >= conf.lock_wait_s:
                holder = self._describe_holder(doing, dead=has_first)
                if has_first:
                    unlock(self.lock_connection, FIRST_KEY)
                raise LockWaitExceeded(
                    f"Another migrator held the lock for more than {conf.lock_wait_s:g} s: {holder}.",
                    "Only one migrator may work at a time; this one changed nothing.",
                    "Look at what that one is doing. If it is stuck, stop its task; its lock goes with it. "
                    "MIGRATE_LOCK_WAIT_S sets how long to wait.",
                )
            if time.monotonic() - said >= SAY_EVERY_S:
                said = time.monotonic()
                output.say(
                    f"Waiting for another migrator ({waited_s:.0f} of {conf.lock_wait_s:g} s): "
                    + self._describe_holder(doing, dead=has_first)
                )
            stop.wait(POLL_S + random.uniform(0, POLL_JITTER_S))  # noqa: S311 - jitter, not a secret

    def take_second(self) -> bool:
        """Try the working connection's lock; again after every reconnection."""
        self.working.ensure_connection()
        connection = self.working.connection
        assert connection is not None  # noqa: S101 - for the type checker: ensure_connection has just made it
        return try_lock(connection, SECOND_KEY)

    def verify(self) -> None:
        """Make sure that both locks are still ours, taking the second again if a migration closed its connection.

        Raises:
            DatabaseUnreachable: if one is lost; another migrator may be at work already.
        """
        self.working.ensure_connection()
        if self._holds(self.lock_connection, FIRST_KEY) and (
            self._holds(self.working.connection, SECOND_KEY) or self._take_second_again()
        ):
            return
        raise DatabaseUnreachable(
            "The migrator's lock was lost: the server ended its session.",
            "Another migrator may have begun, so this one stops before its next migration.",
            "Start again; it goes on with whatever is still pending.",
        )

    def _take_second_again(self) -> bool:
        """Take it on a new connection: the server frees the old one's when that session has ended, after a moment."""
        deadline = time.monotonic() + FREED_WITHIN_S
        while not self.take_second():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        return True

    def release(self) -> None:
        """Free both locks; a connection that is gone has freed its own."""
        for connection, key in ((self.working.connection, SECOND_KEY), (self.lock_connection, FIRST_KEY)):
            if connection is not None and not connection.closed:
                unlock(connection, key)

    def _describe_holder(self, doing: Callable[[], str], *, dead: bool) -> str:
        with self.lock_connection.cursor() as cursor:
            cursor.execute(_HOLDER, [SECOND_KEY if dead else FIRST_KEY])
            row = cursor.fetchone()
        if row is None:
            return "it was just released"
        pid, name, user, age_s, is_idle, idle_s = row
        if dead and is_idle:  # its own connection ended, and nobody has told the server of the end of this one
            return (
                f"backend pid {pid} ({name}, user {user}), idle for {idle_s} s, of a migrator that has lost its lock; "
                f"if that one is gone, SELECT pg_terminate_backend({pid}) frees it"
            )
        if dead:
            return f"a dead migrator's last statement still runs in backend pid {pid} ({name}, user {user})"
        under_way = doing()
        return f"{name}, backend pid {pid}, user {user}, for {age_s} s" + (f", {under_way}" if under_way else "")

    @staticmethod
    def _holds(connection: Any, key: int) -> bool:
        with connection.cursor() as cursor:
            cursor.execute(_HELD, [key])
            return bool(cursor.fetchone()[0])


def try_lock(connection: Any, key: int) -> bool:
    """Take an advisory lock, if nobody has it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [key])
        return bool(cursor.fetchone()[0])


def unlock(connection: Any, key: int) -> None:
    """Free an advisory lock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_unlock(%s)", [key])
