"""How long pending migrations may take: tried on two numbers of made-up rows, and reckoned for the live tables.

Nothing live is copied. A live table is known by what the server's statistics say of it: about how many rows, how wide.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg2.extensions import cursor as PgCursor  # noqa: N812 - a class, whatever its author named it

from rupaya.migrator.analysis import scratch
from rupaya.migrator.analysis.gate import madeuprows as made_up
from rupaya.migrator.analysis.gate.alike import read_statistics
from rupaya.migrator.analysis.rehearsal import Rehearsal, Timing, carry_out, goes_back, pay
from rupaya.migrator.analysis.stage import Stage, StagedMigration, Statement
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
    connection.ensure_connection()
    with connection.connection.cursor() as cursor:
        alike, live = read_statistics(cursor, tables), _sizes(cursor, tables)
        cursor.execute(_BUFFERS)
        ((buffers,),) = cursor.fetchall()
    trials: list[_Tried] = []
    with scratch.database_like(connection):
        scratch.build(connection, history, owed=owed)
        for count in (rows // FEWER, rows):
            with scratch.copied(connection, live_name):
                connection.ensure_connection()
                connection.set_autocommit(True)
                with connection.connection.cursor() as cursor:
                    filled = made_up.fill(cursor, tables, count, alike)
                    sizes = _sizes(cursor, tables)
                tried = Rehearsal("")
                with Stage(connection, by_halves=by_halves or bool(owed)) as stage:
                    _try(stage, plan, tried, filled, pays_first=pays_first)
                trials.append(_Tried(_by_text([*tried.steps, *tried.paid]), sizes, filled.counts))
                untimed = [f"{table} has no made-up rows: {why}" for table, why in filled.empty.items()]
                untimed += [
                    f"{step.migration} did not go through on {count:,} made-up rows, and what follows was not tried: "
                    f"{step.error}"
                    for step in (*tried.steps, *tried.paid)
                    if step.error
                ]
                rehearsal.untimed += [line for line in untimed if line not in rehearsal.untimed]
    rehearsal.times = list(_timings(trials[0], trials[1], live, buffers))


def _try(stage: Stage, plan: Plan, tried: Rehearsal, filled: made_up.Filled, *, pays_first: bool) -> None:
    """There, and what is owed paid; it ends where made-up rows are refused."""
    if pays_first:
        pay(stage, tried)
        _by_first_names(tried.paid, stage, filled)
    for migration, backwards in plan.steps:
        if tried.failure or not carry_out(stage, migration, backwards, tried.steps, tried):
            return
        _by_first_names(tried.steps[-1:], stage, filled)
    if stage.by_halves and not goes_back(plan):
        paid_before = len(tried.paid)
        pay(stage, tried)
        _by_first_names(tried.paid[paid_before:], stage, filled)


def _by_first_names(steps: Iterable[StagedMigration], stage: Stage, filled: made_up.Filled) -> None:
    """Tables that the plan renames, called as they were when they were filled, and as they are in the live database."""
    oids = {table.oid: name for name, table in filled.tables.items()}
    first = {name: oids[oid] for oid, name in stage.names().items() if oid in oids and oids[oid] != name}
    for statement in (statement for step in steps for statement in step.statements if first):
        for names in (statement.locks, statement.read, statement.written):
            for name in first.keys() & names.keys():
                names[first[name]] = names.pop(name)  # type: ignore[assignment]
        statement.rewritten = [first.get(name, name) for name in statement.rewritten]
        statement.scanned = [first.get(name, name) for name in statement.scanned]


def _touched(steps: Iterable[StagedMigration]) -> set[str]:
    return {name for step in steps for s in step.statements for name in (*s.locks, *s.held, *s.scanned, *s.read)}


def _sizes(cursor: PgCursor, tables: Collection[str]) -> dict[str, _Size]:
    cursor.execute(_SIZES, [list(tables)])
    return {name: _Size(count, size_bytes) for name, count, size_bytes in cursor.fetchall()}


def _by_text(steps: Iterable[StagedMigration]) -> dict[_Key, Statement]:
    found: dict[_Key, Statement] = {}
    for step in steps:
        for statement in step.statements if not step.error else ():
            first = found.setdefault((step.migration, step.direction, statement.part, statement.sql), statement)
            if first is not statement:
                first.duration_s += statement.duration_s
    return found


def _worked_on(statement: Statement, counts: dict[str, int]) -> set[str]:
    """The tables whose rows it went through. Outside a transaction only its locks show that."""
    work = {*statement.rewritten, *statement.scanned, *statement.read, *statement.written}
    names = work if statement.transaction else {*work, *statement.locks}
    return {name for name in names if counts.get(name)}


def _timings(fewer: _Tried, more: _Tried, live: dict[str, _Size], buffers: int) -> Iterable[Timing]:
    for key, statement in more.statements.items():
        before = fewer.statements.get(key)
        tables = _worked_on(statement, more.counts)
        if not tables or before is None:
            continue
        names = sorted(tables, key=lambda name: (-live[name].rows if name in live else 0, name))
        timing = Timing(
            migration=key[0],
            sql=statement.sql,
            table=" and ".join(names),
            fewer_rows=sum(fewer.counts.get(name, 0) for name in names),
            fewer_s=before.duration_s,
            more_rows=sum(more.counts[name] for name in names),
            more_s=statement.duration_s,
        )
        writes = bool(statement.written)
        made_up_bytes = sum(more.sizes[name].size_bytes for name in names)
        estimate(timing, {name: live.get(name) for name in names}, made_up_bytes, buffers, writes=writes)
        yield timing


def estimate(
    timing: Timing, live: dict[str, _Size | None], made_up_bytes: int, buffers: int, *, writes: bool = False
) -> None:
    """Set the range: between a line through both trials and one from nothing, with rows and with bytes.

    Of several tables, as a foreign key goes through, rows and bytes are those of all together.
    """
    known = {name: size for name, size in live.items() if size is not None}
    if missing := [name for name in live if name not in known]:
        timing.basis = f"no estimate: the live database has no table {' and '.join(missing)}"
        return
    if unknown := [name for name, size in known.items() if size.rows < 0]:
        timing.basis = f"no estimate: a live table was never analyzed; run ANALYZE {', '.join(unknown)}"
        return
    timing.live_rows = sum(size.rows for size in known.values())
    live_bytes = sum(size.size_bytes for size in known.values())
    more_rows = timing.more_rows - timing.fewer_rows
    slope = max(timing.more_s - timing.fewer_s, 0.0) / more_rows if more_rows > 0 else 0.0
    line = max(timing.more_s + slope * (timing.live_rows - timing.more_rows), 0.0)
    in_proportion = timing.more_s * timing.live_rows / timing.more_rows
    wider = 1.0
    if live_bytes and made_up_bytes:
        wider = (live_bytes / timing.live_rows) / (made_up_bytes / timing.more_rows) if timing.live_rows else 1.0
    timing.low_s = LOWER * min(line, in_proportion) * min(wider, 1.0)
    timing.high_s = UPPER * max(line, in_proportion) * max(wider, 1.0)
    timing.basis = "cached, nobody else at work"
    if live_bytes > buffers:
        timing.basis += "; what it reads is larger than shared_buffers: rather at least that"
    if writes:
        timing.basis += "; with indexes that do not fit into memory it may take several times as long"
