"""Puts a column or a table away instead of dropping it: renamed, and cut loose from all that is still in use.

What it costs does not depend on the rows: the catalog is changed, under one short lock. PostgreSQL is asked what would
stand in the way of dropping it: a rename alone would succeed, and a view would go on showing what is in the attic.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import DatabaseError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.migrator.attic.item import SCHEMA, Item
from rupaya.migrator.attic.objects import Column, Objects, Table
from rupaya.migrator.attic.store import Store
from rupaya.migrator.errors import MigrationFailed, driver_text, sqlstate
from rupaya.migrator.statements import one_line

DEPENDENT_OBJECTS_STILL_EXIST = "2BP01"
_AGAIN = "Then start again. If its rows may go for good, drop it by hand instead."


class _Asked(Exception):
    """What was tried works, and is taken back."""


class PuttingAway:
    """Works in the caller's transaction."""

    def __init__(self, connection: BaseDatabaseWrapper, *, run_id: int, release: str) -> None:
        self.connection = connection
        self.run_id = run_id
        self.release = release
        self.store = Store(connection)
        self.objects = Objects(connection)
        self.quote = connection.ops.quote_name

    def column(self, item: Item) -> bool:
        """Put a column away; False if there is none (any more).

        Raises:
            MigrationFailed: if it cannot be put away, or something depends on it; nothing was changed.
        """
        table = self.objects.table(item.table)
        column = self.objects.column(table.oid, item.column) if table else None
        if table is None or column is None:
            return False
        _refuse_column(item, table, column)
        here, what = f"ALTER TABLE {self.quote(item.table)}", self.quote(item.column)
        self._execute(f"LOCK TABLE {self.quote(item.table)} IN ACCESS EXCLUSIVE MODE")
        item.details |= {
            "type": column.type,
            "not_null": column.is_not_null,
            "default": None if column.is_generated else column.default,
            "comment": column.comment,
        }
        self._begin(item)
        self._drop_constraints(item, self.objects.constraints_of_column(table.oid, item.column))
        strict = self.objects.strict_indexes(table.oid, item.column)
        for name, _definition in strict:
            self._execute(f"DROP INDEX {self.quote(name)}")
        item.details["dropped_indexes"] = [definition for _name, definition in strict]
        self._ask(item, f"{here} DROP COLUMN {what}")
        self._rename_indexes(item, self.objects.indexes_of_column(table.oid, item.column))
        self._rename_sequences(item, self.objects.sequences(table.oid, item.column))
        if column.is_not_null:
            self._execute(f"{here} ALTER COLUMN {what} DROP NOT NULL")
        if item.details["default"]:
            self._execute(f"{here} ALTER COLUMN {what} DROP DEFAULT")
        self._execute(f"{here} RENAME COLUMN {what} TO {item.name}")
        self._comment(f"COLUMN {self.quote(item.table)}.{item.name}", item)
        self.store.keep_details(item)
        return True

    def table(self, item: Item) -> bool:
        """Put a table away; False if there is none (any more).

        Raises:
            MigrationFailed: if it cannot be put away, or something depends on it; nothing was changed.
        """
        table = self.objects.table(item.table)
        if table is None:
            return False
        _refuse_table(item, table)
        self._execute(f"LOCK TABLE {self.quote(item.table)} IN ACCESS EXCLUSIVE MODE")
        item.details |= {"comment": table.comment, "from_schema": table.schema, "schema": self._home(table.schema)}
        self._begin(item)
        self._drop_constraints(item, self.objects.foreign_keys_of_table(table.oid))
        self._ask(item, f"DROP TABLE {self.quote(item.table)}")
        self._rename_indexes(item, self.objects.indexes_of_table(table.oid))
        self._rename_sequences(item, self.objects.sequences(table.oid))
        self._execute(f"ALTER TABLE {self.quote(item.table)} RENAME TO {item.name}")
        if item.schema != table.schema:
            self._execute(f"ALTER TABLE {self.quote(table.schema)}.{item.name} SET SCHEMA {self.quote(item.schema)}")
        self._comment(f"TABLE {self.quote(item.schema)}.{item.name}", item)
        self.store.keep_details(item)
        return True

    def _begin(self, item: Item) -> None:
        item.run_id, item.release = self.run_id, self.release
        self.store.add(item)

    def _home(self, schema: str) -> str:
        """The attic's schema, or the table's own where the role may not create one."""
        ((is_there, may_create),) = self.objects.fetch(
            "SELECT to_regnamespace(%s) IS NOT NULL, has_database_privilege(current_database(), 'CREATE')", [SCHEMA]
        )
        if is_there:
            ((may_use,),) = self.objects.fetch("SELECT has_schema_privilege(%s, 'CREATE')", [SCHEMA])
            return SCHEMA if may_use else schema
        if not may_create:
            return schema
        self._execute(f"CREATE SCHEMA {SCHEMA}")
        self._execute(f"COMMENT ON SCHEMA {SCHEMA} IS 'Tables that nobody knows any more: manage.py attic'")
        return SCHEMA

    def _drop_constraints(self, item: Item, found: Iterable[tuple[str, str, str]]) -> None:
        item.details["constraints"] = [list(each) for each in found]
        for table, name, _definition in item.details["constraints"]:
            self._execute(f"ALTER TABLE {table} DROP CONSTRAINT {self.quote(name)}")

    def _ask(self, item: Item, drop: str) -> None:
        try:
            with transaction.atomic(using=self.connection.alias):
                self._execute(drop)
                raise _Asked
        except _Asked:
            return
        except DatabaseError as error:
            if sqlstate(error) != DEPENDENT_OBJECTS_STILL_EXIST:
                raise
            detail = getattr(getattr(error.__cause__, "diag", None), "message_detail", "") or driver_text(error)
            raise MigrationFailed(
                f"{item.label} cannot be put away: {one_line(detail)}.",
                "What depends on it would go on showing it, or stop working; nothing was changed.",
                f"Change or drop what is named. {_AGAIN}",
            ) from error

    def _rename_indexes(self, item: Item, names: Iterable[str]) -> None:
        item.details["indexes"] = self._renamed(item, "INDEX", "i", names)

    def _rename_sequences(self, item: Item, names: Iterable[str]) -> None:
        item.details["sequences"] = self._renamed(item, "SEQUENCE", "s", names)

    def _renamed(self, item: Item, kind: str, letter: str, names: Iterable[str]) -> list[list[str]]:
        """Under their old names they would be in the way of new ones."""
        pairs = [[f"{item.name}_{letter}{number}", name] for number, name in enumerate(names, 1)]
        for new, old in pairs:
            self._execute(f"ALTER {kind} {self.quote(old)} RENAME TO {new}")
        return pairs

    def _comment(self, what: str, item: Item) -> None:
        text = f"Put away: {item.label}, by {item.migration_label}. See manage.py attic."
        with self.connection.cursor() as cursor:
            cursor.execute(f"COMMENT ON {what} IS %s", [text])

    def _execute(self, sql: str, parameters: Any = None) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters)


def _refuse_column(item: Item, table: Table, column: Column) -> None:
    if column.is_in_primary_key:
        raise _refused(item, "it is in the primary key", "Give the table another key first.")
    if column.identity:
        raise _refused(
            item,
            "it is an identity column, which cannot be left empty",
            f'ALTER TABLE "{item.table}" ALTER COLUMN "{item.column}" DROP IDENTITY keeps its values.',
        )
    if table.is_partition:
        raise _refused(item, "its table is a partition", "Remove the column from the partitioned table.")
    if column.publications:
        raise _refused(
            item,
            f"it is in the column list of the publication {', '.join(column.publications)}",
            "Take it out of there: ALTER PUBLICATION … SET TABLE.",
        )


def _refuse_table(item: Item, table: Table) -> None:
    if table.kind != "r":
        raise _refused(item, "it is partitioned, or no ordinary table", "Take its partitions off (DETACH PARTITION).")
    if table.is_partition or table.has_children:
        raise _refused(item, "other tables inherit from it, or it from others", "End that (NO INHERIT, DETACH).")


def _refused(item: Item, fact: str, way: str) -> MigrationFailed:
    return MigrationFailed(
        f"{item.label} cannot be put away: {fact}.",
        "What is removed is kept, so that it can come back; this could not. Nothing was changed.",
        f"{way} {_AGAIN}",
    )
