"""A signal ends a run in a sentence, wherever in the process it comes."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import closing

import psycopg2
import pytest

from rupaya.migrator.errors import Terminated
from rupaya.migrator.session.stop import CANCEL_EVERY_S, LONG_S, Stop
from tests import warm
from tests.patience import HANGING_S


class Ending:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


def test_in_a_callback_of_the_interpreter_it_prints_no_traceback_and_ends_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    stop = Stop()
    with stop.listening():
        with stop.interrupting():
            ending = Ending()
            del ending
        with pytest.raises(Terminated):
            stop.check()

    assert capsys.readouterr().err == ""
    assert sys.unraisablehook is sys.__unraisablehook__


class Failing:
    def __del__(self) -> None:
        raise ValueError("something else")


def test_what_else_fails_in_a_callback_is_told_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: told.append(found.exc_type))
    with Stop().listening():
        failing = Failing()
        del failing

    assert told == [ValueError]


def handlers() -> list[object]:
    """What takes each of the signals now, and what they wake."""
    woken = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(woken)
    return [signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT), woken]


def be_told_twice(number: signal.Signals, way_out: list[str]) -> None:
    """The second time on the way out."""
    try:
        signal.raise_signal(number)
        raise AssertionError("it was not interrupted")
    finally:
        signal.raise_signal(number)
        way_out.append("taken to its end")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_ends_what_may_be_interrupted_at_once_and_leaves_alone_what_comes_after(
    number: signal.Signals,
) -> None:
    before = handlers()
    stop = Stop()
    stop.so_far = lambda: "Half is done."
    way_out: list[str] = []
    with stop.listening():
        stop.check()
        with pytest.raises(Terminated, match=f"{number.name} ended the migration run"), stop.interrupting():
            be_told_twice(number, way_out)
        assert way_out == ["taken to its end"]
        assert stop.requested
        with pytest.raises(Terminated, match=r"Half is done\."):
            stop.check()
        with pytest.raises(Terminated), stop.interrupting():
            raise AssertionError("it was begun")
        began = time.monotonic()
        with pytest.raises(Terminated):
            stop.wait(HANGING_S)
        assert time.monotonic() - began < HANGING_S

    assert handlers() == before


def test_outside_of_what_may_be_interrupted_a_signal_is_only_noted() -> None:
    stop = Stop()
    with stop.listening():
        with stop.interrupting():
            pass
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested

    assert str(stop.error()).startswith("SIGTERM ended")
    assert str(Stop().error()).startswith("A stop ended")


def test_another_signal_is_nobodys_request() -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _frame: came.append(number))
    stop = Stop()
    stop.cancel = lambda _for_s: came.append(-1)
    try:
        with stop.listening():
            signal.raise_signal(signal.SIGUSR1)
            began = time.monotonic()
            stop.wait(2 * CANCEL_EVERY_S)
            assert time.monotonic() - began >= 2 * CANCEL_EVERY_S
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert came == [signal.SIGUSR1]


def test_a_thread_takes_no_signals() -> None:
    before = handlers()

    def listen() -> None:
        with Stop().listening():
            found.append(signal.getsignal(signal.SIGTERM))

    found: list[object] = []
    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()

    assert found == before[:1]


@pytest.mark.parametrize("interruptible", [True, False])
def test_a_statement_is_cancelled_again_and_again_while_the_driver_waits_for_it(
    server_url: str, interruptible: bool
) -> None:
    """The handler of a signal does not run before the driver returns; the thread that the signal woke does."""
    asked: list[tuple[float, bool, int]] = []
    stop = Stop()
    with closing(psycopg2.connect(server_url)) as working, closing(psycopg2.connect(server_url)) as other:
        other.autocommit = True

        def cancel(for_s: float) -> None:
            asked.append((for_s, stop.requested, stop.signal_number))
            if len(asked) == 1:
                raise psycopg2.OperationalError("no connection to spare")
            if len(asked) == 3:
                other.cursor().execute("SELECT pg_cancel_backend(%s)", [working.info.backend_pid])

        stop.cancel = cancel
        threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGTERM]).start()
        began = time.monotonic()
        with stop.listening(), working.cursor() as cursor:
            with stop.interrupting():
                cursor.execute("SELECT 1")
            if interruptible:
                with pytest.raises(Terminated), stop.interrupting():
                    cursor.execute("SELECT pg_sleep(%s)", [HANGING_S])
            else:
                with pytest.raises(psycopg2.errors.QueryCanceled):
                    cursor.execute("SELECT pg_sleep(%s)", [HANGING_S])
        took_s = time.monotonic() - began

    assert asked[:3] == 3 * [(0.0 if interruptible else LONG_S, True, signal.SIGTERM)]
    assert took_s >= 2 * CANCEL_EVERY_S
    assert len(asked) <= took_s / CANCEL_EVERY_S + 1


NEVER_ENDS = f"""
import os, signal, time
from django.conf import settings
from rupaya.migrator.session import stop
settings.configure(LOG_FORMAT=os.environ["LOG_FORMAT"])
stop.GIVE_UP_AFTER_S = 0.3
told = stop.Stop()
told.cancel = lambda _for_s: time.sleep({HANGING_S})
with told.listening():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep({HANGING_S})
"""


@pytest.mark.parametrize(("log_format", "beginning"), [("text", "The server answers no"), ("json", "{")])
def test_a_process_whose_server_answers_no_cancellation_ends_without_it(log_format: str, beginning: str) -> None:
    ended = warm.python("-c", NEVER_ENDS, LOG_FORMAT=log_format)

    assert ended.returncode == Terminated.exit_code, ended.stderr
    assert ended.stderr.startswith(beginning)
    assert ended.stderr.count("What became of the statement under way is not known.") == 1
