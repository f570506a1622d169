"""What PostgreSQL knows of a table or column that is to be put away: asked, never inferred."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper


@dataclass(frozen=True)
class Column:
    """A column as it is."""

    type: str
    is_not_null: bool
    default: str | None
    identity: str
    is_generated: bool
    comment: str | None
    is_in_primary_key: bool
    publications: list[str]
    """Those whose column list has it."""


@dataclass(frozen=True)
class Table:
    """A table as it is."""

    oid: int
    schema: str
    kind: str
    is_partition: bool
    has_children: bool
    comment: str | None


class Objects:
    """Questions about tables by the name that migrations have for them."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection

    def table(self, name: str) -> Table | None:
        """None if there is none."""
        rows = self.fetch(
            "SELECT c.oid::int8, n.nspname, c.relkind, c.relispartition, "
            "EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid), obj_description(c.oid, 'pg_class') "
            "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(quote_ident(%s))",
            [name],
        )
        return Table(*rows[0]) if rows else None

    def column(self, oid: int, name: str) -> Column | None:
        """None if there is none."""
        rows = self.fetch(
            "SELECT format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid), "
            "a.attidentity, a.attgenerated <> '', col_description(a.attrelid, a.attnum), "
            "EXISTS (SELECT FROM pg_constraint p WHERE p.conrelid = a.attrelid AND p.contype = 'p' "
            "        AND a.attnum = ANY (p.conkey)), "
            "(SELECT coalesce(json_agg(p.pubname), '[]') FROM pg_publication_rel r "
            " JOIN pg_publication p ON p.oid = r.prpubid "
            " WHERE r.prrelid = a.attrelid AND to_jsonb(r)->'prattrs' @> to_jsonb(a.attnum)) "
            "FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum "
            "WHERE a.attrelid = %s AND a.attname = %s AND NOT a.attisdropped",
            [oid, name],
        )
        return Column(*rows[0]) if rows else None

    def constraints_of_column(self, oid: int, column: str) -> list[tuple[str, str, str]]:
        """What would refuse rows of code that does not know the column: table, name and definition of each.

        A unique constraint is harmless where NULLs are distinct; so is an exclusion. A CHECK may not be.
        """
        return self.fetch(
            "SELECT c.conrelid::regclass::text, c.conname, pg_get_constraintdef(c.oid) FROM pg_constraint c "
            "JOIN pg_attribute a ON a.attname = %s AND a.attrelid = %s "
            "LEFT JOIN pg_index i ON i.indexrelid = c.conindid AND c.contype = 'u' "
            "WHERE c.conparentid = 0 AND (c.conrelid = a.attrelid AND a.attnum = ANY (c.conkey) AND "
            "(c.contype IN ('c', 'f') OR c.contype = 'u' AND pg_get_indexdef(i.indexrelid) ~ 'NULLS NOT DISTINCT') "
            "OR c.contype = 'f' AND c.confrelid = a.attrelid AND a.attnum = ANY (c.confkey)) ORDER BY c.contype, 2",
            [column, oid],
        )

    def strict_indexes(self, oid: int, column: str) -> list[tuple[str, str]]:
        """Unique indexes without a constraint that take NULLs for the same: name and definition."""
        return self.fetch(
            f"SELECT r.relname, pg_get_indexdef(i.indexrelid) {_INDEXES_OF_COLUMN} AND i.indisunique "
            "AND pg_get_indexdef(i.indexrelid) ~ 'NULLS NOT DISTINCT' "
            "AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid) ORDER BY 1",
            [oid, column],
        )

    def indexes_of_column(self, oid: int, column: str) -> list[str]:
        """The names of all indexes that have the column in them."""
        return [name for (name,) in self.fetch(f"SELECT r.relname {_INDEXES_OF_COLUMN} ORDER BY 1", [oid, column])]

    def foreign_keys_of_table(self, oid: int) -> list[tuple[str, str, str]]:
        """From it to others and from others to it: table, name and definition of each."""
        return self.fetch(
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
            "WHERE contype = 'f' AND conrelid <> confrelid AND (conrelid = %s OR confrelid = %s) AND conparentid = 0 "
            "ORDER BY 1, 2",
            [oid, oid],
        )

    def indexes_of_table(self, oid: int) -> list[str]:
        """The names of its indexes."""
        return [
            name
            for (name,) in self.fetch(
                "SELECT r.relname FROM pg_index i JOIN pg_class r ON r.oid = i.indexrelid WHERE i.indrelid = %s "
                "ORDER BY 1",
                [oid],
            )
        ]

    def sequences(self, oid: int, column: str = "") -> list[str]:
        """The names of the sequences that belong to its columns, or to one of them."""
        return [
            name
            for (name,) in self.fetch(
                "SELECT s.relname FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' "
                "JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid "
                "WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass "
                "AND d.deptype IN ('a', 'i') AND d.refobjid = %s AND %s IN ('', a.attname) ORDER BY 1",
                [oid, column],
            )
        ]

    def columns(self, oid: int) -> dict[str, str]:
        """Names and types of a table's columns, in order, those in the attic left out."""
        return dict(
            self.fetch(
                "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
                "WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped "
                "AND attname !~ '^migrator_attic_[0-9]+$' ORDER BY attnum",
                [oid],
            )
        )

    def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """All rows of a query."""
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return list(cursor.fetchall())


_INDEXES_OF_COLUMN = (
    "FROM pg_index i JOIN pg_class r ON r.oid = i.indexrelid "
    "JOIN pg_attribute a ON a.attrelid = i.indrelid WHERE i.indrelid = %s AND a.attname = %s "
    "AND (a.attnum = ANY (i.indkey::int2[]) OR EXISTS (SELECT FROM pg_depend d "
    "WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid "
    "AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid = a.attnum))"
)
