"""The attic's list in the ledger, on the connection that puts away and brings back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.migrator.attic.item import Item

_COLUMNS = (
    "table_name, column_name, app, migration, reason, debt_id, details, state, attic_id, release, run_id, put_away_at"
)


class Store:
    """Reads and writes `migrator_attic`."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection

    def exists(self) -> bool:
        """Whether the ledger is new enough to know of an attic."""
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('migrator_attic') IS NOT NULL")
            return bool(cursor.fetchone()[0])

    def kept(self) -> list[Item]:
        """All that is in the attic, the oldest first."""
        return self._fetch("WHERE state = 'kept' ORDER BY attic_id") if self.exists() else []

    def find(self, table: str, column: str = "", **wanted: Any) -> Item | None:
        """The last that was put away under a name, if it is kept and what is wanted of its row holds."""
        for item in reversed(self.kept()):
            if (item.table, item.column) == (table, column) and all(
                getattr(item, name) == value for name, value in wanted.items()
            ):
                return item
        return None

    def add(self, item: Item) -> None:
        """Write an item down, which gives it its number."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO migrator_attic (table_name, column_name, app, migration, reason, debt_id, details, "
                "release, run_id) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING attic_id",
                [
                    item.table,
                    item.column,
                    item.app,
                    item.migration,
                    item.reason,
                    item.debt_id,
                    json.dumps(item.details),
                    item.release,
                    item.run_id,
                ],
            )
            item.id = cursor.fetchone()[0]

    def keep_details(self, item: Item) -> None:
        """Write down what became known after the item had its number."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                "UPDATE migrator_attic SET details = %s WHERE attic_id = %s", [json.dumps(item.details), item.id]
            )

    def settle(self, item: Item, state: str, run_id: int | None) -> None:
        """Record that an item was ``returned`` or ``purged``, by which run (None: by hand)."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                "UPDATE migrator_attic SET state = %s, settled_run_id = %s, settled_at = clock_timestamp() "
                "WHERE attic_id = %s AND state = 'kept'",
                [state, run_id, item.id],
            )
        item.state = state

    def is_kept(self, item: Item) -> bool:
        """Whether an item is still in the attic, asked with its row locked until the end of the transaction."""
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT state = 'kept' FROM migrator_attic WHERE attic_id = %s FOR UPDATE", [item.id])
            row = cursor.fetchone()
            return bool(row and row[0])

    def _fetch(self, where: str) -> list[Item]:
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT {_COLUMNS} FROM migrator_attic {where}")
            return [_item(row) for row in cursor.fetchall()]


def _item(row: Sequence[Any]) -> Item:
    values = list(row)
    values[6] = json.loads(values[6]) if isinstance(values[6], str) else values[6]
    return Item(*values)
