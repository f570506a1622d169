"""The database as one command works with it: waited for, prepared, interruptible, its failures explained."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2
from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS, connections
from django.db import Error as DjangoDatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from psycopg2.extensions import connection as PgConnection  # noqa: N812

from rupaya.migrator.conf import require_configuration
from rupaya.migrator.errors import Crashed, DatabaseUnreachable, EnvironmentUnfit, driver_text, is_lost, sqlstate
from rupaya.migrator.output import Output
from rupaya.migrator.session import database, handover
from rupaya.migrator.session.heartbeat import Heartbeat
from rupaya.migrator.session.stop import Stop
from rupaya.migrator.sqlstates import UNFIT

# Said where a failure is in no migration's attempt: what became of the run is not asked here, and so not claimed.
AUDIT_SHOWS = "What is applied, 'manage.py showmigrations --audit' shows."


class Session:
    """Django's connection to one database, opened for a command; `reading` is for what needs no lock."""

    def __init__(self, output: Output, *, alias: str = DEFAULT_DB_ALIAS) -> None:
        self.output = output
        self.conf = require_configuration()
        self.connection: BaseDatabaseWrapper = connections[alias]
        self.stop = Stop()
        self.stop.cancel = self.cancel_statement
        self.heartbeat = Heartbeat(self.conf.heartbeat_file)
        self.began = time.monotonic()
        self._ordinary: dict[str, Any] | None = None

    @contextmanager
    def opened(self) -> Iterator[None]:
        """The database is there for as long as the block runs; signals are taken, and failures explained.

        Raises:
            MigratorError: each failure as its class, with its exit code.
        """
        with self.stop.listening(), self.heartbeat.beating(), self._working_connection(), self.errors_explained():
            yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Like `opened`, for what only reads: a signal interrupts it anywhere."""
        with self.stop.listening(), self._working_connection(), self.errors_explained(), self.stop.interrupting():
            yield

    @property
    def raw(self) -> PgConnection:
        """The driver's connection."""
        self.connection.ensure_connection()
        raw: PgConnection = self.connection.connection
        return raw

    @contextmanager
    def _working_connection(self) -> Iterator[None]:
        """Django's own connection: reached as soon as the server answers, its session prepared after each connect."""
        connection = self.connection
        self._ordinary = database.use_migration_address(connection) or self._ordinary

        def prepare(connection: BaseDatabaseWrapper, **_kwargs: object) -> None:
            if connection is self.connection:
                database.prepare_session(connection.connection)

        connection_created.connect(prepare)
        try:
            if connection.connection is not None:
                connection.close_if_unusable_or_obsolete()
            if connection.connection is None:
                database.when_reachable(
                    connection.ensure_connection,
                    database.connection_parameters(connection),
                    self.conf,
                    self.stop,
                    self.output,
                )
            else:
                database.prepare_session(connection.connection)
            yield
        finally:
            connection_created.disconnect(prepare)
            raw = connection.connection
            if raw is not None and not raw.closed and not connection.in_atomic_block:
                with suppress(psycopg2.Error):
                    database.restore_session(raw)

    @contextmanager
    def lock_connection(self) -> Iterator[PgConnection]:
        """The second connection, which only a run with something to do opens."""
        parameters = database.connection_parameters(self.connection)
        database.refuse_unfit_server(self.raw, parameters)
        if self._ordinary:
            database.refuse_another_database(self.connection, self._ordinary)
        connection = handover.take(str(parameters.get("dbname") or "")) or database.connect_when_reachable(
            self.connection, self.conf, self.stop, self.output
        )
        try:
            database.prepare_session(connection)
            with self.heartbeat.following(connection):
                yield connection
        finally:
            with suppress(psycopg2.Error):
                connection.close()

    def cancel_statement(self, by: PgConnection | None = None) -> None:
        """Cancel the working connection's statement, by SQL: psycopg2's `cancel()` holds the interpreter's lock for as
        long as it takes, and a server that hangs would keep every thread from giving up."""
        raw: Any = self.connection.connection
        if raw is None:
            return
        connection = by or database.connect(self.connection)
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_cancel_backend(%s)", [raw.info.backend_pid])
        finally:
            if by is None:
                connection.close()

    @contextmanager
    def errors_explained(self) -> Iterator[None]:
        """Turn the driver's failures into `MigratorError`."""
        try:
            yield
        except CommandError:
            raise
        except (DjangoDatabaseError, psycopg2.Error) as error:
            if self.stop.requested:
                raise self.stop.error(AUDIT_SHOWS) from None
            if fact := UNFIT.get(sqlstate(error)):
                raise EnvironmentUnfit(
                    f"The migrator cannot run, because {fact[0]}: {driver_text(error)}",
                    AUDIT_SHOWS,
                    f"{fact[1]}; start again.",
                ) from None
            if not is_lost(error):
                raise Crashed.by(error) from error
            raise DatabaseUnreachable.lost(error, "", AUDIT_SHOWS) from error
        except Exception as error:
            if self.stop.requested:
                raise self.stop.error(AUDIT_SHOWS) from None
            raise Crashed.by(error) from error
