"""What a run refuses because what it would make is there already: asked of a plan and a database, in this process."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from django.db import migrations, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.operations.base import Operation

from rupaya.migrator.errors import HistoryRefused
from rupaya.migrator.plan.history import refuse_existing
from rupaya.migrator.plan.plan import Plan
from tests.migrator.plans import KEY, planned

CREATE = migrations.CreateModel("Item", [KEY, ("colour", models.CharField(max_length=20, null=True))])
NUMBER = models.IntegerField(null=True)
ITEM = "CREATE TABLE shop_item (id bigint, colour text)"


def refused(connection: BaseDatabaseWrapper, plan: Plan) -> str:
    """What of the second migration is there already, as the refusal says; empty if it refuses nothing."""
    try:
        refuse_existing(connection, plan)
    except HistoryRefused as error:
        _state, _, names = (
            str(error).splitlines()[0].partition("while what they create exists: shop.0002_second would create ")
        )
        return names.rstrip(".")
    return ""


@pytest.mark.parametrize(
    ("operation", "table", "names"),
    [
        (CREATE, "shop_item", "shop_item"),
        (CREATE, "shop_other", ""),
        (migrations.CreateModel("Item", [KEY], {"db_table": "wares"}), "wares", "wares"),
        (migrations.CreateModel("Item", [KEY], {"db_table": '"Wares"'}), '"Wares"', "Wares"),
        (migrations.CreateModel("Item", [KEY], {"db_table": "Wares"}), "wares", ""),
        (migrations.CreateModel("Item", [KEY], {"managed": False}), "shop_item", ""),
        (migrations.CreateModel("Item", [], {"proxy": True}, ("auth.user",)), "shop_item", ""),
        (migrations.CreateModel("Item", [KEY], {"swappable": "NO_SUCH_MODEL"}), "shop_item", "shop_item"),
        (migrations.CreateModel("Item", [KEY], {"swappable": "AUTH_USER_MODEL"}), "shop_item", ""),
        (migrations.SeparateDatabaseAndState([CREATE]), "shop_item", "shop_item"),
        (migrations.SeparateDatabaseAndState(state_operations=[CREATE]), "shop_item", ""),
    ],
)
def test_a_table_that_a_migration_would_make_is_there(
    scratch: BaseDatabaseWrapper, operation: Operation, table: str, names: str
) -> None:
    plan = planned(scratch, [], [operation])
    with scratch.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {table} (id bigint)")

    assert refused(scratch, plan) == names


def test_a_model_that_stands_for_the_swapped_one_is_made(scratch: BaseDatabaseWrapper, settings: Any) -> None:
    settings.SHOP_ITEM_MODEL = "shop.Item"
    with scratch.cursor() as cursor:
        cursor.execute(ITEM)

    plan = planned(scratch, [], [migrations.CreateModel("Item", [KEY], {"swappable": "SHOP_ITEM_MODEL"})])

    assert refused(scratch, plan) == "shop_item"


UNMANAGED = migrations.CreateModel("Item", [KEY], {"managed": False})


@pytest.mark.parametrize(
    ("first", "field", "column", "there"),
    [
        (CREATE, NUMBER, "size", True),
        (CREATE, NUMBER, "size_id", False),
        (CREATE, models.IntegerField(null=True, db_column="width"), "width", True),
        (CREATE, models.IntegerField(null=True, db_column="width"), "size", False),
        (CREATE, models.ForeignKey("shop.item", models.CASCADE, null=True), "size_id", True),
        (CREATE, models.ForeignKey("shop.item", models.CASCADE, null=True), "size", False),
        (CREATE, models.ManyToManyField("shop.item"), "size", False),
        (UNMANAGED, NUMBER, "size", False),
    ],
)
def test_a_column_that_a_migration_would_make_is_there(
    scratch: BaseDatabaseWrapper, first: Operation, field: Any, column: str, there: bool
) -> None:
    plan = planned(scratch, [first], [migrations.AddField("item", "size", field)])
    with scratch.cursor() as cursor:
        cursor.execute(f"CREATE TABLE shop_item (id bigint, {column} integer)")

    assert refused(scratch, plan) == (f"shop_item.{column}" if there else "")


@pytest.mark.parametrize(
    "operations",
    [
        [migrations.RenameField("item", "colour", "hue"), migrations.AddField("item", "colour", NUMBER)],
        [migrations.RemoveField("item", "colour"), migrations.AddField("item", "colour", NUMBER)],
        [
            migrations.AlterModelTable("item", "wares"),
            migrations.CreateModel("Other", [KEY], {"db_table": "shop_item"}),
        ],
        [migrations.RenameModel("Item", "Ware"), migrations.CreateModel("Item", [KEY])],
        [migrations.DeleteModel("Item"), migrations.CreateModel("Other", [KEY], {"db_table": "shop_item"})],
    ],
    ids=lambda operations: operations[0].describe(),
)
def test_what_the_history_accounts_for_gives_its_name_away(
    scratch: BaseDatabaseWrapper, operations: list[Operation]
) -> None:
    plan = planned(scratch, [CREATE], operations)
    with scratch.cursor() as cursor:
        cursor.execute(ITEM)

    assert refused(scratch, plan) == ""


@pytest.mark.parametrize(("field", "names"), [(NUMBER, "shop_item.colour"), (models.ManyToManyField("shop.item"), "")])
def test_a_table_that_only_the_state_was_told_of_may_be_there(
    scratch: BaseDatabaseWrapper, field: Any, names: str
) -> None:
    taken_over = migrations.SeparateDatabaseAndState(state_operations=[migrations.CreateModel("Item", [KEY])])
    plan = planned(scratch, [], [taken_over, migrations.AddField("item", "colour", field)])
    with scratch.cursor() as cursor:
        cursor.execute(ITEM)

    assert refused(scratch, plan) == names


def test_all_that_is_there_is_named_and_what_the_history_has(scratch: BaseDatabaseWrapper) -> None:
    note = migrations.CreateModel("Note", [KEY])
    size, weight = (migrations.AddField("item", name, NUMBER) for name in ("size", "weight"))
    with scratch.cursor() as cursor:
        cursor.execute("CREATE TABLE shop_item (id bigint, colour text, size text); CREATE TABLE shop_note ()")

    half = planned(scratch, [CREATE], [note, size, weight])
    with pytest.raises(HistoryRefused, match=r"has 1 migration, but not these, .*create shop_note, shop_item\.size\."):
        refuse_existing(scratch, half)
    with scratch.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations")
    with pytest.raises(HistoryRefused, match=r"is empty, .*would create shop_item, shop_item\.size\."):
        refuse_existing(scratch, planned(scratch, [], [CREATE, size, size]))


def test_what_is_unapplied_makes_nothing(scratch: BaseDatabaseWrapper) -> None:
    plan = planned(scratch, [], [CREATE])
    with scratch.cursor() as cursor:
        cursor.execute(ITEM)
    backwards = replace(plan, steps=tuple((migration, True) for migration, _backwards in plan.steps))

    assert refused(scratch, backwards) == ""


class Never:
    def allow_migrate(self, db: str, app_label: str, model_name: str | None = None, **hints: object) -> bool | None:
        return False if model_name == "item" else None


def test_what_a_router_refuses_is_not_made(scratch: BaseDatabaseWrapper, settings: Any) -> None:
    with scratch.cursor() as cursor:
        cursor.execute(ITEM)
    plan = planned(scratch, [], [CREATE, migrations.AddField("item", "colour", NUMBER)])
    assert refused(scratch, plan) == "shop_item, shop_item.colour"

    settings.DATABASE_ROUTERS = [Never()]

    assert refused(scratch, plan) == ""
