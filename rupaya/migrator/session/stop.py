"""A stop in the middle of a statement: ECS sends SIGTERM and kills 30 s later.

A Python signal handler runs only when the driver returns from C, which may be at the end of a long statement. The
signal therefore also wakes a thread (`signal.set_wakeup_fd`), and that thread cancels the statement on the server.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from rupaya.migrator.errors import Terminated
from rupaya.migrator.output import json_line, logs_json

CANCEL_EVERY_S = 0.2
# Short statements of the migrator's own may end; one that waits is cancelled.
LONG_S = 1.0
UNKNOWN = "What is applied, 'manage.py showmigrations --audit' shows."
# If the server does not even answer a cancellation, the process ends without it: its session will roll back by itself.
GIVE_UP_AFTER_S = 9.0


class Stop:
    """Whether this process was told to stop, and the means to do so quickly."""

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._finished = threading.Event()
        self._interruptible = False
        self._under_way = False
        self.signal_number = 0
        self.cancel: Callable[[float], None] = lambda _for_s: None
        """Cancels statements that have been under way for so many seconds; called from another thread."""
        self.so_far: Callable[[], str] = lambda: "Nothing was changed."
        """What became of the run so far; asked between its steps, when it may ask the server."""

    @property
    def requested(self) -> bool:
        """Whether SIGTERM or SIGINT came."""
        return self._requested.is_set()

    def check(self) -> None:
        """Raise if told to stop.

        Raises:
            Terminated: if SIGTERM or SIGINT came.
        """
        if self.requested:
            raise self.error(self.so_far())

    def wait(self, seconds: float) -> None:
        """Sleep, but not past a request to stop.

        Raises:
            Terminated: if SIGTERM or SIGINT came.
        """
        self._requested.wait(seconds)
        self.check()

    def error(
        self,
        consequence: str = UNKNOWN,
        remedy: str = "Nothing, if this was meant: the next start goes on from here.",
    ) -> Terminated:
        """The exception that ends the run; `consequence` says what became of the work under way."""
        name = signal.Signals(self.signal_number).name if self.signal_number else "A stop"
        return Terminated(
            f"{name} ended the migration run before it was done.",
            consequence,
            remedy,
        )

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Let a signal raise `Terminated` inside the block, wherever it is, and cancel its statement."""
        self._under_way = True
        self._interruptible = True
        try:
            self.check()
            yield
        finally:
            self._interruptible = False
            self._under_way = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGTERM and SIGINT for as long as the block runs; a no-op outside the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        previous = {number: signal.signal(number, self._handle) for number in (signal.SIGTERM, signal.SIGINT)}
        hook, sys.unraisablehook = sys.unraisablehook, _say_nothing_of_signals(sys.unraisablehook)
        previous_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        thread = threading.Thread(target=self._listen, args=(reader,), name="migrate-stop", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._finished.set()
            signal.set_wakeup_fd(previous_fd)
            sys.unraisablehook = hook
            for number, handler in previous.items():
                signal.signal(number, handler)
            writer.close()
            thread.join(1)
            reader.close()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.signal_number = number
        self._requested.set()
        if self._interruptible:
            self._interruptible = False  # once: the way out must not be interrupted again
            raise self.error()

    def _listen(self, reader: socket.socket) -> None:
        while number := reader.recv(1):
            if number[0] not in (signal.SIGTERM, signal.SIGINT):
                continue
            self.signal_number = number[0]
            self._requested.set()
            give_up_at = time.monotonic() + GIVE_UP_AFTER_S
            canceller = threading.Thread(target=self._cancel_repeatedly, daemon=True)
            canceller.start()
            while not self._finished.wait(CANCEL_EVERY_S):
                if time.monotonic() > give_up_at:
                    os.write(2, f"{_last_words()}\n".encode())
                    os._exit(Terminated.exit_code)
            return

    def _cancel_repeatedly(self) -> None:
        while not self._finished.is_set():
            with suppress(Exception):  # there may be no statement, or no server, to cancel
                self.cancel(0.0 if self._under_way else LONG_S)
            self._finished.wait(CANCEL_EVERY_S)


def _say_nothing_of_signals(hook: Callable[[Any], object]) -> Callable[[Any], None]:
    """A signal that came inside one of the interpreter's callbacks cannot leave it; the next look at `Stop` sees it."""

    def unraisable(found: Any) -> None:
        if not issubclass(found.exc_type, Terminated):
            hook(found)

    return unraisable


def _last_words() -> str:
    text = "The server answers no cancellation. What became of the statement under way is not known. Ending."
    return json_line(text, "ERROR") if logs_json() else text
