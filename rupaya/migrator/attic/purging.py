"""Throws away for good what has been in the attic for long enough."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.migrator.attic.item import Item
from rupaya.migrator.attic.objects import Objects
from rupaya.migrator.attic.store import Store

LOCK_TIMEOUT_MS = 1000


def older_than(items: list[Item], age: timedelta) -> list[Item]:
    """Those that were put away longer ago."""
    before = datetime.now(UTC) - age
    return [item for item in items if item.put_away_at is not None and item.put_away_at <= before]


def purge(connection: BaseDatabaseWrapper, item: Item) -> bool:
    """Drop an item, whose row in the ledger stays; False if somebody else has settled it meanwhile.

    Raises:
        DatabaseError: as the server says, a lock that is not obtained within a second included; nothing was changed.
    """
    quote = connection.ops.quote_name
    store = Store(connection)
    with transaction.atomic(using=connection.alias):
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", [str(LOCK_TIMEOUT_MS)])
        if not store.is_kept(item):
            return False
        with connection.cursor() as cursor:
            if item.column:
                cursor.execute(f"ALTER TABLE IF EXISTS {quote(item.table)} DROP COLUMN IF EXISTS {quote(item.name)}")
            else:
                cursor.execute(f"DROP TABLE IF EXISTS {quote(item.schema)}.{quote(item.name)}")
        store.settle(item, "purged", None)
    return True


def size_and_rows(connection: BaseDatabaseWrapper, item: Item) -> tuple[int | None, int | None]:
    """Bytes and estimated rows of a table; None for a column, whose bytes are among its table's, and for what is gone.

    Waits for no lock.
    """
    if not item.column:
        rows = Objects(connection).fetch(
            "SELECT c.relpages::int8 * current_setting('block_size')::int8, greatest(c.reltuples, 0)::int8 "
            "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s",
            [item.schema, item.name],
        )
        if rows:
            return int(rows[0][0]), int(rows[0][1])
    return None, None
