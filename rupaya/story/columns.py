"""One column: what it is, which run and migration made it and changed it, what statistics say of it, and what uses it.

No value of it is read or shown: the commonest of people's values would be among PostgreSQL's statistics.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.migrator.schema.diff import short_type
from rupaya.story import live
from rupaya.story.reading import Tables, rows

MOST_SNAPSHOTS = 200

_STATISTICS = """
    SELECT null_frac, n_distinct, avg_width, correlation FROM pg_stats
    WHERE schemaname = coalesce(current_schema(), 'public') AND tablename = %(table)s AND attname = %(column)s
      AND NOT inherited
"""
# The newest so many, the oldest first: what a column was after each run.
_HISTORY = """
    SELECT run_id, release, taken_at, facts::text FROM (
        SELECT s.snapshot_id, s.run_id, r.release, s.taken_at,
               s.catalog #> ARRAY['relations', %(table)s, 'columns', %(column)s] AS facts
        FROM migrator_snapshots s JOIN migrator_runs r USING (run_id) ORDER BY s.snapshot_id DESC LIMIT %(most)s
    ) newest ORDER BY snapshot_id
"""
# Which migrations of a run named both: an attempt's SQL, as far as it was kept.
_WHO = """
    SELECT a.attempt_id, a.app || '.' || a.name FROM migrator_attempts a JOIN migrator_traces t USING (attempt_id)
    WHERE a.run_id = %(run)s AND a.outcome = 'succeeded' AND EXISTS (
        SELECT FROM json_array_elements(t.statements) s
        WHERE strpos(s ->> 'sql', %(table)s) > 0 AND s ->> 'sql' ~ %(column)s)
    ORDER BY a.attempt_id LIMIT 5
"""


@dataclass(frozen=True)
class Change:
    """A run after which the column was another than before."""

    run_id: int
    release: str
    at: datetime
    told: str
    by: list[tuple[int, str]]
    """The attempts that may have done it, each with its migration."""


@dataclass(frozen=True)
class Statistics:
    """What ANALYZE has seen, without a value."""

    nulls_percent: float
    distinct: str
    average_bytes: int
    order: str


@dataclass(frozen=True)
class ColumnTold:
    """All of a column's page."""

    column: live.LiveColumn
    details: live.Details
    statistics: Statistics | None
    history: list[Change]
    indexes: list[live.Index]
    constraints: list[live.Constraint]
    keys: list[live.ForeignKey]


def tell(connection: BaseDatabaseWrapper, tables: Tables, table: str, name: str) -> ColumnTold | None:
    """A column; None if the table or it is not there."""
    details = live.details(connection, table)
    column = next((each for each in details.columns if each.name == name), None) if details else None
    if details is None or column is None:
        return None
    word = re.compile(rf"(?<![\w$]){re.escape(name)}(?![\w$])")
    return ColumnTold(
        column,
        details,
        _statistics(connection, table, name),
        _history(connection, tables, table, name) if tables.snapshots else [],
        [index for index in details.table.indexes if word.search(index.definition.partition("(")[2])],
        [rule for rule in details.constraints if word.search(rule.definition)],
        [key for key in details.refers_to if name in key.columns]
        + [key for key in details.referred_by if name in key.referred],
    )


def _statistics(connection: BaseDatabaseWrapper, table: str, name: str) -> Statistics | None:
    found = rows(connection, _STATISTICS, table=table, column=name)
    if not found:
        return None
    nulls, distinct, width, correlation = found[0]
    # https://www.postgresql.org/docs/current/view-pg-stats.html: negative is a share of the rows.
    text = f"about {distinct:,.0f}" if distinct >= 0 else f"{-distinct:.0%} of the rows"
    order = "unknown" if correlation is None else f"{abs(correlation):.0%} in the order of the rows on disk"
    return Statistics(100 * nulls, text, width, order)


def _history(connection: BaseDatabaseWrapper, tables: Tables, table: str, name: str) -> list[Change]:
    found: list[Change] = []
    before: Any = None
    is_first = True
    for run_id, release, at, text in rows(connection, _HISTORY, table=table, column=name, most=MOST_SNAPSHOTS):
        facts = json.loads(text) if text else None
        if facts != before:
            told = "was there already" if is_first and run_id > 1 and before is None else _told(before, facts)
            by = _who(connection, run_id, table, name) if tables.traces else []
            found.append(Change(run_id, release, at, told, by))
        before, is_first = facts, False
    return found[::-1]


def _who(connection: BaseDatabaseWrapper, run_id: int, table: str, name: str) -> list[tuple[int, str]]:
    pattern = rf"(^|[^\w$]){re.escape(name)}([^\w$]|$)"
    return [(attempt, who) for attempt, who in rows(connection, _WHO, run=run_id, table=table, column=pattern)]


def _told(old: dict[str, Any] | None, new: dict[str, Any] | None) -> str:
    if new is None:
        return "dropped"
    if old is None:
        return f"made: {short_type(str(new.get('type', '')))}{'' if new.get('nullable') else ' NOT NULL'}"
    facts = sorted({*old, *new} - {"position", "grants"})
    changed = [fact for fact in facts if old.get(fact) != new.get(fact)]
    parts = [f"{fact}: {_said(old.get(fact))}, now {_said(new.get(fact))}" for fact in changed]
    return "; ".join(parts) or "its place or grants"


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else short_type(str(value))
