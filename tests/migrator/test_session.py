"""The sessions of one command: which they are, whom a cancellation reaches, what a failure is called."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg2
import pytest
from django.core.management.base import CommandError
from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.migrator.errors import (
    Crashed,
    DatabaseUnreachable,
    EnvironmentUnfit,
    LedgerDamaged,
    TableLocked,
    Terminated,
)
from rupaya.migrator.session import handover
from rupaya.migrator.session.serving import serving_releases
from rupaya.migrator.session.session import Session
from tests.migrator.test_reaching import output, shown
from tests.patience import HANGING_S

# Handing over


@pytest.fixture
def nothing_offered() -> Iterator[None]:
    assert handover.take("none") is None
    yield
    assert handover.take("none") is None


@pytest.mark.usefixtures("nothing_offered")
def test_a_connection_that_was_offered_is_taken_once_if_it_is_alive_and_leads_there(database_url: str) -> None:
    name = urlsplit(database_url).path.strip("/")
    alive, closed, ours = (psycopg2.connect(database_url) for _ in range(3))
    closed.close()
    for connection in (ours, closed):
        handover.offer(connection)

    assert handover.take(name) is ours
    assert handover.take(name) is None
    assert not ours.closed
    handover.offer(alive)
    assert handover.take("another") is None
    assert alive.closed
    ours.close()


# A command's sessions


def test_a_command_knows_its_sessions_and_gives_the_working_one_back_as_it_was(working: BaseDatabaseWrapper) -> None:
    session = Session(output())
    with session.opened():
        working_pid = session.raw.info.backend_pid
        assert session.backend_pids() == [working_pid]
        assert shown(session.raw, "application_name").startswith("migrate ")
        with session.lock_connection() as lock_connection:
            lock_pid = lock_connection.info.backend_pid
            assert session.backend_pids() == [working_pid, lock_pid]
            assert shown(lock_connection, "statement_timeout") == "1min"
        assert lock_connection.closed
        assert session.backend_pids() == [working_pid]
        session.connection.close()
        assert session.backend_pids() == []
        assert shown(session.raw, "lock_timeout") == "1min"
    assert shown(working.connection, "lock_timeout") == "0"


@contextmanager
def unreachable(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Nobody answers where new connections are made to."""
    port = connection.settings_dict["PORT"]
    connection.settings_dict["PORT"] = "1"
    try:
        yield
    finally:
        connection.settings_dict["PORT"] = port


def test_where_the_server_has_no_connection_left_the_lock_connection_asks(working: BaseDatabaseWrapper) -> None:
    session = Session(output())
    with session.opened(), session.asking() as another:
        assert another.info.backend_pid not in session.backend_pids()
        with session.lock_connection() as lock_connection, unreachable(working), session.asking() as last:
            assert last is lock_connection
        assert not another.closed
        with unreachable(working), pytest.raises(psycopg2.OperationalError), session.asking():
            raise AssertionError("there is nobody to ask")
    assert another.closed


def test_a_statement_is_cancelled_if_it_has_been_under_way_for_so_long(working: BaseDatabaseWrapper) -> None:
    session = Session(output())
    with session.opened():
        assert_cancelled(session, 0.0)
        assert_cancelled(session, 0.2)
        with session.lock_connection():
            assert_cancelled(session, 0.0)
            assert_cancelled(session, 0.2)


def assert_cancelled(session: Session, for_s: float) -> None:
    ended = threading.Event()

    def cancel() -> None:
        while not ended.wait(0.05):
            session.cancel_statement(HANGING_S)  # nothing has been under way for so long
            session.cancel_statement(for_s)

    session.cancel_statement(0.0)  # nothing is under way
    canceller = threading.Thread(target=cancel)
    canceller.start()
    try:
        with session.raw.cursor() as cursor, pytest.raises(psycopg2.errors.QueryCanceled):
            cursor.execute("SELECT pg_sleep(%s)", [HANGING_S])
    finally:
        ended.set()
        canceller.join()


def test_a_failure_outside_of_any_migration_has_a_class(working: BaseDatabaseWrapper) -> None:
    session = Session(output())

    def fail(error: str | Exception) -> None:
        if isinstance(error, Exception):
            raise error
        with working.cursor() as cursor:
            cursor.execute(f"DO $$ BEGIN RAISE 'as it says' USING ERRCODE = '{error}'; END $$")

    def named(error: str | Exception) -> CommandError:
        with pytest.raises(CommandError) as raised, session.errors_explained():
            fail(error)
        assert (raised.value.__cause__ is not None) == isinstance(raised.value, Crashed | DatabaseUnreachable)
        return raised.value

    for code in ("42501", "53100", "25006"):
        assert type(named(code)) is EnvironmentUnfit
    for code in ("55P03", "40P01", "40001"):
        assert type(named(code)) is TableLocked
    assert type(named("42P01")) is LedgerDamaged
    assert "cancelled" in str(named("57014"))
    assert type(named("57014")) is type(named("57P01")) is type(named("08006")) is DatabaseUnreachable
    assert type(named("22012")) is type(named(ValueError("ours"))) is Crashed
    assert type(named(psycopg2.OperationalError("gone"))) is DatabaseUnreachable
    refused = CommandError("no such app")
    assert named(refused) is refused
    session.stop._requested.set()
    assert type(named("22012")) is Terminated
    assert named(refused) is refused


def test_which_sessions_serve_which_release_their_names_say(
    working: BaseDatabaseWrapper, database_url: str, server_url: str
) -> None:
    names = ("release v1", "release v2 health", "psql", "a release v3", "")
    opened = [psycopg2.connect(database_url, application_name=name) for name in names]
    opened.append(psycopg2.connect(server_url, application_name="release elsewhere"))
    pids = [connection.info.backend_pid for connection in opened]
    try:
        found = serving_releases(working)
    finally:
        for connection in opened:
            connection.close()

    assert {str(each) for each in found} == {f"backend pid {pids[n]} of release v{n + 1}" for n in (0, 1)}
