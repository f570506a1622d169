"""How the migrator reaches its server, and what the sessions there are given and get back."""

from __future__ import annotations

import io
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg2
import pytest
from django.core.management.color import no_style
from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg2.extras import RealDictCursor

from rupaya.migrator import conf
from rupaya.migrator.errors import (
    DatabaseUnreachable,
    EnvironmentUnfit,
    Terminated,
)
from rupaya.migrator.output import Output
from rupaya.migrator.session import database
from rupaya.migrator.session.stop import Stop
from tests.migrator.releases import CREATE, Release, migration
from tests.patience import HANGING_S

WHERE = {"host": "db.internal", "port": 5433, "dbname": "shop", "password": "secret"}


def output() -> Output:
    return Output(io.StringIO(), no_style())


def said(by: Output) -> list[str]:
    assert isinstance(by.stream, io.StringIO)
    return by.stream.getvalue().splitlines()


# Waiting for the server


class Server:
    """What takes a connection at the n-th time, and says why it does not until then."""

    def __init__(self, at: int, error: Exception) -> None:
        self.at, self.error, self.asked = at, error, 0

    def __call__(self) -> str:
        self.asked += 1
        if self.asked < self.at:
            raise self.error
        return "connected"


def waited(server: Server, output: Output, stop: Stop | None = None, *, wait_s: float = HANGING_S) -> str:
    wanted = replace(conf.require_configuration(), db_wait_s=wait_s)
    return database.when_reachable(server, WHERE, wanted, stop or Stop(), output)


@pytest.mark.parametrize("error", [psycopg2.OperationalError("starting up"), OperationalError("starting up")])
def test_a_server_that_is_not_there_yet_is_asked_until_it_is(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(database, "POLL_S", 0.03)
    server, to, began = Server(5, error), output(), time.monotonic()

    assert waited(server, to) == "connected"

    assert time.monotonic() - began >= 4 * 0.03
    assert server.asked == 5
    assert said(to) == [f"Waiting for the database db.internal:5433/shop (0 of {HANGING_S} s): starting up"]


def test_what_is_waited_for_is_said_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "POLL_S", 0.0)
    monkeypatch.setattr(database, "SAY_EVERY_S", 0.0)
    to = output()

    waited(Server(4, psycopg2.OperationalError("starting up")), to)

    assert len(said(to)) == 3


def test_after_the_time_it_is_given_up() -> None:
    server, to = Server(99, psycopg2.OperationalError("refused\n\tIs the server running?")), output()

    with pytest.raises(DatabaseUnreachable, match=r"shop could not be reached within 0 s: refused\n"):
        waited(server, to, wait_s=0)

    assert (server.asked, said(to)) == (1, [])


@pytest.mark.parametrize(
    "text",
    [
        'FATAL:  password authentication failed for user "x"',
        'FATAL:  role "x" does not exist',
        'FATAL:  database "x" does not exist',
        'FATAL:  no pg_hba.conf entry for host "10.0.0.1"',
        'FATAL:  role "x" is not permitted to log in',
        "fe_sendauth: no password supplied",
        "SSL error: certificate verify failed",
        'root certificate file "x" does not exist',
        "server does not support SSL, but SSL was required",
        'invalid connection option "x"',
        'FATAL:  permission denied for database "x"\nDETAIL:  User does not have CONNECT privilege.',
        'FATAL:  Peer authentication failed for user "x"',
        'invalid integer value "x" for connection option "port"',
        'invalid load_balance_hosts value: "maybe"',
        'FATAL:  invalid value for parameter "work_mem": "x"',
        'FATAL:  unrecognized configuration parameter "nonsense"',
        'FATAL:  parameter "fsync" cannot be changed now',
        'definition of service "x" not found',
    ],
)
def test_what_waiting_cannot_help_is_said_at_once_without_the_password(text: str) -> None:
    server = Server(2, psycopg2.OperationalError(text))

    with pytest.raises(DatabaseUnreachable, match=r"db\.internal:5433/shop refused the connection") as refused:
        waited(server, output())

    assert server.asked == 1
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("FATAL:  too many connections for role", "A server answered"),
        ("FATAL:  the database system is starting up", "A server answered"),
        ("failed: server is not in hot standby mode", "A server answered"),
        ("Connection refused\n\tIs the server running on that host?", "No server answered"),
        ("could not translate host name", "No server answered"),
        ("ВАЖНО:  система баз данных запускается", "A server answered"),
        (
            "a failed: Connection refused\n\tIs it?\nb failed: FATAL:  the database system is starting up",
            "A server answered",
        ),
        ("a failed: Connection refused\n\tIs it?\nb failed: timeout expired", "No server answered"),
    ],
)
def test_whether_a_server_answered_is_told_as_it_was(text: str, means: str) -> None:
    with pytest.raises(DatabaseUnreachable, match=means):
        waited(Server(9, psycopg2.OperationalError(text)), output(), wait_s=0)


def test_who_waits_for_a_server_can_be_stopped() -> None:
    stop, to = Stop(), output()
    stop._requested.set()
    server = Server(2, psycopg2.OperationalError("starting up"))

    with pytest.raises(Terminated):
        waited(server, to, stop)

    assert server.asked == 0


# Addresses


@pytest.mark.parametrize(
    ("parameters", "address"),
    [
        (WHERE, "db.internal:5433/shop"),
        ({"dbname": "shop"}, "the local socket:5432/shop"),
        ({"host": "", "port": ""}, "the local socket:5432/"),
    ],
)
def test_an_address_is_named_without_its_password(parameters: dict[str, Any], address: str) -> None:
    assert database.address(parameters) == address


def test_a_session_names_its_release_and_task(settings: Any) -> None:
    settings.RELEASE, settings.TASK = "v7", "task-9"
    assert database.application_name() == "migrate v7 task-9"

    settings.TASK = "t" * 99
    assert database.application_name() == "migrate v7 " + "t" * 52
    settings.TASK = ""
    assert len(database.application_name()) > len("migrate v7 ")


def test_its_own_address_is_for_the_services_own_database_and_before_it_is_connected(
    working: BaseDatabaseWrapper, settings: Any
) -> None:
    name = working.settings_dict["NAME"]
    ordinary = dict(working.settings_dict)
    other = working.copy("other")
    settings.MIGRATION_DATABASE = {"NAME": name, "HOST": "/direct"}
    settings.MIGRATION_DATABASE_INSTEAD_OF = name

    assert database.use_migration_address(other) is None
    working.ensure_connection()
    assert database.use_migration_address(working) is None
    working.close()
    settings.MIGRATION_DATABASE_INSTEAD_OF = "another"
    assert database.use_migration_address(working) is None
    settings.MIGRATION_DATABASE_INSTEAD_OF = name
    try:
        assert database.use_migration_address(working) == ordinary
        assert working.settings_dict["HOST"] == "/direct"
    finally:
        working.settings_dict.update(ordinary)
    settings.MIGRATION_DATABASE = None
    assert database.use_migration_address(working) is None
    assert working.settings_dict == ordinary


def test_the_migrators_address_must_lead_to_the_database_that_is_served(working: BaseDatabaseWrapper) -> None:
    working.ensure_connection()
    ordinary = dict(working.settings_dict)
    database.refuse_another_database(working, ordinary)

    with pytest.raises(EnvironmentUnfit, match=r"which is not the database that the service uses at .*/postgres\."):
        database.refuse_another_database(working, ordinary | {"NAME": "postgres"})


# Sessions


def shown(connection: Any, name: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"SHOW {name}")
        return str(cursor.fetchone()[0])


SESSION = {
    "idle_in_transaction_session_timeout": "0",
    "lock_timeout": "1min",
    "statement_timeout": "0",
    "default_transaction_isolation": "read committed",
    "tcp_keepalives_idle": "10",
    "client_connection_check_interval": "1s",
    "idle_session_timeout": "0",
}


def test_a_session_is_prepared_for_migrations_and_given_back_as_it_was(database_url: str) -> None:
    options = "-c lock_timeout=7s -c statement_timeout=7s -c default_transaction_isolation=serializable"
    with closing(psycopg2.connect(database_url, options=options, application_name="before")) as raw:
        raw.autocommit = True
        before = {name: shown(raw, name) for name in (*SESSION, "application_name")}

        database.prepare_session(raw)
        prepared = {name: shown(raw, name) for name in SESSION}
        assert prepared == SESSION | {"tcp_keepalives_idle": prepared["tcp_keepalives_idle"]}  # none on a socket
        assert shown(raw, "application_name").startswith("migrate ")
        if raw.server_version >= 170000:
            assert shown(raw, "transaction_timeout") == "0"
        database.prepare_session(raw, statement_timeout_ms=5000)
        assert shown(raw, "statement_timeout") == "5s"

        database.restore_session(raw)
        assert {name: shown(raw, name) for name in before} == before


@pytest.mark.parametrize(
    ("version", "names"),
    [
        (130099, []),
        (140000, ["client_connection_check_interval", "idle_session_timeout"]),
        (169999, ["client_connection_check_interval", "idle_session_timeout"]),
        (170000, ["client_connection_check_interval", "idle_session_timeout", "transaction_timeout"]),
    ],
)
def test_a_server_is_asked_for_what_its_version_knows(version: int, names: list[str]) -> None:
    assert list(database._session_settings(version))[8:] == names


def test_a_server_that_is_read_only_is_refused(database_url: str) -> None:
    with closing(psycopg2.connect(database_url)) as raw, raw.cursor() as cursor:
        database.refuse_unfit_server(raw, WHERE)
        cursor.execute("SET default_transaction_read_only = on")

        with pytest.raises(EnvironmentUnfit, match=r"db\.internal:5433/shop is set to read-only"):
            database.refuse_unfit_server(raw, WHERE)


def test_another_driver_is_refused(working: BaseDatabaseWrapper) -> None:
    database.refuse_other_driver(working)
    other = working.copy()
    other.Database = None
    database.refuse_other_driver(other)
    other.Database = ModuleType("psycopg")

    with pytest.raises(EnvironmentUnfit, match="Django uses the driver psycopg here"):
        database.refuse_other_driver(other)


def test_the_lock_connection_is_as_the_migrator_reads_it_and_works_as_the_same_role(
    working: BaseDatabaseWrapper,
) -> None:
    ordinary = working.settings_dict["OPTIONS"]
    working.settings_dict["OPTIONS"] = {"cursor_factory": RealDictCursor, "assume_role": "pg_read_all_data"}
    try:
        with closing(database.connect(working, options="-c search_path=elsewhere")) as raw:
            assert raw.autocommit
            assert shown(raw, "role") == "pg_read_all_data"
            assert shown(raw, "search_path") == "elsewhere"
            assert shown(raw, "application_name") == database.application_name()
    finally:
        working.settings_dict["OPTIONS"] = ordinary


BACKEND = """
from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
    def prepare_database(self):
        super().prepare_database()
        with self.cursor() as cursor:
            cursor.execute("CREATE EXTENSION IF NOT EXISTS nowhere")
"""


def test_what_a_backend_of_its_own_cannot_prepare_is_16(database_url: str, tmp_path: Path) -> None:
    release = Release(tmp_path, "v1", {"0001_initial": migration(CREATE)})
    (release.folder / "special").mkdir()
    (release.folder / "special" / "__init__.py").touch()
    (release.folder / "special" / "base.py").write_text(BACKEND)
    with (release.folder / "release_settings.py").open("a") as settings:
        settings.write('\nDATABASES["default"]["ENGINE"] = "special"\n')

    failed = release.run(database_url)

    assert failed.returncode == 16, failed.stdout + failed.stderr
    assert "cannot be prepared as special asks: " in failed.stderr
    assert '"nowhere"' in failed.stderr
