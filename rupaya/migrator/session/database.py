"""The server: waiting for it, the lock connection, and what both connections' sessions must be like."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any, TypeVar

import psycopg2
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg2.extensions import connection as PgConnection  # noqa: N812 - a class, whatever its author named it
from psycopg2.extensions import quote_ident

from rupaya.migrator.conf import Conf
from rupaya.migrator.errors import DatabaseUnreachable, EnvironmentUnfit, driver_text
from rupaya.migrator.output import Output
from rupaya.migrator.session.stop import Stop

# A server's start, to the microsecond, tells servers apart without a privilege; a pooler in between changes nothing.
_IDENTITY = "SELECT pg_postmaster_start_time(), (SELECT oid FROM pg_database WHERE datname = current_database())"
Connected = TypeVar("Connected")

POLL_S = 0.5
SAY_EVERY_S = 5.0
# How long what the migrator reads and writes for itself may wait for a lock, and take; where nothing else is set.
OWN_LOCK_WAIT_MS = 60_000
OWN_STATEMENT_MS = 60_000
APPLICATION_NAME_MAX_BYTES = 63

# psycopg2 gives connection failures no SQLSTATE, so these few are known by their (English) text: waiting cannot help
# them. Where the server speaks another language the wait simply runs its course, with the same exit code.
_FINAL = re.compile(
    r"(?:password|[Pp]eer|Ident|certificate) authentication failed|role \".*\" does not exist"
    r"|database \".*\" does not exist|no pg_hba\.conf entry|role \".*\" is not permitted to log in"
    r"|no password supplied|permission denied|authentication method|channel binding required"
    r"|certificate verify failed|root certificate file|server does not support SSL|invalid connection option"
    # What an address says besides, and neither libpq nor the server takes.
    r"|invalid .* value|invalid value for parameter|invalid port number|unrecognized configuration parameter"
    r"|parameter \".*\" cannot be |definition of service|weak sslmode|GSSAPI encryption required"
)
# That nobody was there: libpq's own words, which are English. Whatever else is said, a server says, in its language.
_UNANSWERED = re.compile(
    r"Connection refused|timeout expired|timed out|could not translate host name|No such file or directory"
    r"|No route to host|Network is unreachable|Host is (?:down|unreachable)|server closed the connection unexpectedly"
)


def task_name() -> str:
    """What this process is called in the ledger and to other migrators."""
    return getattr(settings, "TASK", "") or socket.gethostname()


def application_name() -> str:
    """``migrate RELEASE TASK``, as `pg_stat_activity` shows it; PostgreSQL keeps 63 bytes, and ASCII alone."""
    name = f"migrate {getattr(settings, 'RELEASE', 'unknown')} {task_name()}"
    return name.encode("ascii", "backslashreplace").decode()[:APPLICATION_NAME_MAX_BYTES]


def use_migration_address(connection: BaseDatabaseWrapper) -> dict[str, Any] | None:
    """Point the working connection at MIGRATION_DATABASE_URL, if there is one; returns what it was pointed at before.

    Only if it is about to use the service's own database: a test runner's scratch database is not that.
    """
    direct: dict[str, Any] | None = getattr(settings, "MIGRATION_DATABASE", None)
    if not direct or connection.alias != DEFAULT_DB_ALIAS or connection.connection is not None:
        return None
    if connection.settings_dict["NAME"] != getattr(settings, "MIGRATION_DATABASE_INSTEAD_OF", direct["NAME"]):
        return None
    ordinary = dict(connection.settings_dict)
    connection.settings_dict.update(direct)
    return ordinary


def refuse_another_database(connection: BaseDatabaseWrapper, ordinary: dict[str, Any]) -> None:
    """Refuse to migrate another database than the one that the service uses; asked of both servers.

    Raises:
        EnvironmentUnfit: naming both.
        OperationalError: if the ordinary address cannot be reached.
    """
    serving = type(connection)(ordinary, alias="ordinary")
    parameters = connection_parameters(serving)
    with closing(psycopg2.connect(**parameters)) as raw, raw.cursor() as cursor:
        cursor.execute(_IDENTITY)
        served = cursor.fetchone()
    with connection.connection.cursor() as cursor:
        cursor.execute(_IDENTITY)
        migrated = cursor.fetchone()
    if served != migrated:
        raise EnvironmentUnfit(
            f"MIGRATION_DATABASE_URL leads to {address(connection_parameters(connection))}, which is not the database "
            f"that the service uses at {address(parameters)}.",
            "Migrations would go to a database that nobody serves from; nothing was changed.",
            "Point both at the same database; its name may differ at a pooler.",
        )


def connection_parameters(connection: BaseDatabaseWrapper) -> dict[str, Any]:
    """What `psycopg2.connect` takes to reach the database of a Django connection."""
    parameters: dict[str, Any] = dict(connection.get_connection_params())
    parameters.pop("cursor_factory", None)
    return parameters | {"application_name": application_name()}


def address(parameters: dict[str, Any]) -> str:
    """Host, port and database, for messages; never the password."""
    host = parameters.get("host") or "the local socket"
    return f"{host}:{parameters.get('port') or 5432}/{parameters.get('dbname', '')}"


def connect(connection: BaseDatabaseWrapper, **others: str) -> PgConnection:
    """A new autocommit connection to the database of a Django connection, working as that one does."""
    raw: PgConnection = psycopg2.connect(**(connection_parameters(connection) | others))
    raw.autocommit = True
    work_alike(raw, connection)
    return raw


def note_how_it_works(connection: BaseDatabaseWrapper) -> None:
    """Note the role and the schemas of a Django connection, whoever has set them: the project, or a receiver of
    `connection_created`. Noted, because another thread may want to connect while this one waits for a statement."""
    with connection.connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('role'), current_setting('search_path')")
        vars(connection)[_HOW] = cursor.fetchone()


def work_alike(raw: PgConnection, connection: BaseDatabaseWrapper) -> None:
    """Let a connection have the role and the schemas of a Django connection: what it makes belongs there."""
    noted = getattr(connection, _HOW, None)
    role = connection.settings_dict["OPTIONS"].get("assume_role")
    with raw.cursor() as cursor:
        if noted:
            cursor.execute("SELECT set_config('role', %s, false), set_config('search_path', %s, false)", noted)
        elif role:
            cursor.execute(f"SET ROLE {quote_ident(role, raw)}")


_HOW = "_migrator_role_and_schemas"


def connect_when_reachable(connection: BaseDatabaseWrapper, conf: Conf, stop: Stop, output: Output) -> PgConnection:
    """A connection of its own, as `connect` makes it; see `when_reachable` for what it raises."""
    return when_reachable(lambda: connect(connection), connection_parameters(connection), conf, stop, output)


def when_reachable(
    connect: Callable[[], Connected], parameters: dict[str, Any], conf: Conf, stop: Stop, output: Output
) -> Connected:
    """Call `connect` until the server takes the connection, and return what it returns.

    Raises:
        DatabaseUnreachable: after `MIGRATE_DB_WAIT_S`, or at once if waiting cannot help.
        Terminated: if told to stop meanwhile.
    """
    began = time.monotonic()
    said = began - SAY_EVERY_S
    while True:
        stop.check()
        try:
            return connect()
        except (OperationalError, psycopg2.OperationalError) as error:
            waited_s = time.monotonic() - began
            reason = driver_text(error)
            if _FINAL.search(str(error)):
                raise DatabaseUnreachable(
                    f"The database {address(parameters)} refused the connection: {reason}",
                    "Waiting would not help; nothing was changed.",
                    "Check user, password, database name, TLS and what else is in DATABASE_URL or DB_*, "
                    "then start again.",
                ) from None
            if waited_s >= conf.db_wait_s:
                raise DatabaseUnreachable(
                    f"The database {address(parameters)} could not be reached within {conf.db_wait_s:g} s: {reason}",
                    "No server answered there; nothing was changed."
                    # A line for each of its hosts, and indented advice.
                    if all(_UNANSWERED.search(line) for line in re.findall(r"(?m)^\S.*", str(error)))
                    else "A server answered, but takes no such connection now or has no connection to spare; "
                    "nothing was changed.",
                    "Check that it runs, its address, its security group and its connection limit; "
                    "MIGRATE_DB_WAIT_S sets how long to wait.",
                ) from None
            if time.monotonic() - said >= SAY_EVERY_S:
                said = time.monotonic()
                output.say(
                    f"Waiting for the database {address(parameters)} ({waited_s:.0f} of {conf.db_wait_s:g} s): {reason}"
                )
            stop.wait(POLL_S)


def prepare_session(connection: PgConnection, *, statement_timeout_ms: int | None = None) -> None:
    """Let the server notice a dead migrator at once, and never end an idle one; and no wait be for ever.

    By SET and not by start-up options, which poolers reject. `client_connection_check_interval` makes a statement end
    within a second of its client's death (PostgreSQL 14; without it the backend works on to the statement's end).

    Nothing is set through a pooler: RESET might reach another session, and traffic go on with what was set.
    """
    # What the driver was told to begin each transaction with would go before `default_transaction_isolation`.
    if connection.isolation_level is not None:
        connection.set_session(isolation_level="DEFAULT")
    wanted = _session_settings(connection.server_version)
    if statement_timeout_ms is not None:
        wanted["statement_timeout"] = str(statement_timeout_ms)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT " + ", ".join("set_config(%s, %s, false)" for _ in wanted) + " WHERE pg_backend_pid() = %s",
            [*(text for pair in wanted.items() for text in pair), connection.info.backend_pid],
        )
        if not cursor.rowcount:
            return
    _spare_statistics(connection)


def _spare_statistics(connection: PgConnection) -> None:
    """Let no statement of ours push others' out of `pg_stat_statements`, which shows who uses what: where we may.

    One migration run sends five hundred texts, a tenth of what is kept. The setting is for a superuser, or a role that
    was granted SET ON PARAMETER; from PostgreSQL 15.
    """
    if connection.server_version < 150000:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config(name, 'none', false) FROM pg_settings WHERE name = 'pg_stat_statements.track' "
            "AND has_parameter_privilege(name, 'SET')"
        )


def restore_session(connection: PgConnection) -> None:
    """Undo `prepare_session` on a connection that others go on using."""
    if is_pooled(connection):
        return
    with connection.cursor() as cursor:
        cursor.execute("; ".join(f"RESET {name}" for name in _session_settings(connection.server_version)))


def is_pooled(connection: PgConnection) -> bool:
    """Whether a pooler stands in between: the server then calls the session by another number than it did at first."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        ((backend_pid,),) = cursor.fetchall()
    return bool(backend_pid != connection.info.backend_pid)


def _session_settings(server_version: int) -> dict[str, str]:
    wanted = {
        "application_name": application_name(),
        "idle_in_transaction_session_timeout": "0",
        "lock_timeout": str(OWN_LOCK_WAIT_MS),
        "statement_timeout": "0",
        # A row that the other connection commits meanwhile must be seen: an attempt's start is such a row.
        "default_transaction_isolation": "read committed",
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
    }
    if server_version >= 140000:
        wanted |= {"client_connection_check_interval": "1s", "idle_session_timeout": "0"}
    if server_version >= 170000:
        wanted["transaction_timeout"] = "0"
    return wanted


def refuse_other_driver(connection: BaseDatabaseWrapper) -> None:
    """Refuse to migrate through psycopg 3, which Django prefers as soon as it is installed.

    Raises:
        EnvironmentUnfit: naming the driver.
    """
    driver = getattr(connection, "Database", None)
    if driver is not None and driver.__name__ != "psycopg2":
        raise EnvironmentUnfit(
            f"Django uses the driver {driver.__name__} here, but the migrator works only with psycopg2.",
            "Cancelling statements and watching sessions are written for psycopg2; nothing was changed.",
            "Uninstall psycopg (version 3), which Django prefers where both are installed, and install psycopg2.",
        )


def refuse_unfit_server(connection: PgConnection, parameters: dict[str, Any]) -> None:
    """Refuse a pooler and a server that cannot be written to.

    Raises:
        EnvironmentUnfit: naming which it is.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_backend_pid(), pg_is_in_recovery(), current_setting('default_transaction_read_only') = 'on'"
        )
        backend_pid, is_standby, is_read_only = cursor.fetchone() or (0, False, False)
    if backend_pid != connection.info.backend_pid:
        raise EnvironmentUnfit(
            f"A connection pooler such as PgBouncer stands between this process and {address(parameters)}.",
            "A pooler may give two migrators one session, and both would hold the same lock; nothing was changed.",
            "Set MIGRATION_DATABASE_URL to the server's direct address; the service itself may go on using the pooler.",
        )
    if is_standby or is_read_only:
        kind = "a read-only standby" if is_standby else "set to read-only (default_transaction_read_only)"
        raise EnvironmentUnfit(
            f"The server {address(parameters)} is {kind}.",
            "Migrations must be written to the primary; nothing was changed.",
            "Point DATABASE_URL, DB_HOST or MIGRATION_DATABASE_URL at the primary.",
        )
