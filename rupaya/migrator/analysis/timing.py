"""How long pending migrations may take: tried on two numbers of made-up rows, and reckoned for the live tables.

Nothing live is copied. A live table is known by what the server's statistics say of it: about how many rows, how wide.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg2.extensions import cursor as PgCursor  # noqa: N812 - a class, whatever its author named it

from rupaya.migrator.analysis import scratch
from rupaya.migrator.analysis.gate import rows as made_up
from rupaya.migrator.analysis.rehearsal import Rehearsal, Timing, carry_out, goes_back, pay
from rupaya.migrator.analysis.stage import Stage, Statement, Step
from rupaya.migrator.debts.debt import Debt
from rupaya.migrator.plan.plan import Plan

LEAST_ROWS = 1_000
MOST_ROWS = 1_000_000
FEWER = 10
"""The other number of rows is so many times smaller."""
LOWER, UPPER = 0.5, 2.0
"""What an estimate is taken to be out by, as other work on the same server makes it."""

_SIZES = """
    SELECT c.oid::regclass::text, c.reltuples::bigint, c.relpages::bigint * current_setting('block_size')::bigint
    FROM pg_class c WHERE c.oid::regclass::text = ANY(%s)
"""
_BUFFERS = "SELECT pg_size_bytes(current_setting('shared_buffers'))"


@dataclass
class _Size:
    rows: int
    size_bytes: int

    @property
    def width(self) -> float:
        return self.size_bytes / self.rows if self.rows > 0 else 0.0


_Key = tuple[str, str, int, str]


@dataclass
class _Tried:
    """The statements of one trial, those of one text and operation as one, and the tables that they met."""

    statements: dict[_Key, Statement]
    sizes: dict[str, _Size]
    counts: dict[str, int]


def measure(
    connection: BaseDatabaseWrapper,
    plan: Plan,
    history: set[tuple[str, str]],
    rehearsal: Rehearsal,
    *,
    rows: int,
    owed: Collection[Debt] = (),
    by_halves: bool = False,
    pays_first: bool = False,
) -> None:
    """Add to a rehearsal that went well how long its statements take on so many rows; options as in `rehearse`.

    Raises:
        EnvironmentUnfit: if no scratch database can be had.
    """
    tables = _touched([*rehearsal.steps, *rehearsal.paid])
    if not tables:
        return
    live_name = connection.settings_dict["NAME"]
    trials: list[_Tried] = []
    with scratch.database_like(connection):
        scratch.build(connection, history, owed=owed)
        for count in (rows // FEWER, rows):
            with scratch.copied(connection, live_name):
                connection.ensure_connection()
                connection.set_autocommit(True)
                with connection.connection.cursor() as cursor:
                    filled = made_up.fill(cursor, tables, count)
                    sizes = _sizes(cursor, tables)
                tried = Rehearsal("")
                with Stage(connection, by_halves=by_halves or bool(owed)) as stage:
                    _try(stage, plan, tried, pays_first=pays_first)
                trials.append(_Tried(_by_text([*tried.steps, *tried.paid]), sizes, filled.counts))
        rehearsal.untimed += [f"{table} has no made-up rows: {why}" for table, why in filled.empty.items()]
        rehearsal.untimed += [
            f"{step.migration} did not go through on made-up rows, and what follows was not tried: {step.error}"
            for step in (*tried.steps, *tried.paid)
            if step.error
        ]
    connection.ensure_connection()
    with connection.connection.cursor() as cursor:
        live = _sizes(cursor, tables)
        cursor.execute(_BUFFERS)
        ((buffers,),) = cursor.fetchall()
    rehearsal.times = list(_timings(trials[0], trials[1], live, buffers))


def _try(stage: Stage, plan: Plan, tried: Rehearsal, *, pays_first: bool) -> None:
    """There, and what is owed paid; it ends where made-up rows are refused."""
    if pays_first:
        pay(stage, tried)
    for migration, backwards in plan.steps:
        if tried.failure or not carry_out(stage, migration, backwards, tried.steps, tried):
            return
    if stage.by_halves and not goes_back(plan):
        pay(stage, tried)


def _touched(steps: Iterable[Step]) -> set[str]:
    return {name for step in steps for s in step.statements for name in (*s.locks, *s.held, *s.scanned, *s.read)}


def _sizes(cursor: PgCursor, tables: Collection[str]) -> dict[str, _Size]:
    cursor.execute(_SIZES, [list(tables)])
    return {name: _Size(count, size_bytes) for name, count, size_bytes in cursor.fetchall()}


def _by_text(steps: Iterable[Step]) -> dict[_Key, Statement]:
    found: dict[_Key, Statement] = {}
    for step in steps:
        for statement in step.statements if not step.error else ():
            first = found.setdefault((step.migration, step.direction, statement.part, statement.sql), statement)
            if first is not statement:
                first.duration_s += statement.duration_s
    return found


def _worked_on(statement: Statement, counts: dict[str, int]) -> set[str]:
    """The tables whose rows it went through. Outside a transaction only its locks tell."""
    work = {*statement.rewritten, *statement.scanned, *statement.read, *statement.written}
    names = work if statement.transaction else {*work, *statement.locks}
    return {name for name in names if counts.get(name)}


def _timings(fewer: _Tried, more: _Tried, live: dict[str, _Size], buffers: int) -> Iterable[Timing]:
    for key, statement in more.statements.items():
        before = fewer.statements.get(key)
        tables = _worked_on(statement, more.counts)
        if not tables or before is None:
            continue
        table = max(sorted(tables), key=lambda name: live[name].rows if name in live else -1)
        timing = Timing(
            migration=key[0],
            sql=statement.sql,
            table=table,
            fewer_rows=fewer.counts.get(table, 0),
            fewer_s=before.duration_s,
            more_rows=more.counts[table],
            more_s=statement.duration_s,
        )
        estimate(timing, live.get(table), more.sizes[table].width, buffers)
        yield timing


def estimate(timing: Timing, live: _Size | None, made_up_width: float, buffers: int) -> None:
    """Set the range: between a line through both trials and one from nothing, wider rows counted in the upper end."""
    if live is None:
        timing.basis = "no estimate: the live database has no such table"
        return
    if live.rows < 0:
        timing.basis = f"no estimate: the live table was never analyzed; run ANALYZE {timing.table}"
        return
    timing.live_rows = live.rows
    more_rows = timing.more_rows - timing.fewer_rows
    slope = max(timing.more_s - timing.fewer_s, 0.0) / more_rows if more_rows > 0 else 0.0
    line = max(timing.more_s + slope * (live.rows - timing.more_rows), 0.0)
    in_proportion = timing.more_s * live.rows / timing.more_rows
    wider = max(live.width / made_up_width, 1.0) if made_up_width else 1.0
    timing.low_s = LOWER * min(line, in_proportion)
    timing.high_s = UPPER * max(line, in_proportion) * wider
    timing.basis = "cached, nobody else at work"
    if live.size_bytes > buffers:
        timing.basis += "; the live table is larger than shared_buffers: rather at least that"
