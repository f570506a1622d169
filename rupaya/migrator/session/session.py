"""The database as one command works with it: waited for, prepared, interruptible, its failures explained."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import psycopg2
from django.conf import settings
from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS, connections
from django.db import Error as DjangoDatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.utils.module_loading import import_string
from psycopg2.extensions import connection as PgConnection  # noqa: N812 - a class, whatever its author named it

from rupaya.migrator.conf import require_configuration
from rupaya.migrator.errors import (
    Crashed,
    DatabaseUnreachable,
    EnvironmentUnfit,
    LedgerDamaged,
    MigratorError,
    TableLocked,
    driver_text,
    is_lost,
    sqlstate,
)
from rupaya.migrator.output import Output
from rupaya.migrator.plan.plan import refusal_of
from rupaya.migrator.session import database, handover
from rupaya.migrator.session.heartbeat import Heartbeat
from rupaya.migrator.session.stop import UNKNOWN, Stop
from rupaya.migrator.session.vigil import Vigil
from rupaya.migrator.sqlstates import NOT_AS_MADE, QUERY_CANCELED, RETRYABLE, UNFIT

_CANCEL = """
    SELECT pg_cancel_backend(pid) FROM pg_stat_activity
    WHERE pid = ANY(%s) AND state = 'active' AND query_start <= clock_timestamp() - make_interval(secs => %s)
"""


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
        self.vigil = Vigil(output, self.backend_pids, self.asking)
        self._lock_connection: PgConnection | None = None
        self._ordinary: dict[str, Any] | None = None

    @contextmanager
    def opened(self) -> Iterator[None]:
        """The database is there for as long as the block runs; signals are taken, and failures explained.

        Raises:
            MigratorError: each failure as its class, with its exit code.
        """
        with (
            self.stop.listening(),
            self.heartbeat.beating(),
            self._working_connection(),
            self.errors_explained(),
            self.vigil.kept(),
        ):
            yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Like `opened`, for what only reads: a signal interrupts it anywhere."""
        with self.stop.listening(), self._working_connection(), self.errors_explained(), self.stop.interrupting():
            yield

    def keep_rights(self) -> None:
        """Let the project give roles what they need of what this one owns.

        The setting `MIGRATOR_RIGHTS` names a function that takes the connection.

        Raises:
            MigratorError: as it says.
        """
        if path := getattr(settings, "MIGRATOR_RIGHTS", ""):
            import_string(path)(self.connection)

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
                connection.set_autocommit(True)  # with AUTOCOMMIT = False nobody would ever commit
                database.prepare_session(connection.connection)
                database.note_how_it_works(connection)

        connection_created.connect(prepare)
        try:
            if connection.connection is not None and not connection.is_usable():
                connection.close()  # a usable one may be set to a schema or a role, and is kept
            if connection.connection is None:
                database.when_reachable(
                    connection.ensure_connection,
                    database.connection_parameters(connection),
                    self.conf,
                    self.stop,
                    self.output,
                )
            else:
                prepare(connection)
            yield
        finally:
            connection_created.disconnect(prepare)
            raw = connection.connection
            if raw is not None and not raw.closed and not connection.in_atomic_block:
                with suppress(psycopg2.Error):
                    database.restore_session(raw)
                    if "isolation_level" in connection.settings_dict["OPTIONS"]:
                        raw.set_session(isolation_level=connection.settings_dict["OPTIONS"]["isolation_level"])
                    connection.set_autocommit(connection.settings_dict["AUTOCOMMIT"])

    @contextmanager
    def lock_connection(self) -> Iterator[PgConnection]:
        """The second connection, which only a run with something to do opens."""
        parameters = database.connection_parameters(self.connection)
        database.refuse_unfit_server(self.raw, parameters)
        if self._ordinary:
            database.refuse_another_database(self.connection, self._ordinary)
        taken = handover.take(str(parameters.get("dbname") or ""))
        connection = taken or database.connect_when_reachable(self.connection, self.conf, self.stop, self.output)
        try:
            if taken:
                database.work_alike(taken, self.connection)
            database.prepare_session(connection, statement_timeout_ms=database.OWN_STATEMENT_MS)
            self._lock_connection = connection
            with self.heartbeat.following(connection):
                yield connection
        finally:
            self._lock_connection = None
            with suppress(psycopg2.Error):
                connection.close()

    def backend_pids(self) -> list[int]:
        """Of this command's sessions."""
        raws: list[Any] = [self.connection.connection, self._lock_connection]
        return [raw.info.backend_pid for raw in raws if raw is not None and not raw.closed]

    @contextmanager
    def asking(self) -> Iterator[PgConnection]:
        """Another connection, for a thread beside the main one; the lock connection, where the server has none left."""
        try:
            connection = database.connect(self.connection)
        except psycopg2.OperationalError:
            if self._lock_connection is None:
                raise
            yield self._lock_connection
            return
        with closing(connection):
            yield connection

    def cancel_statement(self, for_s: float) -> None:
        """Cancel the working connection's statement; those of both that have been under way for so many seconds.

        By SQL: psycopg2's `cancel()` holds the interpreter's lock for as long as it takes, and a server that hangs
        would keep every thread from giving up. At once only on the working connection: the ledger's are short.
        """
        pids = self.backend_pids()
        if not for_s and self._lock_connection is not None:
            with self._lock_connection.cursor() as cursor:
                cursor.execute("SELECT pg_cancel_backend(%s)", pids[:1])
        elif pids:
            with self.asking() as connection, connection.cursor() as cursor:
                cursor.execute(_CANCEL, [pids, for_s])

    @contextmanager
    def errors_explained(self) -> Iterator[None]:
        """Turn the driver's failures, and others that have no name, into `MigratorError`."""
        try:
            yield
        except SystemExit as error:
            if (refused := refusal_of(error)) is None:  # what a command says by its exit status
                raise
            raise refused from error
        except CommandError:
            raise
        except Exception as error:
            named = self.named(error)
            raise named from (error if isinstance(named, Crashed | DatabaseUnreachable) else None)

    def named(self, error: Exception) -> MigratorError:
        """A failure outside of any migration as its class."""
        if isinstance(error, MigratorError):
            return error
        if self.stop.requested:
            return self.stop.error()
        if not isinstance(error, DjangoDatabaseError | psycopg2.Error):
            return refusal_of(error) or Crashed.by(error)
        code = sqlstate(error)
        if code not in RETRYABLE and not is_lost(error) and _is_of_preparing(error):
            return EnvironmentUnfit(
                f"The database cannot be prepared as {self.connection.settings_dict['ENGINE']} asks: "
                f"{driver_text(error)}",
                "Django lets its backend do that before any migration; none was run.",
                "Let an administrator install or create what is named; start again.",
            )
        if fact := UNFIT.get(code):
            return EnvironmentUnfit(
                f"The migrator cannot run, because {fact[0]}: {driver_text(error)}",
                UNKNOWN,
                f"{fact[1]}; start again.",
            )
        if code in RETRYABLE:
            return TableLocked("The migrator", error, 1, UNKNOWN, self.vigil.blockers)
        if code in NOT_AS_MADE:
            return LedgerDamaged(driver_text(error))
        if code == QUERY_CANCELED:
            return DatabaseUnreachable.cancelled(error, UNKNOWN)
        return DatabaseUnreachable.lost(error, "", UNKNOWN) if is_lost(error) else Crashed.by(error)


def _is_of_preparing(error: Exception) -> bool:
    """Whether a failure is one of `prepare_database`, where backends make extensions; Django's own does nothing."""
    return any(frame.f_code.co_name == "prepare_database" for frame, _line in traceback.walk_tb(error.__traceback__))
