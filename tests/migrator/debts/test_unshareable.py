"""What neither code can do without is refused before anything runs; the way to write it is told, and let through."""

from __future__ import annotations

import itertools

import pytest
from django.db import migrations, models
from django.db.migrations.operations.base import Operation

from rupaya.migrator.errors import HistoryRefused
from tests.migrator.debts.shop import Shop, char, migration

REFUSED: list[tuple[str, list[Operation], str, str]] = [
    ("a renamed field", [migrations.RenameField("item", "name", "title")], "renames the column", 'db_column="name"'),
    (
        "another column",
        [migrations.AlterField("item", "name", char(50, db_column="title"))],
        "renames the column",
        'db_column="name"',
    ),
    ("a renamed model", [migrations.RenameModel("Legacy", "Past")], "renames the table", 'db_table = "shop_legacy"'),
    (
        "a renamed model with a pinned table, after which a many-to-many table names its column",
        [migrations.AlterModelTable("legacy", "shop_legacy"), migrations.RenameModel("Legacy", "Past")],
        "renames the column shop_legacy_tags.legacy_id",
        "through model",
    ),
    ("another table", [migrations.AlterModelTable("item", "goods")], "renames the table", 'db_table = "shop_item"'),
    (
        "a renamed many-to-many field",
        [migrations.RenameField("item", "tags", "labels")],
        "renames the table shop_item_tags",
        'db_table="shop_item_tags"',
    ),
    (
        "numbers that were text",
        [migrations.AlterField("item", "name", models.IntegerField())],
        "from varchar(50) to integer",
        "another name",
    ),
    (
        "text that was numbers",
        [migrations.AlterField("item", "amount", models.TextField())],
        "from integer to text",
        "another name",
    ),
    (
        "a day that was a flag",
        [migrations.AlterField("item", "amount", models.BooleanField())],
        "from integer to boolean",
        "another name",
    ),
    (
        "a foreign key to something else",
        [migrations.AlterField("item", "maker", models.ForeignKey("shop.Tag", models.CASCADE))],
        "refer to shop_tag",
        "another name",
    ),
    (
        "many-to-many with something else",
        [migrations.AlterField("item", "tags", models.ManyToManyField("shop.Maker", related_name="+"))],
        "",
        "",
    ),
    (
        "another primary key",
        [
            migrations.AlterField("item", "id", models.BigIntegerField()),
            migrations.AddField("item", "key", models.UUIDField(primary_key=True)),
        ],
        "changes the primary key",
        "Leave the primary key",
    ),
    (
        "a smaller primary key",
        [migrations.AlterField("item", "id", models.AutoField(primary_key=True))],
        "from bigint to integer",
        "",
    ),
    (
        "a field that old code cannot fill",
        [migrations.AddField("item", "x", models.IntegerField())],
        "without a",
        "null",
    ),
    (
        "a unique field with one value for all",
        [migrations.AddField("item", "x", models.IntegerField(default=1, unique=True))],
        "one default for all rows",
        "null=True",
    ),
    (
        "a name that is used again",
        [
            migrations.RemoveField("item", "colour"),
            migrations.AddField("item", "colour", models.IntegerField(null=True)),
        ],
        "uses a name again",
        "another name",
    ),
]


@pytest.mark.parametrize(("operations", "fact", "remedy"), [case[1:] for case in REFUSED], ids=[c[0] for c in REFUSED])
def test_what_neither_code_can_do_without_is_refused(
    operations: list[Operation], fact: str, remedy: str, shop: Shop
) -> None:
    before = shop.schema()

    with pytest.raises(HistoryRefused) as refused:
        shop.forecast(migration("0002_change", *operations))

    assert refused.value.happened.startswith("shop.0002_change (")
    assert fact in refused.value.happened
    assert remedy in refused.value.remedy
    assert shop.schema() == before


PINNED: list[tuple[str, list[Operation]]] = [
    (
        "a field",
        [
            migrations.AlterField("item", "name", char(50, db_column="name")),
            migrations.RenameField("item", "name", "title"),
        ],
    ),
    (
        "a model",
        [migrations.AlterModelTable("maker", "shop_maker"), migrations.RenameModel("Maker", "Producer")],
    ),
    (
        "a many-to-many field",
        [
            migrations.AlterField("item", "tags", models.ManyToManyField("shop.Tag", db_table="shop_item_tags")),
            migrations.RenameField("item", "tags", "labels"),
        ],
    ),
]


@pytest.mark.parametrize("operations", [case[1] for case in PINNED], ids=[case[0] for case in PINNED])
def test_the_way_to_write_it_is_let_through_and_changes_nothing(operations: list[Operation], shop: Shop) -> None:
    before = shop.schema()
    step = migration("0002_change", *operations)

    assert shop.forecast(step).owed == []
    shop.apply(step)

    assert shop.schema() == before
    shop.work(shop.old)


def test_a_plan_may_change_its_own_tables_and_columns_as_it_likes(shop: Shop) -> None:
    key = ("id", models.BigAutoField(primary_key=True))
    steps = [
        migration("0002_shelf", migrations.CreateModel("Shelf", [key, ("name", char(10))])),
        migration(
            "0003_more",
            migrations.RenameModel("Shelf", "Rack"),
            migrations.RenameField("rack", "name", "title"),
            migrations.AlterField("rack", "title", models.IntegerField()),
            migrations.AddField("item", "first", models.IntegerField(null=True)),
            migrations.RenameField("item", "first", "second"),
            migrations.AlterField("item", "second", char(10, null=True)),
            migrations.AddField("item", "third", models.BooleanField(default=True)),
            migrations.RemoveField("item", "third"),
        ),
    ]

    assert shop.forecast(*steps).owed == []
    for step in steps:
        shop.apply(step)

    assert shop.owed() == []
    columns = list(
        itertools.chain(*shop.sql("SELECT attname FROM pg_attribute WHERE attrelid = 'shop_item'::regclass"))
    )
    assert "second" in columns
    assert "third" not in columns
    shop.work(shop.old)
    shop.work(shop.state)


def test_a_default_that_the_database_knows_no_call_for_is_told_and_runs_as_in_django(shop: Shop) -> None:
    numbers = itertools.count()
    step = migration(
        "0002_change", migrations.AddField("item", "x", models.IntegerField(default=lambda: next(numbers)))
    )

    shop.apply(step)

    assert shop.owed() == []
    assert ["differs at each call" in warning for warning in shop.owing.warnings] == [True]
