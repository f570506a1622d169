"""The migrator's two locks, in this process: who may have them, and who notices that they are gone."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from threading import Timer
from typing import Any

import psycopg2
import pytest
from django.core.management.base import OutputWrapper
from django.core.management.color import no_style
from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.migrator import conf
from rupaya.migrator.errors import DatabaseUnreachable, LockWaitExceeded, Terminated
from rupaya.migrator.output import Output
from rupaya.migrator.session.lock import FIRST_KEY, SECOND_KEY, MigrationLock, try_lock, unlock
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


def acquire(
    lock: MigrationLock, *, done: Callable[[], bool] = lambda: False, stop: Stop | None = None, **others: Any
) -> bool:
    return lock.acquire(
        conf.require_configuration(),
        stop or Stop(),
        Output(OutputWrapper(sys.stdout), no_style()),
        somebody_else_did_it=done,
        **{"doing": lambda: "at work on shop.0002_pay"} | others,
    )


def test_one_has_it_and_another_one_gives_up_and_names_it(
    lock: MigrationLock, other: MigrationLock, settings: Any
) -> None:
    settings.MIGRATE_LOCK_WAIT_S = 0
    assert acquire(lock)

    pid = lock.lock_connection.info.backend_pid
    with pytest.raises(LockWaitExceeded, match=rf"pid {pid}, user \w+, for \d+ s, at work on shop\.0002_pay\."):
        acquire(other)
    with pytest.raises(LockWaitExceeded, match=r"for more than 0 s: .*, for \d+ s\."):
        acquire(other, doing=lambda: "")

    lock.release()
    assert acquire(other)


def test_who_was_told_to_stop_takes_no_lock(lock: MigrationLock, other: MigrationLock) -> None:
    stop = Stop()
    stop._requested.set()

    with pytest.raises(Terminated):
        acquire(lock, stop=stop)

    assert acquire(other)


def test_who_looks_whether_it_has_the_locks_does_not_take_them_twice(lock: MigrationLock, other: MigrationLock) -> None:
    assert acquire(lock)
    lock.verify()

    lock.release()

    assert acquire(other)


@pytest.mark.parametrize(("every_s", "lines"), [(100.0, 1), (0.3, 2)])
def test_who_waits_says_so_after_a_moment_and_then_now_and_then(
    lock: MigrationLock,
    other: MigrationLock,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    every_s: float,
    lines: int,
) -> None:
    monkeypatch.setattr("rupaya.migrator.session.lock.SAY_AFTER_S", 0.15)
    monkeypatch.setattr("rupaya.migrator.session.lock.SAY_EVERY_S", every_s)
    settings.MIGRATE_LOCK_WAIT_S = 60
    assert acquire(lock)
    said_at = [time.monotonic()]
    looks_since: list[int] = []

    def doing() -> str:
        said_at.append(time.monotonic())
        return ""

    def done() -> bool:
        if len(said_at) > lines:
            looks_since.append(1)
        return len(looks_since) > 1

    assert acquire(other, doing=doing, done=done) is False

    began, *lines_at = said_at
    assert all(at - began >= 0.15 + number * every_s for number, at in enumerate(lines_at))
    told = capsys.readouterr().out.splitlines()
    assert len(told) == len(lines_at) >= lines
    assert all(re.match(r"Waiting for another migrator \(\d+ of 60 s\): \S", line) for line in told)


def test_a_first_lock_that_is_lost_is_noticed(lock: MigrationLock) -> None:
    assert acquire(lock)
    unlock(lock.lock_connection, FIRST_KEY)

    with pytest.raises(DatabaseUnreachable, match=r"The migrator's lock was lost"):
        lock.verify()


def test_who_waits_leaves_when_nothing_is_left_to_do(lock: MigrationLock, other: MigrationLock) -> None:
    assert acquire(lock)

    assert acquire(other, done=lambda: True) is False


def test_the_session_of_a_migrator_that_lost_its_lock_keeps_its_successor_away(
    lock: MigrationLock, other: MigrationLock, settings: Any
) -> None:
    settings.MIGRATE_LOCK_WAIT_S = 0
    other.working.ensure_connection()
    assert try_lock(other.working.connection, SECOND_KEY)

    pid = other.working.connection.info.backend_pid
    told = rf"backend pid {pid} \(.*\), idle for \d+ s, .*SELECT pg_terminate_backend\({pid}\) frees it"
    with pytest.raises(LockWaitExceeded, match=told):
        acquire(lock)
    assert try_lock(other.lock_connection, FIRST_KEY)


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
