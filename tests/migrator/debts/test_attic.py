"""What is paid or rolled back is put away, not dropped: living code notices nothing of it, and it comes back whole."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import migrations, models

from rupaya.migrator.attic.atticstore import AtticStore
from rupaya.migrator.attic.item import Item
from rupaya.migrator.errors import MigrationFailed
from rupaya.migrator.schema.diff import differences
from tests.migrator.debts.shop import Shop, char, migration


def kept(shop: Shop) -> list[Item]:
    return AtticStore(shop.connection).kept()


def rows_of(shop: Shop, table: str) -> list[tuple[Any, ...]]:
    return shop.sql(f"SELECT to_jsonb(t) FROM {table} t ORDER BY id")


REMOVE = [
    migrations.AlterUniqueTogether("item", set()),
    migrations.RemoveField("item", "sku"),
    migrations.RemoveField("item", "amount"),
    migrations.RemoveField("item", "maker"),
    migrations.DeleteModel("Legacy"),
]


def test_what_was_paid_comes_back_with_every_row_and_value(shop: Shop) -> None:
    step = migration("0002_change", *REMOVE)
    before = shop.schema()
    tables = ("shop_item", "shop_legacy", "shop_legacy_tags")
    rows = [rows_of(shop, table) for table in tables]
    shop.apply(step)
    shop.pay()

    assert sorted(item.label for item in kept(shop)) == [
        "shop_item.amount",
        "shop_item.maker_id",
        "shop_item.sku",
        "shop_legacy",
        "shop_legacy_tags",
    ]
    assert shop.sql("SELECT to_regclass('shop_legacy')") == [(None,)]

    shop.unapply(step, shop.old)

    assert kept(shop) == []
    assert [rows_of(shop, table) for table in tables] == rows
    # A unique constraint that AlterUniqueTogether dropped is Django's to make again.
    assert differences(before, shop.schema()) == []
    shop.work(shop.old)


def test_what_is_in_the_attic_refuses_no_living_row(shop: Shop) -> None:
    shop.sql("CREATE UNIQUE INDEX odd ON shop_item (amount) WHERE colour IS NULL")
    shop.sql("UPDATE shop_item SET colour = 'red', price = 0")
    shop.sql("ALTER TABLE shop_item ADD CONSTRAINT either CHECK (num_nonnulls(colour, text) = 2)")
    step = migration("0002_change", migrations.RemoveField("item", "colour"))
    before = shop.schema()
    shop.apply(step)
    shop.pay()
    new = shop.state
    shop.work(new)
    shop.sql("UPDATE shop_item SET amount = 1")
    shop.sql("UPDATE shop_item SET amount = id")

    (item,) = kept(shop)
    assert {fact["name"] for fact in item.constraints} == {"either", "odd"}
    shop.sql(f"UPDATE shop_item SET {item.name} = 'new' WHERE {item.name} IS NULL")
    shop.unapply(step, shop.old)
    assert differences(before, shop.schema()) == []


def test_rows_written_meanwhile_get_the_default_and_what_dangles_is_named(shop: Shop) -> None:
    step = migration(
        "0002_change",
        migrations.RemoveField("item", "loose"),
        migrations.AlterField("item", "status", char(10, default="old")),
        migrations.RemoveField("item", "maker"),
    )
    shop.sql("UPDATE shop_item SET maker_id = (SELECT min(id) FROM shop_maker)")
    shop.apply(step)
    shop.pay()
    shop.sql("DELETE FROM shop_legacy_tags")
    shop.sql("DELETE FROM shop_legacy")
    shop.sql("DELETE FROM shop_maker WHERE id = (SELECT min(id) FROM shop_maker)")

    with shop.owing.carrying_out(step, backwards=True):
        shop.stock_back(step, shop.old)
    said = shop.finish()

    (dangling,) = [line for line in said if "foreign key" in line]
    number = shop.sql("SELECT count(*) FROM shop_item WHERE maker_id IS NOT NULL")[0][0]
    assert f"{number} row" in dangling
    assert "VALIDATE CONSTRAINT" in dangling


def test_put_away_brought_back_and_put_away_again(shop: Shop) -> None:
    step = migration("0002_change", migrations.DeleteModel("Legacy"), migrations.RemoveField("item", "code"))
    rows = rows_of(shop, "shop_item")
    for _ in range(3):
        shop.apply(step)
        shop.pay()
        assert len(kept(shop)) == 3
        shop.unapply(step, shop.old)
        assert kept(shop) == []
    assert rows_of(shop, "shop_item") == rows


def test_what_a_rollback_takes_away_is_taken_back_when_it_is_applied_again(shop: Shop) -> None:
    step = migration(
        "0002_more",
        migrations.AddField("item", "size", models.IntegerField(default=3)),
        migrations.CreateModel("Shelf", [("id", models.BigAutoField(primary_key=True)), ("name", char(20))]),
        migrations.AddField("shelf", "height", models.IntegerField(null=True)),
    )
    shop.apply(step)
    new, schema = shop.state, shop.schema()
    shop.sql("UPDATE shop_item SET size = 7")
    shop.sql("INSERT INTO shop_shelf (name, height) VALUES ('upper', 2)")
    many = len(rows_of(shop, "shop_item"))

    shop.unapply(step, shop.old)
    assert sorted(item.label for item in kept(shop)) == ["shop_item.size", "shop_shelf", "shop_shelf.height"]
    shop.work(shop.old)
    shop.apply(step)

    assert kept(shop) == []
    assert differences(schema, shop.schema()) == []
    assert [debt.kind for debt in shop.owed()] == ["default"]
    assert shop.sql("SELECT size, count(*) FROM shop_item WHERE size = 7 GROUP BY 1") == [(7, many)]
    assert shop.sql("SELECT count(*) FROM shop_item WHERE size = 3") != [(0,)]
    assert shop.sql("SELECT name, height FROM shop_shelf") == [("upper", 2)]
    shop.work(new)


def test_what_is_in_the_way_is_named_and_nothing_is_changed(shop: Shop) -> None:
    shop.sql("CREATE VIEW colours AS SELECT colour FROM shop_item")
    shop.apply(migration("0002_change", migrations.RemoveField("item", "colour")))
    before = shop.schema()

    with pytest.raises(MigrationFailed, match="view colours depends on column colour"):
        shop.pay()

    assert differences(before, shop.schema()) == []
    assert len(shop.owed()) == 1
    shop.sql("DROP VIEW colours")
    shop.sql("CREATE PUBLICATION narrow FOR TABLE shop_item (id, colour)")
    with pytest.raises(MigrationFailed, match="publication of table shop_item in publication narrow"):
        shop.pay()
    shop.sql("DROP PUBLICATION narrow")
    shop.pay()


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        ("ALTER TABLE shop_item ALTER COLUMN amount ADD GENERATED BY DEFAULT AS IDENTITY", "identity"),
        ("CREATE TABLE child () INHERITS (shop_item)", "inherits"),
    ],
)
def test_what_cannot_come_back_as_it_was_is_refused(shop: Shop, prepare: str, reason: str) -> None:
    shop.apply(migration("0002_change", migrations.RemoveField("item", "amount")))
    if "IDENTITY" in prepare:
        shop.sql("ALTER TABLE shop_item ALTER COLUMN amount SET NOT NULL")
    shop.sql(prepare)

    with pytest.raises(MigrationFailed, match=reason):
        shop.pay()


def test_what_is_to_be_forgotten_is_dropped_and_that_is_written_down(shop: Shop) -> None:
    step = migration("0002_change", migrations.RemoveField("item", "colour"), forget=True)
    shop.apply(step)
    shop.pay()

    assert kept(shop) == []
    assert [item.label for item in AtticStore(shop.connection).gone("shop", "0002_change")] == ["shop_item.colour"]
    assert shop.sql("SELECT count(*) FROM pg_attribute WHERE attname ~ '^migrator_attic'") == [(0,)]


def test_names_of_63_characters_do_not_collide(shop: Shop) -> None:
    names = [f"{'x' * 60}{letter}" for letter in "ab"]
    add = migration("0002_add", *(migrations.AddField("item", name, models.IntegerField(null=True)) for name in names))
    shop.apply(add)
    shop.owing.fresh.columns.clear()  # a release of its own
    shop.apply(migration("0003_remove", *(migrations.RemoveField("item", name) for name in names)))
    shop.pay()

    assert sorted(item.object for item in kept(shop)) == names
    assert all(len(item.name) < 30 for item in kept(shop))


def test_the_lock_is_one_transaction_whatever_the_number_of_rows(shop: Shop) -> None:
    shop.sql("INSERT INTO shop_maker (name) SELECT 'many ' || n FROM generate_series(1, 20000) n")
    step = migration("0002_change", migrations.RemoveField("maker", "name"))
    shop.apply(step)
    before = shop.sql("SELECT relfilenode FROM pg_class WHERE relname = 'shop_maker'")

    shop.pay()

    assert shop.sql("SELECT relfilenode FROM pg_class WHERE relname = 'shop_maker'") == before
    (item,) = kept(shop)
    assert shop.sql(f"SELECT count({item.name}) >= 20000 FROM shop_maker") == [(True,)]
