"""An index made or dropped without a lock that traffic would notice; in no transaction, and again if interrupted."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper

_NAME = r'(?:\w+|"(?:[^"]|"")+")'
_CREATE = re.compile(
    rf"CREATE (?P<unique>UNIQUE )?INDEX (?:CONCURRENTLY )?{_NAME} ON (?:ONLY )?(?P<table>{_NAME}(?:\.{_NAME})?) "
    r"(?P<what>.*)",
    re.DOTALL,
)
_STATE = """
    SELECT i.indisvalid AND i.indisready, c.relkind = 'I'
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indexrelid = to_regclass(%s)
"""
# Foreign tables have no indexes. `made`: a part of the whole index that it has already.
_PARTITIONS = """
    SELECT p.oid::regclass::text, p.relkind = 'p', quote_ident(n.nspname) || '.', p.relname
    FROM pg_inherits h JOIN pg_class p ON p.oid = h.inhrelid JOIN pg_namespace n ON n.oid = p.relnamespace
    WHERE h.inhparent = to_regclass(%s) AND p.relkind <> 'f' AND NOT EXISTS (
        SELECT FROM pg_inherits made JOIN pg_index i ON i.indexrelid = made.inhrelid
        WHERE made.inhparent = to_regclass(%s) AND i.indrelid = p.oid AND i.indisvalid)
    ORDER BY p.oid
"""


def make_index(connection: BaseDatabaseWrapper, name: str, statement: str) -> None:
    """Make an index, unless it is there and whole; `statement`: the CREATE INDEX for it, concurrently or not.

    Of a partitioned table, where PostgreSQL refuses CONCURRENTLY, it is made on each partition and put together:
    https://www.postgresql.org/docs/current/ddl-partitioning.html#DDL-PARTITIONING-DECLARATIVE-MAINTENANCE.
    """
    quoted = connection.ops.quote_name(name)
    made = _CREATE.match(statement)
    if made and is_partitioned(connection, made["table"]):
        _make_on_partitions(connection, quoted, made["table"], made["unique"] or "", made["what"])
    else:
        concurrently = re.sub(r" INDEX (?!CONCURRENTLY )", " INDEX CONCURRENTLY ", statement, count=1)
        _make_concurrently(connection, quoted, concurrently)


def drop_index(connection: BaseDatabaseWrapper, name: str) -> None:
    """Drop an index, if it is there; that of a partitioned table cannot be dropped concurrently, and needs no scan."""
    quoted = connection.ops.quote_name(name)
    found = _fetch(connection, _STATE, [quoted])
    how = "" if found and found[0][1] else "CONCURRENTLY "
    _execute(connection, f"DROP INDEX {how}IF EXISTS {quoted}")


def is_partitioned(connection: BaseDatabaseWrapper, table: str) -> bool:
    """Whether a table, by its quoted name, has its rows in partitions."""
    return bool(_fetch(connection, "SELECT FROM pg_class WHERE oid = to_regclass(%s) AND relkind = 'p'", [table]))


def _make_on_partitions(
    connection: BaseDatabaseWrapper, name: str, table: str, unique: str, what: str, schema: str = ""
) -> None:
    """Make an index on a partitioned table: valid as soon as each partition has its part.

    All names are quoted; `schema` ends with a dot: that of the table, which CREATE INDEX puts the index in by itself.
    """
    index = schema + name
    if not _fetch(connection, _STATE, [index]):
        # In one short lock. A partition that is made from now on gets its part by itself.
        _execute(connection, f"CREATE {unique}INDEX {name} ON ONLY {table} {what}")
    for partition, is_parent, its_schema, relname in _fetch(connection, _PARTITIONS, [table, index]):
        part = f"migrator_part_{hashlib.sha256(f'{index} {relname}'.encode()).hexdigest()[:16]}"
        whole = its_schema + part
        if is_parent:
            _make_on_partitions(connection, part, partition, unique, what, its_schema)
        else:
            statement = f"CREATE {unique}INDEX CONCURRENTLY {part} ON {partition} {what}"
            try:
                _make_concurrently(connection, whole, statement)
            except DatabaseError:
                # Nobody else knows of it, and an invalid unique index still refuses rows.
                with suppress(DatabaseError):
                    _execute(connection, f"DROP INDEX CONCURRENTLY IF EXISTS {whole}")
                raise
        _execute(connection, f"ALTER INDEX {index} ATTACH PARTITION {whole}")


def _make_concurrently(connection: BaseDatabaseWrapper, index: str, statement: str) -> None:
    """Make an index, by its quoted name, unless it is whole; one that an interruption left invalid is dropped first."""
    found = _fetch(connection, _STATE, [index])
    if found and found[0][0]:
        return
    if found:
        _execute(connection, f"DROP INDEX CONCURRENTLY IF EXISTS {index}")
    _execute(connection, statement)


def _fetch(connection: BaseDatabaseWrapper, sql: str, parameters: Sequence[str]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())


def _execute(connection: BaseDatabaseWrapper, sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, None)
