"""Expand and contract: what is inferred, what is held, and what an older release does about a newer schema."""

from __future__ import annotations

from pathlib import Path

import psycopg2
import pytest
from django.contrib.postgres.fields import ArrayField
from django.db import migrations, models
from django.db.migrations.state import ModelState, ProjectState
from django_pg_migration_tools import operations as safer

from rupaya.migrator.operations import Backfill
from rupaya.migrator.plan.phases import is_wider, must_declare, phase_of, unready_removals
from tests.faults.migrator import applied, query
from tests.migrator.releases import CREATE, Deployed, Release, migration

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
    migrations.AlterField("item", "asking", Asking(max_length=10, null=True)),
    migrations.AlterField("item", "words", ArrayField(char(max_length=80), null=True)),
    migrations.AlterField("item", "owner", models.ForeignKey("shop.Person", models.PROTECT, null=True)),
    migrations.AlterField(
        "item", "owner", models.ForeignKey("shop.person", models.CASCADE, null=True, db_constraint=False)
    ),
    migrations.AlterField("item", "kinds", models.ManyToManyField("shop.Person", related_name="items")),
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
]


@pytest.mark.parametrize("operation", EXPAND, ids=lambda operation: operation.describe())
def test_what_old_code_does_not_notice_is_expand(before: ProjectState, operation: object) -> None:
    assert phase_of(one(operation), before) == "expand"


@pytest.mark.parametrize("operation", CONTRACT, ids=lambda operation: operation.describe())
def test_what_old_code_may_not_survive_is_contract(before: ProjectState, operation: object) -> None:
    assert phase_of(one(operation), before) == "contract"


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


@pytest.mark.parametrize("phase", ["expand", "contract"])
def test_a_declaration_is_taken_at_its_word(before: ProjectState, phase: str) -> None:
    declared = one(migrations.RunSQL("SELECT 1"), phase=phase)

    assert phase_of(declared, before) == phase
    assert not must_declare(declared)


def test_sql_and_python_must_be_declared() -> None:
    assert must_declare(one(migrations.RunSQL("SELECT 1")))
    assert must_declare(one(migrations.RunPython(work)))
    assert must_declare(one(AddFieldOfOurs("item", "size", models.IntegerField(null=True))))
    assert not must_declare(one(migrations.RunPython(migrations.RunPython.noop)))
    assert not must_declare(one(EXPAND[0]))


def test_a_removed_column_must_have_been_nullable_or_defaulted(before: ProjectState) -> None:
    assert unready_removals(one(migrations.RemoveField("item", "name")), before) == ["item.name"]
    assert unready_removals(one(migrations.RemoveField("item", "colour")), before) == []


FIRST = {"0001_initial": migration(CREATE)}
ADD = {
    "0002_add_size": migration('migrations.AddField("item", "size", models.IntegerField(null=True))', "0001_initial")
}
REMOVE = {"0003_drop_colour": migration('migrations.RemoveField("item", "colour")', "0002_add_size")}
NEEDS_REMOVAL = {
    "0004_add_weight": migration(
        'migrations.AddField("item", "weight", models.IntegerField(null=True))', "0003_drop_colour"
    )
}


def columns(url: str) -> set[str]:
    rows = query(url, "SELECT attname FROM pg_attribute WHERE attrelid = 'shop_item'::regclass AND attnum > 0")
    return {name for (name,) in rows if not name.startswith(("....", "migrator_attic_"))}


def test_what_old_code_would_not_survive_is_owed_until_it_is_asked_for(deployed: Deployed, tmp_path: Path) -> None:
    database_url = deployed(Release(tmp_path, "v1", FIRST))
    release = Release(tmp_path, "v2", FIRST | ADD | REMOVE)

    rolled_out = release.run(database_url)
    assert rolled_out.returncode == 0, rolled_out.stderr
    assert "✓ shop.0002_add_size" in rolled_out.stdout
    assert "✓ shop.0003_drop_colour" in rolled_out.stdout
    owed = "Owed until 'manage.py migrate --contract', once no older release runs: shop.0003_drop_colour"
    assert owed in rolled_out.stdout
    assert "colour" in columns(database_url)
    again = release.run(database_url)
    assert again.returncode == 0  # what is owed is nothing to do
    assert "Nothing to migrate: all 3 migrations are applied" in again.stdout
    assert owed in again.stdout
    audited = release.run(database_url, "showmigrations", "--audit", "--check")
    assert audited.returncode == 0, audited.stdout + audited.stderr
    assert "Owed since release v2" in audited.stdout
    differing = release.run(database_url, "schemadiff")
    assert differing.returncode == 0, differing.stdout + differing.stderr

    paid = release.run(database_url, "migrate", "--contract")
    assert paid.returncode == 0, paid.stderr
    assert "✓ paid shop.0003_drop_colour" in paid.stdout
    assert "First start" not in paid.stdout
    assert columns(database_url) == {"id", "name", "size"}
    assert release.run(database_url, "schemadiff").returncode == 0


def test_what_new_code_needs_is_there_although_the_same_migration_removes_something(
    deployed: Deployed, tmp_path: Path
) -> None:
    """The everyday migration: a field added and another removed, from one `makemigrations`."""
    both = migration(
        'migrations.AddField("item", "motto", models.TextField(null=True)), migrations.RemoveField("item", "colour")',
        "0001_initial",
        header='phase = "contract"',
    )
    database_url = deployed(Release(tmp_path, "v1", FIRST))

    assert Release(tmp_path, "v2", FIRST | {"0002_motto": both}).run(database_url).returncode == 0

    assert {"motto", "colour"} <= columns(database_url)
    assert applied(database_url) == ["shop.0001_initial", "shop.0002_motto"]


RENAME = {"0002_rename": migration('migrations.RenameField("item", "colour", "hue")', "0001_initial")}


def test_a_rename_is_refused_before_anything_runs_with_the_way_to_write_it(deployed: Deployed, tmp_path: Path) -> None:
    database_url = deployed(Release(tmp_path, "v1", FIRST))

    refused = Release(tmp_path, "v2", FIRST | RENAME).run(database_url)

    assert refused.returncode == 14, refused.stdout + refused.stderr
    assert 'db_column="colour"' in refused.stderr
    assert applied(database_url) == ["shop.0001_initial"]


def test_debts_are_not_paid_while_an_older_release_is_connected(deployed: Deployed, tmp_path: Path) -> None:
    database_url = deployed(Release(tmp_path, "v1", FIRST))
    newer = Release(tmp_path, "v2", FIRST | ADD | REMOVE)
    assert newer.run(database_url).returncode == 0
    older = psycopg2.connect(database_url, application_name="release v1")
    try:
        refused = newer.run(database_url, "migrate", "--contract")
    finally:
        older.close()

    assert refused.returncode == 14, refused.stdout
    assert "of release v1" in refused.stderr
    assert "colour" in columns(database_url)
    assert newer.run(database_url, "migrate", "--contract").returncode == 0


def test_an_empty_history_holds_nothing(deployed: Deployed, tmp_path: Path) -> None:
    database_url = deployed(Release(tmp_path, "v2", FIRST | ADD | REMOVE))

    assert applied(database_url) == ["shop.0001_initial", "shop.0002_add_size", "shop.0003_drop_colour"]


def test_outside_production_nothing_is_held(deployed: Deployed, tmp_path: Path) -> None:
    database_url = deployed(Release(tmp_path, "v1", FIRST))

    assert Release(tmp_path, "v2", FIRST | ADD | REMOVE).run(database_url, MIGRATE_PHASE="all").returncode == 0
    assert len(applied(database_url)) == 3


def test_a_rollback_pays_nothing_wherever_it_runs(deployed: Deployed, tmp_path: Path) -> None:
    database_url = deployed(Release(tmp_path, "v1", FIRST))
    newer = Release(tmp_path, "v2", FIRST | ADD | REMOVE)
    assert newer.run(database_url).returncode == 0

    ran = newer.run(database_url, "rollback", MIGRATE_PHASE="all")

    assert ran.returncode == 0, ran.stderr
    assert "paid" not in ran.stdout
    assert columns(database_url) == {"id", "name", "colour"}


def test_the_next_release_is_not_blocked_by_what_is_owed(database_url: str, tmp_path: Path) -> None:
    for number, texts in enumerate((FIRST, FIRST | ADD | REMOVE, FIRST | ADD | REMOVE | NEEDS_REMOVAL)):
        ran = Release(tmp_path, f"v{number}", texts).run(database_url)
        assert ran.returncode == 0, ran.stderr

    assert "colour" in columns(database_url)
    assert "weight" in columns(database_url)


def test_an_older_release_starts_on_an_expanded_schema_and_refuses_a_contracted_one(
    deployed: Deployed, tmp_path: Path
) -> None:
    older = Release(tmp_path, "v1", FIRST)
    newer = Release(tmp_path, "v2", FIRST | ADD | REMOVE)
    database_url = deployed(older)
    assert newer.run(database_url).returncode == 0

    started = older.run(database_url)
    assert started.returncode == 0
    assert "ahead of this release by 2 migrations: shop.0002_add_size, shop.0003_drop_colour" in started.stdout

    assert newer.run(database_url, "migrate", "--contract").returncode == 0
    refused = older.run(database_url)
    assert refused.returncode == 14
    assert "older than a breaking migration: shop.0003_drop_colour (release v2)" in refused.stderr


def test_a_reference_that_is_the_same_for_the_database_is_judged_without_making_models(before: ProjectState) -> None:
    """Making all models of a large project takes longer than most migrations."""
    same = migrations.AlterField(
        "item", "owner", models.ForeignKey("shop.Person", models.PROTECT, null=True, related_name="belongings")
    )
    state = before.clone()
    state.__dict__.pop("apps", None)

    assert phase_of(one(same), state) == "expand"
    assert "apps" not in state.__dict__
