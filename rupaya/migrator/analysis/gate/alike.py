"""Made-up values as wide as the live ones, and in order or not as they are, by the server's statistics of them.

How long a rewrite or an index takes depends on both; no live value is read for it.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from psycopg2.extensions import cursor as PgCursor  # noqa: N812 - a class, whatever its author named it

from rupaya.migrator.analysis.gate.makers import MadeUpColumn, Maker

MAX_WIDTH_BYTES = 2_000
"""What is longer PostgreSQL compresses, or moves out of the row."""
IN_ORDER = 0.9
"""From this correlation on, values lie on the disk as good as sorted; sorting them costs little."""
_HEADER_BYTES = 1
_GOLDEN = (math.sqrt(5) - 1) / 2

# `avg_width` is that of values that are not NULL, with their header; made-up ones are not NULL.
_STATISTICS = """
    SELECT c.oid::regclass::text, s.attname, s.avg_width * (1 - s.null_frac), coalesce(s.correlation, 1)
    FROM pg_stats s JOIN pg_namespace n ON n.nspname = s.schemaname
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.tablename
    WHERE c.oid::regclass::text = ANY(%s) ORDER BY s.inherited
"""


@dataclass(frozen=True)
class Alike:
    """What statistics say of a live column."""

    width_bytes: float
    correlation: float


Statistics = dict[str, dict[str, Alike]]


def read_statistics(cursor: PgCursor, tables: Collection[str]) -> Statistics:
    """Of each column of these tables that was analyzed, and that this role may read."""
    cursor.execute(_STATISTICS, [list(tables)])
    found: Statistics = {}
    for table, column, width, correlation in cursor.fetchall():
        found.setdefault(table, {})[column] = Alike(float(width), float(correlation))
    return found


def as_wide(maker: Maker, column: MadeUpColumn, alike: Alike) -> Maker:
    """The same values, lengthened to the live ones' width where their type lets them be."""
    width = min(round(alike.width_bytes), MAX_WIDTH_BYTES) - _HEADER_BYTES
    if column.type in ("text", "varchar", "citext"):
        if column.typmod > 0:
            width = min(width, column.typmod - 4)
        return lambda number: _filled(maker(number), number, width)
    if column.type == "bytea":
        return lambda number: _filled(maker(number), number, 2 * width + len("\\x"))
    if column.type in ("json", "jsonb"):
        return lambda number: f'{{"n": {number}, "more": "{_filled("", number, width - 30)}"}}'
    return maker


def _filled(value: str | None, number: int, width: int) -> str | None:
    if value is None or width <= len(value):
        return value
    # Hexadecimal digits that differ from row to row, as a compressible filler would be no work.
    more = f"{number * 2654435761 % 2**32:08x}" * (width // 8 + 1)
    return (value + more)[:width]


def in_live_order(maker: Maker, alike: Alike, count: int) -> Maker:
    """The same values, each row's somewhere else, where live ones are not in order."""
    if abs(alike.correlation) >= IN_ORDER or count < 3:
        return maker
    step = next(step for step in range(round(count * _GOLDEN), 2 * count) if math.gcd(step, count) == 1)
    return lambda number: maker(1 + (number * step) % count)
