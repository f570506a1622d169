"""How far the statement under way is: asked of the server by somebody who never waits for the table it works on.

Nothing here opens the table: `pg_total_relation_size` would wait for the very lock that the statement holds. What the
server has no figure for is shown as time, and labelled as that.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2.extensions import connection as PgConnection  # noqa: N812 - a class, whatever its author named it

from rupaya.migrator.output import Output
from rupaya.migrator.schema.size import SIZE_BYTES

LOOK_EVERY_S = 1.0
SAY_EVERY_S = 10.0
MOST_COLUMNS = 130
LEAST_BAR = 12
_AROUND = len("… : 100%|| 00:00:00, ") + 1
"""What stands on the line besides names and the bar; and a line as wide as the terminal would leave a rest behind."""

BY_SERVER = "the server's figures"
BY_ROWS = "rows read of about all"
BY_GROWTH = "the database's growth over the table's size"
BY_TIME = "time"
# Of a smaller table a rewrite is over before anybody looks; and other tables grow by as much meanwhile.
SIZE_THAT_TELLS_BYTES = 16 * 1024 * 1024

# Where each phase begins and how much of the whole it is, in percent; measured, with an index on a text.
_BUILD = {
    "initializing": (0, 0),
    "building index": (0, 90),
    "building index: scanning table": (0, 45),
    "building index: sorting live tuples": (45, 15),
    "building index: sorting dead tuples": (60, 0),
    "building index: loading tuples in tree": (60, 40),
}
_CONCURRENTLY = {
    "initializing": (0, 0),
    "waiting for writers before build": (0, 0),
    "building index": (0, 60),
    "building index: scanning table": (0, 30),
    "building index: sorting live tuples": (30, 10),
    "building index: sorting dead tuples": (40, 0),
    "building index: loading tuples in tree": (40, 20),
    "waiting for writers before validation": (60, 0),
    "index validation: scanning index": (60, 5),
    "index validation: sorting tuples": (65, 5),
    "index validation: scanning table": (70, 30),
    "waiting for old snapshots": (100, 0),
    "waiting for readers before marking dead": (100, 0),
    "waiting for readers before dropping": (100, 0),
}
_INDEX = """
    SELECT p.command, p.phase, p.blocks_done, p.blocks_total, p.tuples_done, p.tuples_total, p.lockers_done,
           p.lockers_total, p.partitions_done, p.partitions_total, c.relname, a.query_start
    FROM pg_stat_progress_create_index p LEFT JOIN pg_class c ON c.oid = p.relid
    LEFT JOIN pg_stat_activity a ON a.pid = p.pid WHERE p.pid = %s
"""
_CLUSTER = """
    SELECT p.phase, p.heap_blks_scanned, p.heap_blks_total FROM pg_stat_progress_cluster p WHERE p.pid = %s
"""
_STATEMENT = """
    SELECT query_start, extract(epoch FROM clock_timestamp() - query_start), state = 'active', wait_event_type = 'Lock'
    FROM pg_stat_activity WHERE pid = %s
"""
_BACKFILL = """
    SELECT b.table_name, b.rows_read, c.reltuples FROM migrator_backfills b
    JOIN pg_class c ON c.oid = to_regclass(quote_ident(b.table_name))
    WHERE b.updated_at > clock_timestamp() - interval '30 seconds' ORDER BY b.updated_at DESC LIMIT 1
"""
_LOCKED = f"""
    SELECT c.relname, {SIZE_BYTES} FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
    WHERE l.pid = %s AND l.locktype = 'relation' AND l.granted AND l.mode = 'AccessExclusiveLock'
      AND c.relkind IN ('r', 'm') AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ORDER BY 2 DESC LIMIT 1
"""


@dataclass(frozen=True)
class Reading:
    """What is known at one moment."""

    phase: str
    percent: float | None
    basis: str
    running_s: float
    """How long the migration has been at work."""
    estimated_s: float | None = None

    def __str__(self) -> str:
        far = f"{self.percent:.0f} % by {self.basis}, " if self.percent is not None else ""
        of = f" of about {self.estimated_s:.0f} s" if self.estimated_s and self.percent is None else ""
        return f"{far}{self.phase}, {self.running_s:.0f} s{of} so far"


class Progress:
    """Says how far a run is: a bar on a terminal, a line now and then in a log, a row in the ledger."""

    def __init__(self, output: Output, run_id: Callable[[], int]) -> None:
        self.output = output
        self.run_id = run_id
        self.what = ""
        self.last: Reading | None = None
        self._estimated_s: float | None = None
        self._began = self._looked = self._said = 0.0
        self._statement: Any = None
        self._size_bytes = 0
        self._index: Any = None
        self._index_before = self._index_shown = 0.0
        self._keeps = True

    def begin(self, what: str, estimated_s: float | None = None) -> None:
        """A migration, or a debt's payment, is about to be carried out; `estimated_s` where something is known."""
        self.what, self._estimated_s, self.last = what, estimated_s, None
        self._began = self._looked = self._said = time.monotonic()
        self._statement = None

    def look(self, connection: PgConnection, backend_pid: int) -> None:
        """Ask and report, if it is time to; called by the thread that samples the session at work, on another one."""
        now = time.monotonic()
        if not self.what or now - self._looked < LOOK_EVERY_S:
            return
        self._looked = now
        with suppress(psycopg2.Error):  # that nobody can say how far it is ends nothing
            with connection.cursor() as cursor:
                self.last = self._read(cursor, backend_pid, now - self._began)
            self._tell(now)
            self._keep(connection)

    def _read(self, cursor: Any, backend_pid: int, running_s: float) -> Reading:
        found = (
            self._of_index(cursor, backend_pid)
            or _of_cluster(cursor, backend_pid)
            or _of_backfill(cursor)
            or self._of_growth(cursor, backend_pid)
        )
        phase, percent, basis = found or ("working", None, BY_TIME)
        return Reading(phase, percent, basis, running_s, self._estimated_s)

    def _of_index(self, cursor: Any, backend_pid: int) -> tuple[str, float | None, str] | None:
        """The server writes its figures one by one: between two phases, or partitions, some are of the one before.

        So a figure counts once the next look does not take it back; and it never goes back.
        """
        cursor.execute(_INDEX, [backend_pid])
        row = cursor.fetchone()
        if row is None:
            return None
        command, phase, blocks, all_blocks, tuples, all_tuples, lockers, all_lockers, parts, all_parts, table, start = (
            row
        )
        begin, share = (_CONCURRENTLY if "CONCURRENTLY" in command else _BUILD).get(phase, (0, 0))
        done = blocks / all_blocks if all_blocks else tuples / all_tuples if all_tuples else 0.0
        percent = begin + share * min(1.0, done)
        if all_parts:  # an index of a partitioned table is made partition by partition
            percent = 100 * parts / all_parts + percent / all_parts
        if self._index != start:
            self._index, self._index_before, self._index_shown = start, 0.0, 0.0
        self._index_shown = max(self._index_shown, min(self._index_before, percent))
        self._index_before = percent
        waiting = f" ({lockers} of {all_lockers} gone)" if phase.startswith("waiting") and all_lockers else ""
        on = f" on {table}" if table else ""
        return f"{phase}{on}{waiting}", min(100.0, self._index_shown), BY_SERVER

    def _of_growth(self, cursor: Any, backend_pid: int) -> tuple[str, float | None, str] | None:
        """A rewrite writes the whole table again beside the old one; no view of the server's shows how far it is."""
        cursor.execute(_STATEMENT, [backend_pid])
        row = cursor.fetchone()
        if row is None or not row[2]:
            return None
        if row[3]:
            return "waiting for a lock", None, BY_TIME
        cursor.execute(_LOCKED, [backend_pid])
        locked = cursor.fetchone()
        if locked is None or locked[1] < SIZE_THAT_TELLS_BYTES:
            return None
        cursor.execute("SELECT pg_database_size(current_database())")
        size_bytes = int(cursor.fetchone()[0])
        if self._statement != row[0]:
            self._statement, self._size_bytes = row[0], size_bytes
        grown = size_bytes - self._size_bytes
        if grown < SIZE_THAT_TELLS_BYTES / 16:
            return f"reading {locked[0]}", None, BY_TIME
        # What it was at the first look is not what it was at the start; and indexes may come out smaller.
        return f"rewriting {locked[0]}", min(99.0, 100 * grown / int(locked[1])), BY_GROWTH

    def _tell(self, now: float) -> None:
        assert self.last is not None  # noqa: S101 - it was just read
        self.output.progress(self.bar())
        if now - self._said >= SAY_EVERY_S and not self.output.is_terminal:
            self._said = now
            self.output.say(f"{self.what}: {self.last}", **self.fields())

    def fields(self) -> dict[str, Any]:
        """The same for machines."""
        if self.last is None:
            return {}
        return {
            "migration": self.what,
            "phase": self.last.phase,
            "percent": None if self.last.percent is None else round(self.last.percent, 1),
            "basis": self.last.basis,
            "running_s": round(self.last.running_s, 1),
            "estimated_s": self.last.estimated_s,
        }

    def bar(self) -> str:
        """One line for a terminal: a bar where there is a figure, else the time."""
        if self.last is None or self.last.percent is None:
            return f"{self.what}: {self.last}" if self.last else self.what
        from tqdm import tqdm  # slow to import, and no log needs it

        columns = min(shutil.get_terminal_size().columns, MOST_COLUMNS)
        phase = _cut(self.last.phase, columns - len(self.what) - _AROUND - LEAST_BAR)
        return str(
            tqdm.format_meter(
                round(self.last.percent),
                100,
                self.last.running_s,
                ncols=columns - len("… ") - 1,
                prefix=self.what,
                bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}"
                + f", {phase}".replace("{", "{{").replace("}", "}}"),
            )
        )

    def _keep(self, connection: PgConnection) -> None:
        """Overwrite the run's row in the ledger; one that cannot be written is done without."""
        if not self._keeps or self.last is None or not self.run_id():
            return
        try:
            with connection.cursor() as cursor:
                cursor.execute(
                    "INSERT INTO migrator_progress (run_id, what, phase, percent, basis, running_s, estimated_s) "
                    "VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (run_id) DO UPDATE SET what = excluded.what, "
                    "phase = excluded.phase, percent = excluded.percent, basis = excluded.basis, "
                    "running_s = excluded.running_s, estimated_s = excluded.estimated_s, "
                    "updated_at = clock_timestamp()",
                    [
                        self.run_id(),
                        self.what,
                        self.last.phase,
                        self.last.percent,
                        self.last.basis,
                        self.last.running_s,
                        self.last.estimated_s,
                    ],
                )
        except psycopg2.Error:
            self._keeps = False


def _of_cluster(cursor: Any, backend_pid: int) -> tuple[str, float | None, str] | None:
    cursor.execute(_CLUSTER, [backend_pid])
    row = cursor.fetchone()
    if row is None:
        return None
    phase, done, total = row
    return phase, 100 * done / total if total and "heap" in phase else None, BY_SERVER


def _of_backfill(cursor: Any) -> tuple[str, float | None, str] | None:
    cursor.execute("SELECT to_regclass('migrator_backfills') IS NOT NULL")
    if not cursor.fetchone()[0]:
        return None
    cursor.execute(_BACKFILL)
    row = cursor.fetchone()
    if row is None or row[2] <= 0:
        return None
    return f"backfill of {row[0]}, {row[1]:,} rows", min(99.0, 100 * row[1] / row[2]), BY_ROWS


def _cut(text: str, length: int) -> str:
    """As much of a text as there is room for; a little of it in any case."""
    length = max(length, len("waiting"))
    return text if len(text) <= length else text[: length - 1] + "…"
