"""The attic in the ledger: written on the connection that moves things, in the same transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.migrator.attic.item import KEPT, RESTORED, Item, Origin

_COLUMNS = (
    "kind, table_name, object, app, migration, reason, release, run_id, fingerprint, details, state, item_id, "
    "put_away_at, settled_at"
)


class AtticStore:
    """Reads and writes `migrator_attic` on Django's connection."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection

    def exists(self) -> bool:
        """Whether the ledger is new enough to know of an attic."""
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('migrator_attic') IS NOT NULL")
            return bool(cursor.fetchone()[0])

    def kept(self) -> list[Item]:
        """All that is in the attic, oldest first."""
        return self._of("state = 'kept'")

    def of_migration(self, app: str, migration: str, *, reason: str = "") -> list[Item]:
        """What was put away for a migration and is there still, the latest last."""
        return self._of(
            "state = 'kept' AND app = %s AND migration = %s AND %s IN ('', reason)", [app, migration, reason]
        )

    def gone(self, app: str, migration: str) -> list[Item]:
        """What was put away for a migration, or would have been, and was dropped for good."""
        return self._of("state IN ('purged', 'forgotten') AND app = %s AND migration = %s", [app, migration])

    def state_of(self, item: Item) -> str:
        """What the ledger says of an item now: ``kept``, ``restored``, ``purged`` or ``forgotten``."""
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT state FROM migrator_attic WHERE item_id = %s", [item.id])
            row = cursor.fetchone()
            return str(row[0]) if row else "unknown to the ledger"

    def unfinished(self) -> list[Item]:
        """What came back, and of which something is still to be made or made sure of."""
        return self._of(f"state = '{RESTORED}' AND jsonb_array_length(details->'left') > 0")

    def add(self, item: Item) -> None:
        """Write down what is put away, or dropped for good."""
        source = item.source
        with self.connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO migrator_attic (item_id, kind, table_name, object, app, migration, reason, fingerprint, "
                "release, run_id, details, state, settled_at, settled_run_id) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, "
                "CASE WHEN %s THEN NULL ELSE clock_timestamp() END, CASE WHEN %s THEN NULL ELSE %s END)",
                [
                    item.id,
                    item.kind,
                    item.table,
                    item.object,
                    source.app,
                    source.migration,
                    source.reason,
                    source.fingerprint,
                    source.release,
                    source.run_id,
                    json.dumps(item.details),
                    item.state,
                    item.state == KEPT,
                    item.state == KEPT,
                    source.run_id,
                ],
            )

    def settle(self, item: Item, state: str, run_id: int) -> None:
        """Record that an item is ``restored`` or ``purged``, by which run; its details are kept as they are now."""
        item.state = state
        with self.connection.cursor() as cursor:
            cursor.execute(
                "UPDATE migrator_attic SET state = %s, settled_run_id = %s, settled_at = clock_timestamp(), "
                "details = %s WHERE item_id = %s",
                [state, run_id, json.dumps(item.details), item.id],
            )

    def keep_details(self, item: Item) -> None:
        """Record how far an item has come."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                "UPDATE migrator_attic SET details = %s WHERE item_id = %s", [json.dumps(item.details), item.id]
            )

    def _of(self, where: str, parameters: Sequence[Any] = ()) -> list[Item]:
        if not self.exists():
            return []
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {_COLUMNS} FROM migrator_attic WHERE {where} ORDER BY put_away_at, item_id",
                parameters or None,
            )
            return [_item(row) for row in cursor.fetchall()]


def _item(row: Sequence[Any]) -> Item:
    kind, table, name, app, migration, reason, release, run_id, fingerprint, details, state, id_, since, until = row
    # Django's connections leave jsonb as text.
    read = json.loads(details) if isinstance(details, str) else details
    source = Origin(app, migration, reason, release, run_id, fingerprint)
    return Item(kind, table, name, source, read, state, id_, since, until)
