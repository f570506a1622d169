"""A field under another name, in a column of its own: kept in step, filled, paid, and gone back from."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from django.contrib.postgres.fields import IntegerRangeField
from django.db import migrations, models
from django.db.migrations.migration import Migration

from rupaya.migrator.attic.atticstore import AtticStore
from rupaya.migrator.attic.bringing import prepare, reopen
from rupaya.migrator.attic.instep import InStep
from rupaya.migrator.errors import HistoryRefused
from rupaya.migrator.operations import FillRenamedField, RenameFieldInStep
from rupaya.migrator.schema.diff import differences
from tests.migrator.debts.shop import Shop, char, migration


def maker(**options: object) -> models.Field:  # type: ignore[type-arg]
    return models.ForeignKey("shop.Maker", models.CASCADE, related_name="items", **options)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Renamed:
    """A field, its new name, what its new column is at first and in the end, and the columns."""

    old: str
    new: str
    first: models.Field  # type: ignore[type-arg]
    final: models.Field  # type: ignore[type-arg]
    ending: str = ""

    @property
    def steps(self) -> list[Migration]:
        """As makemigrations writes them."""
        fill = FillRenamedField("item", old_column=self.old + self.ending, new_column=self.new + self.ending)
        return [
            migration("0002_rename", RenameFieldInStep("item", self.old, self.new, self.first)),
            migration("0003_fill", fill, atomic=False),
            migration("0004_rules", migrations.AlterField("item", self.new, self.final)),
        ]

    @property
    def differ(self) -> str:
        """How many rows the two codes see otherwise."""
        old, new = self.old + self.ending, self.new + self.ending
        return f"SELECT count(*) FROM shop_item WHERE record_image_ne(ROW({old}), ROW({new}))"


FIELDS = [
    Renamed("colour", "color", char(20, null=True), char(20, null=True)),
    Renamed("text", "words", models.TextField(null=True), models.TextField()),
    Renamed("big", "large", models.BigIntegerField(null=True), models.BigIntegerField()),
    Renamed("span", "reach", IntegerRangeField(null=True), IntegerRangeField()),
    Renamed("status", "stage", char(10, db_default="new", null=True), char(10, db_default="new")),
    Renamed("maker", "producer", maker(null=True, db_index=False, db_constraint=False), maker(), "_id"),
]
COLOUR, STATUS = FIELDS[0], FIELDS[4]
EACH = [pytest.param(one, id=one.old, marks=[] if one is STATUS else pytest.mark.debts) for one in FIELDS]


def states(shop: Shop, renamed: Renamed) -> list[object]:
    """Carry it out, the release before at work in between; the state before each step."""
    before = []
    for step in renamed.steps:
        before.append(shop.state)
        shop.apply(step)
        shop.work(shop.old)
    return before


@pytest.mark.parametrize("renamed", EACH)
def test_both_codes_work_until_it_is_paid_and_the_schema_is_djangos_then(renamed: Renamed, shop: Shop) -> None:
    foreseen = shop.forecast(*renamed.steps).owed
    states(shop, renamed)

    assert [(debt.kind, debt.object) for debt in foreseen] == [
        (debt.kind, debt.object) for debt in shop.owed()[-1:]
    ] + [(debt.kind, debt.object) for debt in shop.owed()[:-1]]
    shop.work(shop.state)
    shop.work(shop.old)
    assert shop.sql(renamed.differ) == [(0,)]
    assert shop.owed()[-1].object == renamed.old + renamed.ending
    shop.pay()
    shop.work(shop.state)
    paid = shop.schema()
    shop.start()
    for step in renamed.steps:
        shop.stock(step)
    assert differences(shop.schema(), paid) == []


@pytest.mark.parametrize("is_paid", [False, True], ids=["owed", "paid"])
@pytest.mark.parametrize("renamed", EACH)
def test_going_back_leaves_the_old_column_with_what_was_written_since(
    renamed: Renamed, shop: Shop, *, is_paid: bool
) -> None:
    column = renamed.old + renamed.ending
    drawn = shop.schema()
    before = states(shop, renamed)
    if is_paid:
        shop.pay()
    shop.work(shop.state)
    written = shop.sql(f"SELECT id, {renamed.new}{renamed.ending} FROM shop_item ORDER BY id")
    for step, state in reversed(list(zip(renamed.steps, before, strict=True))):
        shop.unapply(step, state)  # type: ignore[arg-type]

    assert shop.sql(f"SELECT id, {column} FROM shop_item ORDER BY id") == written
    assert differences(drawn, shop.schema()) == []
    assert shop.owed() == []
    assert shop.sql("SELECT count(*) FROM pg_proc WHERE starts_with(proname, 'migrator_in_step')") == [(0,)]
    shop.work(shop.old)
    states(shop, renamed)
    assert shop.sql(renamed.differ) == [(0,)]


def test_what_one_code_writes_the_other_reads(shop: Shop) -> None:
    shop.sql("UPDATE shop_item SET colour = 'red'")
    states(shop, COLOUR)
    one = shop.sql("SELECT min(id) FROM shop_item")[0][0]
    both = f"SELECT colour, color FROM shop_item WHERE id = {one}"

    for written, read in [
        ("color = NULL", (None, None)),
        ("colour = 'blue'", ("blue", "blue")),
        ("color = 'green', name = 'n'", ("green", "green")),
        ("name = 'm'", ("green", "green")),
        ("colour = NULL", (None, None)),
    ]:
        shop.sql(f"UPDATE shop_item SET {written} WHERE id = {one}")
        assert shop.sql(both) == [read]


def test_an_update_heals_a_row_that_was_not_filled_yet(shop: Shop) -> None:
    shop.sql("UPDATE shop_item SET colour = 'red'")
    shop.apply(COLOUR.steps[0])
    assert shop.sql("SELECT DISTINCT color FROM shop_item") == [(None,)]
    shop.sql("UPDATE shop_item SET name = name || 'x'")
    assert shop.sql("SELECT DISTINCT color FROM shop_item") == [("red",)]


def test_neither_codes_value_becomes_the_default(shop: Shop) -> None:
    rest = "name, code, sku, text, price, amount, big, span, maker_id"
    values = "'n', 'c', 's', 't', 1, 1, 1, '[1,2)', (SELECT min(id) FROM shop_maker)"
    states(shop, STATUS)
    for column, value in [("status", "'old'"), ("stage", "'other'"), ("stage", "DEFAULT"), ("status", "DEFAULT")]:
        shop.sql("DELETE FROM shop_item WHERE sku = 's'")
        shop.sql(f"INSERT INTO shop_item ({rest}, {column}) VALUES ({values}, {value})")
        seen = value.strip("'") if value != "DEFAULT" else "new"
        assert shop.sql("SELECT status, stage FROM shop_item WHERE sku = 's'") == [(seen, seen)]
    shop.pay()
    shop.sql("DELETE FROM shop_item WHERE sku = 's'")
    shop.sql(f"INSERT INTO shop_item ({rest}) VALUES ({values})")
    assert shop.sql("SELECT stage FROM shop_item WHERE sku = 's'") == [("new",)]


def test_values_that_are_called_equal_are_told_apart(shop: Shop) -> None:
    shop.sql("CREATE TABLE t (a numeric, b numeric); INSERT INTO t VALUES (1.0, 1.0)")
    for sql in InStep(shop.connection.ops.quote_name, "t", "a", "b").create():
        shop.sql(sql)
    for column in ("a", "b"):
        for value in ("1.00", "1.000"):
            shop.sql(f"UPDATE t SET {column} = {value}")
            assert shop.sql("SELECT a::text, b::text FROM t") == [(value, value)]


FUNCTION = "CREATE FUNCTION tidy() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {} RETURN NEW; END$$; "
IN_THE_WAY = {
    "a BEFORE trigger that speaks of it": (
        FUNCTION.format("NEW.colour := lower(NEW.colour);")
        + "CREATE TRIGGER tidy BEFORE INSERT OR UPDATE ON shop_item FOR EACH ROW EXECUTE FUNCTION tidy()",
        "BEFORE triggers speak of it",
    ),
    "a trigger UPDATE OF it": (
        FUNCTION.format("")
        + "CREATE TRIGGER tidy AFTER UPDATE OF colour ON shop_item FOR EACH ROW EXECUTE FUNCTION tidy()",
        "triggers UPDATE OF it",
    ),
    "a generated column": (
        "ALTER TABLE shop_item ADD loud text GENERATED ALWAYS AS (upper(colour)) STORED",
        "generated columns",
    ),
    "a default of the database": ("ALTER TABLE shop_item ALTER colour SET DEFAULT 'red'", "take the place of a NULL"),
    "a unique index": ("CREATE UNIQUE INDEX u ON shop_item (colour)", "23505"),
    "a table that inherits": ("CREATE TABLE other () INHERITS (shop_item)", "inherits"),
}


@pytest.mark.parametrize("name", IN_THE_WAY)
def test_what_would_let_one_code_read_something_else_is_refused(name: str, shop: Shop) -> None:
    sql, reason = IN_THE_WAY[name]
    shop.sql(sql)
    before = shop.schema()
    for attempt in (shop.forecast, shop.apply):
        with pytest.raises(HistoryRefused, match=reason):
            attempt(COLOUR.steps[0])
    assert differences(before, shop.schema()) == []


def test_a_trigger_that_speaks_of_other_columns_is_not_in_the_way(shop: Shop) -> None:
    shop.sql(
        FUNCTION.format("NEW.name := NEW.name;")
        + "CREATE TRIGGER tidy BEFORE INSERT OR UPDATE ON shop_item FOR EACH ROW EXECUTE FUNCTION tidy()"
    )
    states(shop, COLOUR)


@pytest.mark.parametrize(
    "later",
    [
        migrations.AlterField("item", "color", char(30, null=True)),
        migrations.AlterField("item", "color", char(20, null=True, db_default="red")),
        migrations.RemoveField("item", "color"),
        RenameFieldInStep("item", "color", "shade", char(20, null=True)),
    ],
    ids=["longer", "a default", "removed", "renamed again"],
)
def test_what_the_old_column_would_not_follow_is_paid_first(later: Migration, shop: Shop) -> None:
    states(shop, COLOUR)
    step = migration("0005_later", later)  # type: ignore[arg-type]
    (owed,) = shop.owed()

    assert [debt.id for debt in shop.forecast(step).pay_first["shop", "0005_later"]] == [owed.id]
    with pytest.raises(HistoryRefused, match="owed"):
        shop.apply(step)
    shop.pay()
    shop.apply(step)
    shop.work(shop.state)


def test_a_column_that_the_same_plan_made_is_renamed(shop: Shop) -> None:
    shop.apply(migration("0002_add", migrations.AddField("item", "note", models.TextField(null=True))))
    shop.apply(migration("0003_rename", RenameFieldInStep("item", "note", "remark", models.TextField(null=True))))
    assert shop.owed() == []
    assert "remark" in shop.schema()["relations"]["shop_item"]["columns"]
    assert "note" not in shop.schema()["relations"]["shop_item"]["columns"]


def test_indexes_and_checks_over_it_are_made_anew(shop: Shop) -> None:
    cost = models.DecimalField(max_digits=10, decimal_places=2)
    check = models.CheckConstraint(condition=models.Q(cost__gte=-5, amount__gte=-5), name="item_sane")
    steps = [
        migration(
            "0002_rename",
            migrations.RemoveConstraint("item", "item_sane"),
            migrations.RemoveIndex("item", "item_price"),
            RenameFieldInStep("item", "price", "cost", models.DecimalField(max_digits=10, decimal_places=2, null=True)),
            migrations.AddConstraint("item", check),
        ),
        migration("0003_fill", FillRenamedField("item", old_column="price", new_column="cost"), atomic=False),
        migration("0004_rules", migrations.AlterField("item", "cost", cost)),
        migration("0005_index", migrations.AddIndex("item", models.Index(fields=["cost"], name="item_cost"))),
    ]
    shop.forecast(*steps)
    for step in steps:
        shop.apply(step)
        shop.work(shop.old)
    shop.work(shop.state)
    shop.pay()
    paid = shop.schema()
    shop.start()
    for step in steps:
        shop.stock(step)
    assert differences(shop.schema(), paid) == []


@pytest.mark.parametrize("renamed", [COLOUR, FIELDS[1]], ids=["NULL allowed", "NOT NULL"])
def test_what_was_paid_is_kept_in_step_again_while_new_code_serves(renamed: Renamed, shop: Shop) -> None:
    states(shop, renamed)
    shop.pay()
    shop.work(shop.state)
    (item,) = AtticStore(shop.connection).kept()
    written = f"SELECT id, {renamed.new} FROM shop_item ORDER BY id"
    prepare(shop.connection, item, "", lambda: None)
    # Until it is back it follows, and is not followed.
    shop.sql(f"UPDATE shop_item SET {renamed.new} = 'meanwhile'")
    shop.work(shop.state)
    before = shop.sql(written)

    reopen(shop.connection, item, 3)

    assert shop.sql(written) == before
    assert shop.sql(renamed.differ) == [(0,)]
    shop.work(shop.old)
    shop.work(shop.state)
    assert shop.sql(renamed.differ) == [(0,)]


def test_what_is_narrower_soon_is_paid_before_another_column_is_made_so(shop: Shop) -> None:
    shop.apply(migration("0002_narrow", migrations.AlterField("item", "colour", char(10, null=True))))
    step = migration("0003_rename", RenameFieldInStep("item", "colour", "color", char(10, null=True)))
    assert len(shop.forecast(step).pay_first["shop", "0003_rename"]) == 1
