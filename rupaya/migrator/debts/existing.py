"""What hangs on a table or column in the database, and would keep new code from leaving it alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.migrator.attic.item import Fact


@dataclass(frozen=True)
class Named:
    """A constraint or an index, and the SQL that makes it again."""

    name: str
    definition: str
    is_foreign_key: bool = False

    def of_table(self, quoted_table: str) -> Fact:
        """The same as the attic keeps it."""
        kinds = {"FOREIGN": "foreign key", "CHECK": "check", "UNIQUE": "unique", "CREATE": "index"}
        kind = kinds.get(self.definition.split(" ", 1)[0], "exclusion")
        return {"table": quoted_table, "name": self.name, "kind": kind, "definition": self.definition}


@dataclass(frozen=True)
class Loosened:
    """What lets new code leave a column out, and what undoes that."""

    statements: list[str]
    undo: list[str]
    not_null: bool = False
    default: str | None = None


_TABLE = "to_regclass(quote_ident(%s))"


def foreign_keys(connection: BaseDatabaseWrapper, table: str) -> list[Named]:
    """Of a table, to other ones."""
    return [
        Named(name, definition, is_foreign_key=True)
        for name, definition in _fetch(
            connection,
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'f' "
            f"AND conrelid = {_TABLE} AND confrelid <> conrelid AND conparentid = 0 ORDER BY conname",
            [table],
        )
    ]


def constraints_in_the_way(connection: BaseDatabaseWrapper, table: str, column: str) -> list[Named]:
    """What refuses a row that leaves out a column: its foreign key, CHECKs that need it, and UNIQUE without NULLs.

    A CHECK of one column holds for NULL, but one of several may not, nor one that asks for NOT NULL.
    """
    return [
        Named(name, definition, is_foreign_key=kind == "f")
        for name, definition, kind in _fetch(
            connection,
            "SELECT c.conname, pg_get_constraintdef(c.oid), c.contype FROM pg_constraint c "
            "JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey) "
            "LEFT JOIN pg_index i ON i.indexrelid = c.conindid "
            f"WHERE c.conrelid = {_TABLE} AND a.attname = %s AND c.conparentid = 0 AND ("
            "c.contype = 'f' OR c.contype = 'c' AND (array_length(c.conkey, 1) > 1 "
            "OR pg_get_constraintdef(c.oid) ~* 'null|coalesce') "
            "OR c.contype = 'u' AND pg_get_indexdef(i.indexrelid) ~ 'NULLS NOT DISTINCT') ORDER BY c.conname",
            [table, column],
        )
    ]


def indexes_in_the_way(connection: BaseDatabaseWrapper, table: str, column: str) -> list[Named]:
    """Unique indexes, without a constraint over them, that may take two rows without the column for the same."""
    return [
        Named(name, definition)
        for name, definition in _fetch(
            connection,
            "SELECT r.relname, pg_get_indexdef(i.indexrelid) FROM pg_index i "
            "JOIN pg_class r ON r.oid = i.indexrelid "
            "JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid "
            "AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid "
            "JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = d.refobjsubid "
            f"WHERE i.indrelid = {_TABLE} AND a.attname = %s AND i.indisunique "
            "AND (i.indexprs IS NOT NULL OR pg_get_indexdef(i.indexrelid) ~ 'NULLS NOT DISTINCT') "
            "AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid AND c.contype IN ('p', 'u')) "
            "GROUP BY 1, 2 ORDER BY 1",
            [table, column],
        )
    ]


def loosen(connection: BaseDatabaseWrapper, table: str, column: str) -> Loosened:
    """Let rows leave a column out: no NOT NULL, and no constant default where values must differ."""
    rows = _fetch(
        connection,
        "SELECT a.attnotnull, pg_get_expr(d.adbin, d.adrelid), quote_ident(r.relname), quote_ident(a.attname), "
        "EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisunique "
        "        AND a.attnum = ANY (i.indkey::int2[])) "
        "FROM pg_attribute a JOIN pg_class r ON r.oid = a.attrelid "
        "LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum "
        f"WHERE a.attrelid = {_TABLE} AND a.attname = %s AND a.attidentity = '' AND a.attgenerated = ''",
        [table, column],
    )
    statements, undo = [], []
    dropped_default = None
    for is_not_null, default, table_name, column_name, is_unique in rows:
        here = f"ALTER TABLE {table_name} ALTER COLUMN {column_name}"
        if is_unique and default and not default.startswith(("nextval(", "gen_random_uuid(")):
            statements.append(f"{here} DROP DEFAULT")
            undo.append(f"{here} SET DEFAULT {default}")
            dropped_default = default
        if is_not_null:
            statements.append(f"{here} DROP NOT NULL")
            undo.append(f"{here} SET NOT NULL")
    return Loosened(statements, undo, any(row[0] for row in rows), dropped_default)


def _fetch(connection: BaseDatabaseWrapper, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())
