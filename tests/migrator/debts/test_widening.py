"""A column of a larger type, made beside the old one and put in its place, while both codes work."""

from __future__ import annotations

import pytest
from django.db import migrations, models
from django.db.migrations.migration import Migration

from rupaya.migrator.errors import HistoryRefused, MigrationFailed
from rupaya.migrator.operations import WidenField
from rupaya.migrator.operations.beside import Beside
from rupaya.migrator.schema.diff import differences
from tests.migrator.debts.shop import Shop, migration

LARGER = models.DecimalField(max_digits=14, decimal_places=4)


def widen(name: str = "price", field: models.Field | None = None) -> Migration:  # type: ignore[type-arg]
    return migration("0002_widen", WidenField("item", name, field or LARGER), atomic=False)


def beside(shop: Shop, type_: str = "numeric(14, 4)") -> Beside:
    return Beside(shop.connection, "shop_item", "price", type_)


def left_over(shop: Shop) -> list[tuple[object, ...]]:
    """Functions, columns, indexes and constraints that were only for the way."""
    return shop.sql(
        "SELECT proname FROM pg_proc WHERE starts_with(proname, 'migrator_in_step') "
        "UNION ALL SELECT attname FROM pg_attribute WHERE attrelid = 'shop_item'::regclass "
        "AND starts_with(attname, 'migrator_attic') UNION ALL SELECT conname FROM pg_constraint "
        "WHERE conrelid = 'shop_item'::regclass AND starts_with(conname, 'migrator_attic')"
    )


def test_it_is_what_django_would_make_and_back_again(shop: Shop) -> None:
    shop.sql("ALTER TABLE shop_item ALTER price SET DEFAULT 7; COMMENT ON COLUMN shop_item.price IS 'It''s a price'")
    before = shop.schema()
    rows = shop.sql("SELECT id, price FROM shop_item ORDER BY id")
    step = widen()

    assert shop.forecast(step).owed == []
    shop.apply(step)

    widened = shop.schema()
    assert shop.sql("SELECT id, price FROM shop_item ORDER BY id") == rows
    assert left_over(shop) == []
    assert shop.owed() == []
    shop.work(shop.old)
    shop.work(shop.state)
    shop.unapply(step, shop.old)
    assert differences(before, shop.schema()) == []
    shop.sql("ALTER TABLE shop_item ALTER price TYPE numeric(14, 4)")
    assert differences(shop.schema(), widened) == []


@pytest.mark.parametrize("until", ["begun", "ruled"])
def test_it_goes_on_where_it_was_interrupted(until: str, shop: Shop) -> None:
    cut_off = beside(shop)
    cut_off.begin()
    shop.work(shop.old)
    if until == "ruled":
        shop.sql(f'UPDATE shop_item SET "{cut_off.name}" = price')
        cut_off.make_rules()
        shop.work(shop.old)
    shop.apply(widen())
    shop.apply(migration("0003_again", WidenField("item", "price", LARGER), atomic=False))
    assert left_over(shop) == []
    assert shop.sql("SELECT count(*) FROM shop_item WHERE price IS NULL") == [(0,)]


def test_what_is_written_on_the_way_is_in_the_new_column(shop: Shop) -> None:
    made = beside(shop)
    made.begin()
    shop.sql("UPDATE shop_item SET price = 12.5")
    assert shop.sql(f'SELECT DISTINCT "{made.name}" = price FROM shop_item') == [(True,)]


IN_THE_WAY = {
    "a view": "CREATE VIEW v AS SELECT price FROM shop_item",
    "an index with an expression": "CREATE INDEX e ON shop_item (abs(price))",
    "an index with a condition": "CREATE INDEX e ON shop_item (name) WHERE price > 0",
    "statistics": "CREATE STATISTICS s ON price, big FROM shop_item",
    "rights": "GRANT SELECT (price) ON shop_item TO PUBLIC",
    "a generated column": "ALTER TABLE shop_item ADD twice numeric GENERATED ALWAYS AS (price * 2) STORED",
    "a rule that is not valid": "ALTER TABLE shop_item ADD CONSTRAINT c CHECK (price < 9) NOT VALID",
    "a unique index": "CREATE UNIQUE INDEX u ON shop_item (price, sku)",
}


@pytest.mark.parametrize("name", IN_THE_WAY)
def test_what_would_not_follow_is_refused(name: str, shop: Shop) -> None:
    shop.sql(IN_THE_WAY[name])
    before = shop.schema()
    for attempt in (shop.forecast, shop.apply):
        with pytest.raises(HistoryRefused, match="cannot become numeric"):
            attempt(widen())
    assert differences(before, shop.schema()) == []
    assert left_over(shop) == []


def test_going_back_is_refused_while_a_value_does_not_fit(shop: Shop) -> None:
    step = widen()
    shop.apply(step)
    new = shop.state
    shop.sql("UPDATE shop_item SET price = 9999999999")
    before = shop.schema()
    with pytest.raises(MigrationFailed, match="does not fit"):
        shop.unapply(step, shop.old)
    assert differences(before, shop.schema()) == []
    assert left_over(shop) == []
    shop.work(new)


def test_it_is_for_the_type_alone(shop: Shop) -> None:
    with pytest.raises(ValueError, match="changes null"):
        shop.apply(widen(field=models.DecimalField(max_digits=14, decimal_places=4, null=True)))


def test_what_is_narrower_soon_is_paid_before_it_is_widened(shop: Shop) -> None:
    narrow = models.DecimalField(max_digits=8, decimal_places=2)
    shop.apply(migration("0002_narrow", migrations.AlterField("item", "price", narrow)))
    step = migration("0003_widen", WidenField("item", "price", LARGER), atomic=False)
    assert len(shop.forecast(step).pay_first["shop", "0003_widen"]) == 1


ADDRESS = models.GenericIPAddressField(null=True)


def test_a_text_that_becomes_an_address_is_the_same_text_again(shop: Shop) -> None:
    shop.sql("UPDATE shop_item SET colour = CASE WHEN id % 2 = 0 THEN '10.0.0.1' END")
    before, rows = shop.schema(), shop.sql("SELECT id, colour FROM shop_item ORDER BY id")
    step = widen("colour", ADDRESS)

    assert shop.forecast(step).owed == []
    shop.apply(step)

    assert shop.sql("SELECT DISTINCT pg_typeof(colour)::text FROM shop_item") == [("inet",)]
    shop.sql("UPDATE shop_item SET colour = '10.0.0.2' WHERE colour IS NULL")
    shop.unapply(step, shop.old)
    assert differences(before, shop.schema()) == []
    assert shop.sql("SELECT id, coalesce(colour, '10.0.0.2') FROM shop_item ORDER BY id") == [
        (number, colour or "10.0.0.2") for number, colour in rows
    ]


def test_a_text_that_is_no_document_leaves_all_as_it_was(shop: Shop) -> None:
    before = shop.schema()
    with pytest.raises(MigrationFailed, match="cannot become jsonb"):
        shop.apply(widen("text", models.JSONField()))
    assert differences(before, shop.schema()) == []
    assert left_over(shop) == []


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("ALTER TABLE shop_item ALTER colour SET DEFAULT 'x'", "its default"),
        ("CREATE INDEX by_colour ON shop_item (colour varchar_pattern_ops)", "by_colour"),
        ("ALTER TABLE shop_item ADD CONSTRAINT short CHECK (length(colour) < 19)", "short"),
    ],
)
def test_what_is_built_on_its_being_a_text_is_in_the_way(sql: str, what: str, shop: Shop) -> None:
    shop.sql(f"{sql}; UPDATE shop_item SET colour = NULL")
    before = shop.schema()
    with pytest.raises(HistoryRefused, match=f"another kind of type, and {what}"):
        shop.forecast(widen("colour", ADDRESS))
    assert differences(before, shop.schema()) == []
