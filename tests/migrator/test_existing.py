"""What a run refuses because what it would make is there already: asked of a plan and a database, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from django.db import connections, migrations, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.operations.base import Operation
from django.db.migrations.recorder import MigrationRecorder

from rupaya.migrator.django import Planned
from rupaya.migrator.errors import HistoryRefused
from rupaya.migrator.plan.history import refuse_existing
from rupaya.migrator.plan.plan import Plan, read_plan
from tests.conftest import new_database
from tests.pointed import pointed_at

KEY = ("id", models.BigAutoField(primary_key=True))
CREATE = migrations.CreateModel("Item", [KEY, ("colour", models.CharField(max_length=20, null=True))])
NUMBER = models.IntegerField(null=True)
ITEM = "CREATE TABLE shop_item (id bigint, colour text)"


@pytest.fixture(scope="module")
def empty(server_url: str, django_db_blocker: Any) -> Iterator[BaseDatabaseWrapper]:
    """Django's connection to an empty database of this module's own."""
    with new_database(server_url) as url, pointed_at(url, django_db_blocker):
        yield connections["default"]


@pytest.fixture
def working(empty: BaseDatabaseWrapper) -> Iterator[BaseDatabaseWrapper]:
    """The same, in a transaction that is rolled back."""
    with transaction.atomic():
        yield empty
        transaction.set_rollback(True)


def made(name: str, after: str, *operations: Operation) -> migrations.Migration:
    migration = migrations.Migration(name, "shop")
    migration.operations = list(operations)
    migration.dependencies = [("shop", after)] if after else []
    return migration


def planned(connection: BaseDatabaseWrapper, applied: Sequence[Operation], pending: Sequence[Operation]) -> Plan:
    """A plan to run the pending operations, where the others are recorded."""
    first = [made("0001_first", "", *applied)] if applied else []
    second = made("0002_second", "0001_first" if applied else "", *pending)
    recorder = MigrationRecorder(connection)
    recorder.ensure_schema()
    for migration in first:
        recorder.record_applied("shop", migration.name)
    executor = MigrationExecutor(connection)
    loader = executor.loader
    loader.disk_migrations = {("shop", migration.name): migration for migration in (*first, second)}
    loader.load_disk = lambda: None
    loader.migrated_apps, loader.unmigrated_apps = {"shop"}, set()
    loader.build_graph()
    return read_plan(Planned(executor, (), ((second, False),)))


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
    working: BaseDatabaseWrapper, operation: Operation, table: str, names: str
) -> None:
    plan = planned(working, [], [operation])
    with working.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {table} (id bigint)")

    assert refused(working, plan) == names


def test_a_model_that_stands_for_the_swapped_one_is_made(working: BaseDatabaseWrapper, settings: Any) -> None:
    settings.SHOP_ITEM_MODEL = "shop.Item"
    with working.cursor() as cursor:
        cursor.execute(ITEM)

    plan = planned(working, [], [migrations.CreateModel("Item", [KEY], {"swappable": "SHOP_ITEM_MODEL"})])

    assert refused(working, plan) == "shop_item"


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
    working: BaseDatabaseWrapper, first: Operation, field: Any, column: str, there: bool
) -> None:
    plan = planned(working, [first], [migrations.AddField("item", "size", field)])
    with working.cursor() as cursor:
        cursor.execute(f"CREATE TABLE shop_item (id bigint, {column} integer)")

    assert refused(working, plan) == (f"shop_item.{column}" if there else "")


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
    working: BaseDatabaseWrapper, operations: list[Operation]
) -> None:
    plan = planned(working, [CREATE], operations)
    with working.cursor() as cursor:
        cursor.execute(ITEM)

    assert refused(working, plan) == ""


@pytest.mark.parametrize(("field", "names"), [(NUMBER, "shop_item.colour"), (models.ManyToManyField("shop.item"), "")])
def test_a_table_that_only_the_state_was_told_of_may_be_there(
    working: BaseDatabaseWrapper, field: Any, names: str
) -> None:
    taken_over = migrations.SeparateDatabaseAndState(state_operations=[migrations.CreateModel("Item", [KEY])])
    plan = planned(working, [], [taken_over, migrations.AddField("item", "colour", field)])
    with working.cursor() as cursor:
        cursor.execute(ITEM)

    assert refused(working, plan) == names


def test_all_that_is_there_is_named_and_what_the_history_has(working: BaseDatabaseWrapper) -> None:
    note = migrations.CreateModel("Note", [KEY])
    size, weight = (migrations.AddField("item", name, NUMBER) for name in ("size", "weight"))
    with working.cursor() as cursor:
        cursor.execute("CREATE TABLE shop_item (id bigint, colour text, size text); CREATE TABLE shop_note ()")

    half = planned(working, [CREATE], [note, size, weight])
    with pytest.raises(HistoryRefused, match=r"has 1 migration, but not these, .*create shop_note, shop_item\.size\."):
        refuse_existing(working, half)
    with working.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations")
    with pytest.raises(HistoryRefused, match=r"is empty, .*would create shop_item, shop_item\.size\."):
        refuse_existing(working, planned(working, [], [CREATE, size, size]))


def test_what_is_unapplied_makes_nothing(working: BaseDatabaseWrapper) -> None:
    plan = planned(working, [], [CREATE])
    with working.cursor() as cursor:
        cursor.execute(ITEM)
    backwards = replace(plan, steps=tuple((migration, True) for migration, _backwards in plan.steps))

    assert refused(working, backwards) == ""


class Never:
    def allow_migrate(self, db: str, app_label: str, model_name: str | None = None, **hints: object) -> bool | None:
        return False if model_name == "item" else None


def test_what_a_router_refuses_is_not_made(working: BaseDatabaseWrapper, settings: Any) -> None:
    with working.cursor() as cursor:
        cursor.execute(ITEM)
    plan = planned(working, [], [CREATE, migrations.AddField("item", "colour", NUMBER)])
    assert refused(working, plan) == "shop_item, shop_item.colour"

    settings.DATABASE_ROUTERS = [Never()]

    assert refused(working, plan) == ""
