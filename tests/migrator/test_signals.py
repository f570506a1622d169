"""What receivers of Django's migration signals may do to a run: wait, fail, and be called again."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from inspect import getsourcelines
from typing import Any

import pytest
from django.apps import apps
from django.db import OperationalError, connection
from django.db.models.signals import post_migrate, pre_migrate

from rupaya.migrator.errors import DatabaseUnreachable, HistoryRefused, MigrationFailed, TableLocked, Terminated
from rupaya.migrator.plan.plan import Plan
from rupaya.migrator.run import backoff
from rupaya.migrator.run.context import RunContext
from rupaya.migrator.run.signals import Signals

Receive = Callable[[Callable[[], None]], list[float]]


@pytest.fixture
def database_url(migrated_url: str) -> str:
    """One that has the tables which the receivers of Django's own apps write."""
    return migrated_url


@pytest.fixture
def signals(context: RunContext, plan: Callable[..., Plan]) -> Signals:
    """Those of a run whose plan is empty."""
    return Signals(context, plan())


@pytest.fixture
def receive() -> Iterator[Receive]:
    """Let a receiver do something: ``calls = receive(work)``, when it was called."""
    connected = []

    def received(work: Callable[[], None]) -> list[float]:
        calls: list[float] = []

        def handler(**_: Any) -> None:
            calls.append(time.monotonic())
            work()

        sender = apps.get_app_config("accounts")
        for sent in (pre_migrate, post_migrate):
            sent.connect(handler, sender=sender)
        connected.append((handler, sender))
        return calls

    yield received
    for handler, sender in connected:
        for sent in (pre_migrate, post_migrate):
            sent.disconnect(handler, sender=sender)


def send(signals: Signals, name: str = "post_migrate") -> None:
    getattr(signals, f"send_{name}")(0, False, "default", apps=apps, plan=[])


def busy(times: int) -> Callable[[], None]:
    """What finds its table locked so many times."""
    left = [times]

    def work() -> None:
        if left[0]:
            left[0] -= 1
            with connection.cursor() as cursor:
                cursor.execute("DO $$ BEGIN RAISE 'busy' USING ERRCODE = 'lock_not_available'; END $$")

    return work


def fails(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


RAISES = getsourcelines(fails)[1] + 2
"""The line that raises."""


def test_a_receiver_works_within_limits_that_end_with_it(
    signals: Signals, context: RunContext, receive: Receive
) -> None:
    limits = "SELECT array_agg(setting::int ORDER BY name) FROM pg_settings WHERE name ~ '^(lock|statement)_timeout$'"
    found: list[list[int]] = []

    def look() -> None:
        with connection.cursor() as cursor:
            cursor.execute(limits)
            found.append(cursor.fetchone()[0])

    look()
    receive(look)

    send(signals)

    look()
    before, (lock_timeout_ms, statement_timeout_ms), after = found
    assert before == after
    assert lock_timeout_ms == context.conf.lock_timeout_ms
    assert 300_000 < statement_timeout_ms <= 600_000  # to the deadline
    assert signals.apps is apps


def test_post_migrate_is_sent_again_after_a_pause_where_a_table_is_locked(signals: Signals, receive: Receive) -> None:
    calls = receive(busy(1))

    send(signals)

    assert len(calls) == 2
    assert calls[1] - calls[0] >= backoff.FIRST_S * (1 - backoff.JITTER)


@pytest.mark.parametrize(
    ("name", "retries", "tries"),
    [("pre_migrate", 3, 1), ("post_migrate", 0, 1), ("post_migrate", 2, 3), ("post_migrate", 50, 10)],
)
def test_a_table_that_stays_locked_ends_the_run_after_so_many_tries(
    signals: Signals,
    context: RunContext,
    receive: Receive,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    retries: int,
    tries: int,
) -> None:
    monkeypatch.setattr(backoff, "FIRST_S", 0.001)
    context.conf = replace(context.conf, retries=retries)
    calls = receive(busy(99))

    with pytest.raises(TableLocked) as locked:
        send(signals, name)

    assert len(calls) == tries
    assert f"A handler of {name} could not lock a table after {tries} tr{'y' if tries == 1 else 'ies'}: busy" in str(
        locked.value
    )
    assert "All migrations are applied." in locked.value.meaning


@pytest.mark.parametrize("error", [ValueError("no such permission"), SystemExit("no such permission")])
def test_a_receiver_that_fails_is_named_with_its_place(
    signals: Signals, receive: Receive, error: BaseException
) -> None:
    receive(fails(error))

    with pytest.raises(MigrationFailed) as failed:
        send(signals)

    assert failed.value.happened == (
        f"A handler of post_migrate failed: {type(error).__name__}: no such permission at {__file__}:{RAISES}"
    )
    assert failed.value.meaning.startswith("All migrations are applied. The server was not started;")
    assert failed.value.__cause__ is error


@pytest.mark.parametrize(
    "error", [HistoryRefused("what", "means", "do"), OperationalError("server closed the connection unexpectedly")]
)
def test_what_has_a_name_already_keeps_it(signals: Signals, receive: Receive, error: Exception) -> None:
    receive(fails(error))

    with pytest.raises(type(error)) as failed:
        send(signals)

    assert failed.value is error


def test_who_was_told_to_stop_sends_nothing_more(signals: Signals, context: RunContext, receive: Receive) -> None:
    calls = receive(lambda: None)
    context.stop.so_far = lambda: "So far so good."
    with context.stop.listening():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Terminated) as stopped:
            send(signals)

    assert (calls, stopped.value.meaning) == ([], "So far so good.")


def test_who_is_told_to_stop_while_a_receiver_works_says_how_far_it_came(
    signals: Signals, context: RunContext, receive: Receive
) -> None:
    calls = receive(lambda: signal.raise_signal(signal.SIGTERM))
    with context.stop.listening(), pytest.raises(Terminated) as stopped:
        send(signals)

    assert len(calls) == 1
    assert stopped.value.meaning == "All migrations are applied. The next start does the rest."


def test_who_lost_the_lock_sends_nothing_more(signals: Signals, context: RunContext, receive: Receive) -> None:
    calls = receive(lambda: None)
    context.lock.release()

    with pytest.raises(DatabaseUnreachable, match="The migrator's lock was lost"):
        send(signals)

    assert calls == []


def test_past_the_deadline_a_second_is_left_to_receivers_and_commits(context: RunContext) -> None:
    context.deadline = time.monotonic() - 9

    assert context.left_ms == 1000
