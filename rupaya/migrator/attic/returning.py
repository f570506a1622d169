"""Brings a column or a table back from the attic, with its rows.

What takes long is done beforehand, in the attic, where nobody waits for it: rows that were written meanwhile get the
value that code which knows the column would have given them, and NOT NULL is made sure of. Renamed last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import DatabaseError, IntegrityError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.migrator.attic.item import Item
from rupaya.migrator.attic.objects import Objects
from rupaya.migrator.attic.store import Store
from rupaya.migrator.errors import MigrationFailed, driver_text

ROWS_A_BATCH = 2_000


class Returning:
    """Brings items back on Django's connection."""

    def __init__(self, connection: BaseDatabaseWrapper, *, run_id: int | None) -> None:
        self.connection = connection
        self.run_id = run_id
        self.store = Store(connection)
        self.objects = Objects(connection)
        self.quote = connection.ops.quote_name

    def prepare(self, item: Item, before_batch: Callable[[], None] = lambda: None) -> int:
        """Outside any transaction: fill what is missing, in batches, and make sure of NOT NULL. The rows that were.

        It may be interrupted, and done again.
        """
        fill = item.details.get("fill") or item.details.get("default")
        required = item.details.get("required", item.details.get("not_null"))
        if not item.column or not (required and fill):
            return 0
        here = f"ALTER TABLE {self.quote(item.table)}"
        self._execute(f"{here} ALTER COLUMN {item.name} SET DEFAULT {fill}")
        filled = 0
        while True:
            before_batch()
            rows = self._execute(
                f"UPDATE {self.quote(item.table)} SET {item.name} = {fill} WHERE {item.name} IS NULL AND ctid = ANY "
                f"(ARRAY(SELECT ctid FROM {self.quote(item.table)} WHERE {item.name} IS NULL LIMIT {ROWS_A_BATCH}))"
            )
            filled += rows
            if not rows:
                break
        check = f"{item.name}_n"
        with transaction.atomic(using=self.connection.alias):
            self._execute(f"{here} DROP CONSTRAINT IF EXISTS {check}")
            self._execute(f"{here} ADD CONSTRAINT {check} CHECK ({item.name} IS NOT NULL) NOT VALID")
        self._execute(f"{here} VALIDATE CONSTRAINT {check}")
        return filled

    def bring_back(self, item: Item) -> list[str]:
        """In the caller's transaction: give an item its own name again. Returns what could not come back, and why.

        Raises:
            MigrationFailed: if its name is taken, or it is not where the ledger says.
        """
        if not self.store.is_kept(item):
            return []
        lost = self._column(item) if item.column else self._table(item)
        self.store.settle(item, "returned", self.run_id)
        return lost

    def _column(self, item: Item) -> list[str]:
        details = item.details
        here, column = f"ALTER TABLE {self.quote(item.table)}", self.quote(item.column)
        table = self.objects.table(item.table)
        if table is None or self.objects.column(table.oid, item.name) is None:
            raise _missing(item)
        if self.objects.column(table.oid, item.column) is not None:
            raise _taken(item)
        self._execute(f"LOCK TABLE {self.quote(item.table)} IN ACCESS EXCLUSIVE MODE")
        self._rename_back(details)
        self._execute(f"{here} RENAME COLUMN {item.name} TO {column}")
        if details.get("not_null"):
            fill = details.get("fill") or details.get("default")
            if fill:
                self._execute(f"UPDATE {self.quote(item.table)} SET {column} = {fill} WHERE {column} IS NULL")
        lost = []
        if details.get("default"):
            self._execute(f"{here} ALTER COLUMN {column} SET DEFAULT {details['default']}")
        elif "fill" in details:
            self._execute(f"{here} ALTER COLUMN {column} DROP DEFAULT")
        if details.get("not_null"):
            lost += self._try(f"{here} ALTER COLUMN {column} SET NOT NULL")
        self._execute(f"{here} DROP CONSTRAINT IF EXISTS {item.name}_n")
        self._comment(f"COLUMN {self.quote(item.table)}.{column}", details)
        return lost + self._constraints(details)

    def _table(self, item: Item) -> list[str]:
        details = item.details
        schema, home = details["from_schema"], details["schema"]
        ((is_there,),) = self.objects.fetch(
            "SELECT to_regclass(format('%%I.%%I', %s::text, %s::text)) IS NOT NULL", [home, item.name]
        )
        if not is_there:
            raise _missing(item)
        if self.objects.table(item.table) is not None:
            raise _taken(item)
        self._execute(f"LOCK TABLE {self.quote(home)}.{item.name} IN ACCESS EXCLUSIVE MODE")
        if home != schema:
            self._execute(f"ALTER TABLE {self.quote(home)}.{item.name} SET SCHEMA {self.quote(schema)}")
        self._execute(f"ALTER TABLE {self.quote(schema)}.{item.name} RENAME TO {self.quote(item.table)}")
        self._rename_back(details)
        self._comment(f"TABLE {self.quote(item.table)}", details)
        return self._constraints(details)

    def _rename_back(self, details: dict[str, Any]) -> None:
        for kind, names in (("INDEX", "indexes"), ("SEQUENCE", "sequences")):
            for new, old in details.get(names, ()):
                self._execute(f"ALTER {kind} {new} RENAME TO {self.quote(old)}")

    def _constraints(self, details: dict[str, Any]) -> list[str]:
        lost = []
        for table, name, definition in details.get("constraints", ()):
            lost += self._try(f"ALTER TABLE {table} ADD CONSTRAINT {self.quote(name)} {definition}")
        for definition in details.get("dropped_indexes", ()):
            lost += self._try(definition)
        return lost

    def _try(self, sql: str) -> list[str]:
        """What rows that were written meanwhile do not allow is said; the rest comes back all the same."""
        try:
            with transaction.atomic(using=self.connection.alias):
                self._execute(sql)
        except IntegrityError as error:
            return [f"rows written meanwhile do not hold to '{sql}': {driver_text(error)}"]
        except DatabaseError as error:
            if getattr(error.__cause__, "pgcode", "") not in ("42P01", "42710", "42P07", "42703"):
                raise
            return [f"'{sql}' has nothing to refer to any more, or is there already: {driver_text(error)}"]
        return []

    def _comment(self, what: str, details: dict[str, Any]) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(f"COMMENT ON {what} IS %s", [details.get("comment")])

    def _execute(self, sql: str) -> int:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, None)
            return int(cursor.rowcount)


def _missing(item: Item) -> MigrationFailed:
    return MigrationFailed(
        f"{item} is not where the ledger says: {item.name} is gone.",
        "Somebody dropped or moved it by hand; nothing was changed.",
        "If it cannot be restored, forget it: manage.py attic purge, then start again.",
    )


def _taken(item: Item) -> MigrationFailed:
    return MigrationFailed(
        f"{item} cannot come back: its name is taken.",
        "Something else was made under that name meanwhile; nothing was changed.",
        "Rename what has the name now, or leave the item in the attic.",
    )
