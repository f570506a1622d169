"""This project's whole history and its dependencies', each migration as a release of its own, by halves, then paid."""

from __future__ import annotations

from typing import Any

from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.migration import Migration

from rupaya.migrator.debts.owing import Owing, forecast
from rupaya.migrator.errors import HistoryRefused
from rupaya.migrator.schema.diff import differences
from tests.migrator.debts.shop import Shop


class Halving(MigrationExecutor):
    """Django's executor, for which every migration is the first of its release."""

    refused: list[str]

    def apply_migration(self, state: Any, migration: Migration, fake: bool = False, fake_initial: bool = False) -> Any:
        try:
            foreseen = forecast(self.connection, [(migration, False)], state)
        except HistoryRefused as refused:
            self.refused.append(refused.happened)
            return super().apply_migration(state, migration, fake, fake_initial)
        assert foreseen.pay_first == {}
        owing = Owing(self.connection, run_id=1, release="one")
        with owing.carrying_out(migration) as book:
            before = len(book.owed)
            state = super().apply_migration(state, migration, fake, fake_initial)
        assert len(book.owed) == before + len(foreseen.owed) - len(foreseen.cancelled), migration
        return state


def test_the_whole_history_by_halves_and_paid_is_what_django_makes(shop: Shop) -> None:
    connection = shop.connection
    shop.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())
    stock = shop.schema()
    shop.start()
    for table in ("item_tags", "item", "legacy_tags", "legacy", "tag", "maker"):
        shop.sql(f"DROP TABLE shop_{table}")

    halving = Halving(connection)
    halving.refused = []
    halving.migrate(halving.loader.graph.leaf_nodes())
    owed = {f"{debt.migration_label}: {debt.kind}" for debt in shop.owed()}
    assert "axes.0009_add_session_hash: default" in owed
    shop.pay()

    assert differences(stock, shop.schema()) == []
    # The one migration that needs a table without rows, and without anybody who writes to it.
    (refused,) = halving.refused
    assert refused.startswith("transactions.0004_complete_transactions_table (Add field account to transaction)")
