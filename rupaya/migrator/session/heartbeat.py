"""A file that is touched while `migrate` is alive and its server answers, for the container's health check to look at.

Nothing listens while migrations run, so a long migration would otherwise be killed by the health check of its own
container, and a stalled one would look the same.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg2
from psycopg2.extensions import connection as PgConnection  # noqa: N812 - a class, whatever its author named it

from rupaya.migrator.session.heartbeatfile import FRESH_S, touch

BEAT_EVERY_S = 2.0
AFTERGLOW_S = 15.0
"""How long the last beat counts after a run that ended: until the server listens."""


class Heartbeat:
    """Beats in a thread of its own: without a connection unconditionally, with one for as long as that answers."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._connection: PgConnection | None = None
        self._deadline = float("inf")
        self._finished = threading.Event()

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Beat for as long as the block runs; a no-op without a file."""
        if not self.path:
            yield
            return
        self._finished.clear()
        thread = threading.Thread(target=self._run, name="migrate-heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._finished.set()
            thread.join(BEAT_EVERY_S)  # not for ever: the server may be what does not answer
            with suppress(OSError):
                last_s = min(Path(self.path).stat().st_mtime, time.time() - FRESH_S + AFTERGLOW_S)
                os.utime(self.path, (last_s, last_s))

    @contextmanager
    def following(self, connection: PgConnection) -> Iterator[None]:
        """Beat only while this connection answers, for as long as the block runs."""
        self._connection = connection
        try:
            yield
        finally:
            self._connection = None
            self._deadline = float("inf")

    def stop_after(self, seconds: float) -> None:
        """Beat for so long at most: a run that takes longer is stuck."""
        self._deadline = time.monotonic() + seconds

    def _run(self) -> None:
        while not self._finished.is_set():
            if time.monotonic() < self._deadline and self._answers():
                with suppress(OSError):
                    touch(self.path)
            self._finished.wait(BEAT_EVERY_S)

    def _answers(self) -> bool:
        connection = self._connection
        if connection is None:
            return True
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")  # a frozen server leaves this thread waiting, and the file growing old
        except psycopg2.Error:
            return False
        return not self._finished.is_set()
