"""One thread a worker that asks the database once a second, so that a probe never waits for it.

A frozen server ignores every timeout of a client that waits for it; probes therefore only read the last answer, and
an answer that has grown old is itself the bad news.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg2
from django.conf import settings
from django.db import connections
from psycopg2.errors import InsufficientPrivilege, UndefinedTable
from psycopg2.extensions import connection as PgConnection  # noqa: N812 - a class, whatever its author named it

from rupaya.health.schema import SchemaState, read_schema_state

logger = logging.getLogger(__name__)

INTERVAL_S = 1.0
MAX_AGE_S = 2.0
# How long the very first probe of a new worker may wait for the first answer.
FIRST_SAMPLE_WAIT_S = 1.5
CONNECT_TIMEOUT_S = 2
# A connection that has not answered for so long is given up for a new one: a cut may swallow what is sent and say
# nothing, and something in between may answer TCP's own probes in the server's stead.
GIVE_UP_S = 8.0
# How often all of the history is read although a glance shows no change in it.
READ_ALL_EVERY_S = 10.0

# Whether the history is the one that was read last: the server looks at every row, but sends one.
_GLANCE = "SELECT count(*), coalesce(max(id), 0), coalesce(sum(hashtext(app || '.' || name)), 0) FROM django_migrations"
_LAST_RUN = """
    SELECT run_id, command, release, started_at, finished_at, outcome, exit_code,
           extract(epoch FROM coalesce(finished_at, clock_timestamp()) - started_at)::float
    FROM migrator_runs ORDER BY run_id DESC LIMIT 1
"""


@dataclass(frozen=True)
class LastRun:
    """The ledger's last run: the last `migrate` that had anything to do, by whichever task."""

    run_id: int
    command: str
    release: str
    started_at: datetime
    finished_at: datetime | None
    outcome: str
    exit_code: int | None
    duration_s: float


@dataclass(frozen=True)
class Sample:
    """What the database last answered: the schema's state, or the kind of failure that kept it from answering."""

    schema: SchemaState | None
    reason: str = ""
    last_run: LastRun | None = None
    taken_at: float = field(default_factory=time.monotonic)

    @property
    def age_s(self) -> float:
        """Seconds since it was taken."""
        return time.monotonic() - self.taken_at


class Sampler:
    """Samples the database in a daemon thread of the process that first asks for a sample."""

    def __init__(self) -> None:
        self._pid = 0
        self._last: Sample | None = None
        self._sampled = threading.Event()
        self._starting = threading.Lock()
        self._glance: tuple[object, ...] = ()
        self._read_all_at = 0.0

    def latest(self) -> Sample:
        """The last sample; a fresh process waits `FIRST_SAMPLE_WAIT_S` for its first."""
        self.ensure_started()
        if self._last is None:
            self._sampled.wait(FIRST_SAMPLE_WAIT_S)
        if self._last is None:
            return Sample(None, "the database has not answered yet")
        return self._last

    def ensure_started(self) -> None:
        """Start the thread unless this process has it already; threads do not survive gunicorn's fork."""
        if self._pid == os.getpid():
            return
        with self._starting:
            if self._pid == os.getpid():
                return
            self._last = None
            self._sampled = threading.Event()
            threading.Thread(target=self._run, name="health-sampler", daemon=True).start()
            self._pid = os.getpid()

    def _run(self) -> None:
        connection = None
        while True:
            started = time.monotonic()
            connection = self.ask(connection)
            self._sampled.set()
            time.sleep(max(0.05, INTERVAL_S - (time.monotonic() - started)))

    def ask(self, connection: PgConnection | None) -> PgConnection | None:
        """Take a sample on a connection, or on a new one; None if it is not to be used again, for whatever reason."""
        try:
            if connection is None or connection.closed:
                connection = self._connect()
            with _given_up_after(connection, GIVE_UP_S):
                self._last = self._sample(connection)
        except psycopg2.Error as error:
            # The driver's text names hosts and users; it goes to the log, never to those who ask for health.
            if self._last is None or not self._last.reason:
                logger.warning("The database does not answer health samples: %s", str(error).strip())
            refused = isinstance(error, InsufficientPrivilege)
            why = "the database refuses this role what it needs" if refused else "the database does not answer"
            self._last = Sample(None, why)
        except Exception:
            logger.exception("The health sampler failed; it tries again")
            self._last = Sample(None, "the health sampler failed")
        else:
            return connection
        if connection is not None:
            connection.close()
        return None

    def _sample(self, connection: PgConnection) -> Sample:
        taken_at = time.monotonic()
        glance = _fetch_one(connection, _GLANCE)
        last = self._last
        is_same = bool(glance) and glance == self._glance and taken_at - self._read_all_at < READ_ALL_EVERY_S
        if is_same and last is not None and last.schema is not None:
            return Sample(last.schema, last_run=last.last_run, taken_at=taken_at)
        schema = read_schema_state(connection)
        row = _fetch_one(connection, _LAST_RUN)
        self._glance, self._read_all_at = glance, taken_at
        return Sample(schema, last_run=LastRun(*row) if row else None, taken_at=taken_at)

    @staticmethod
    def _connect() -> PgConnection:
        parameters = connections["default"].get_connection_params()
        parameters.pop("cursor_factory", None)
        parameters |= {
            "connect_timeout": CONNECT_TIMEOUT_S,
            "application_name": f"release {settings.RELEASE} health"[:63],
        }
        connection: PgConnection = psycopg2.connect(**parameters)
        connection.autocommit = True
        return connection


@contextmanager
def _given_up_after(connection: PgConnection, seconds: float) -> Iterator[None]:
    """End a wait for the server by closing the socket under it; the driver then raises OperationalError."""
    # A handle of its own: the connection's number may belong to something else by the time it is used.
    wire = socket.socket(fileno=os.dup(connection.fileno()))
    with wire:
        watch = threading.Timer(seconds, _shut, (wire,))
        watch.daemon = True
        watch.start()
        try:
            yield
        finally:
            watch.cancel()


def _shut(wire: socket.socket) -> None:
    with suppress(OSError):  # it may have ended meanwhile
        wire.shutdown(socket.SHUT_RDWR)


def _fetch_one(connection: PgConnection, sql: str) -> tuple[Any, ...]:
    """The first row; an empty one where the table is not there, or not this role's to read."""
    with connection.cursor() as cursor:
        try:
            cursor.execute(sql)
        except (UndefinedTable, InsufficientPrivilege):
            return ()
        row: tuple[Any, ...] = cursor.fetchone() or ()
        return row


sampler = Sampler()
