"""The attic, as whoever removes or makes columns and tables needs it."""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.migrator.attic.item import UNAPPLIED, Item
from rupaya.migrator.attic.putting import PuttingAway
from rupaya.migrator.attic.returning import Returning
from rupaya.migrator.attic.store import Store


class Attic:
    """Puts away, finds and brings back, in the name of one run."""

    def __init__(self, connection: BaseDatabaseWrapper, *, run_id: int, release: str) -> None:
        self.store = Store(connection)
        self.putting = PuttingAway(connection, run_id=run_id, release=release)
        self.returning = Returning(connection, run_id=run_id)

    def put_away(self, item: Item) -> bool:
        """Put a column or a table away, in the caller's transaction; False if there is none.

        Raises:
            MigrationFailed: if it cannot be, or something depends on it.
        """
        return self.putting.column(item) if item.column else self.putting.table(item)

    def bring_back(self, item: Item) -> list[str]:
        """Bring an item back, in the caller's transaction; what could not come back, and why.

        Raises:
            MigrationFailed: if its name is taken, or it is not where the ledger says.
        """
        return self.returning.bring_back(item)

    def of_debt(self, debt_id: int | None) -> Item | None:
        """What was put away when a debt was paid."""
        return next((item for item in self.store.kept() if item.debt_id == debt_id), None) if debt_id else None

    def rolled_back(self, table: str, column: str, migration: tuple[str, str], types: object) -> Item | None:
        """What a migration, given by app label and name, had made under this name until it was unapplied.

        Only if its types are the same still: the migration may have been edited since.
        """
        app, name = migration
        item = self.store.find(table, column, reason=UNAPPLIED, app=app, migration=name)
        return item if item and item.details.get("types") == types else None
