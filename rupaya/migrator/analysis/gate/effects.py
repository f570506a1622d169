"""What an operation did to things that were there before, known by identity: a new name makes no new thing.

PostgreSQL knows a table by its oid and a column by its number; whatever an operation is called, these show what it did.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

_RELATIONS = """
    SELECT c.oid, c.oid::regclass::text, n.nspname || '.' || c.relname, c.relkind::text
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND c.relname <> 'django_migrations' AND NOT starts_with(c.relname, 'migrator_')
"""
_COLUMNS = """
    SELECT attrelid, attnum, attname, format_type(atttypid, atttypmod), attnotnull,
           NOT atthasdef AND attidentity = '' AND attgenerated = ''
    FROM pg_attribute WHERE attrelid = ANY(%s) AND attnum > 0 AND NOT attisdropped
"""
_PRIMARY_KEYS = "SELECT conrelid FROM pg_constraint WHERE contype = 'p' AND conrelid = ANY(%s)"
_INDEXES = """
    SELECT indexrelid, indexrelid::regclass::text, indrelid, indnkeyatts, indisunique
    FROM pg_index WHERE indrelid = ANY(%s)
"""


@dataclass
class Inventory:
    """The relations, columns, primary keys and indexes of people's at one moment."""

    relations: dict[int, tuple[str, str, str]] = field(default_factory=dict)
    """As it is written, its whole name, and its kind, by oid."""
    columns: dict[tuple[int, int], tuple[str, str, bool, bool]] = field(default_factory=dict)
    """Name, type, whether it is NOT NULL, and whether nothing fills it, by oid and number."""
    primary_keys: set[int] = field(default_factory=set)
    indexes: dict[int, tuple[str, int, int, bool]] = field(default_factory=dict)
    """Name, table, number of keys, and whether it is unique, by oid."""


@dataclass(frozen=True)
class Change:
    """What became of one thing that was there before: which rule has a word on it, where, and what."""

    rule: str
    table: str
    text: str
    column: str = ""


def read(cursor: Any) -> Inventory:
    facts = Inventory()
    cursor.execute(_RELATIONS)
    facts.relations = {oid: (written, name, kind) for oid, written, name, kind in cursor.fetchall()}
    oids = list(facts.relations)
    cursor.execute(_COLUMNS, [oids])
    facts.columns = {(oid, number): tuple(rest) for oid, number, *rest in cursor.fetchall()}
    cursor.execute(_PRIMARY_KEYS, [oids])
    facts.primary_keys = {oid for (oid,) in cursor.fetchall()}
    cursor.execute(_INDEXES, [oids])
    facts.indexes = {oid: tuple(rest) for oid, *rest in cursor.fetchall()}
    return facts


def changes(before: Inventory, after: Inventory, existing: Collection[int]) -> Iterator[Change]:
    """What happened to the relations that exist for the deployed release."""
    for oid in sorted(existing):
        if oid not in before.relations or oid not in after.relations:
            continue
        table, name, kind = before.relations[oid]
        new_name = after.relations[oid][1]
        if new_name != name:
            what = {"v": "view", "m": "materialized view"}.get(kind, "table")
            yield Change("rename", table, f"{what} {name} is called {new_name} from one moment to the next")
        if oid in before.primary_keys and oid not in after.primary_keys:
            yield Change("no-primary-key", table, f"{table} has no primary key any more")
        if kind in "rp":
            yield from _of_columns(before, after, oid, table)
    for oid, (name, of, keys, unique) in after.indexes.items():
        if oid not in before.indexes and of in existing and keys > 3 and not unique:
            yield Change("wide-index", after.relations[of][0], f"index {name} has {keys} columns")


def _of_columns(before: Inventory, after: Inventory, oid: int, table: str) -> Iterator[Change]:
    for key, (name, type_name, not_null, unfilled) in after.columns.items():
        if key[0] != oid:
            continue
        old = before.columns.get(key)
        if old is None:
            if type_name == "json":
                yield Change("json", table, f"column {table}.{name} is json, which cannot be compared", name)
            if not_null and unfilled:
                told = f"column {table}.{name} is NOT NULL and the database fills it with nothing"
                yield Change("required-column", table, told, name)
            continue
        if old[0] != name:
            yield Change("rename", table, f"column {table}.{old[0]} is called {name} from one moment to the next", name)
        if old[1] != type_name:
            yield Change("type", table, f"column {table}.{name} was {old[1]} and is {type_name}", name)


def is_required(facts: Inventory, table: str, column: str) -> bool:
    """Whether no row can be inserted without naming this column."""
    return any(
        name == column and not_null and unfilled and facts.relations[oid][1].partition(".")[2] == table
        for (oid, _number), (name, _type, not_null, unfilled) in facts.columns.items()
    )


def has_column(facts: Inventory, table: str, column: str) -> bool:
    """Whether it is there, in whichever schema."""
    return any(
        name == column and facts.relations[oid][1].partition(".")[2] == table
        for (oid, _number), (name, *_rest) in facts.columns.items()
    )
