"""SQL, Python and operations of one's own: as declared; what nobody declared runs now, and is told."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.operations import AddConstraintNotValid, ValidateConstraint
from django.db import migrations, models
from django.db.migrations.operations.base import Operation
from django_pg_migration_tools import operations as safer

from rupaya.migrator.debts.owing import refuse_unpaid
from rupaya.migrator.errors import HistoryRefused
from rupaya.migrator.schema.diff import differences
from tests.migrator.debts.shop import Shop, migration

DROP = migrations.RunSQL("ALTER TABLE shop_item DROP COLUMN colour", migrations.RunSQL.noop)
FILL = migrations.RunSQL("UPDATE shop_item SET colour = 'red'", migrations.RunSQL.noop)


def paint(apps: Any, editor: Any) -> None:
    apps.get_model("shop", "Item").objects.using(editor.connection.alias).update(colour="blue")


class Forgetting(Operation):
    """An operation that nobody else knows."""

    reversible = True

    def state_forwards(self, app_label: str, state: Any) -> None:
        pass

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        schema_editor.execute("DELETE FROM shop_item_tags")

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        schema_editor.execute("SELECT 1 / 0")

    def describe(self) -> str:
        return "Forget"


class RemovingField(migrations.RemoveField):
    """One of Django's with ways of its own."""

    def database_forwards(self, *arguments: Any) -> None:
        super().database_forwards(*arguments)


class Loader:
    """As much of Django's loader as paying asks for."""

    def __init__(self, shop: Shop, step: migrations.Migration) -> None:
        self.disk_migrations = {("shop", step.name): step}
        self.old = shop.old

    def project_state(self, key: Any, at_end: bool = True) -> Any:
        return self.old.clone()


@pytest.mark.parametrize("operation", [FILL, migrations.RunPython(paint), Forgetting()])
def test_what_nobody_declared_runs_now_and_is_told(operation: Operation, shop: Shop) -> None:
    step = migration("0002_change", operation)
    foreseen = shop.forecast(step)

    shop.apply(step)

    assert shop.owed() == foreseen.owed == []
    (warning,) = shop.owing.warnings
    assert foreseen.warnings == [warning]
    assert warning.startswith(f"shop.0002_change runs {type(operation).__name__} and does not say")


@pytest.mark.parametrize("operation", [FILL, migrations.RunPython(paint), Forgetting()])
def test_what_is_declared_to_be_survived_runs_now(operation: Operation, shop: Shop) -> None:
    shop.apply(migration("0002_change", operation, phase="expand"))

    assert shop.owed() == []
    assert shop.owing.warnings == []


def test_nothing_need_not_be_declared(shop: Shop) -> None:
    nothing = [migrations.RunSQL(migrations.RunSQL.noop), migrations.RunPython(migrations.RunPython.noop)]
    shop.apply(migration("0002_change", *nothing))

    assert shop.owing.warnings == []


def test_a_derived_operation_with_ways_of_its_own_is_a_strangers(shop: Shop) -> None:
    shop.apply(migration("0002_change", RemovingField("item", "colour")))

    assert [warning.split(" and ")[0] for warning in shop.owing.warnings] == ["shop.0002_change runs RemovingField"]
    assert shop.owed() == []


@pytest.mark.parametrize(
    ("operation", "done"),
    [
        (FILL, "SELECT every(colour = 'red') FROM shop_item"),
        (migrations.RunPython(paint), "SELECT every(colour = 'blue') FROM shop_item"),
        (Forgetting(), "SELECT count(*) = 0 FROM shop_item_tags"),
    ],
)
def test_contract_is_owed_whole_and_paid_by_the_migrations_own_code(
    operation: Operation, done: str, shop: Shop
) -> None:
    shop.sql("INSERT INTO shop_item_tags (item_id, tag_id) SELECT i.id, t.id FROM shop_item i, shop_tag t")
    step = migration("0002_change", migrations.AddField("item", "a", models.IntegerField(null=True)), operation)
    step.phase = "contract"  # type: ignore[attr-defined]

    shop.apply(step)

    (debt,) = shop.owed()
    assert (debt.kind, debt.operation) == ("operation", "1")
    assert shop.sql(done) == [(False,)]

    with pytest.raises(HistoryRefused, match="this release does not have the migration"):
        shop.payer().pay(debt)
    assert shop.payer(loader=Loader(shop, step)).pay(debt)

    assert shop.sql(done) == [(True,)]
    assert shop.owed() == []


def test_what_was_never_carried_out_is_not_undone(shop: Shop) -> None:
    step = migration("0002_change", Forgetting(), phase="contract")
    shop.apply(step)

    shop.unapply(step, shop.old)  # its way back divides by zero

    assert shop.owed() == []


def test_contract_inside_of_state_and_database_is_owed_and_the_state_changes_at_once(shop: Shop) -> None:
    both = migrations.SeparateDatabaseAndState(
        database_operations=[FILL, DROP], state_operations=[migrations.RemoveField("item", "colour")]
    )
    shop.apply(migration("0002_change", both, phase="contract"))

    assert [debt.operation for debt in shop.owed()] == ["0.0", "0.1"]
    assert "colour" not in shop.state.models["shop", "item"].fields
    shop.work(shop.old)
    shop.work(shop.state)


def test_contract_may_not_change_models_itself(shop: Shop) -> None:
    dropping = migrations.RunSQL(
        "ALTER TABLE shop_item DROP COLUMN colour", state_operations=[migrations.RemoveField("item", "colour")]
    )
    step = migration("0002_change", dropping, phase="contract")

    with pytest.raises(HistoryRefused, match="changes the models"):
        shop.forecast(step)


def test_contract_beside_an_array_changes_no_models(shop: Shop) -> None:
    # Django finds an ArrayField unlike itself.
    labels = ArrayField(models.TextField(), null=True)
    shop.apply(migration("0002_change", migrations.AddField("item", "labels", labels)))

    shop.apply(migration("0003_more", DROP, phase="contract"))

    assert [debt.kind for debt in shop.owed()] == ["operation"]


def test_state_that_django_alone_knows_is_simulated_once(shop: Shop) -> None:
    shop.sql("CREATE TABLE part (id bigserial PRIMARY KEY)")
    key = ("id", models.BigAutoField(primary_key=True))
    step = migration(
        "0002_change",
        migrations.SeparateDatabaseAndState(
            state_operations=[migrations.CreateModel("Part", [key], options={"db_table": "part"})]
        ),
        migrations.AddField("part", "x", models.TextField(null=True)),
        migrations.AddField("part", "y", models.BooleanField(default=True)),
    )

    foreseen = [str(debt) for debt in shop.forecast(step).owed]
    shop.apply(step)

    assert [str(debt) for debt in shop.owed()] == foreseen
    assert foreseen == ["shop.0002_change (Add field y to part): default part.y"]


def test_another_packages_way_to_remove_is_halved_and_undone_like_djangos(shop: Shop) -> None:
    before = shop.schema()
    step = migration("0002_change", safer.SaferRemoveFieldForeignKey("item", "maker"), atomic=False)
    assert [debt.kind for debt in shop.forecast(step).owed] == ["column"]

    shop.apply(step)
    shop.work(shop.old)
    shop.work(shop.state)
    shop.sql("DELETE FROM shop_item WHERE maker_id IS NULL")
    shop.unapply(step, shop.old)

    assert differences(before, shop.schema()) == []
    shop.apply(step)
    shop.pay()
    assert "maker_id" not in shop.schema()["relations"]["shop_item"]["columns"]


def test_validation_of_what_is_owed_is_owed(shop: Shop) -> None:
    sane = models.CheckConstraint(condition=models.Q(amount__gte=0), name="item_c")
    step = migration("0002_change", AddConstraintNotValid("item", sane), ValidateConstraint("item", "item_c"))

    shop.apply(step)

    assert [debt.kind for debt in shop.owed()] == ["constraint", "validation"]
    shop.pay()
    assert shop.sql("SELECT convalidated FROM pg_constraint WHERE conname = 'item_c'") == [(True,)]


def test_sql_that_speaks_of_what_is_owed_waits_until_it_is_paid(shop: Shop) -> None:
    shop.apply(migration("0002_change", migrations.RemoveField("item", "colour")))
    (debt,) = shop.owed()
    later = migration("0003_more", FILL, phase="expand")

    foreseen = shop.forecast(later)

    assert foreseen.pay_first == {("shop", "0003_more"): [debt]}
    with pytest.raises(HistoryRefused, match=r"0003_more .*0002_change.*colour"):
        refuse_unpaid(foreseen.pay_first)


@pytest.mark.parametrize("is_atomic", [True, False])
def test_a_half_is_not_done_without_its_debt(shop: Shop, is_atomic: bool) -> None:
    before = shop.schema()

    def cut_off_before_the_debt(execute: Any, sql: str, *arguments: Any) -> Any:
        if sql.startswith("INSERT INTO migrator_debts"):
            raise InterruptedError
        return execute(sql, *arguments)

    step = migration("0002_change", migrations.RemoveField("item", "name"), atomic=is_atomic, idempotent=True)
    with shop.connection.execute_wrapper(cut_off_before_the_debt), pytest.raises(InterruptedError):
        shop.apply(step)

    assert differences(before, shop.schema()) == []
