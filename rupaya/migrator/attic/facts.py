"""What PostgreSQL says of a column or table that is to be put away: what hangs on it, and what is in the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import DatabaseError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.migrator.attic.item import Fact
from rupaya.migrator.errors import sqlstate

_OID = "to_regclass(quote_ident(%s))"
_KINDS = "CASE c.contype WHEN 'f' THEN 'foreign key' WHEN 'c' THEN 'check' WHEN 'x' THEN 'exclusion' ELSE 'unique' END"
_TABLE_NAME = "(SELECT quote_ident(r.relname) FROM pg_class r WHERE r.oid = c.conrelid)"
DEPENDENT_OBJECTS_STILL_EXIST = "2BP01"


@dataclass(frozen=True)
class ColumnFacts:
    """A column as it stands."""

    not_null: bool
    default: str | None
    is_identity: bool
    is_primary: bool
    is_unique: bool
    """Whether two rows may not have the same in it, alone or with others."""


def column(connection: BaseDatabaseWrapper, table: str, name: str) -> ColumnFacts | None:
    """A column; None if it is not there."""
    rows = fetch(
        connection,
        "SELECT a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attidentity <> '', "
        "EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary "
        "        AND a.attnum = ANY (i.indkey::int2[])), "
        "EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisunique "
        "        AND a.attnum = ANY (i.indkey::int2[])) "
        "FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum "
        f"AND a.attgenerated = '' WHERE a.attrelid = {_OID} AND a.attname = %s AND a.attnum > 0 "
        "AND NOT a.attisdropped",
        [table, name],
    )
    return ColumnFacts(*rows[0]) if rows else None


def is_there(connection: BaseDatabaseWrapper, table: str) -> bool:
    """Whether there is anything of a table's name."""
    return bool(fetch(connection, f"SELECT {_OID} IS NOT NULL", [table])[0][0])


def why_not(connection: BaseDatabaseWrapper, table: str) -> str:
    """Why nothing of a table can be put away; empty: it can."""
    rows = fetch(
        connection,
        "SELECT relkind = 'p', relispartition, EXISTS (SELECT FROM pg_inherits WHERE r.oid IN (inhrelid, inhparent)) "
        f"FROM pg_class r WHERE r.oid = {_OID}",
        [table],
    )
    is_partitioned, is_partition, inherits = rows[0] if rows else (False, False, False)
    if is_partitioned:
        return "it is partitioned, and its partitions would stay where they are"
    if is_partition:
        return "it is a partition"
    return "it inherits from another table, or another one from it" if inherits else ""


def constraints_of_column(connection: BaseDatabaseWrapper, table: str, name: str) -> list[Fact]:
    """All that would refuse a living row because of a column that nobody fills any more: foreign keys from and to it,
    every CHECK that mentions it, unique constraints and indexes to which NULL is a value or which have an expression or
    a condition, exclusion constraints that are not plain.
    """
    number = f"(SELECT attnum FROM pg_attribute WHERE attrelid = {_OID} AND attname = %s)"
    found = fetch(
        connection,
        f"SELECT {_TABLE_NAME}, c.conname, {_KINDS}, pg_get_constraintdef(c.oid) FROM pg_constraint c "
        "LEFT JOIN pg_index i ON i.indexrelid = c.conindid AND c.contype IN ('u', 'x') WHERE c.conparentid = 0 AND ("
        f"c.conrelid = {_OID} AND {number} = ANY (c.conkey) AND (c.contype IN ('f', 'c') "
        " OR c.contype IN ('u', 'x') AND pg_get_indexdef(i.indexrelid) ~ 'NULLS NOT DISTINCT') "
        f"OR c.contype = 'f' AND c.confrelid = {_OID} AND {number} = ANY (c.confkey) "
        f"OR c.contype = 'x' AND c.conrelid = {_OID} AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL) "
        " AND EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_constraint'::regclass AND d.objid = c.oid "
        f" AND d.refobjid = c.conrelid AND d.refobjsubid = {number})) ORDER BY 1, 2",
        [table, table, name, table, table, name, table, table, name],
    )
    indexes = fetch(
        connection,
        "SELECT DISTINCT quote_ident(t.relname), r.relname, 'index', pg_get_indexdef(i.indexrelid) FROM pg_index i "
        "JOIN pg_class r ON r.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid "
        "JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid "
        "AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid "
        f"WHERE i.indrelid = {_OID} AND d.refobjsubid = {number} AND i.indisunique "
        "AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL "
        "     OR pg_get_indexdef(i.indexrelid) ~ 'NULLS NOT DISTINCT') "
        "AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid AND c.contype IN ('p', 'u', 'x')) "
        "ORDER BY 2",
        [table, table, name],
    )
    return [_fact(row) for row in (*found, *indexes)]


def foreign_keys_of_table(connection: BaseDatabaseWrapper, table: str) -> list[Fact]:
    """Foreign keys from a table to others and from others to it."""
    return [
        _fact(row)
        for row in fetch(
            connection,
            f"SELECT {_TABLE_NAME}, c.conname, {_KINDS}, pg_get_constraintdef(c.oid) FROM pg_constraint c "
            f"WHERE c.contype = 'f' AND c.conparentid = 0 AND {_OID} IN (c.conrelid, c.confrelid) "
            "AND c.conrelid <> c.confrelid ORDER BY 1, 2",
            [table],
        )
    ]


def indexes(connection: BaseDatabaseWrapper, table: str, name: str = "") -> list[str]:
    """The indexes of a table, or those in which a column is."""
    return [
        index
        for (index,) in fetch(
            connection,
            "SELECT DISTINCT r.relname FROM pg_index i JOIN pg_class r ON r.oid = i.indexrelid "
            "LEFT JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND ("
            "  d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid OR d.classid = 'pg_constraint'::regclass "
            "  AND d.objid IN (SELECT c.oid FROM pg_constraint c WHERE c.conindid = i.indexrelid "
            "                  AND c.conrelid = i.indrelid)) "
            "LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = d.refobjsubid AND a.attnum > 0 "
            f"WHERE i.indrelid = {_OID} AND %s IN ('', a.attname) ORDER BY 1",
            [table, name],
        )
    ]


def sequences(connection: BaseDatabaseWrapper, table: str, name: str = "") -> list[str]:
    """The sequences that a table's columns own, or one column's."""
    return [
        sequence
        for (sequence,) in fetch(
            connection,
            "SELECT s.relname FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' "
            "JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid "
            "WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass "
            f"AND d.deptype IN ('a', 'i') AND d.refobjid = {_OID} AND %s IN ('', a.attname) ORDER BY 1",
            [table, name],
        )
    ]


def what_depends(connection: BaseDatabaseWrapper, drop: str) -> str:
    """What PostgreSQL names that would have to be dropped too; empty if nothing. Nothing is dropped.

    PostgreSQL is asked by doing it and taking it back: a rename succeeds where a view or a trigger would follow it.
    """
    try:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            cursor.execute(drop)
            raise _TakeBack
    except _TakeBack:
        return ""
    except DatabaseError as error:
        if sqlstate(error) != DEPENDENT_OBJECTS_STILL_EXIST:
            raise
        detail = getattr(getattr(error.__cause__, "diag", None), "message_detail", None)
        return "; ".join((detail or str(error)).splitlines())


class _TakeBack(Exception):
    """Ends the transaction in which something was tried."""


@contextmanager
def short_transaction(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """A transaction in which no constraint is put off to its end: what was put off keeps a table from being altered."""
    with transaction.atomic(using=connection.alias):
        execute(connection, "SET CONSTRAINTS ALL IMMEDIATE")
        yield


def execute(connection: BaseDatabaseWrapper, sql: str) -> int:
    """Execute a statement as it is; the number of rows that it changed."""
    with connection.cursor() as cursor:
        cursor.execute(sql, None)
        return int(cursor.rowcount)


def fetch(connection: BaseDatabaseWrapper, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """The rows of a query."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters or None)
        return list(cursor.fetchall())


def _fact(row: Sequence[Any]) -> Fact:
    return dict(zip(("table", "name", "kind", "definition"), row, strict=True))
