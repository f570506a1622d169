"""Expand or contract: what is inferred of each operation, and what must be declared."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.postgres.fields import ArrayField
from django.db import migrations, models
from django.db.migrations.state import ModelState, ProjectState
from django_pg_migration_tools import operations as safer

from rupaya.migrator.operations import Backfill
from rupaya.migrator.plan.phases import is_wider, must_declare, parts, phase_of, unready_removals

char = models.CharField


class Asking(models.CharField):
    """A field whose type is decided by its model."""

    def db_type(self, connection: object) -> str:
        return "text" if self.model._meta.db_table else "integer"


def work(apps: object, schema_editor: object) -> None:
    """What a migration's Python does is anybody's guess."""


class AddFieldOfOurs(migrations.AddField):
    """A subclass may do anything."""


def one(*operations: object, **attributes: object) -> migrations.Migration:
    cls = type("Migration", (migrations.Migration,), {"operations": list(operations), **attributes})
    made: migrations.Migration = cls("0002_change", "shop")
    return made


@pytest.fixture
def before() -> ProjectState:
    state = ProjectState()
    state.add_model(
        ModelState(
            "shop",
            "Item",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("name", char(max_length=50)),
                ("colour", char(max_length=20, null=True)),
                ("price", models.DecimalField(max_digits=10, decimal_places=2)),
                ("number", models.IntegerField(null=True)),
                ("stock", models.IntegerField(db_default=0)),
                ("count", models.PositiveIntegerField(default=0)),
                ("code", char(max_length=9, unique=True)),
                ("asking", Asking(max_length=9, null=True)),
                ("words", ArrayField(char(max_length=50), null=True)),
                ("owner", models.ForeignKey("shop.person", models.CASCADE, null=True)),
                ("kinds", models.ManyToManyField("shop.person", related_name="+")),
            ],
            options={"unique_together": {("name", "price")}},
        )
    )
    state.add_model(ModelState("shop", "Person", [("id", models.BigAutoField(primary_key=True))]))
    return state


@pytest.fixture
def unmakable(before: ProjectState) -> ProjectState:
    """Models of which Django can make no classes: what refers to another app's model, which is not there."""
    owner = models.ForeignKey("elsewhere.thing", models.CASCADE, null=True)
    before.add_model(ModelState("shop", "Lost", [("id", models.BigAutoField(primary_key=True)), ("owner", owner)]))
    return before


EXPAND = [
    migrations.CreateModel("Shelf", [("id", models.BigAutoField(primary_key=True))]),
    migrations.AddField("item", "size", models.IntegerField(null=True)),
    migrations.AddField("item", "size", models.IntegerField(db_default=0)),
    migrations.AlterField("item", "name", char(max_length=80)),
    migrations.AlterField("item", "name", char(max_length=50, null=True)),
    migrations.AlterField("item", "price", models.DecimalField(max_digits=12, decimal_places=2)),
    migrations.AlterField("item", "name", models.TextField()),
    migrations.AlterField("item", "name", char(max_length=50, choices=[("a", "A")], help_text="h")),
    migrations.AlterField("item", "name", models.EmailField(max_length=50)),
    migrations.AlterField("item", "number", models.BigIntegerField(null=True)),
    migrations.AlterField("item", "stock", models.BigIntegerField(db_default=0)),
    migrations.AlterField("item", "stock", models.IntegerField(null=True)),
    migrations.AlterField("item", "count", models.IntegerField(default=0)),
    migrations.AlterField("item", "count", models.PositiveBigIntegerField(default=0)),
    migrations.AlterField("item", "code", char(max_length=9)),
    migrations.AlterField("item", "asking", Asking(max_length=10, null=True)),
    migrations.AlterField("item", "words", ArrayField(char(max_length=80), null=True)),
    migrations.AlterField("item", "owner", models.ForeignKey("shop.Person", models.PROTECT, null=True)),
    migrations.AlterField(
        "item", "owner", models.ForeignKey("shop.person", models.CASCADE, null=True, db_constraint=False)
    ),
    migrations.AlterField("item", "kinds", models.ManyToManyField("shop.Person", related_name="items")),
    migrations.AlterField("item", "kinds", models.ManyToManyField("shop.person", db_constraint=False)),
    migrations.AlterUniqueTogether("item", set()),
    migrations.AlterModelTable("item", "shop_item"),
    migrations.AddField(
        "item",
        "twice",
        models.GeneratedField(
            expression=models.F("price") * 2,
            output_field=models.DecimalField(max_digits=11, decimal_places=2),
            db_persist=True,
        ),
    ),
    migrations.RunPython(migrations.RunPython.noop),
    migrations.RunSQL(migrations.RunSQL.noop),
    migrations.RunSQL([]),
    migrations.AddIndex("item", models.Index(fields=["name"], name="i")),
    migrations.RemoveIndex("item", "i"),
    migrations.AlterModelOptions("item", {"verbose_name": "thing"}),
    safer.SaferAddIndexConcurrently("item", models.Index(fields=["name"], name="i")),
    Backfill("Item", set="colour = 'red'", where="colour IS NULL"),
    migrations.SeparateDatabaseAndState(state_operations=[migrations.RemoveField("item", "colour")]),
]
CONTRACT = [
    migrations.RemoveField("item", "colour"),
    migrations.DeleteModel("Item"),
    migrations.RenameField("item", "colour", "color"),
    migrations.RenameModel("Item", "Thing"),
    migrations.AlterModelTable("item", "things"),
    migrations.AddField("item", "size", models.IntegerField()),
    migrations.AddField("item", "size", models.IntegerField(default=0)),
    migrations.AlterField("item", "name", char(max_length=40)),
    migrations.AlterField("item", "name", models.IntegerField()),
    migrations.AlterField("item", "name", char(max_length=50, db_column="title")),
    migrations.AlterField("item", "number", models.PositiveIntegerField(null=True)),
    migrations.AlterField("item", "number", models.SmallIntegerField(null=True)),
    migrations.AlterField("item", "words", ArrayField(char(max_length=5), null=True)),
    migrations.AlterField("item", "name", char(max_length=50, db_collation="C")),
    migrations.AlterOrderWithRespectTo("item", "owner"),
    migrations.AlterField("item", "owner", models.ForeignKey("shop.item", models.CASCADE, null=True)),
    migrations.AlterField("item", "kinds", models.ManyToManyField("shop.item", related_name="+")),
    migrations.AlterField("item", "kinds", models.ManyToManyField("shop.person", db_table="owners")),
    migrations.AlterField("item", "kinds", models.ForeignKey("shop.person", models.CASCADE, null=True)),
    migrations.AlterField("item", "kinds", models.TextField()),
    migrations.AlterField("item", "owner", models.ManyToManyField("shop.person", related_name="+")),
    migrations.AlterField("item", "stock", models.IntegerField(default=0)),
    migrations.AlterField("item", "asking", models.IntegerField(null=True)),
    migrations.AlterField("item", "colour", char(max_length=20, default="")),
    migrations.AlterField("item", "name", char(max_length=50, unique=True)),
    migrations.AlterField("item", "price", models.DecimalField(max_digits=10, decimal_places=1)),
    migrations.AddConstraint("item", models.CheckConstraint(condition=~models.Q(name=""), name="c")),
    migrations.AlterUniqueTogether("item", {("name", "colour")}),
    safer.SaferAlterFieldSetNotNull("item", "colour", char(max_length=20)),
    safer.SaferAddUniqueConstraint("item", models.UniqueConstraint(fields=["name"], name="u"), raise_if_exists=False),
    migrations.RunSQL("SELECT 1"),
    migrations.RunPython(work),
    AddFieldOfOurs("item", "size", models.IntegerField(null=True)),
    migrations.SeparateDatabaseAndState(database_operations=[migrations.RemoveField("item", "colour")]),
    migrations.SeparateDatabaseAndState(
        database_operations=[
            migrations.AlterField("item", "name", char(max_length=80)),
            migrations.AlterField("item", "name", char(max_length=60)),
        ]
    ),
]


@pytest.mark.parametrize("operation", EXPAND, ids=lambda operation: operation.describe())
def test_what_old_code_does_not_notice_is_expand(before: ProjectState, operation: object) -> None:
    assert phase_of(one(operation), before) == "expand"


@pytest.mark.parametrize("operation", CONTRACT, ids=lambda operation: operation.describe())
def test_what_old_code_may_not_survive_is_contract(before: ProjectState, operation: object) -> None:
    assert phase_of(one(operation), before) == "contract"


def test_one_operation_of_many_makes_a_migration_contract(before: ProjectState) -> None:
    index = migrations.AddIndex("item", models.Index(fields=["name"], name="i"))
    wider, narrower = (migrations.AlterField("item", "name", char(max_length=length)) for length in (80, 40))

    assert phase_of(one(index, wider, index), before) == "expand"
    assert phase_of(one(index, wider, index, narrower, index), before) == "contract"


def test_a_table_of_the_same_migration_is_nobodys_yet(before: ProjectState) -> None:
    made = one(
        migrations.CreateModel("Shelf", [("id", models.BigAutoField(primary_key=True)), ("a", models.IntegerField())]),
        migrations.AddConstraint("shelf", models.CheckConstraint(condition=models.Q(a__gt=0), name="c")),
        migrations.AddField("shelf", "b", models.IntegerField(default=0)),
    )

    assert phase_of(made, before) == "expand"


TAKEN_OVER = [
    migrations.SeparateDatabaseAndState(
        state_operations=[
            migrations.CreateModel(
                "Part", [("id", models.BigAutoField(primary_key=True))], options={"db_table": "part"}
            )
        ]
    ),
    migrations.AddField("part", "x", models.TextField(null=True)),
]


@pytest.mark.parametrize(
    ("old", "new", "wider"),
    [
        ("varchar(5)", "varchar(6)", True),
        ("varchar(5)", "varchar", True),
        ("varchar(5)", "text", True),
        ("varchar(5)", "varchar(4)", False),
        ("varchar", "varchar(5)", False),
        ("text", "varchar(5)", False),
        ("text", "varchar", True),
        ("numeric(8, 2)", "numeric(9, 2)", True),
        ("numeric(8, 2)", "numeric(9, 3)", False),
        ("numeric(8, 2)", "numeric", True),
        ("numeric", "numeric(8, 2)", False),
        ("smallint", "bigint", True),
        ("integer", "text", False),
        ("timestamp with time zone", "date", False),
        ("varchar(5)[]", "varchar(4)[]", False),
        ("varchar(5)[]", "text[]", True),
        ("varchar(5)", "varchar(9)[]", False),
        ("varchar(5)[]", "varchar(9)", False),
        ("varchar(5)", "numeric(9)", False),
        ("numeric(5)", "varchar(9)", False),
        ("varchar", "text", True),
        ("bigint", "smallint", False),
        ("date", "date", True),
        ("date", "timestamp with time zone", False),
    ],
)
def test_a_type_is_wider_if_it_holds_every_value_and_is_read_alike(old: str, new: str, wider: bool) -> None:
    assert is_wider(old.replace(", ", ","), new.replace(", ", ",")) is wider


def test_what_only_the_state_was_told_of_is_there_for_the_next_operation(before: ProjectState) -> None:
    """Taking over a table, as Django's documentation shows it: the models come from `state_operations` alone."""
    assert phase_of(one(*TAKEN_OVER), before) == "expand"
    assert unready_removals(one(*TAKEN_OVER, migrations.RemoveField("part", "x")), before) == []


def test_a_field_that_is_renamed_in_code_alone_changes_nothing(before: ProjectState) -> None:
    pinned = migrations.AlterField("item", "colour", char(max_length=20, null=True, db_column="colour"))

    assert phase_of(one(pinned, migrations.RenameField("item", "colour", "color")), before) == "expand"


def test_a_model_with_a_many_to_many_field_is_not_renamed_in_code_alone(before: ProjectState) -> None:
    """Django renames the column of the table between, even if the model's own table keeps its name."""
    pinned = migrations.AlterModelTable("item", "shop_item")

    assert phase_of(one(pinned, migrations.RenameModel("Item", "Thing")), before) == "contract"


@pytest.mark.parametrize("app_label", ["shop", "crm"])
def test_nor_is_a_model_that_another_ones_many_to_many_field_refers_to(before: ProjectState, app_label: str) -> None:
    pinned = migrations.AlterModelTable("person", "shop_person")
    lists = [
        ("id", models.BigAutoField(primary_key=True)),
        ("people", models.ManyToManyField("shop.person", related_name="+")),
    ]
    before.remove_model("shop", "item")

    assert phase_of(one(pinned, migrations.RenameModel("Person", "Human")), before) == "expand"

    before.add_model(ModelState(app_label, "Guests", lists))
    assert phase_of(one(pinned, migrations.RenameModel("Person", "Human")), before) == "contract"


@pytest.mark.parametrize("phase", ["expand", "contract"])
def test_a_declaration_is_taken_at_its_word(before: ProjectState, phase: str) -> None:
    declared = one(migrations.RunSQL("SELECT 1"), phase=phase)

    assert phase_of(declared, before) == phase
    assert not must_declare(declared)


def test_the_settings_declare_what_somebody_elses_migration_does_not(before: ProjectState, settings: Any) -> None:
    settings.DECLARED_MIGRATION_PHASES = {"shop.0002_change": "expand", "shop.0003_other": "contract"}

    assert phase_of(one(migrations.RunSQL("SELECT 1")), before) == "expand"
    assert not must_declare(one(migrations.RunSQL("SELECT 1")))
    assert phase_of(one(migrations.RunSQL("SELECT 1"), phase="contract"), before) == "contract"


def test_sql_and_python_must_be_declared() -> None:
    assert must_declare(one(migrations.RunSQL("SELECT 1")))
    assert must_declare(one(migrations.RunPython(work)))
    assert must_declare(one(AddFieldOfOurs("item", "size", models.IntegerField(null=True))))
    assert not must_declare(one(migrations.RunPython(migrations.RunPython.noop)))
    assert not must_declare(one(migrations.RunSQL(migrations.RunSQL.noop), migrations.RunSQL([])))
    assert not must_declare(one(EXPAND[0]))


def test_a_removed_column_must_have_been_nullable_or_defaulted(before: ProjectState) -> None:
    assert unready_removals(one(migrations.RemoveField("item", "name")), before) == ["item.name"]
    assert unready_removals(one(migrations.RemoveField("item", "colour")), before) == []
    assert unready_removals(one(migrations.RemoveField("item", "count")), before) == ["item.count"]
    assert unready_removals(one(migrations.RemoveField("item", "stock")), before) == []


def test_each_operation_has_its_number_in_the_migration_and_the_models_around_it(before: ProjectState) -> None:
    add = migrations.AddField("item", "size", models.IntegerField(null=True))
    remove = migrations.RemoveField("item", "colour")
    both = migrations.SeparateDatabaseAndState(database_operations=[add, remove], state_operations=[add])

    found = list(parts(one(migrations.RunSQL("SELECT 1"), both, remove), before))

    assert [(part.number, part.operation) for part in found[1:]] == [(2, add), (2, remove), (3, remove)]
    around = [[state.models["shop", "item"].fields for state in (part.before, part.after)] for part in found[1:]]
    assert [["size" in fields for fields in pair] for pair in around] == [[False, True], [True, True], [True, True]]
    assert [["colour" in fields for fields in pair] for pair in around] == [[True, True], [True, False], [True, False]]
    assert "colour" in before.models["shop", "item"].fields


OF_WHAT_IT_CHANGES = [
    migrations.AlterField("item", "name", char(max_length=80)),
    migrations.AlterField("item", "number", models.BigIntegerField(null=True)),
    migrations.AlterField("item", "owner", models.ForeignKey("shop.Person", models.PROTECT, null=True)),
]


@pytest.mark.parametrize("operation", OF_WHAT_IT_CHANGES, ids=lambda operation: operation.describe())
def test_most_fields_are_judged_without_making_models(unmakable: ProjectState, operation: object) -> None:
    """Making all models of a large project takes longer than most migrations."""
    assert phase_of(one(operation), unmakable) == "expand"


def test_what_cannot_be_judged_is_contract(unmakable: ProjectState) -> None:
    assert phase_of(one(migrations.RenameField("person", "id", "number")), unmakable) == "contract"
    assert phase_of(one(migrations.AlterModelTable("item", "shop_item")), unmakable) == "contract"


def test_what_is_known_by_itself_needs_no_models() -> None:
    nothing = ProjectState()
    index = migrations.AddIndex("item", models.Index(fields=["name"], name="i"))
    judged_by_models = migrations.AlterField("item", "name", char(max_length=80))

    assert phase_of(one(index), nothing) == "expand"
    assert phase_of(one(index, judged_by_models, migrations.RemoveField("item", "colour")), nothing) == "contract"


def test_a_table_that_moves_to_another_app_and_is_renamed_there_is_contract(before: ProjectState) -> None:
    """The model that it comes from goes later, and names the old table until then."""
    key = ("id", models.BigAutoField(primary_key=True))
    before.add_model(ModelState("shop", "Moved", [key], options={"db_table": "old_item"}))
    before.add_model(ModelState("old", "Item", [key]))

    assert phase_of(one(migrations.AlterModelTable("moved", None)), before) == "contract"
