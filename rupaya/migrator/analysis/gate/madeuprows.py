"""Made-up rows for any table, from the types of its columns and from its constraints.

A migration on an empty table does no work; on rows it shows what it reads and writes. What people have in their tables
is never needed: that a rule refuses made-up rows says nothing of theirs.
"""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg2
from psycopg2.extensions import cursor as PgCursor  # noqa: N812 - a class, whatever its author named it

from rupaya.migrator.analysis.gate.alike import Alike, Statistics, as_wide, in_live_order
from rupaya.migrator.analysis.gate.makers import MadeUpColumn, Maker, maker_of, null, offers_for
from rupaya.migrator.errors import driver_text

ROWS = 12_000
"""More than two of the batches in which `Backfill` goes, so that a batch is not taken for the whole table."""
_TRIED_ROWS = (1, 2, 3, 35, 36, 37, 4_999, ROWS)
_TRIED_COMBINATIONS = 3_000

_TABLES = """
    SELECT c.oid, c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
      AND c.relname <> 'django_migrations' AND NOT starts_with(c.relname, 'migrator_') ORDER BY c.oid
"""
_COLUMNS = """
    WITH RECURSIVE bare AS (
        SELECT a.attrelid, a.attnum, a.atttypid AS type, a.atttypmod AS typmod, ARRAY[]::oid[] AS domains
        FROM pg_attribute a WHERE a.attnum > 0 AND NOT a.attisdropped
        UNION ALL
        SELECT b.attrelid, b.attnum, t.typbasetype, CASE WHEN b.typmod < 0 THEN t.typtypmod ELSE b.typmod END,
               b.domains || t.oid
        FROM bare b JOIN pg_type t ON t.oid = b.type WHERE t.typtype = 'd'
    )
    SELECT a.attrelid, a.attname, t.typname, t.typcategory::text, format_type(b.type, b.typmod), b.typmod,
           a.attnotnull OR EXISTS (SELECT FROM pg_type d WHERE d.oid = ANY(b.domains) AND d.typnotnull),
           a.attgenerated <> '' OR a.attidentity <> ''
               OR coalesce(pg_get_expr(d.adbin, d.adrelid) ~ '^nextval\\(', false),
           d.adbin IS NOT NULL,
           ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder),
           ARRAY(SELECT pg_get_expr(k.conbin, 0) FROM pg_constraint k
                 WHERE k.contypid = ANY(b.domains) AND k.contype = 'c')
    FROM bare b
    JOIN pg_attribute a ON a.attrelid = b.attrelid AND a.attnum = b.attnum
    JOIN pg_type t ON t.oid = b.type AND t.typtype <> 'd'
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = ANY(%s) ORDER BY a.attrelid, a.attnum
"""
_CHECKS = """
    SELECT k.conrelid, k.conname, pg_get_expr(k.conbin, k.conrelid), pg_get_constraintdef(k.oid),
           ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = k.conrelid AND a.attnum = ANY(k.conkey))
    FROM pg_constraint k WHERE k.contype = 'c' AND k.conrelid = ANY(%s) ORDER BY k.conname
"""
_FOREIGN_KEYS = """
    SELECT k.conrelid, k.confrelid,
           ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u (n, o)
                 JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n ORDER BY u.o),
           ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS u (n, o)
                 JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.n ORDER BY u.o)
    FROM pg_constraint k WHERE k.contype = 'f' AND k.conrelid = ANY(%s) AND k.conparentid = 0 ORDER BY k.oid
"""
# Of each partitioned table, its partitions that have rows, and which rows these take; NULL: any that no other takes.
_PARTITIONS = """
    SELECT p.oid, t.relid::regclass::text, pg_get_partition_constraintdef(t.relid)
    FROM unnest(%s::oid[]) AS p (oid), LATERAL pg_partition_tree(p.oid) AS t
    WHERE t.isleaf AND t.relid <> p.oid ORDER BY t.relid
"""
_HASHED = "satisfies_hash_partition"


@dataclass(frozen=True)
class Check:
    """A CHECK of a table, or of a domain that a column has."""

    name: str
    expression: str
    definition: str
    columns: tuple[str, ...]


@dataclass
class MadeUpTable:
    """A table and what its rows must keep to."""

    oid: int
    name: str
    columns: dict[str, MadeUpColumn] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    foreign_keys: list[tuple[int, list[str], list[str]]] = field(default_factory=list)
    makers: dict[str, Maker] = field(default_factory=dict)
    """How each column that is written gets its value."""
    partitions: list[str] = field(default_factory=list)
    """Where its rows are, if it is partitioned."""


@dataclass
class Filled:
    """What became of it: the rows of each table, and why others have none."""

    tables: dict[str, MadeUpTable] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    empty: dict[str, str] = field(default_factory=dict)


def read_tables(cursor: PgCursor) -> dict[int, MadeUpTable]:
    """Every table of people's, with its columns and constraints."""
    cursor.execute(_TABLES)
    tables = {oid: MadeUpTable(oid, name) for oid, name in cursor.fetchall()}
    cursor.execute(_COLUMNS, [list(tables)])
    for oid, name, *facts, domain_checks in cursor.fetchall():
        tables[oid].columns[name] = MadeUpColumn(name, *facts)
        for expression in domain_checks:
            own = re.sub(r"\bVALUE\b", _quoted(name), expression)
            tables[oid].checks.append(Check("", own, "", (name,)))
    cursor.execute(_CHECKS, [list(tables)])
    for oid, name, expression, definition, columns in cursor.fetchall():
        tables[oid].checks.append(Check(name, expression, definition, tuple(columns)))
    cursor.execute(_PARTITIONS, [list(tables)])
    taken: dict[int, list[str | None]] = {}
    for oid, partition, constraint in cursor.fetchall():
        tables[oid].partitions.append(partition)
        taken.setdefault(oid, []).append(constraint)
    for oid, constraints in taken.items():
        known = [each for each in constraints if each is not None and "NOT (" not in each and _HASHED not in each]
        if len(known) == len(constraints):  # else there is a place for any row
            expression = " OR ".join(f"({each})" for each in known)
            tables[oid].checks.append(Check("", expression, "", _words(expression, tables[oid].columns)))
    cursor.execute(_FOREIGN_KEYS, [list(tables)])
    for oid, parent, columns, keys in cursor.fetchall():
        tables[oid].foreign_keys.append((parent, columns, keys))
    return tables


def _words(expression: str, among: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in among if re.search(rf"\b{re.escape(name)}\b", expression))


def fill(
    cursor: PgCursor,
    only: Collection[str] | None = None,
    count: int | None = None,
    alike: Statistics | None = None,
) -> Filled:
    """Fill these tables, or all, and those that they refer to; in a transaction of its own, on a scratch database.

    `count`: how many rows each of them gets; by default `ROWS`. `alike`: what their values are to be like.
    """
    count, alike = count or ROWS, alike or {}
    tables = read_tables(cursor)
    wanted = _with_parents(tables, {t.oid for t in tables.values() if only is None or not _names(t).isdisjoint(only)})
    filled = Filled()
    cursor.execute("BEGIN")
    cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    if cursor.fetchall() == [(True,)]:
        cursor.execute("SET LOCAL session_replication_role = replica")  # no trigger, and no foreign key's either
    for table in _parents_first(tables, wanted):
        filled.tables[table.name] = table
        cursor.execute("SAVEPOINT one_table")
        try:
            filled.counts[table.name] = _fill(cursor, table, tables, count, alike.get(table.name, {}))
            filled.counts |= _in_partitions(cursor, table)
        except (psycopg2.Error, _CannotBeFilled) as error:
            cursor.execute("ROLLBACK TO SAVEPOINT one_table")
            filled.counts[table.name] = 0
            filled.empty[table.name] = driver_text(error)
        cursor.execute("RELEASE SAVEPOINT one_table")
    cursor.execute("COMMIT")
    cursor.execute("ANALYZE")
    return filled


def _names(table: MadeUpTable) -> set[str]:
    return {table.name, *table.partitions}


def _in_partitions(cursor: PgCursor, table: MadeUpTable) -> dict[str, int]:
    if not table.partitions:
        return {}
    cursor.execute(f"SELECT tableoid::regclass::text, count(*) FROM {table.name} GROUP BY 1")
    return dict(cursor.fetchall())


class _CannotBeFilled(Exception):
    """No value could be made up for a column that must have one."""


def _with_parents(tables: dict[int, MadeUpTable], wanted: set[int]) -> set[int]:
    found = set(wanted)
    while more := {p for oid in found for p, _c, _k in tables[oid].foreign_keys if p in tables} - found:
        found |= more
    return found


def _parents_first(tables: dict[int, MadeUpTable], wanted: set[int]) -> list[MadeUpTable]:
    """Each after those it refers to; in a circle, a foreign key that may be NULL does not count."""
    order: list[MadeUpTable] = []
    left = dict.fromkeys(oid for oid in tables if oid in wanted)
    while left:
        ready = [oid for oid in left if not _waits_for(tables[oid], left, strict=True)]
        ready = ready or [oid for oid in left if not _waits_for(tables[oid], left, strict=False)] or list(left)
        order.append(tables[ready[0]])
        del left[ready[0]]
    return order


def _waits_for(table: MadeUpTable, left: Iterable[int], *, strict: bool) -> bool:
    return any(
        parent in left and parent != table.oid and (strict or any(table.columns[name].not_null for name in names))
        for parent, names, _keys in table.foreign_keys
    )


def _fill(
    cursor: PgCursor, table: MadeUpTable, tables: dict[int, MadeUpTable], rows: int, alike: Mapping[str, Alike]
) -> int:
    for column in table.columns.values():
        if not column.fills_itself:
            maker = maker_of(column)
            if maker is not None:
                table.makers[column.name] = maker
            elif column.not_null and not column.has_default:
                raise _CannotBeFilled(f"no value is known for {column.name} ({column.declared})")
    for place, (parent, names, keys) in enumerate(table.foreign_keys):
        _refer(cursor, table, tables, parent, names, keys, place, rows)
    unmet = _keep_to_checks(cursor, table)
    _be_alike(cursor, table, alike, rows)
    for check in unmet:
        cursor.execute(f"ALTER TABLE {table.name} DROP CONSTRAINT {_quoted(check.name)}")
    names = list(table.makers)
    listed = ", ".join(map(_quoted, names))
    if not names:
        cursor.execute(f"INSERT INTO {table.name} SELECT FROM generate_series(1, {rows})")
    else:
        cursor.execute(f"CREATE TEMP TABLE made_up ON COMMIT DROP AS SELECT {listed} FROM {table.name} LIMIT 0")
        text = "".join(
            "\t".join(_copied(table.makers[name](number)) for name in names) + "\n" for number in range(1, rows + 1)
        )
        cursor.copy_expert("COPY made_up FROM STDIN", io.StringIO(text))
        cursor.execute(f"INSERT INTO {table.name} ({listed}) SELECT {listed} FROM made_up ON CONFLICT DO NOTHING")
    made = cursor.rowcount
    if names:
        cursor.execute("DROP TABLE made_up")
    for check in unmet:
        valid = check.definition if check.definition.endswith("NOT VALID") else f"{check.definition} NOT VALID"
        cursor.execute(f"ALTER TABLE {table.name} ADD CONSTRAINT {_quoted(check.name)} {valid}")
    return made


def _refer(
    cursor: PgCursor,
    table: MadeUpTable,
    tables: dict[int, MadeUpTable],
    parent: int,
    names: list[str],
    keys: list[str],
    place: int,
    rows: int,
) -> None:
    """Let columns refer to rows that are there, each foreign key going through them in another order."""
    listed = ", ".join(f"{_quoted(key)}::text" for key in keys)
    there: list[tuple[str, ...]] = []
    if parent in tables and parent != table.oid:
        cursor.execute(f"SELECT {listed} FROM {tables[parent].name} ORDER BY {_quoted(keys[0])} LIMIT {rows}")
        there = cursor.fetchall()
    if not there:
        if required := [name for name in names if table.columns[name].not_null]:
            raise _CannotBeFilled(f"{', '.join(required)} must refer to a row of a table that has none")
        table.makers.update(dict.fromkeys(names, null))
        return
    count = len(there)

    def chosen(number: int) -> tuple[str, ...]:
        return there[(number + place * (number // count)) % count]

    for position, name in enumerate(names):
        table.makers[name] = lambda number, position=position: chosen(number)[position]  # type: ignore[misc]


def _keep_to_checks(cursor: PgCursor, table: MadeUpTable) -> list[Check]:
    """Change makers until each CHECK holds for the rows that are tried; those that never do are returned."""
    unmet = []
    for check in table.checks:
        if _holds(cursor, table, [check], table.makers):
            continue
        names = [name for name in check.columns if name in table.makers]
        touching = [c for c in table.checks if set(c.columns) & set(names) and c not in unmet]
        offers = [
            offers_for(table.columns[name], table.makers[name], [c.expression for c in touching if name in c.columns])
            for name in names
        ]
        for makers in itertools.islice(itertools.product(*offers), _TRIED_COMBINATIONS):
            tried = table.makers | dict(zip(names, makers, strict=True))
            if _holds(cursor, table, touching, tried):
                table.makers = tried
                break
        else:
            if not check.name:
                raise _CannotBeFilled(f"no value is known that {check.expression} allows")
            unmet.append(check)
    return unmet


def _be_alike(cursor: PgCursor, table: MadeUpTable, alike: Mapping[str, Alike], rows: int) -> None:
    """Change makers to values as wide as live ones, and out of order, where no rule speaks against it."""
    referring = {name for _parent, names, _keys in table.foreign_keys for name in names}
    together = {name for _parent, names, _keys in table.foreign_keys if len(names) > 1 for name in names}
    ruled = {name for check in table.checks for name in check.columns}
    for name, maker in list(table.makers.items()):
        if name not in alike:
            continue
        if name not in referring:
            tried = table.makers | {name: as_wide(maker, table.columns[name], alike[name])}
            if name not in ruled or _holds(cursor, table, [c for c in table.checks if name in c.columns], tried):
                table.makers = tried
        if name not in together | ruled:
            table.makers[name] = in_live_order(table.makers[name], alike[name], rows)


def _holds(cursor: PgCursor, table: MadeUpTable, checks: Sequence[Check], makers: dict[str, Maker]) -> bool:
    columns = [column for column in table.columns.values() if column.name in makers]
    if not columns:
        return False
    row = ", ".join(f"%s::{column.declared}" for column in columns)
    values = [makers[column.name](number) for number in _TRIED_ROWS for column in columns]
    left_out = [f"NULL::{c.declared} AS {_quoted(c.name)}" for c in table.columns.values() if c not in columns]
    made = (
        f"(SELECT {', '.join(['v.*', *left_out])} FROM (VALUES {', '.join([f'({row})'] * len(_TRIED_ROWS))})"
        f" AS v ({', '.join(_quoted(column.name) for column in columns)})) AS made"
    )
    wanted = " AND ".join(f"(({check.expression}) IS NOT FALSE)".replace("%", "%%") for check in checks)
    cursor.execute("SAVEPOINT trying")
    try:
        cursor.execute(f"SELECT coalesce(bool_and({wanted}), false) FROM {made}", values)
        return bool(cursor.fetchall()[0][0])
    except psycopg2.Error:
        cursor.execute("ROLLBACK TO SAVEPOINT trying")
        return False
    finally:
        cursor.execute("RELEASE SAVEPOINT trying")


def _copied(value: Any) -> str:
    if value is None:
        return "\\N"
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")  # type: ignore[no-any-return]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
