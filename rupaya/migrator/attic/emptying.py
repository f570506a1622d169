"""What the attic holds, with its size; and dropping it for good."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.migrator.attic.atticstore import AtticStore
from rupaya.migrator.attic.bringing import relation_of
from rupaya.migrator.attic.facts import execute, fetch, short_transaction
from rupaya.migrator.attic.item import COLUMN, PURGED, Item
from rupaya.migrator.schema.catalog import ATTIC
from rupaya.migrator.schema.size import SIZE_BYTES

# From when on the daily task drops things for good (infra/service.tf).
PURGED_AFTER = timedelta(days=30)


@dataclass(frozen=True)
class AtticEntry:
    """An item, and what it takes up."""

    item: Item
    relation: str
    """Where it stands; empty: somebody dropped it by hand."""
    size_bytes: int
    """By the server's estimates, for which nobody waits: of a table, all of it; of a column, with its indexes."""
    rows: int
    """By the server's estimate."""

    @property
    def may_be_purged_at(self) -> datetime | None:
        """From when on the daily task drops it for good."""
        put_away_at = self.item.put_away_at
        return put_away_at + PURGED_AFTER if put_away_at is not None else None


def listed(connection: BaseDatabaseWrapper) -> list[AtticEntry]:
    """All that is in the attic, oldest first; nothing is read of the rows."""
    return [_measured(connection, item) for item in AtticStore(connection).kept()]


def _measured(connection: BaseDatabaseWrapper, item: Item) -> AtticEntry:
    relation = relation_of(connection, item)
    if not relation:
        return AtticEntry(item, "", 0, 0)
    rows, size = fetch(
        connection,
        f"SELECT greatest(c.reltuples, 0)::bigint, {SIZE_BYTES} FROM pg_class c WHERE c.oid = %s::regclass",
        [relation],
    )[0]
    if item.kind == COLUMN:
        size = fetch(
            connection,
            "SELECT coalesce((SELECT avg_width * (1 - null_frac) FROM pg_stats WHERE attname = %s), 0) * %s "
            "+ coalesce((SELECT sum(c.relpages) * current_setting('block_size')::bigint FROM pg_class c "
            "WHERE c.relkind = 'i' AND starts_with(c.relname, %s || '_')), 0)",
            [item.name, rows, item.name],
        )[0][0]
    return AtticEntry(item, relation, int(size), int(rows))


def due(items: Iterable[AtticEntry], older_than: timedelta, now: datetime) -> list[AtticEntry]:
    """What was put away longer ago than that."""
    return [kept for kept in items if kept.item.put_away_at is not None and kept.item.put_away_at <= now - older_than]


def purge(connection: BaseDatabaseWrapper, item: Item, run_id: int) -> None:
    """Drop an item for good, in one short lock, and write that down; what was put away in a table goes with it.

    Raises:
        DatabaseError: as the server says; nothing was dropped then.
    """
    store = AtticStore(connection)
    quote = connection.ops.quote_name
    with short_transaction(connection):
        relation = relation_of(connection, item)
        inside: list[Item] = []
        if relation and item.kind == COLUMN:
            execute(connection, f"ALTER TABLE {relation} DROP COLUMN {quote(item.name)}")
        elif relation:
            inside = [
                other
                for other in store.kept()
                if other.kind == COLUMN and relation_of(connection, other) == f"{ATTIC}.{item.name}"
            ]
            execute(connection, f"DROP TABLE {relation}")
        for each in (item, *inside):
            store.settle(each, PURGED, run_id)
