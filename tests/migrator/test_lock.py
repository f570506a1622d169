"""The migrator's two locks, in this process: who may have them, and who notices that they are gone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from threading import Timer
from typing import Any

import psycopg2
import pytest
from django.core.management.base import OutputWrapper
from django.core.management.color import no_style
from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.migrator import conf
from rupaya.migrator.errors import DatabaseUnreachable, LockWaitExceeded
from rupaya.migrator.output import Output
from rupaya.migrator.session.lock import SECOND_KEY, MigrationLock, try_lock
from rupaya.migrator.session.stop import Stop
from tests.faults.migrator import wait_for


@pytest.fixture
def other(database_url: str, working: BaseDatabaseWrapper) -> Iterator[MigrationLock]:
    """Another migrator's."""
    first, second = psycopg2.connect(database_url), working.copy()
    first.autocommit = True
    yield MigrationLock(first, second)
    first.close()
    second.close()


def acquire(lock: MigrationLock, *, done: bool = False) -> bool:
    return lock.acquire(
        conf.require_configuration(),
        Stop(),
        Output(OutputWrapper(sys.stdout), no_style()),
        somebody_else_did_it=lambda: done,
        doing=lambda: "at work on shop.0002_pay",
    )


def test_one_has_it_and_another_one_gives_up_and_names_it(
    lock: MigrationLock, other: MigrationLock, settings: Any
) -> None:
    settings.MIGRATE_LOCK_WAIT_S = 0
    assert acquire(lock)

    with pytest.raises(LockWaitExceeded, match=r"at work on shop\.0002_pay"):
        acquire(other)

    lock.release()
    assert acquire(other)


def test_who_waits_leaves_when_nothing_is_left_to_do(lock: MigrationLock, other: MigrationLock) -> None:
    assert acquire(lock)

    assert acquire(other, done=True) is False


def test_what_a_dead_migrator_left_running_keeps_its_successor_away(
    lock: MigrationLock, other: MigrationLock, settings: Any
) -> None:
    settings.MIGRATE_LOCK_WAIT_S = 0
    other.working.ensure_connection()
    assert try_lock(other.working.connection, SECOND_KEY)

    with pytest.raises(LockWaitExceeded, match="a dead migrator's last statement still runs"):
        acquire(lock)


def test_a_migration_may_close_the_connection_and_the_lock_is_taken_again(
    lock: MigrationLock, other: MigrationLock
) -> None:
    assert acquire(lock)

    lock.working.close()
    wait_for(lambda: try_lock(other.lock_connection, SECOND_KEY), "the closed session's lock")  # as if it still ended
    Timer(0.3, other.lock_connection.close).start()

    lock.verify()


def test_a_lock_that_somebody_else_has_meanwhile_is_noticed(
    lock: MigrationLock, other: MigrationLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rupaya.migrator.session.lock.FREED_WITHIN_S", 0.0)
    assert acquire(lock)
    lock.working.close()
    wait_for(other.take_second, "the closed session's lock")

    with pytest.raises(DatabaseUnreachable, match=r"The migrator's lock was lost"):
        lock.verify()
