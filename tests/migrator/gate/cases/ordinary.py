"""Changes to the shop, each as one migration, and what the gate must say of it: the rule that it breaks, or nothing.

Where a label can be argued about, `why` says for which reason it is what it is.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import django_pg_migration_tools.operations as safe
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateTimeRangeField, RangeBoundary
from django.contrib.postgres.functions import RandomUUID
from django.contrib.postgres.indexes import BrinIndex, HashIndex
from django.contrib.postgres.operations import (
    AddConstraintNotValid,
    AddIndexConcurrently,
    RemoveIndexConcurrently,
    ValidateConstraint,
)
from django.db import connection, migrations, models
from django.db.migrations.operations.base import Operation
from django.db.models import Func
from django.db.models.functions import Lower, Now, Random

from rupaya.migrator.operations import Backfill

EXPAND = {"phase": "expand"}
CONTRACT = {"phase": "contract"}
BY_STEPS = {"atomic": False}
REPEATABLE = {"atomic": False, "idempotent": True}

OWED = "Old code breaks, but what it would not survive is owed until no old code is left."
PAID_SAFELY = (
    "Unsafe with stock Django, which reads the whole table under a lock; `migrate` owes it, and pays by NOT VALID and "
    "VALIDATE, or concurrently."
)
DROPPED_LATER = "Unsafe with stock Django, which locks the table; `migrate` owes it, and drops it concurrently."
KEPT = "Django drops the default again, but `migrate` keeps it in the database until no old code is left."


@dataclass(frozen=True)
class Case:
    """A change; one of the rules by which it is unsafe, none if it is safe; and why, where that is arguable."""

    name: str
    rules: tuple[str, ...]
    operations: tuple[Operation, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    why: str = ""


CASES: list[Case] = []


def _add(name: str, rules: str, operations: Operation | Sequence[Operation], why: str = "", **attributes: Any) -> None:
    listed = (operations,) if isinstance(operations, Operation) else tuple(operations)
    CASES.append(Case(name, tuple(rules.split()), listed, attributes, why))


def safe_is(name: str, operations: Any, why: str = "", **attributes: Any) -> None:
    _add(name, "", operations, why, **attributes)


unsafe_is = _add


def sql(text: str, reverse: str | None = None, **attributes: Any) -> migrations.RunSQL:
    return migrations.RunSQL(text, reverse)


class Span(Func):
    """A range of time."""

    function = "TSTZRANGE"
    output_field = DateTimeRangeField()


def save_each(apps: Any, schema_editor: Any) -> None:
    for bill in list(apps.get_model("shop", "Bill").objects.all()):
        bill.note = "x"
        bill.save()


def first_leaflet() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT min(id) FROM shop_leaflet")
        return int(cursor.fetchone()[0] or 0)


def compare_all(apps: Any, schema_editor: Any) -> None:
    model = apps.get_model("shop", "Bill")
    for bill in model.objects.iterator():
        try:
            model.objects.filter(position=bill.position, pk__lt=bill.pk).first()
        except Exception:  # noqa: S110 - as people write it
            pass


def update_all(apps: Any, schema_editor: Any) -> None:
    apps.get_model("shop", "Bill").objects.update(note="x")


def update_some(apps: Any, schema_editor: Any) -> None:
    apps.get_model("shop", "Bill").objects.filter(memo="old").update(note="x")


def delete_all(apps: Any, schema_editor: Any) -> None:
    apps.get_model("shop", "Leaflet").objects.all().delete()


def bulk_update(apps: Any, schema_editor: Any) -> None:
    model = apps.get_model("shop", "Bill")
    bills = list(model.objects.only("pk"))
    for bill in bills:
        bill.note = "x"
    model.objects.bulk_update(bills, ["note"], batch_size=1000)


def drop_column(apps: Any, schema_editor: Any) -> None:
    schema_editor.execute("ALTER TABLE shop_bill DROP COLUMN note")


def nothing(apps: Any, schema_editor: Any) -> None:
    pass


def add_label(apps: Any, schema_editor: Any) -> None:
    apps.get_model("shop", "Label").objects.create(word="new")


def remove_label(apps: Any, schema_editor: Any) -> None:
    apps.get_model("shop", "Label").objects.filter(word="new").delete()


def fails(apps: Any, schema_editor: Any) -> None:
    raise KeyError("mode")


def misnamed(one: Any, other: Any) -> None:
    pass


def in_batches(apps: Any, schema_editor: Any) -> None:
    model, last = apps.get_model("shop", "Bill"), 0
    while keys := list(model.objects.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:4000]):
        model.objects.filter(pk__in=keys).update(note="x")
        last = keys[-1]


class Ours(Operation):
    """An operation of somebody's own, that sends one statement."""

    reversible = True

    def __init__(self, statement: str) -> None:
        self.statement = statement

    def state_forwards(self, app_label: str, state: Any) -> None:
        """The models stay."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        schema_editor.execute(self.statement)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Nothing."""


def add(name: str, field_: Any, **options: Any) -> migrations.AddField:
    return migrations.AddField("Bill", name, field_, **options)


def alter(name: str, field_: Any, model: str = "Bill") -> migrations.AlterField:
    return migrations.AlterField(model, name, field_)


def state_only(*operations: Operation) -> migrations.SeparateDatabaseAndState:
    return migrations.SeparateDatabaseAndState(state_operations=list(operations))


noop = migrations.RunPython.noop
python = migrations.RunPython
text, integer, char = models.TextField, models.IntegerField, models.CharField

# Columns that are added.
safe_is("add_column", add("x", text(null=True)))
safe_is("add_column_with_database_default", add("x", char(max_length=3, db_default="INR")))
safe_is("add_column_with_database_time", add("x", models.DateTimeField(db_default=Now())))
safe_is("add_column_with_python_default", add("x", text(default="")), KEPT)
safe_is("add_flag_with_python_default", add("x", models.BooleanField(default=False)), KEPT)
safe_is("add_column_with_default_for_once", add("x", text(default="a"), preserve_default=False), KEPT)
safe_is("add_created_at", add("x", models.DateTimeField(auto_now_add=True, null=True)))
safe_is("add_json_field", add("x", models.JSONField(default=dict)), KEPT)
safe_is("add_column_whose_default_asks", add("x", integer(default=first_leaflet)), KEPT)
unsafe_is("add_required_column", "refused", add("x", integer()))
unsafe_is("add_uuid_of_python", "frozen-default", add("x", models.UUIDField(default=uuid.uuid4)))
unsafe_is("add_uuid_of_database", "rewrite", add("x", models.UUIDField(db_default=RandomUUID())))
unsafe_is("add_random", "rewrite", add("x", models.FloatField(db_default=Random())))
unsafe_is(
    "add_clock", "rewrite", sql("ALTER TABLE shop_bill ADD COLUMN x timestamptz DEFAULT clock_timestamp()"), **EXPAND
)
unsafe_is(
    "add_generated",
    "rewrite",
    add("x", models.GeneratedField(expression=models.F("pieces") * 2, output_field=integer(), db_persist=True)),
)
unsafe_is("add_serial", "rewrite", sql("ALTER TABLE shop_bill ADD COLUMN x bigserial"), **EXPAND)
unsafe_is(
    "add_identity",
    "rewrite",
    sql("ALTER TABLE shop_bill ADD COLUMN x bigint GENERATED BY DEFAULT AS IDENTITY"),
    **EXPAND,
)
unsafe_is("add_key_to_keyless", "rewrite", sql("ALTER TABLE keyless ADD COLUMN id2 serial PRIMARY KEY"), **EXPAND)
unsafe_is("add_json", "json", sql("ALTER TABLE shop_bill ADD COLUMN x json"), **EXPAND)
safe_is("add_jsonb_by_sql", sql("ALTER TABLE shop_bill ADD COLUMN x jsonb"), **EXPAND)
safe_is("add_column_if_missing", sql("ALTER TABLE shop_bill ADD COLUMN IF NOT EXISTS note text"), **EXPAND)
unsafe_is(
    "add_required_column_by_sql",
    "required-column breaks-old-code",
    sql("ALTER TABLE shop_bill ADD COLUMN x text NOT NULL"),
    **EXPAND,
)
unsafe_is("add_unique_column", "scan", add("x", char(max_length=9, null=True, unique=True)))
unsafe_is("add_indexed_column", "scan", add("x", char(max_length=9, null=True, db_index=True)))
unsafe_is("add_slug", "scan", add("x", models.SlugField(null=True)))
unsafe_is("add_positive_integer", "scan", add("x", models.PositiveIntegerField(null=True)))
unsafe_is("add_positive_integer_with_default", "scan", add("x", models.PositiveSmallIntegerField(db_default=1)))
unsafe_is("add_foreign_key", "scan", add("x", models.ForeignKey("shop.leaflet", models.CASCADE, null=True)))
unsafe_is("add_one_to_one", "scan", add("x", models.OneToOneField("shop.leaflet", models.CASCADE, null=True)))
safe_is(
    "add_foreign_key_without_index_and_constraint",
    add("x", models.ForeignKey("shop.leaflet", models.CASCADE, null=True, db_index=False, db_constraint=False)),
)
safe_is(
    "add_foreign_key_safely",
    safe.SaferAddFieldForeignKey("Bill", "x", models.ForeignKey("shop.leaflet", models.CASCADE, null=True)),
    **BY_STEPS,
)
safe_is(
    "add_one_to_one_safely",
    safe.SaferAddFieldOneToOne("Bill", "x", models.OneToOneField("shop.leaflet", models.CASCADE, null=True)),
    **BY_STEPS,
)
safe_is("add_many_to_many", add("x", models.ManyToManyField("shop.label")))
safe_is(
    "create_model",
    migrations.CreateModel(
        "Fresh",
        [
            ("id", models.BigAutoField(primary_key=True)),
            ("bill", models.ForeignKey("shop.bill", models.CASCADE)),
            ("slug", models.SlugField()),
        ],
    ),
)
safe_is(
    "create_model_and_index_it",
    [
        migrations.CreateModel("Fresh", [("id", models.BigAutoField(primary_key=True)), ("a", integer())]),
        migrations.AddIndex("Fresh", models.Index(fields=["a"], name="fresh_a_idx")),
        migrations.AddConstraint("Fresh", models.CheckConstraint(condition=models.Q(a__gt=0), name="fresh_a_check")),
    ],
)

# Constraints.
FOREIGN_KEY = "ALTER TABLE shop_bill ADD CONSTRAINT f FOREIGN KEY (buyer_number) REFERENCES shop_buyer (id)"
CHECK = models.CheckConstraint(condition=models.Q(total__gt=0), name="bill_total_check")
unsafe_is("foreign_key_by_sql", "scan", sql(FOREIGN_KEY), **CONTRACT)
safe_is("foreign_key_not_valid", sql(FOREIGN_KEY + " NOT VALID", "ALTER TABLE shop_bill DROP CONSTRAINT f"), **CONTRACT)
unsafe_is(
    "integer_to_foreign_key",
    "scan",
    alter(
        "buyer_number",
        models.ForeignKey("shop.buyer", models.CASCADE, null=True, db_column="buyer_number", related_name="+"),
    ),
)
safe_is(
    "drop_foreign_key", alter("buyer", models.ForeignKey("shop.buyer", models.PROTECT, null=True, db_constraint=False))
)
safe_is(
    "foreign_key_options",
    alter("buyer", models.ForeignKey("shop.Buyer", models.CASCADE, null=True, related_name="bills")),
)
safe_is("add_check", migrations.AddConstraint("Bill", CHECK), PAID_SAFELY)
safe_is("add_check_not_valid", AddConstraintNotValid("Bill", CHECK))
safe_is(
    "add_check_not_valid_and_validate",
    [AddConstraintNotValid("Bill", CHECK), ValidateConstraint("Bill", "bill_total_check")],
    PAID_SAFELY,
)
safe_is("add_check_safely", safe.SaferAddCheckConstraint("Bill", CHECK), **BY_STEPS)
safe_is("remove_check", migrations.RemoveConstraint("Bill", "bill_pieces_check"))
safe_is("remove_check_safely", safe.SaferRemoveCheckConstraint("Bill", "bill_pieces_check"), **BY_STEPS)
safe_is("integer_to_positive", alter("position", models.PositiveIntegerField(null=True)), PAID_SAFELY)
PART = models.UniqueConstraint(fields=["position"], condition=models.Q(total__gt=5), name="u1")
safe_is("unique_in_part", migrations.AddConstraint("Bill", PART), PAID_SAFELY)
safe_is(
    "unique_expression",
    migrations.AddConstraint("Bill", models.UniqueConstraint(Lower("note"), name="u2")),
    PAID_SAFELY,
)
safe_is("unique_by_field", alter("position", integer(null=True, unique=True)), PAID_SAFELY)
safe_is(
    "unique_together", migrations.AlterUniqueTogether("Bill", {("position", "serial"), ("note", "memo")}), PAID_SAFELY
)
safe_is("no_unique_together", migrations.AlterUniqueTogether("Bill", set()))
safe_is(
    "unique_safely",
    safe.SaferAddUniqueConstraint(
        "Bill", models.UniqueConstraint(fields=["position"], name="u3"), raise_if_exists=False
    ),
    **BY_STEPS,
)
safe_is("remove_unique", migrations.RemoveConstraint("Bill", "bill_serial_unique"))
safe_is("unique_field_no_more", alter("single", integer(null=True)))
unsafe_is(
    "exclusion",
    "scan",
    migrations.AddConstraint(
        "Bill",
        ExclusionConstraint(
            name="e1", index_type="gist", expressions=[(Span("begins", "ends", RangeBoundary()), "&&")]
        ),
    ),
)
unsafe_is(
    "exclusion_by_sql", "scan", sql("ALTER TABLE shop_bill ADD EXCLUDE USING btree (position WITH =)"), **CONTRACT
)
unsafe_is("other_primary_key", "refused", alter("number", char(max_length=20, primary_key=True), "Article"))
unsafe_is(
    "drop_primary_key", "no-primary-key", sql("ALTER TABLE shop_leaflet DROP CONSTRAINT shop_leaflet_pkey"), **EXPAND
)
unsafe_is("bigger_key", "rewrite", alter("id", models.BigAutoField(primary_key=True), "Article"))
safe_is("drop_constraint_by_sql", sql("ALTER TABLE shop_bill DROP CONSTRAINT bill_pieces_check"), **EXPAND)

# Indexes.
unsafe_is("add_index", "scan", migrations.AddIndex("Bill", models.Index(fields=["note"], name="i1")))
unsafe_is("add_brin_index", "scan", migrations.AddIndex("Bill", BrinIndex(fields=["note"], name="i1")))
unsafe_is("add_hash_index", "scan", migrations.AddIndex("Bill", HashIndex(fields=["note"], name="i1")))
unsafe_is("add_index_of_matview", "scan", sql("CREATE INDEX ON bill_sums (id)"), **EXPAND)
unsafe_is(
    "add_index_not_repeatably",
    "not-repeatable",
    AddIndexConcurrently("Bill", models.Index(fields=["note"], name="i1")),
    **BY_STEPS,
)
safe_is(
    "add_index_safely", safe.SaferAddIndexConcurrently("Bill", models.Index(fields=["note"], name="i1")), **BY_STEPS
)
unsafe_is(
    "add_index_concurrently_in_transaction", "fails", sql("CREATE INDEX CONCURRENTLY i1 ON shop_bill (note)"), **EXPAND
)
unsafe_is(
    "add_two_indexes_in_one_script",
    "fails",
    sql(
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS i1 ON shop_bill (note); CREATE INDEX CONCURRENTLY IF NOT EXISTS i2 ON shop_bill (memo)"
    ),
    **REPEATABLE,
    **EXPAND,
)
unsafe_is(
    "add_wide_index",
    "wide-index",
    safe.SaferAddIndexConcurrently("Bill", models.Index(fields=["note", "memo", "state", "kind"], name="i1")),
    **BY_STEPS,
)
unsafe_is("index_by_field", "scan", alter("position", integer(null=True, db_index=True)))
safe_is("remove_index", migrations.RemoveIndex("Bill", "bill_state_idx"), DROPPED_LATER)
unsafe_is("drop_index_by_sql", "drop-index", sql("DROP INDEX bill_state_idx"), **EXPAND)
safe_is("remove_index_concurrently", RemoveIndexConcurrently("Bill", "bill_state_idx"), **REPEATABLE)
safe_is("remove_index_safely", safe.SaferRemoveIndexConcurrently("Bill", "bill_state_idx"), **BY_STEPS)
safe_is("no_index_by_field", alter("kind", char(max_length=5, null=True)), DROPPED_LATER)
safe_is("rename_index", migrations.RenameIndex("Bill", new_name="bill_state", old_name="bill_state_idx"))
safe_is("rename_index_by_sql", sql("ALTER INDEX bill_state_idx RENAME TO bill_state"), **EXPAND)
safe_is("reindex_concurrently", sql("REINDEX TABLE CONCURRENTLY shop_bill"), **REPEATABLE, **EXPAND)
unsafe_is("reindex", "rewrite unlisted-sql", sql("REINDEX TABLE shop_bill"), **EXPAND)
safe_is("index_on_parent_only", sql("CREATE INDEX log_day ON ONLY log (day)"), **EXPAND)

# Types.
unsafe_is("integer_to_bigint", "rewrite", alter("pieces", models.BigIntegerField()))
unsafe_is("bigint_to_integer", "rewrite", alter("buyer_number", integer(null=True)))
unsafe_is("narrower_text", "rewrite", alter("mail", char(max_length=90), "Buyer"))
unsafe_is("text_to_varchar", "rewrite scan", alter("memo", char(max_length=90)))
safe_is("wider_text", alter("mail", char(max_length=200), "Buyer"))
safe_is("varchar_to_text", alter("mail", text(), "Buyer"))
safe_is("varchar_without_limit", alter("mail", char(), "Buyer"))
safe_is("more_digits", alter("weight", models.DecimalField(max_digits=12, decimal_places=3)))
unsafe_is("more_decimal_places", "rewrite", alter("weight", models.DecimalField(max_digits=12, decimal_places=5)))
unsafe_is(
    "more_digits_of_a_column_in_a_view",
    "fails",
    alter("total", models.DecimalField(max_digits=14, decimal_places=2)),
    "It would be safe, but for the materialized view: the server refuses.",
)
unsafe_is("text_to_integer", "refused", alter("note", integer(null=True)))
unsafe_is("text_to_uuid", "refused", alter("note", models.UUIDField(null=True)))
unsafe_is("text_to_json", "refused", alter("note", models.JSONField(null=True)))
unsafe_is("uuid_to_text", "refused", alter("token", text(null=True)))
unsafe_is("time_to_date", "refused", alter("begins", models.DateField(null=True)))
unsafe_is("date_to_time", "refused", alter("paid_on", models.DateTimeField(null=True)))
unsafe_is("flag_to_integer", "refused", alter("is_active", integer(db_default=1), "Buyer"))
unsafe_is(
    "type_by_sql", "rewrite", sql("ALTER TABLE shop_bill ALTER serial TYPE numeric USING serial::numeric"), **CONTRACT
)
unsafe_is("collation", "rewrite scan", sql('ALTER TABLE shop_bill ALTER kind TYPE varchar(5) COLLATE "C"'), **EXPAND)
safe_is("same_column", alter("mail", models.EmailField(max_length=100), "Buyer"))
safe_is("options_only", alter("mail", char(max_length=100, choices=[("a", "A")], help_text="h"), "Buyer"))
safe_is("comment_of_column", alter("mail", char(max_length=100, db_comment="where letters go"), "Buyer"))

# NULL and defaults.
safe_is("set_not_null", alter("note", text()), PAID_SAFELY)
safe_is("set_not_null_with_default", alter("note", text(default="")), PAID_SAFELY)
safe_is("set_not_null_safely", safe.SaferAlterFieldSetNotNull("Bill", "note", text()), **BY_STEPS)
safe_is("drop_not_null", alter("memo", text(null=True)))
unsafe_is(
    "drop_default_by_sql", "breaks-old-code", sql("ALTER TABLE shop_bill ALTER COLUMN state DROP DEFAULT"), **EXPAND
)
safe_is("drop_default_that_may_go", sql("ALTER TABLE shop_bill ALTER COLUMN state DROP DEFAULT"), **CONTRACT)
safe_is("set_default_by_sql", sql("ALTER TABLE shop_bill ALTER COLUMN note SET DEFAULT 'x'"), **EXPAND)
safe_is("other_database_default", alter("state", char(max_length=20, db_default="open")))
safe_is("no_database_default", alter("state", char(max_length=20, default="new")), OWED)

# Names.
unsafe_is("rename_field", "refused", migrations.RenameField("Bill", "note", "remark"))
unsafe_is("rename_field_when_no_old_code", "refused", migrations.RenameField("Bill", "note", "remark"), **CONTRACT)
safe_is(
    "rename_field_in_code",
    [alter("note", text(null=True, db_column="note")), migrations.RenameField("Bill", "note", "remark")],
)
unsafe_is("other_column_name", "refused", alter("note", text(null=True, db_column="remark")))
unsafe_is("rename_column_by_sql", "rename", sql("ALTER TABLE shop_bill RENAME COLUMN note TO remark"), **CONTRACT)
unsafe_is("rename_table_by_sql", "rename", sql("ALTER TABLE shop_leaflet RENAME TO flyers"), **CONTRACT)
unsafe_is("rename_model", "refused", migrations.RenameModel("Leaflet", "Flyer"))
safe_is(
    "rename_model_in_code",
    [migrations.AlterModelTable("Leaflet", "shop_leaflet"), migrations.RenameModel("Leaflet", "Flyer")],
)
unsafe_is(
    "rename_model_with_many_to_many",
    "refused",
    [migrations.AlterModelTable("Buyer", "shop_buyer"), migrations.RenameModel("Buyer", "Payer")],
    "Django renames the column of the table between, whatever the model's own table is called.",
)
unsafe_is(
    "rename_referred_model",
    "refused",
    [migrations.AlterModelTable("Label", "shop_label"), migrations.RenameModel("Label", "Tag")],
)
unsafe_is("other_table_name", "refused", migrations.AlterModelTable("Leaflet", "flyers"))
safe_is("rename_constraint", sql("ALTER TABLE shop_bill RENAME CONSTRAINT bill_pieces_check TO bill_pieces"), **EXPAND)
unsafe_is("other_schema", "rename", sql("ALTER TABLE shop_leaflet SET SCHEMA archive"), **EXPAND)
unsafe_is("rename_view", "rename", sql("ALTER VIEW open_bills RENAME TO bills_open"), **EXPAND)
safe_is(
    "options_and_managers",
    [migrations.AlterModelOptions("Leaflet", {"ordering": ["text"]}), migrations.AlterModelManagers("Leaflet", [])],
)
safe_is("comment_of_table", migrations.AlterModelTableComment("Leaflet", "what is handed out"))

# Removals.
for model, name in (("Bill", "note"), ("Bill", "memo"), ("Buyer", "name"), ("Buyer", "labels"), ("Bill", "buyer")):
    safe_is(f"remove_{model}_{name}".lower(), migrations.RemoveField(model, name), OWED)
safe_is("delete_model", migrations.DeleteModel("Leaflet"), OWED)
safe_is("forget_field", state_only(migrations.RemoveField("Bill", "note")))
unsafe_is("forget_required_field", "unready-removal", state_only(migrations.RemoveField("Bill", "memo")))
for what in (
    "TABLE shop_leaflet",
    "VIEW open_bills",
    "SEQUENCE numbers",
    "SCHEMA archive CASCADE",
    "TRIGGER stamp ON shop_bill",
):
    unsafe_is(f"drop_{what.split()[0]}_too_early".lower(), "unlisted-sql", sql(f"DROP {what}"), **EXPAND)
    safe_is(f"drop_{what.split()[0]}".lower(), sql(f"DROP {what}"), **CONTRACT)
unsafe_is("drop_column_too_early", "unlisted-sql", sql("ALTER TABLE public.shop_bill DROP COLUMN note"), **EXPAND)
safe_is("drop_column", sql("ALTER TABLE public.shop_bill DROP COLUMN note"), **CONTRACT)
unsafe_is("drop_type_too_early", "unlisted-sql fails", sql("DROP TYPE urgency CASCADE"), **EXPAND)
unsafe_is("truncate", "rewrite unlisted-sql", sql("TRUNCATE shop_leaflet"), **EXPAND)
unsafe_is("truncate_cascade", "rewrite unlisted-sql", sql("TRUNCATE shop_buyer CASCADE"), **CONTRACT)
unsafe_is("revoke", "unlisted-sql", sql("REVOKE ALL ON shop_bill FROM PUBLIC"), **EXPAND)
unsafe_is(
    "recreate_table",
    "unlisted-sql",
    sql("DROP TABLE IF EXISTS shop_leaflet CASCADE; CREATE TABLE shop_leaflet (id bigint PRIMARY KEY, text text)"),
    **EXPAND,
)

# Data.
unsafe_is("python_saves_each_row", "loop", python(save_each, noop), **EXPAND)
unsafe_is("python_asks_for_each_row", "loop", python(compare_all, noop), **EXPAND)
unsafe_is("python_updates_all_rows", "writes", python(update_all, noop), **EXPAND)
unsafe_is("python_updates_in_bulk", "writes", python(bulk_update, noop), **EXPAND)
unsafe_is("python_looks_through_all_rows", "writes", python(update_some, noop), **EXPAND)
unsafe_is("python_deletes_all_rows", "writes", python(delete_all, noop), **EXPAND)
unsafe_is("python_updates_all_rows_not_atomic", "writes", python(update_all, noop), **REPEATABLE, **EXPAND)
unsafe_is("python_with_other_arguments", "argument-names", python(misnamed, noop), **EXPAND)
unsafe_is("python_undeclared", "undeclared-phase", python(nothing, noop))
unsafe_is("python_one_way", "irreversible-data", python(add_label), **EXPAND)
unsafe_is("python_fails", "fails", python(fails, noop), **EXPAND)
unsafe_is("python_changes_the_schema", "unlisted-sql", python(drop_column, noop), **EXPAND)
safe_is("python_adds_a_row", python(add_label, remove_label), **EXPAND)
safe_is("python_in_batches", python(in_batches, noop), **REPEATABLE, **EXPAND)
safe_is("python_noop", python(noop, noop))
unsafe_is("schema_and_data", "scan", [add("x", text(null=True)), python(update_all, noop)], **EXPAND)
unsafe_is(
    "schema_and_a_little_python", "lock-held", [add("x", text(null=True)), python(add_label, remove_label)], **EXPAND
)
unsafe_is("update_all", "writes", sql("UPDATE shop_bill SET note = 'x'", ""), **EXPAND)
unsafe_is("delete_all", "writes", sql("DELETE FROM shop_leaflet", ""), **EXPAND)
unsafe_is("insert_all", "writes", sql("INSERT INTO shop_leaflet (text) SELECT memo FROM shop_bill", ""), **EXPAND)
unsafe_is("insert_one_way", "irreversible-data", sql("INSERT INTO shop_label (word) VALUES ('a')"), **EXPAND)
safe_is(
    "insert", sql("INSERT INTO shop_label (word) VALUES ('a')", "DELETE FROM shop_label WHERE word = 'a'"), **EXPAND
)
safe_is("update_one_row", sql("UPDATE shop_bill SET note = 'x' WHERE id = 1", ""), **EXPAND)
safe_is("backfill", Backfill("Bill", set="note = 'z'", where="note <> 'z'", keep=True), **BY_STEPS)
unsafe_is("backfill_in_a_transaction", "fails", Backfill("Bill", set="note = 'z'", where="note <> 'z'"))
safe_is("sql_noop", migrations.RunSQL(migrations.RunSQL.noop, migrations.RunSQL.noop))

# Locks, storage, rights and the like.
safe_is("add_enum_value", sql("ALTER TYPE urgency ADD VALUE IF NOT EXISTS 'middle' AFTER 'low'"), **EXPAND)
unsafe_is(
    "add_enum_value_and_use_it",
    "fails",
    [sql("ALTER TYPE urgency ADD VALUE 'none'"), sql("UPDATE shop_buyer SET urgency = 'none' WHERE id = 1", "")],
    **EXPAND,
)
unsafe_is("rename_enum_value", "unlisted-sql", sql("ALTER TYPE urgency RENAME VALUE 'low' TO 'small'"), **EXPAND)
unsafe_is("cluster", "rewrite", sql("CLUSTER shop_bill USING shop_bill_pkey"), **EXPAND)
unsafe_is("vacuum_full", "rewrite unlisted-sql", sql("VACUUM FULL shop_bill"), **REPEATABLE, **EXPAND)
unsafe_is("lock_table", "unlisted-sql", sql("LOCK TABLE shop_bill IN ACCESS EXCLUSIVE MODE; SELECT 1"), **EXPAND)
unsafe_is("unlogged", "rewrite", sql("ALTER TABLE shop_bill SET UNLOGGED"), **EXPAND)
unsafe_is("tablespace", "unlisted-sql", sql("ALTER TABLE shop_bill SET TABLESPACE pg_default"), **EXPAND)
unsafe_is("refresh", "rewrite unlisted-sql", sql("REFRESH MATERIALIZED VIEW bill_sums"), **EXPAND)
unsafe_is(
    "attach_partition",
    "scan unlisted-sql",
    sql("ALTER TABLE log ATTACH PARTITION log_2020 FOR VALUES FROM ('2020-01-01') TO ('2024-01-01')"),
    **EXPAND,
)
unsafe_is("detach_partition", "unlisted-sql", sql("ALTER TABLE log DETACH PARTITION log_2024"), **EXPAND)
unsafe_is("disable_trigger", "unlisted-sql", sql("ALTER TABLE shop_bill DISABLE TRIGGER ALL"), **EXPAND)
unsafe_is("row_level_security", "unlisted-sql", sql("ALTER TABLE shop_bill ENABLE ROW LEVEL SECURITY"), **EXPAND)
unsafe_is("owner", "unlisted-sql", sql("ALTER TABLE shop_bill OWNER TO pg_monitor"), **EXPAND)
unsafe_is("long_name", "remarks", sql(f"ALTER TABLE shop_bill ADD COLUMN {'a' * 70} int"), **EXPAND)
unsafe_is(
    "own_transaction", "unlisted-sql remarks", sql("BEGIN; ALTER TABLE shop_bill ADD COLUMN x int; COMMIT"), **EXPAND
)
safe_is(
    "create_trigger",
    sql(
        "CREATE TRIGGER t BEFORE INSERT ON shop_bill FOR EACH ROW EXECUTE FUNCTION stamp()",
        "DROP TRIGGER t ON shop_bill",
    ),
    **EXPAND,
)
BROKEN = "CREATE OR REPLACE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
unsafe_is("replace_trigger_function", "breaks-old-code", sql(BROKEN), **EXPAND)
for name, statement in {
    "comment": "COMMENT ON TABLE shop_bill IS 'money'",
    "analyze": "ANALYZE shop_bill",
    "grant": "GRANT SELECT ON shop_bill TO pg_monitor",
    "create_view": "CREATE VIEW paid AS SELECT id FROM shop_bill",
    "create_function": "CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "create_sequence": "CREATE SEQUENCE more_numbers",
    "create_table": "CREATE TABLE fresh (id bigint PRIMARY KEY, bill_id bigint REFERENCES shop_bill)",
    "statistics": "ALTER TABLE shop_bill ALTER COLUMN note SET STATISTICS 500",
    "fillfactor": "ALTER TABLE shop_bill SET (fillfactor = 80)",
    "do_create_type": "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_type WHERE typname = 'size') THEN "
    "CREATE TYPE size AS ENUM ('s', 'm'); END IF; END $$",
    "commented": "-- the column DROP TABLE nobody\nALTER TABLE shop_bill ADD COLUMN x int; /* and; more */ SELECT 1",
}.items():
    safe_is(name, sql(statement), **EXPAND)
unsafe_is("do_drop_column", "unlisted-sql", sql("DO $$ BEGIN ALTER TABLE shop_bill DROP COLUMN note; END $$"), **EXPAND)
unsafe_is("behind_a_comment", "unlisted-sql", sql("-- tidy up\nALTER TABLE shop_bill DROP COLUMN note"), **EXPAND)

# What hides something.
unsafe_is(
    "create_if_missing_and_alter",
    "rewrite unlisted-sql",
    [
        sql("CREATE TABLE IF NOT EXISTS shop_buyer (id int)"),
        sql("ALTER TABLE shop_buyer ALTER COLUMN name TYPE varchar(50); ALTER TABLE shop_buyer DROP COLUMN code"),
    ],
    **EXPAND,
)
unsafe_is("own_operation", "undeclared-phase", Ours("ALTER TABLE shop_bill DROP COLUMN note"))
unsafe_is("own_operation_that_is_quiet", "undeclared-phase", Ours(BROKEN))
unsafe_is("own_operation_declared", "unlisted-sql", Ours("ALTER TABLE shop_bill DROP COLUMN note"), **EXPAND)
safe_is("own_operation_that_is_harmless", Ours("COMMENT ON TABLE shop_bill IS 'money'"), **EXPAND)
MEMBER = migrations.CreateModel(
    "Member",
    [
        ("id", models.BigAutoField(primary_key=True)),
        ("buyer", models.ForeignKey("shop.buyer", models.CASCADE)),
        ("label", models.ForeignKey("shop.label", models.CASCADE)),
    ],
)
unsafe_is(
    "many_to_many_through_a_renamed_table",
    "fails",
    [
        migrations.SeparateDatabaseAndState(
            [sql("ALTER TABLE shop_buyer_labels RENAME TO shop_member", "")],
            [MEMBER, alter("labels", models.ManyToManyField("shop.label", through="shop.Member"), "Buyer")],
        ),
        migrations.AddField("Member", "is_first", models.BooleanField(default=False)),
    ],
    **CONTRACT,
)
safe_is(
    "take_over_a_table",
    [
        state_only(
            migrations.CreateModel(
                "Keyless",
                [("id", models.BigIntegerField(primary_key=True)), ("amount", integer(null=True))],
                options={"db_table": "keyless"},
            )
        ),
        migrations.AddField("Keyless", "x", text(null=True)),
    ],
)
unsafe_is("many_to_many_of_another_model", "refused", alter("labels", models.ManyToManyField("shop.article"), "Buyer"))
unsafe_is(
    "contract_that_new_code_needs",
    "contract-changes-state",
    migrations.SeparateDatabaseAndState([sql("ALTER TABLE shop_bill ADD COLUMN x text")], [add("x", text(null=True))]),
    **CONTRACT,
)
unsafe_is("no_such_phase", "phase", sql("COMMENT ON TABLE shop_bill IS 'money'"), phase="expanded")

# Excuses.
safe_is(
    "excused",
    migrations.AddIndex("Bill", models.Index(fields=["note"], name="i1")),
    excused={"scan": "a hundred rows, for ever"},
)
unsafe_is(
    "excused_without_a_reason",
    "scan",
    migrations.AddIndex("Bill", models.Index(fields=["note"], name="i1")),
    excused={"scan": ""},
)
unsafe_is("excused_from_no_rule", "excuse", add("x", text(null=True)), excused={"everything": "in a hurry"})
