"""From what the catalog was before a migration and is after it to what that presumes of rows.

Read off the catalog, SQL of one's own and every operation come out alike. Tables and columns are known by oid and
number, so that a new name makes no new thing. How a type is changed is in the statement alone, and is taken from there.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rupaya.migrator.foresight.presumption import (
    CHECK,
    EMPTY,
    EXCLUSION,
    EXPRESSION,
    FOREIGN_KEY,
    INDEX_SIZE,
    LONGEST_KEY_BYTES,
    MATCH_FULL,
    NOT_NULL,
    TYPE,
    UNIQUE,
    Presumed,
    Presumption,
)
from rupaya.migrator.schema.diff import INTEGERS

_TABLES = """
    SELECT c.oid, CASE WHEN n.nspname = current_schema() THEN c.relname ELSE n.nspname || '.' || c.relname END
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
      AND NOT starts_with(c.relname, 'migrator_') AND c.relname <> 'django_migrations'
"""
_COLUMNS = """
    SELECT a.attrelid, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
           a.atthasdef OR a.atthasmissing OR a.attidentity <> '' OR a.attgenerated <> '', t.typcategory = 'S'
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = ANY(%(tables)s) AND a.attnum > 0 AND NOT a.attisdropped
"""
_RELATIONS = """
    SELECT CASE WHEN n.nspname = current_schema() THEN c.relname ELSE n.nspname || '.' || c.relname END,
           ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0
                 AND NOT a.attisdropped ORDER BY a.attnum)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
      AND NOT starts_with(c.relname, 'migrator_') AND c.relname <> 'django_migrations' ORDER BY 1
"""
# What an extension brings is its own, and a trigger's function is called by nobody else.
_ROUTINES = """
    SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND NOT starts_with(p.proname, 'migrator_')
      AND NOT p.prorettype = ANY ('{trigger,event_trigger}'::regtype[]) AND NOT EXISTS (
          SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e')
"""
_TYPES = """
    SELECT format_type(t.oid, NULL) FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    LEFT JOIN pg_class c ON c.oid = t.typrelid
    WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND NOT starts_with(t.typname, 'migrator_')
      AND (t.typtype IN ('e', 'd', 'r') OR c.relkind = 'c') AND NOT EXISTS (
          SELECT FROM pg_depend e WHERE e.classid = 'pg_type'::regclass AND e.objid = t.oid AND e.deptype = 'e')
"""
_CONSTRAINTS = """
    SELECT c.oid, c.conrelid, c.conname, c.contype::text, c.convalidated, c.conkey, c.confrelid, c.confkey,
           CASE WHEN coalesce((to_jsonb(c) ->> 'conperiod')::boolean, false) THEN 'PERIOD'
                WHEN c.confmatchtype = 'f' THEN 'MATCH FULL' ELSE pg_get_expr(c.conbin, c.conrelid, true) END
    FROM pg_constraint c WHERE c.conrelid = ANY(%(tables)s) AND c.contype IN ('c', 'f', 'x')
"""
# to_jsonb, because PostgreSQL 14 has no indnullsnotdistinct.
_INDEXES = """
    SELECT i.indexrelid, i.indrelid, c.relname,
           ARRAY(SELECT pg_get_indexdef(i.indexrelid, n, true) FROM generate_series(1, i.indnkeyatts) n),
           coalesce(pg_get_expr(i.indpred, i.indrelid, true), ''),
           NOT coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false),
           ARRAY(SELECT DISTINCT d.refobjsubid FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                 AND d.objid = i.indexrelid AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid
                 UNION SELECT k FROM unnest(i.indkey) k WHERE k > 0)
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = ANY(%(tables)s) AND i.indisunique AND i.indisvalid AND i.indisready
"""
# What a domain demands of each column that has it; NULL: that it is not NULL.
_DOMAINS = """
    SELECT 'k' || k.oid, a.attrelid, a.attnum, k.conname, pg_get_expr(k.conbin, 0)
    FROM pg_constraint k JOIN pg_attribute a ON a.atttypid = k.contypid AND NOT a.attisdropped
    WHERE k.contype = 'c' AND k.convalidated AND a.attrelid = ANY(%(tables)s) AND a.attnum > 0
    UNION ALL
    SELECT 't' || t.oid, a.attrelid, a.attnum, t.typname, NULL FROM pg_type t JOIN pg_attribute a ON a.atttypid = t.oid
    WHERE t.typtype = 'd' AND t.typnotnull AND a.attrelid = ANY(%(tables)s) AND a.attnum > 0
"""
# Of an index, all that it computes, and which rows it is about; of a stored column, how it is generated.
_EXPRESSIONS = """
    SELECT 'i' || i.indexrelid, i.indrelid, c.relname,
           coalesce('ROW(' || pg_get_expr(i.indexprs, i.indrelid, true) || ')', 'true'),
           coalesce(pg_get_expr(i.indpred, i.indrelid, true), 'true')
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = ANY(%(tables)s) AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)
    UNION ALL
    SELECT 'c' || d.oid, d.adrelid, a.attname, pg_get_expr(d.adbin, d.adrelid, true), 'true'
    FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
    WHERE d.adrelid = ANY(%(tables)s) AND a.attgenerated = 's'
"""
# Columns of B-trees whose values may be longer than there is room for: four bytes a character at most.
_LONG_KEYS = """
    SELECT i.indexrelid, i.indrelid, c.relname, k.columns, coalesce(pg_get_expr(i.indpred, i.indrelid, true), '')
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam AND m.amname = 'btree',
    LATERAL (SELECT array_agg(a.attnum::integer ORDER BY a.attnum) AS columns FROM pg_attribute a
             JOIN pg_type t ON t.oid = a.atttypid
             WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) AND a.attlen = -1
               AND a.attstorage IN ('x', 'e')
               AND (a.atttypmod < 0 OR t.typname NOT IN ('varchar', 'bpchar') OR (a.atttypmod - 4) * 4 > %(longest)s)) k
    WHERE i.indrelid = ANY(%(tables)s) AND i.indisvalid AND i.indisready AND k.columns IS NOT NULL
"""
# Which rows a partition may hold; those of a default one change with each partition beside it.
_BOUNDS = """
    SELECT c.oid, pg_get_partition_constraintdef(c.oid) FROM pg_class c
    WHERE c.oid = ANY(%(tables)s) AND c.relispartition
"""
_HASHED = "satisfies_hash_partition"  # it has the parent's oid in it, which is another one elsewhere
_USING = re.compile(
    r'ALTER\s+(?:COLUMN\s+)?(?P<column>"(?:[^"]|"")+"|\w+)\s+(?:SET\s+DATA\s+)?TYPE\s+.*?\bUSING\s+(?P<rest>.*)',
    re.IGNORECASE | re.DOTALL,
)


@dataclass
class Facts:
    """What the catalog has at one moment, by identity."""

    tables: dict[int, str] = field(default_factory=dict)
    columns: dict[tuple[int, int], tuple[str, str, bool, bool, bool]] = field(default_factory=dict)
    """Name, type, whether it is NOT NULL, whether something fills it, and whether it holds texts."""
    constraints: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    indexes: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    expressions: dict[str, tuple[int, str, str, str]] = field(default_factory=dict)
    """Table, name, expression and condition, of indexes and of stored columns."""
    long_keys: dict[int, tuple[int, str, list[int], str]] = field(default_factory=dict)
    """Table, name, numbers of columns whose values may be too long, and condition, of B-trees."""
    domains: dict[tuple[str, int, int], tuple[str, str | None]] = field(default_factory=dict)
    """Name and condition, by the demand, the table and the column."""
    bounds: dict[int, str] = field(default_factory=dict)
    """Of partitions, by table."""
    relations: dict[str, list[str]] = field(default_factory=dict)
    """Tables, views and materialized views, by what they are called now, with their columns."""
    routines: frozenset[str] = frozenset()
    """Functions and procedures, with their arguments."""
    types: frozenset[str] = frozenset()

    def name(self, table: int, number: int) -> str:
        return self.columns[table, number][0]

    def names(self, table: int, numbers: Iterable[int]) -> tuple[str, ...]:
        """The names of columns, in the order of their numbers as given."""
        return tuple(self.columns[table, number][0] for number in numbers if (table, number) in self.columns)


def read_facts(cursor: Any) -> Facts:
    """What is there now."""
    facts = Facts()
    cursor.execute(_TABLES)
    facts.tables = dict(cursor.fetchall())
    tables = {"tables": list(facts.tables)}
    cursor.execute(_COLUMNS, tables)
    facts.columns = {(table, number): tuple(rest) for table, number, *rest in cursor.fetchall()}
    cursor.execute(_CONSTRAINTS, tables)
    facts.constraints = {oid: tuple(rest) for oid, *rest in cursor.fetchall()}
    cursor.execute(_INDEXES, tables)
    facts.indexes = {oid: tuple(rest) for oid, *rest in cursor.fetchall()}
    cursor.execute(_EXPRESSIONS, tables)
    facts.expressions = {key: tuple(rest) for key, *rest in cursor.fetchall()}
    cursor.execute(_LONG_KEYS, tables | {"longest": LONGEST_KEY_BYTES})
    facts.long_keys = {oid: tuple(rest) for oid, *rest in cursor.fetchall()}
    cursor.execute(_DOMAINS, tables)
    facts.domains = {
        (key, table, number): (name, expression) for key, table, number, name, expression in cursor.fetchall()
    }
    cursor.execute(_BOUNDS, tables)
    facts.bounds = {oid: bounds for oid, bounds in cursor.fetchall() if bounds}
    cursor.execute(_RELATIONS)
    facts.relations = dict(cursor.fetchall())
    cursor.execute(_ROUTINES)
    facts.routines = frozenset(name for (name,) in cursor.fetchall())
    cursor.execute(_TYPES)
    facts.types = frozenset(name for (name,) in cursor.fetchall())
    return facts


def presumed(before: Facts, after: Facts, statements: Iterable[str], *, file_hash: str, writes: list[str]) -> Presumed:
    """What a migration presumes that led from one catalog to the other by these statements."""
    found = Presumed(file_hash, writes=writes)
    for table, name in after.tables.items():
        if table not in before.tables:
            found.made.append(name)
        elif before.tables[table] != name:
            found.renamed_tables[name] = before.tables[table]
    for (table, number), (name, *_rest) in after.columns.items():
        if table not in before.tables:
            continue
        if (table, number) not in before.columns:
            found.added.setdefault(after.tables[table], []).append(name)
        elif before.name(table, number) != name:
            found.renamed_columns.setdefault(after.tables[table], {})[name] = before.name(table, number)
    found.removed = _removed(before, after)
    found.removed_routines = sorted(before.routines - after.routines)
    found.removed_types = sorted(before.types - after.types)
    found.made.sort()
    empty = {
        (table, name)
        for (table, number), (name, _type, _not_null, is_filled, _is_text) in after.columns.items()
        if (table, number) not in before.columns and not is_filled and not writes
    }
    by_name = {name: table for table, name in after.tables.items()}
    found.presumptions = sorted(
        (
            item
            for item in (
                *_of_columns(before, after, list(statements)),
                *_of_constraints(before, after),
                *_of_indexes(before, after),
                *_of_expressions(before, after),
                *_of_long_keys(before, after),
                *_of_bounds(before, after),
                *_of_domains(before, after),
            )
            # A new column that holds nothing is no double of another, and refers to nothing.
            if not (
                (item.kind == FOREIGN_KEY or (item.kind == UNIQUE and item.nulls_distinct))
                and any((by_name[item.table], column) in empty for column in item.columns)
            )
        ),
        key=lambda item: (item.table, item.kind, item.name),
    )
    return found


def _removed(before: Facts, after: Facts) -> dict[str, list[str]]:
    """What those who go on using the names of before would not find any more."""
    there, found = after.relations, dict[str, list[str]]()
    for name, columns in before.relations.items():
        gone = [column for column in columns if column not in there[name]] if name in there else []
        if gone or name not in there:
            found[name] = gone
    return found


def _of_columns(before: Facts, after: Facts, statements: list[str]) -> Iterator[Presumption]:
    for (table, number), (name, type_, not_null, is_filled, _is_text) in after.columns.items():
        if table not in before.tables:
            continue
        where = after.tables[table]
        old = before.columns.get((table, number))
        if old is None:
            if not_null and not is_filled:
                yield Presumption(EMPTY, where, name, ())
            continue
        if not_null and not old[2]:
            yield Presumption(NOT_NULL, where, name, (name,))
        if type_ != old[1] and not _is_wider(old[1], type_):
            using = _using(statements, name, old[0])
            there = [one for one in _mentioned(after, table, using) if one != name]
            yield Presumption(
                TYPE,
                where,
                name,
                (name, *(one for one in there if (table, _number(after, table, one)) in before.columns)),
                old_type=old[1],
                new_type=type_,
                using=using,
                is_text=old[4],
            )


def _of_constraints(before: Facts, after: Facts) -> Iterator[Presumption]:
    for oid, (table, name, kind, validated, key, target, target_key, expression) in after.constraints.items():
        if table not in before.tables or not (validated or kind == "x"):
            continue
        old = before.constraints.get(oid)
        if old is not None and old[3]:
            continue
        columns = after.names(table, key or ())
        if kind == "c":
            yield Presumption(CHECK, after.tables[table], name, columns, condition=expression)
        elif kind == "x" or expression == "PERIOD":
            yield Presumption(EXCLUSION, after.tables[table], name, columns)
        elif target in after.tables:
            yield Presumption(
                FOREIGN_KEY,
                after.tables[table],
                name,
                columns,
                keys=columns,
                condition=MATCH_FULL if expression == MATCH_FULL else "",
                target=after.tables[target],
                target_keys=after.names(target, target_key),
            )


def _of_indexes(before: Facts, after: Facts) -> Iterator[Presumption]:
    """Unique indexes that are new. One that was only rebuilt, its columns' types as before, demands nothing."""
    for oid, (table, name, keys, condition, nulls_distinct, numbers) in after.indexes.items():
        if table not in before.tables or oid in before.indexes:
            continue
        is_again = any(
            old[0] == table and old[2:] == (keys, condition, nulls_distinct, numbers) for old in before.indexes.values()
        ) and all(_as_before(before, after, table, number) for number in numbers if number > 0)
        if is_again:
            continue
        yield Presumption(
            UNIQUE,
            after.tables[table],
            name,
            after.names(table, sorted(numbers)),
            keys=tuple(keys),
            condition=condition,
            nulls_distinct=nulls_distinct,
        )


def _of_expressions(before: Facts, after: Facts) -> Iterator[Presumption]:
    """What is computed of every row that is there, and may fail for one; not what was computed before already."""
    known = {(table, expression, condition) for table, _name, expression, condition in before.expressions.values()}
    for key, (table, name, expression, condition) in after.expressions.items():
        if table not in before.tables or key in before.expressions or (table, expression, condition) in known:
            continue
        columns = tuple(_mentioned(after, table, f"{expression} {condition}"))
        if not cannot_fail(expression, columns) or not cannot_fail(condition, columns):
            yield Presumption(EXPRESSION, after.tables[table], name, columns, condition=expression, using=condition)


def _of_long_keys(before: Facts, after: Facts) -> Iterator[Presumption]:
    """Values that no B-tree has room for; those that one on the same columns and rows has, have it."""
    for oid, (table, name, numbers, condition) in after.long_keys.items():
        if oid in before.long_keys:
            continue
        had = {
            number
            for old_table, _name, old_numbers, old_condition in before.long_keys.values()
            if (old_table, old_condition) == (table, condition)
            for number in old_numbers
        }
        keys = after.names(table, (n for n in numbers if n not in had and (table, n) in before.columns))
        if keys:
            needed = tuple(dict.fromkeys([*keys, *_mentioned(after, table, condition)]))
            yield Presumption(INDEX_SIZE, after.tables[table], name, needed, keys=keys, condition=condition)


_CONSTANT = re.compile(r"'(?:[^']|'')*'(?:::[\w ]+(?:\(\d+\))?(?:\[\])?)?")
_AS_TEXT = re.compile(r"::(?:text|character varying|bpchar)(?:\(\d+\))?(?:\[\])?")
_TOKEN = re.compile(r'"(?:[^"]|"")+"|\w+|[(),\[\]]|[^\s\w(),\[\]]+')
_HARMLESS = frozenset(
    "( ) , [ ] = <> < > <= >= || ~~ and or not is null true false in any all array row case when then else end distinct"
    " from lower upper coalesce length btrim ltrim rtrim nullif md5 concat collate".split()
)


def cannot_fail(expression: str, columns: Collection[str]) -> bool:
    """Whether an expression surely has a value for every row: a list of what has, because anything else may fail."""
    rest = _AS_TEXT.sub("", _CONSTANT.sub("0", expression))
    names = {name.lower() for name in columns}
    return all(
        token.lower() in _HARMLESS or token.isdigit() or token.strip('"').replace('""', '"').lower() in names
        for token in _TOKEN.findall(rest)
    )


def _of_bounds(before: Facts, after: Facts) -> Iterator[Presumption]:
    for table, bounds in after.bounds.items():
        if table not in before.tables or before.bounds.get(table) == bounds:
            continue
        columns = tuple(_mentioned(after, table, bounds))
        kind = EXCLUSION if _HASHED in bounds else CHECK
        yield Presumption(kind, after.tables[table], "of its partition", columns, condition=bounds)


def _of_domains(before: Facts, after: Facts) -> Iterator[Presumption]:
    """Of columns that had the domain before; a column that gets it is converted, and asked as that."""
    for (key, table, number), (name, expression) in after.domains.items():
        old, new = before.columns.get((table, number)), after.columns[table, number]
        if old is None or old[1] != new[1] or (key, table, number) in before.domains:
            continue
        where, column = after.tables[table], new[0]
        if expression is None:
            yield Presumption(NOT_NULL, where, column, (column,))
        else:
            quoted = '"' + column.replace('"', '""') + '"'
            condition = re.sub(r"\bVALUE\b", lambda _match, quoted=quoted: quoted, expression)  # type: ignore[misc]
            yield Presumption(CHECK, where, name, (column,), condition=condition)


def _mentioned(facts: Facts, table: int, expression: str) -> list[str]:
    """The columns of a table that an expression may have, by their names."""
    names = [name for (of, _number), (name, *_rest) in sorted(facts.columns.items()) if of == table]
    return [name for name in names if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", expression.replace('""', '"'))]


def _number(facts: Facts, table: int, wanted: str) -> int:
    return next(number for (of, number), (name, *_rest) in facts.columns.items() if (of, name) == (table, wanted))


def _as_before(before: Facts, after: Facts, table: int, number: int) -> bool:
    """Whether what differed in a column differs still."""
    old, new = before.columns.get((table, number)), after.columns[table, number]
    return old is not None and (old[1] == new[1] or _is_wider(old[1], new[1]))


_VARCHAR = re.compile(r"(character varying|character|bit varying|varchar)(?:\((\d+)\))?$")


def _is_wider(old: str, new: str) -> bool:
    """Whether the new type surely holds every value of the old one: no question is asked then."""
    if new == "text" and _VARCHAR.match(old):
        return True
    before, after = _VARCHAR.match(old), _VARCHAR.match(new)
    if before and after and before[1] == after[1]:
        return not after[2] or (bool(before[2]) and int(before[2]) <= int(after[2]))
    if old in INTEGERS and new in INTEGERS:
        return INTEGERS.index(old) <= INTEGERS.index(new)
    return (old, new) == ("real", "double precision")


def _using(statements: list[str], new_name: str, old_name: str) -> str:
    """The expression that the migration gives for a column's new type; empty: it gives none."""
    for statement in statements:
        # Each ALTER COLUMN of a statement is looked at by itself.
        for start in re.finditer(r"\bALTER\b", statement, re.IGNORECASE):
            found = _USING.match(statement, start.start())
            if found is None or re.search(r"\bALTER\b", statement[start.end() : found.start("rest")], re.IGNORECASE):
                continue
            column = found["column"]
            column = column[1:-1].replace('""', '"') if column.startswith('"') else column.lower()
            if column in (new_name, old_name):
                return _up_to_its_end(found["rest"])
    return ""


def _up_to_its_end(text: str) -> str:
    """An expression up to the comma or semicolon that ends it: outside brackets and quotes."""
    depth, quote = 0, ""
    for place, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "([":
            depth += 1
        elif character in ")]":
            depth -= 1
        elif character in ",;" and not depth:
            return text[:place].strip()
    return text.strip()
