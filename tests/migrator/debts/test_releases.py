"""An older release beside a newer schema: what was paid, of migrations that it does not know, keeps it from serving."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from django.db import migrations
from django.db.migrations.recorder import MigrationRecorder

from rupaya.migrator.debts.releases import breaking, refuse_breaking
from rupaya.migrator.errors import HistoryRefused
from tests.migrator.debts.shop import Shop, migration

KEY = ("shop", "0002_change")


def test_what_is_owed_lets_an_older_release_serve_and_what_is_paid_does_not(shop: Shop) -> None:
    shop.apply(migration("0002_change", migrations.RemoveField("item", "colour")))
    MigrationRecorder(shop.connection).record_applied(*KEY)

    refuse_breaking([KEY], shop.connection, [])

    shop.pay()
    refuse_breaking([("shop", "0003_other")], shop.connection, [])
    with pytest.raises(HistoryRefused) as refused:
        refuse_breaking([KEY], shop.connection, [])
    assert "shop.0002_change" in refused.value.happened
    assert "read or write shop_item.colour" in refused.value.meaning


def test_an_index_that_is_gone_breaks_nothing(shop: Shop) -> None:
    shop.apply(migration("0002_change", migrations.RemoveIndex("item", "item_price")))
    MigrationRecorder(shop.connection).record_applied(*KEY)
    shop.pay()

    assert breaking([KEY], shop.connection, []) == []


def test_what_was_paid_and_unapplied_is_forgiven_even_when_it_is_applied_again(shop: Shop) -> None:
    step = migration("0002_change", migrations.RemoveField("item", "colour"))
    shop.apply(step)
    shop.pay()
    shop.unapply(step, shop.old)
    shop.apply(step)
    MigrationRecorder(shop.connection).record_applied(*KEY)

    assert [debt.kind for debt in shop.owed()] == ["column"]
    assert shop.store.paid() == []
    assert shop.sql("SELECT state FROM migrator_debts ORDER BY debt_id") == [("undone",), ("owed",)]


def test_a_contract_migration_that_ran_whole_counts_as_paid(shop: Shop) -> None:
    in_force: list[Any] = [SimpleNamespace(key=KEY, phase="contract", release="v2")]

    with pytest.raises(HistoryRefused, match=r"shop\.0002_change \(release v2\)"):
        refuse_breaking([KEY], shop.connection, in_force)
    refuse_breaking([], shop.connection, in_force)
