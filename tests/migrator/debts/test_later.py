"""The next release's migration on top of unpaid debts: left, cancelled or merged, and brought back by unapplying it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from django.db import migrations, models
from django.db.migrations.operations.base import Operation

from rupaya.migrator.errors import HistoryRefused
from rupaya.migrator.schema.diff import differences
from tests.migrator.debts.shop import KEY, Shop, char, migration

C = models.CheckConstraint(condition=models.Q(amount__gte=0), name="item_c")
OTHER_C = models.CheckConstraint(condition=models.Q(amount__gte=-1), name="item_c")
U = models.UniqueConstraint(fields=["code"], name="item_u")


def add(name: str, new: models.Field) -> Operation:  # type: ignore[type-arg]
    return migrations.AddField("item", name, new)


def alter(name: str, new: models.Field) -> Operation:  # type: ignore[type-arg]
    return migrations.AlterField("item", name, new)


def remove(name: str) -> Operation:
    return migrations.RemoveField("item", name)


def loose(*, holds: bool) -> models.Field:  # type: ignore[type-arg]
    return models.ForeignKey("shop.Maker", models.CASCADE, null=True, db_constraint=holds, related_name="+")


def apart() -> Operation:
    return migrations.AlterUniqueTogether("item", set())


@dataclass(frozen=True)
class Pair:
    """A migration, the next one on top of it, and the kinds of debts that are owed of both then."""

    name: str
    first: list[Operation]
    later: list[Operation]
    owed: list[str] = field(default_factory=list)


FLAG = add("flag", models.IntegerField(default=1))
PAIRS = [
    Pair("a kept default: the field goes", [FLAG], [remove("flag")], ["column"]),
    Pair("a kept default: one of the database", [FLAG], [alter("flag", models.IntegerField(db_default=2))]),
    Pair("a kept default: NULL allowed", [FLAG], [alter("flag", models.IntegerField(null=True))], ["default"]),
    Pair("a kept default: larger", [FLAG], [alter("flag", models.BigIntegerField(default=1))], ["default"]),
    Pair("a kept default: smaller", [FLAG], [alter("flag", models.SmallIntegerField(default=1))], ["default", "type"]),
    Pair("NOT NULL: the field goes", [alter("colour", char(20))], [remove("colour")], ["column"]),
    Pair("NOT NULL: NULL again", [alter("colour", char(20))], [alter("colour", char(20, null=True))]),
    Pair("NOT NULL: longer", [alter("colour", char(20))], [alter("colour", char(30))], ["not null"]),
    Pair(
        "NOT NULL: unique too",
        [alter("colour", char(20))],
        [alter("colour", char(20, unique=True))],
        ["not null", "unique"],
    ),
    Pair(
        "shorter: less so", [alter("code", char(10, db_index=True))], [alter("code", char(15, db_index=True))], ["type"]
    ),
    Pair("shorter: as before", [alter("code", char(10, db_index=True))], [alter("code", char(20, db_index=True))]),
    Pair("shorter: longer", [alter("code", char(10, db_index=True))], [alter("code", char(30, db_index=True))]),
    Pair(
        "shorter: shorter still",
        [alter("code", char(15, db_index=True))],
        [alter("code", char(12, db_index=True))],
        ["type"],
    ),
    Pair(
        "shorter: of another kind",
        [alter("code", char(15, db_index=True))],
        [alter("code", models.TextField(db_index=True))],
    ),
    Pair(
        "shorter: NULL allowed",
        [alter("code", char(15, db_index=True))],
        [alter("code", char(15, db_index=True, null=True))],
        ["type"],
    ),
    Pair("shorter: the field goes", [alter("code", char(15, db_index=True))], [remove("code")], ["column"]),
    Pair("unique: no longer", [alter("code", char(20, unique=True))], [alter("code", char(20, db_index=True))]),
    Pair("unique: not even an index", [alter("code", char(20, unique=True))], [alter("code", char(20))], ["index"]),
    Pair("unique: longer", [alter("code", char(20, unique=True))], [alter("code", char(25, unique=True))], ["unique"]),
    Pair("unique: the field goes", [alter("code", char(20, unique=True))], [remove("code")], ["column"]),
    Pair(
        "not negative: negative again",
        [alter("amount", models.PositiveIntegerField())],
        [alter("amount", models.IntegerField())],
    ),
    Pair(
        "not negative: smaller too",
        [alter("amount", models.PositiveIntegerField())],
        [alter("amount", models.PositiveSmallIntegerField())],
        ["check", "type"],
    ),
    Pair(
        "not negative: the field goes",
        [migrations.RemoveConstraint("item", "item_sane"), alter("amount", models.PositiveIntegerField())],
        [apart(), remove("amount")],
        ["column"],
    ),
    Pair(
        "a constraint: no longer",
        [migrations.AddConstraint("item", C)],
        [migrations.RemoveConstraint("item", "item_c")],
    ),
    Pair(
        "a unique one: no longer",
        [migrations.AddConstraint("item", U)],
        [migrations.RemoveConstraint("item", "item_u")],
    ),
    Pair(
        "a constraint: another one of its name",
        [migrations.AddConstraint("item", C)],
        [migrations.RemoveConstraint("item", "item_c"), migrations.AddConstraint("item", OTHER_C)],
        ["constraint"],
    ),
    Pair(
        "unique together: no longer",
        [migrations.AlterUniqueTogether("item", {("name", "amount"), ("name", "code")})],
        [migrations.AlterUniqueTogether("item", {("name", "amount")})],
    ),
    Pair(
        "unique together: something else",
        [migrations.AlterUniqueTogether("item", {("name", "code")})],
        [migrations.AlterUniqueTogether("item", {("code", "amount")})],
        ["unique"],
    ),
    Pair("no default: one again", [alter("status", char(10))], [alter("status", char(10, db_default="a"))]),
    Pair("no default: the field goes", [alter("status", char(10))], [remove("status")], ["column"]),
    Pair("a foreign key: no longer", [alter("loose", loose(holds=True))], [alter("loose", loose(holds=False))]),
    Pair("a foreign key: the field goes", [alter("loose", loose(holds=True))], [remove("loose")], ["column"]),
    Pair(
        "an index less: its field goes",
        [migrations.RemoveIndex("item", "item_price")],
        [migrations.RemoveConstraint("item", "item_sane"), remove("price")],
        ["index", "column"],
    ),
    Pair("no index of a field: one again", [alter("code", char(20))], [alter("code", char(20, db_index=True))]),
    Pair("no index of a field: the field goes", [alter("code", char(20))], [remove("code")], ["column"]),
    Pair(
        "a field less: the model goes",
        [migrations.RemoveField("legacy", "parent")],
        [migrations.DeleteModel("Legacy")],
        ["table", "table"],
    ),
    Pair("something else", [remove("colour")], [alter("name", char(80)), FLAG], ["column", "default"]),
]
IDS = [pair.name for pair in PAIRS]


@pytest.mark.parametrize("pair", PAIRS, ids=IDS)
def test_a_later_migration_finds_its_way_and_back(pair: Pair, shop: Shop) -> None:
    first, later = migration("0002_first", *pair.first), migration("0003_later", *pair.later)
    shop.stock(first)
    between = shop.state
    shop.stock(later)
    stock = shop.schema()
    shop.start()
    shop.apply(first)
    owed_between = sorted(map(str, shop.owed()))
    halfway = shop.schema()
    shop.owing.fresh.columns.clear()  # a release of its own

    foreseen = shop.forecast(later)
    assert foreseen.pay_first == {}
    shop.apply(later)

    assert [debt.kind for debt in shop.owed()] == pair.owed
    assert len(shop.owed()) + len(foreseen.cancelled) == len(owed_between) + len(foreseen.owed)
    for code in (between, shop.state, between):
        shop.work(code)
    shop.empty()

    shop.unapply(later, between)

    assert sorted(map(str, shop.owed())) == owed_between
    assert differences(halfway, shop.schema()) == []
    shop.work(between)

    shop.apply(later)
    new = shop.state
    shop.pay()

    assert differences(stock, shop.schema()) == []
    shop.work(new)


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ([remove("colour")], [add("colour", models.IntegerField(null=True))]),
        ([migrations.DeleteModel("Legacy")], [migrations.CreateModel("Legacy", [KEY])]),
        ([remove("tags")], [add("tags", models.ManyToManyField("shop.Maker", related_name="+"))]),
    ],
    ids=["a column", "a table", "a many-to-many table"],
)
def test_a_name_that_is_owed_is_paid_before_it_is_used_again(
    first: list[Operation], later: list[Operation], shop: Shop
) -> None:
    shop.apply(migration("0002_first", *first))
    step = migration("0003_later", *later)

    foreseen = shop.forecast(step)

    needed = foreseen.pay_first["shop", "0003_later"]
    assert {debt.id for debt in needed} <= {debt.id for debt in shop.owed()}
    with pytest.raises(HistoryRefused, match="refers to what is still owed"):
        shop.apply(step)

    for debt in needed:
        shop.payer().pay(debt)
    shop.apply(step)
    shop.work(shop.state)


def test_an_index_whose_name_is_used_again_goes_at_once(shop: Shop) -> None:
    before = shop.schema()
    first = migration("0002_first", migrations.RemoveIndex("item", "item_price"))
    other = models.Index(fields=["price", "name"], name="item_price")
    later = migration("0003_later", migrations.AddIndex("item", other))
    shop.apply(first)
    between = shop.state

    assert shop.forecast(later).pay_first == {}
    shop.apply(later)

    assert shop.owed() == []
    assert [debt.kind for debt in shop.store.owed()] == []
    shop.unapply(later, between)
    shop.unapply(first, shop.old)
    assert differences(before, shop.schema()) == []


def test_one_migration_may_replace_an_index_by_one_of_its_name(shop: Shop) -> None:
    other = models.Index(fields=["price", "name"], name="item_price")
    step = migration("0002_change", migrations.RemoveIndex("item", "item_price"), migrations.AddIndex("item", other))

    assert shop.forecast(step).owed == []
    shop.apply(step)

    assert shop.owed() == []
    assert shop.sql("SELECT indnatts FROM pg_index WHERE indexrelid = 'item_price'::regclass") == [(2,)]


def test_what_is_owed_of_a_column_goes_by_its_new_name(shop: Shop) -> None:
    steps = [
        migration("0002_first", add("flag", models.IntegerField(default=1)), add("mark", char(9, null=True))),
        migration("0003_tight", alter("mark", char(9, default="a"))),
        migration("0004_later", *(migrations.RenameField("item", old, f"is_{old}") for old in ("flag", "mark"))),
    ]
    for step in steps:
        shop.stock(step)
    stock = shop.schema()
    shop.start()
    foreseen = shop.forecast(*steps).owed
    for step in steps[:2]:
        shop.apply(step)
    between, owed_between = shop.state, sorted(map(str, shop.owed()))
    shop.apply(steps[2])

    assert [debt.kind for debt in shop.owed()] == [debt.kind for debt in foreseen] == ["default", "not null"]
    shop.work(shop.old)
    shop.work(shop.state)
    shop.unapply(steps[2], between)
    assert sorted(map(str, shop.owed())) == owed_between
    shop.work(between)
    shop.owing.fresh.columns |= {("shop_item", "flag"), ("shop_item", "mark")}
    shop.apply(steps[2])
    shop.pay()
    assert differences(stock, shop.schema()) == []


def test_what_is_carried_out_again_after_it_was_cut_off_is_owed_once(shop: Shop) -> None:
    before = shop.schema()
    step = migration(
        "0002_change",
        remove("maker"),
        migrations.DeleteModel("Legacy"),
        alter("colour", char(10)),
        migrations.AddConstraint("item", C),
        migrations.RemoveIndex("item", "item_price"),
        atomic=False,
    )
    shop.apply(step)
    owed = [(debt.id, debt.details) for debt in shop.owed()]
    shop.state = shop.old.clone()  # Django did not get as far as writing it down

    assert shop.forecast(step).owed == []
    shop.apply(step)

    assert [(debt.id, debt.details) for debt in shop.owed()] == owed
    assert shop.store.due({("shop", "0002_change")}) == []
    assert len(shop.store.due(set())) == len(owed)
    shop.empty()
    shop.unapply(step, shop.old)
    assert differences(before, shop.schema()) == []


def test_a_debt_taken_with_its_column_comes_back_only_with_that(shop: Shop) -> None:
    first, later = migration("0002_first", alter("colour", char(20))), migration("0003_later", remove("colour"))
    shop.apply(first)
    between = shop.state
    shop.apply(later)
    shop.pay()
    shop.empty()

    shop.unapply(later, between)  # the column is brought back as it was, and is to become NOT NULL again

    assert [(debt.kind, debt.migration) for debt in shop.owed()] == [("not null", "0002_first")]
    assert shop.sql(
        "SELECT attnotnull FROM pg_attribute WHERE attrelid = 'shop_item'::regclass AND attname = 'colour'"
    )[0] == (False,)
