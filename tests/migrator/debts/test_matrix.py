"""Each row of the table of debts: both codes go on at every point, and what is paid or undone is what Django makes."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.operations import AddConstraintNotValid, AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models
from django.db.migrations.operations.base import Operation
from django.utils import timezone
from django_pg_migration_tools import operations as safer

from rupaya.migrator.analysis.schemadiff import is_owed
from rupaya.migrator.schema.diff import differences
from tests.migrator.debts.shop import Shop, char, migration


@dataclass(frozen=True)
class Case:
    """A change, and the kinds of debts that it leaves, in order."""

    name: str
    operations: list[Operation]
    owed: list[str] = field(default_factory=list)
    atomic: bool = True


def add(name: str, new: models.Field) -> Operation:  # type: ignore[type-arg]
    return migrations.AddField("item", name, new)


def alter(name: str, new: models.Field) -> Operation:  # type: ignore[type-arg]
    return migrations.AlterField("item", name, new)


def remove(name: str) -> Operation:
    return migrations.RemoveField("item", name)


def decimal(digits: int, places: int) -> models.Field:  # type: ignore[type-arg]
    return models.DecimalField(max_digits=digits, decimal_places=places)


def maker(**options: object) -> models.Field:  # type: ignore[type-arg]
    return models.ForeignKey("shop.Maker", models.CASCADE, **{"related_name": "+", **options})  # type: ignore[arg-type]


one_to_one = models.OneToOneField("shop.Maker", models.CASCADE, null=True, db_constraint=False, related_name="+")

CASES = [
    # All at once
    Case("a new model", [migrations.CreateModel("Shelf", [("id", models.BigAutoField(primary_key=True))])]),
    Case("a nullable field", [add("size", models.IntegerField(null=True))]),
    Case("a nullable field with a default", [add("size", models.IntegerField(null=True, default=3))]),
    Case("a field with a database default", [add("size", models.IntegerField(db_default=3))]),
    Case("a many-to-many field", [add("others", models.ManyToManyField("shop.Tag", related_name="+"))]),
    Case("a longer text", [alter("name", char(80))]),
    Case("a text without end", [alter("code", models.TextField(db_index=True))]),
    Case("larger numbers", [alter("amount", models.BigIntegerField())]),
    Case("more digits", [alter("price", decimal(14, 4))]),
    Case("NULL allowed", [alter("name", char(50, null=True))]),
    Case("no longer unique", [alter("sku", char(20))]),
    Case("another database default", [alter("status", char(10, db_default="open"))]),
    Case("an index", [migrations.AddIndex("item", models.Index(fields=["name"], name="item_name"))]),
    Case(
        "an index concurrently",
        [AddIndexConcurrently("item", models.Index(fields=["name"], name="item_name"))],
        atomic=False,
    ),
    Case("an index of a field", [alter("name", char(50, db_index=True))]),
    Case("an index by another name", [migrations.RenameIndex("item", new_name="item_cost", old_name="item_price")]),
    Case("a constraint less", [migrations.RemoveConstraint("item", "item_sane")]),
    Case("fewer unique fields", [migrations.AlterUniqueTogether("item", set())]),
    Case("no foreign key", [alter("maker", maker(db_constraint=False))]),
    Case("a comment", [alter("name", char(50, db_comment="What it is called"))]),
    Case("nothing in the database", [alter("name", char(50, verbose_name="called", blank=True))]),
    # Defaults that stay
    Case("a flag", [add("flag", models.BooleanField(default=False))], ["default"]),
    Case("a text with quotes", [add("size", char(20, default="it's 100%"))], ["default"]),
    Case("a blank text", [add("size", char(20, blank=True))], ["default"]),
    Case("a document", [add("size", models.JSONField(default=dict))], ["default"]),
    Case("bytes", [add("size", models.BinaryField(default=b"\x00'%"))], ["default"]),
    Case("a duration", [add("size", models.DurationField(default=timedelta(hours=3)))], ["default"]),
    Case("a moment", [add("size", models.DateTimeField(default=timezone.now))], ["default"]),
    Case("the moment of a row", [add("size", models.DateTimeField(auto_now_add=True))], ["default"]),
    Case("the day of a row", [add("size", models.DateField(auto_now_add=True))], ["default"]),
    Case("the time of a row", [add("size", models.TimeField(auto_now=True))], ["default"]),
    Case("an identifier", [add("size", models.UUIDField(default=uuid.uuid4))], ["default"]),
    Case("a number that is not negative", [add("size", models.PositiveIntegerField(default=0))], ["default"]),
    Case(
        "a default for once",
        [migrations.AddField("item", "size", models.IntegerField(default=7), preserve_default=False)],
        ["default"],
    ),
    # Removals
    Case("a field less", [migrations.AlterUniqueTogether("item", set()), remove("name")], ["column"]),
    Case("a field less, and its part in what is unique with it", [remove("amount")], ["column"]),
    Case("a nullable field less", [remove("colour")], ["column"]),
    Case("an indexed field less", [remove("code")], ["column"]),
    Case("a unique field less", [remove("sku")], ["column"]),
    Case("a field with a database default less", [remove("status")], ["column"]),
    Case("a foreign key less", [remove("maker")], ["column"]),
    Case("a many-to-many field less", [remove("tags")], ["table"]),
    Case("a model less", [migrations.DeleteModel("Legacy")], ["table", "table"]),
    # What tightens
    Case("NOT NULL", [alter("colour", char(20, default="red"))], ["not null"]),
    Case("NOT NULL with a database default", [alter("colour", char(20, db_default="red"))], ["not null"]),
    Case(
        "a CHECK",
        [migrations.AddConstraint("item", models.CheckConstraint(condition=models.Q(amount__gte=0), name="item_c"))],
        ["constraint"],
    ),
    Case(
        "a CHECK for new rows",
        [AddConstraintNotValid("item", models.CheckConstraint(condition=models.Q(amount__gte=0), name="item_c"))],
        ["constraint"],
    ),
    Case(
        "a unique constraint",
        [migrations.AddConstraint("item", models.UniqueConstraint(fields=["name", "code"], name="item_u"))],
        ["constraint"],
    ),
    Case(
        "a unique constraint with a longer name than the server keeps",
        [migrations.AddConstraint("item", models.UniqueConstraint(fields=["name", "code"], name="item_" + "ü" * 40))],
        ["constraint"],
    ),
    Case(
        "a unique constraint, checked at the end",
        [
            migrations.AddConstraint(
                "item", models.UniqueConstraint(fields=["code"], name="item_u", deferrable=models.Deferrable.DEFERRED)
            )
        ],
        ["constraint"],
    ),
    Case(
        "a unique constraint on some rows",
        [
            migrations.AddConstraint(
                "item", models.UniqueConstraint(fields=["code"], name="item_u", condition=models.Q(amount__gt=100))
            )
        ],
        ["constraint"],
    ),
    Case(
        "a unique expression",
        [migrations.AddConstraint("item", models.UniqueConstraint(models.functions.Lower("code"), name="item_u"))],
        ["constraint"],
    ),
    Case(
        "a unique constraint that knows NULL",
        [migrations.AddConstraint("item", models.UniqueConstraint(fields=["code"], name="u", nulls_distinct=False))],
        ["constraint"],
    ),
    Case(
        "an exclusion",
        [migrations.AddConstraint("item", ExclusionConstraint(name="item_x", expressions=[("span", "&&")]))],
        ["constraint"],
    ),
    Case("unique together", [migrations.AlterUniqueTogether("item", {("name", "code")})], ["unique"]),
    Case("a unique field", [alter("name", char(50, unique=True))], ["unique"]),
    Case("a unique number", [alter("amount", models.IntegerField(unique=True))], ["unique"]),
    Case("an indexed field made unique", [alter("code", char(20, unique=True))], ["unique"]),
    Case("one to one", [alter("loose", one_to_one)], ["unique"]),
    Case("a shorter text", [alter("name", char(30))], ["type"]),
    Case("a text with an end", [alter("text", char(90))], ["type"]),
    Case("smaller numbers", [alter("big", models.IntegerField())], ["type"]),
    Case("fewer digits", [alter("price", decimal(8, 2))], ["type"]),
    Case("other digits", [alter("price", decimal(9, 4))], ["type"]),
    Case("no negative numbers", [alter("amount", models.PositiveIntegerField())], ["check"]),
    Case("no database default", [alter("status", char(10, default="new"))], ["database default"]),
    Case("a foreign key that holds", [alter("loose", maker(null=True))], ["foreign key"]),
    Case("an index less", [migrations.RemoveIndex("item", "item_price")], ["index"]),
    Case("an index less, concurrently", [RemoveIndexConcurrently("item", "item_price")], ["index"], atomic=False),
    Case("no index of a field", [alter("code", char(20))], ["index"]),
    Case(
        "another package's ways",
        [
            safer.SaferAlterFieldSetNotNull("item", "colour", char(20)),
            safer.SaferAddUniqueConstraint("item", models.UniqueConstraint(fields=["code"], name="item_u")),
            safer.SaferAddCheckConstraint(
                "item", models.CheckConstraint(condition=models.Q(amount__gte=0), name="item_c")
            ),
            safer.SaferRemoveIndexConcurrently("item", "item_price"),
        ],
        ["not null", "constraint", "constraint", "index"],
        atomic=False,
    ),
    Case(
        "another package's ways to add",
        [
            safer.SaferAddFieldForeignKey("item", "second", maker(null=True)),
            safer.SaferAddIndexConcurrently("item", models.Index(fields=["name"], name="item_name")),
            safer.SaferRemoveUniqueConstraint("item", "item_old"),
        ],
        atomic=False,
    ),
    Case("an order", [migrations.AlterOrderWithRespectTo("item", "maker")], ["default"]),
    # Bundles
    Case(
        "one field in every way",
        [alter("code", char(15, unique=True, null=False)), alter("colour", char(10, unique=True))],
        ["type", "unique", "type", "not null", "unique"],
    ),
    Case(
        "everything of one release",
        [
            add("motto", models.TextField(null=True)),
            add("flag", models.BooleanField(default=False)),
            migrations.AlterUniqueTogether("item", set()),
            remove("name"),
            remove("tags"),
            migrations.DeleteModel("Legacy"),
            alter("colour", char(20, default="red")),
            migrations.AddConstraint("item", models.CheckConstraint(condition=models.Q(amount__gte=0), name="item_c")),
            alter("big", models.IntegerField()),
            alter("status", char(10)),
            migrations.RemoveIndex("item", "item_price"),
        ],
        ["default", "column", "table", "table", "table", "not null", "constraint", "type", "database default", "index"],
    ),
    Case(
        "a new model with everything",
        [
            migrations.CreateModel("Shelf", [("id", models.BigAutoField(primary_key=True)), ("name", char(20))]),
            migrations.AddField("shelf", "size", models.IntegerField(default=1)),
            migrations.AddConstraint(
                "shelf", models.CheckConstraint(condition=models.Q(size__gte=0), name="shelf_size_sane")
            ),
            migrations.RenameField("shelf", "name", "title"),
            migrations.AlterField("shelf", "title", char(10, unique=True)),
            migrations.AlterModelTable("shelf", "shelves"),
        ],
    ),
]
IDS = [case.name for case in CASES]


def change(case: Case) -> migrations.Migration:
    return migration("0002_change", *case.operations, atomic=case.atomic)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_both_codes_go_on_and_paying_makes_what_django_makes(case: Case, shop: Shop) -> None:
    step = change(case)
    before = shop.schema()
    shop.stock(step)
    stock = shop.schema()
    shop.empty()
    shop.stock_back(step, shop.old)
    stock_back = shop.schema()
    shop.start()

    foreseen = [debt.kind for debt in shop.forecast(step).owed]
    shop.apply(step)

    owed = shop.owed()
    assert [debt.kind for debt in owed] == foreseen == case.owed
    # What `schemadiff` has to say of it meanwhile.
    halfway = differences(stock, shop.schema())
    assert [str(each) for each in halfway if not any(is_owed(each, debt) for debt in owed)] == []
    new = shop.state
    for code in (shop.old, new, shop.old, new):
        shop.work(code)

    shop.pay()

    assert shop.owed() == []
    assert differences(stock, shop.schema()) == []
    shop.work(new)
    shop.empty()

    shop.unapply(step, shop.old)

    # What comes out of the attic is what went in; Django's own way back loses what it cannot tell from the models.
    came_back = {"column", "table"} & set(case.owed)
    assert differences(before if came_back else stock_back, shop.schema()) == []
    shop.work(shop.old)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_unapplied_before_it_is_paid_nothing_is_left_of_it(case: Case, shop: Shop) -> None:
    before = shop.schema()
    step = change(case)
    if not case.owed:  # Django itself does not always restore names
        shop.stock(step)
        shop.stock_back(step, shop.old)
        before = shop.schema()
        shop.start()
    shop.apply(step)
    shop.work(shop.old)

    shop.unapply(step, shop.old)

    assert shop.owed() == []
    assert differences(before, shop.schema()) == []
    shop.work(shop.old)
