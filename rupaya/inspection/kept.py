"""What takes long to read, kept for a while: nobody waits for it longer than a page may take.

It is read in a thread. Meanwhile what was read before is shown, if it is not too old.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg2.errors import QueryCanceled

Value = TypeVar("Value")


class NotReadYet(Exception):
    """It is being read, and there is nothing to show meanwhile."""


@dataclass(frozen=True)
class _Read(Generic[Value]):
    at: float
    value: Value | None = None
    error: DatabaseError | None = None


class Kept(Generic[Value]):
    """Values by key, read anew after `fresh_s` seconds, and shown until then for at most `shown_s`."""

    def __init__(self, *, fresh_s: float, shown_s: float) -> None:
        self.fresh_s = fresh_s
        self.shown_s = shown_s
        self._read: dict[Hashable, _Read[Value]] = {}
        self._under_way: dict[Hashable, threading.Thread] = {}
        self._lock = threading.Lock()

    def begin(self, key: Hashable, alias: str, read: Callable[[], Value]) -> None:
        """Have it read on a connection like this thread's to `alias`, unless it is fresh or is being read."""
        if self._age_s(key) < self.fresh_s:
            return
        if connections[alias].in_atomic_block:  # whose rows no other connection sees
            self._read[key] = self._ended(read)
            return
        with self._lock:
            if key in self._under_way:
                return
            thread = threading.Thread(target=self._work, args=(key, alias, connections[alias], read), daemon=True)
            self._under_way[key] = thread
            thread.start()

    def get(self, key: Hashable, until: float) -> Value:
        """What was read, waiting for what there is not until `until` of `time.monotonic`.

        Raises:
            NotReadYet: if it is still being read then.
            DatabaseError: what ended the reading.
        """
        if not self._may_be_shown(key) and (thread := self._under_way.get(key)) is not None:
            thread.join(max(0.0, until - time.monotonic()))
        found = self._read.get(key)
        if found is None or (not self._may_be_shown(key) and key in self._under_way):
            raise NotReadYet
        if found.error is not None:
            raise found.error
        return found.value  # type: ignore[return-value]  # there is one where there is no error

    def _may_be_shown(self, key: Hashable) -> bool:
        """A value for a while after it is stale, an error only until then."""
        found = self._read.get(key)
        return self._age_s(key) < (self.shown_s if found is not None and found.error is None else self.fresh_s)

    def _work(self, key: Hashable, alias: str, like: BaseDatabaseWrapper, read: Callable[[], Value]) -> None:
        connections[alias] = connection = like.copy()  # a connection is of the thread that made it
        ended = None
        try:
            ended = self._ended(read)
        finally:
            with self._lock:  # at once: who finds it no longer under way finds what was read
                if ended is not None:
                    self._read[key] = ended
                del self._under_way[key]
            connection.close()

    def _ended(self, read: Callable[[], Value]) -> _Read[Value]:
        try:
            value = read()
            return _Read(time.monotonic(), value=value)
        except DatabaseError as error:
            # What takes too long does so for a while; anything else may be over at once.
            lasts = isinstance(error.__cause__, QueryCanceled)
            return _Read(time.monotonic() - (0 if lasts else self.fresh_s), error=error)

    def forget(self) -> None:
        """Read anew whatever is asked for next."""
        self._read.clear()

    def _age_s(self, key: Hashable) -> float:
        found = self._read.get(key)
        return time.monotonic() - found.at if found is not None else float("inf")
