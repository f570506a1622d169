"""Says what a run waits for while it waits, whatever it is at: a lock on anything, or a replica's word for a COMMIT."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import psycopg2
from psycopg2.extensions import connection as PgConnection  # noqa: N812 - a class, whatever its author named it

from rupaya.migrator.output import Output
from rupaya.migrator.session.watch import Blockers, blockers_of

LOOK_EVERY_S = 5.0
LET_GO_EVERY_S = 1.0
"""How often, past the deadline, a COMMIT that waits for a replica is let go."""

_WAITING = """
    SELECT pid, wait_event_type, wait_event, round(extract(epoch FROM clock_timestamp() - query_start))
    FROM pg_stat_activity
    WHERE pid = ANY(%s) AND state = 'active' AND (wait_event_type = 'Lock' OR wait_event = 'SyncRep')
      AND query_start <= clock_timestamp() - make_interval(secs => %s)
"""


# The server takes this for the end of that wait alone: what it has committed stays, and the session goes on.
_LET_GO = """
    SELECT round(extract(epoch FROM clock_timestamp() - query_start)), pg_cancel_backend(pid)
    FROM pg_stat_activity WHERE pid = ANY(%s) AND state = 'active' AND wait_event = 'SyncRep'
"""


class Vigil:
    """Looks every few seconds, from a connection of its own, at what this command's sessions wait for.

    No statement's time limit covers a COMMIT outside a transaction of ours: a batch of a backfill, a migration that is
    not atomic. Past the deadline such a one waits for no replica any more.
    """

    def __init__(
        self,
        output: Output,
        backend_pids: Callable[[], list[int]],
        asking: Callable[[], AbstractContextManager[PgConnection]],
    ) -> None:
        self._output = output
        self._backend_pids = backend_pids
        self._asking = asking
        self.blockers: Blockers | None = None
        """Who held what was last waited for."""
        self._deadline = float("inf")

    def stop_after(self, seconds: float) -> None:
        """Let no COMMIT wait for a replica once so many seconds have passed."""
        self._deadline = time.monotonic() + seconds

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Look for as long as the block runs."""
        finished = threading.Event()
        thread = threading.Thread(target=self._run, args=(finished,), name="migrate-vigil", daemon=True)
        thread.start()
        try:
            yield
        finally:
            finished.set()
            thread.join(1)

    def _run(self, finished: threading.Event) -> None:
        looked = time.monotonic()
        while not finished.wait(LET_GO_EVERY_S if self._is_past_deadline() else LOOK_EVERY_S):
            with suppress(psycopg2.Error):  # no connection to spare, or no server: the main thread learns that
                if self._is_past_deadline():
                    self._let_go()
                if time.monotonic() - looked >= LOOK_EVERY_S:
                    looked = time.monotonic()
                    self._look()

    def _is_past_deadline(self) -> bool:
        return time.monotonic() > self._deadline

    def _let_go(self) -> None:
        with self._asking() as connection, connection.cursor() as cursor:
            cursor.execute(_LET_GO, [self._backend_pids()])
            waiting = cursor.fetchall()
        for waited_s, was_cancelled in waiting:
            if was_cancelled:
                self._output.say(
                    f"No replica confirmed a COMMIT for {waited_s} s, and MIGRATE_DEADLINE_S is over: it is committed "
                    "here, and was not waited for any longer",
                    warning=True,
                )

    def _look(self) -> None:
        pids = self._backend_pids()
        with self._asking() as connection:
            with connection.cursor() as cursor:
                cursor.execute(_WAITING, [pids, LOOK_EVERY_S - 1])
                waiting = cursor.fetchall()
            for pid, _kind, event, waited_s in waiting:
                if event == "SyncRep":
                    self._output.say(f"Waiting for a replica to confirm a COMMIT, for {waited_s} s", warning=True)
                elif blockers := blockers_of(connection, pid):
                    self.blockers = blockers
                    self._output.say(f"Waiting for {blockers}, for {waited_s} s", warning=True)
