"""Publications for logical replication that an adoption would stumble over; the server itself says which."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db import Error, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.adoption.original import TABLES
from rupaya.migrator.errors import sqlstate

# No replica identity; or a row filter or a list of columns that does not go with it.
_CANNOT_BE_CHANGED = ("55000", "42P10")
_PUBLISHED_BY = """
    SELECT quote_ident(pubname), EXISTS (SELECT FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
        WHERE p.pubname = t.pubname AND r.prrelid = to_regclass(%(table)s)) FROM pg_publication_tables t
    WHERE to_regclass(format('%%I.%%I', schemaname, tablename)) = to_regclass(%(table)s) ORDER BY 1
"""
_COLUMN_USED_BY = """
    SELECT DISTINCT quote_ident(p.pubname) FROM pg_depend d JOIN pg_publication_rel r ON r.oid = d.objid
    JOIN pg_publication p ON p.oid = r.prpubid
    JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE d.classid = 'pg_publication_rel'::regclass AND d.refobjid = to_regclass(%s) AND a.attname = %s ORDER BY 1
"""


def of_rows(connection: BaseDatabaseWrapper) -> Iterator[str]:
    """Tables of the original whose rows the server lets nobody change, the original neither."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, quote_ident(attname) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
            "WHERE c.oid = ANY(SELECT to_regclass(name) FROM unnest(%s::text[]) name) AND relkind = 'r' "
            "AND EXISTS (SELECT FROM pg_publication_tables "
            "WHERE to_regclass(format('%%I.%%I', schemaname, tablename)) = c.oid) "
            "AND attnum = (SELECT min(attnum) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 "
            "AND NOT attisdropped) ORDER BY 1",
            [list(TABLES)],
        )
        for table, column in cursor.fetchall():
            # What is only explained writes nothing, and is refused as if it did.
            for statement in (f"EXPLAIN UPDATE {table} SET {column} = {column}", f"EXPLAIN DELETE FROM {table}"):
                try:
                    with transaction.atomic(using=connection.alias):
                        cursor.execute(statement)
                except Error as error:
                    if sqlstate(error) not in _CANNOT_BE_CHANGED:
                        continue  # a right that is missing, say, is told of by others
                    yield _told(cursor, table)
                    break


def _told(cursor: Any, table: str) -> str:
    cursor.execute(_PUBLISHED_BY, {"table": table})
    found = cursor.fetchall()
    names = ", ".join(name for name, _by_name in found)
    ways = [f"ALTER PUBLICATION {name} DROP TABLE ONLY {table}" for name, by_name in found if by_name]
    way = (
        f"take it out, and add it again afterwards: {'; '.join(ways)}"
        if ways
        else f"ALTER TABLE {table} REPLICA IDENTITY FULL"
    )
    return f"no row of {table} can be changed or deleted, by how it is published ({names}): {way}"


def of_types(cursor: Any, changing: Iterator[tuple[str, str, str]]) -> Iterator[str]:
    """Columns that get another type, and that a row filter or a list of columns names: PostgreSQL refuses that."""
    for place, _old, new in changing:
        table, column = place.split(".")
        cursor.execute(_COLUMN_USED_BY, [table, column])
        for (name,) in cursor.fetchall():
            yield (
                f"publication {name} names {place}, whose type changes to {new}: take the table out, and add it again "
                f"afterwards: ALTER PUBLICATION {name} DROP TABLE {table}"
            )
