"""Brothers of the ordinary changes: the same faults in other clothes, and what looks like one and is none."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import connection, migrations, models
from django.db.models.functions import Upper
from django_pg_migration_tools import operations as safe

from tests.migrator.gate.cases.ordinary import (
    BY_STEPS,
    CONTRACT,
    EXPAND,
    KEPT,
    OWED,
    PAID_SAFELY,
    REPEATABLE,
    add,
    add_label,
    alter,
    char,
    in_batches,
    integer,
    noop,
    python,
    remove_label,
    safe_is,
    sql,
    state_only,
    text,
    unsafe_is,
)

AT_ONCE = "What it makes impossible for old code is not known from its rows: it can wait until there is none."
KEY = ("id", models.BigAutoField(primary_key=True))


def count_all(apps: Any, schema_editor: Any) -> None:
    apps.get_model("shop", "Bill").objects.filter(memo="x").count()


def copy_all(apps: Any, schema_editor: Any) -> None:
    notes = apps.get_model("shop", "Bill").objects.values_list("memo", flat=True)
    leaflet = apps.get_model("shop", "Leaflet")
    leaflet.objects.bulk_create([leaflet(text=note) for note in notes], batch_size=1000)


def save_some_fields(apps: Any, schema_editor: Any) -> None:
    for bill in apps.get_model("shop", "Bill").objects.iterator():
        bill.note = "x"
        bill.save(update_fields=["note"])


def drop_index_by_cursor(apps: Any, schema_editor: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP INDEX bill_state_idx")


def index_by_editor(apps: Any, schema_editor: Any) -> None:
    bill = apps.get_model("shop", "Bill")
    schema_editor.add_index(bill, models.Index(fields=["note"], name="i1"))


def touch_one(apps: Any, schema_editor: Any) -> None:
    apps.get_model("shop", "Bill").objects.filter(pk=1).update(note="x")


# Columns that are added.
safe_is("add_array", add("x", ArrayField(text(), default=list)), KEPT)
safe_is("add_duration", add("x", models.DurationField(default=dt.timedelta(days=1))), KEPT)
safe_is("add_file", add("x", models.FileField(upload_to="x", blank=True, default="")), KEPT)
safe_is("add_today", add("x", models.DateField(auto_now_add=True)), KEPT)
safe_is("add_blank_text", add("x", char(max_length=9, blank=True)), KEPT)
safe_is("add_decimal", add("x", models.DecimalField(max_digits=5, decimal_places=2, default=0)), KEPT)
safe_is("add_address", add("x", models.GenericIPAddressField(null=True)))
safe_is("add_many_to_many_to_itself", add("x", models.ManyToManyField("self")))
unsafe_is("add_unique_column_with_default", "refused", add("x", char(max_length=9, unique=True, default="a")))
unsafe_is("add_required_foreign_key", "refused", add("x", models.ForeignKey("shop.leaflet", models.CASCADE)))
unsafe_is("add_foreign_key_to_itself", "scan", add("x", models.ForeignKey("self", models.CASCADE, null=True)))
unsafe_is(
    "add_foreign_key_without_constraint",
    "scan",
    add("x", models.ForeignKey("shop.leaflet", models.CASCADE, null=True, db_constraint=False)),
    "Its index is built while the column's lock is held.",
)
for name, rules, column in (
    ("with_default", "", "x int NOT NULL DEFAULT 1"),
    ("with_time", "", "x timestamptz NOT NULL DEFAULT now()"),
    ("of_no_sequence", "", "x int"),
    ("from_sequence", "rewrite", "x bigint DEFAULT nextval('numbers')"),
    ("with_check", "scan", "x int CHECK (x > 0)"),
    ("with_unique", "scan", "x int UNIQUE"),
    ("computed", "rewrite", "x int GENERATED ALWAYS AS (pieces * 2) STORED"),
    ("of_a_random_uuid", "rewrite", "x uuid DEFAULT gen_random_uuid()"),
):
    (unsafe_is if rules else lambda n, _r, o, **a: safe_is(n, o, **a))(
        f"sql_column_{name}", rules, sql(f"ALTER TABLE shop_bill ADD COLUMN {column}"), **EXPAND
    )
unsafe_is(
    "sql_column_of_a_domain_with_a_check",
    "rewrite scan",
    sql("CREATE DOMAIN small AS int CHECK (VALUE < 99); ALTER TABLE shop_bill ADD COLUMN x small DEFAULT 1"),
    **EXPAND,
)
safe_is(
    "sql_column_of_a_new_enum",
    sql("CREATE TYPE size AS ENUM ('s', 'm'); ALTER TABLE shop_bill ADD COLUMN x size NOT NULL DEFAULT 's'"),
    **EXPAND,
)
safe_is(
    "sql_column_within_a_lock_timeout",
    sql("SET LOCAL lock_timeout = '1s'; ALTER TABLE shop_bill ADD COLUMN x int"),
    **EXPAND,
)
unsafe_is(
    "sql_column_and_its_values",
    "scan writes",
    sql("ALTER TABLE shop_bill ADD COLUMN x int; UPDATE shop_bill SET x = pieces", "ALTER TABLE shop_bill DROP x"),
    **EXPAND,
)
safe_is(
    "sql_column_beside_its_field",
    migrations.SeparateDatabaseAndState(
        [sql("ALTER TABLE shop_bill ADD COLUMN x int", "ALTER TABLE shop_bill DROP COLUMN x")],
        [add("x", integer(null=True))],
    ),
    **EXPAND,
)

# Rules by SQL: what old code may break, it can break only after the rollout.
for name, rule in {
    "check": "ADD CONSTRAINT c CHECK (pieces < 9999999) NOT VALID",
    "foreign_key": "ADD CONSTRAINT f FOREIGN KEY (buyer_number) REFERENCES shop_buyer (id) NOT VALID",
}.items():
    unsafe_is(
        f"sql_{name}_too_early", "unlisted-sql breaks-old-code", sql(f"ALTER TABLE shop_bill {rule}"), AT_ONCE, **EXPAND
    )
    safe_is(f"sql_{name}", sql(f"ALTER TABLE shop_bill {rule}"), **CONTRACT)
unsafe_is("sql_check_validated", "scan", sql("ALTER TABLE shop_bill ADD CHECK (pieces < 9999999)"), **CONTRACT)
unsafe_is(
    "sql_check_and_its_validation",
    "scan",
    sql(
        "ALTER TABLE shop_bill ADD CONSTRAINT c CHECK (pieces < 9999999) NOT VALID; "
        "ALTER TABLE shop_bill VALIDATE CONSTRAINT c"
    ),
    **CONTRACT,
)
safe_is(
    "sql_check_and_its_validation_by_steps",
    [
        sql("ALTER TABLE shop_bill DROP CONSTRAINT IF EXISTS c, ADD CONSTRAINT c CHECK (pieces < 9999999) NOT VALID"),
        sql("ALTER TABLE shop_bill VALIDATE CONSTRAINT c"),
    ],
    **REPEATABLE,
    **CONTRACT,
)
unsafe_is("sql_not_null", "scan", sql("ALTER TABLE shop_bill ALTER COLUMN note SET NOT NULL"), **CONTRACT)
safe_is("sql_null", sql("ALTER TABLE shop_bill ALTER COLUMN memo DROP NOT NULL"), **EXPAND)
unsafe_is(
    "sql_unique_index_too_early",
    "unlisted-sql",
    sql("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS u ON shop_bill (serial)"),
    AT_ONCE,
    **REPEATABLE,
    **EXPAND,
)
safe_is(
    "sql_unique_index",
    sql("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS u ON shop_bill (serial)"),
    **REPEATABLE,
    **CONTRACT,
)
unsafe_is("sql_unique", "scan", sql("ALTER TABLE shop_bill ADD UNIQUE (serial)"), **CONTRACT)
unsafe_is("sql_primary_key", "scan rewrite", sql("ALTER TABLE keyless ADD PRIMARY KEY (id)"), **CONTRACT)
safe_is(
    "sql_rules_of_a_new_table",
    sql(
        "CREATE TABLE fresh (id bigint NOT NULL, bill_id bigint, word text); "
        "ALTER TABLE ONLY fresh ADD CONSTRAINT fresh_pkey PRIMARY KEY (id); "
        "ALTER TABLE fresh ADD CONSTRAINT fresh_check CHECK (word <> ''); "
        "CREATE UNIQUE INDEX fresh_word ON fresh (word); ALTER TABLE fresh ALTER COLUMN word SET NOT NULL",
        "DROP TABLE fresh",
    ),
    **EXPAND,
)
unsafe_is(
    "sql_rules_of_a_table_that_may_be_there",
    "unlisted-sql",
    sql("CREATE TABLE IF NOT EXISTS shop_label (id bigint); ALTER TABLE shop_label ADD CHECK (word <> '') NOT VALID"),
    **EXPAND,
)
safe_is("sql_constraint_deferred", sql("ALTER TABLE shop_bill DROP CONSTRAINT IF EXISTS nobody"), **EXPAND)

# Constraints and indexes by Django.
safe_is(
    "add_unique_deferred",
    migrations.AddConstraint(
        "Bill",
        models.UniqueConstraint(fields=["serial", "position"], name="u9", deferrable=models.Deferrable.DEFERRED),
    ),
    PAID_SAFELY,
)
safe_is(
    "add_unique_with_more",
    migrations.AddConstraint("Bill", models.UniqueConstraint(fields=["serial"], name="u9", include=["note"])),
    PAID_SAFELY,
)
safe_is("add_unique_together", migrations.AlterUniqueTogether("Article", {("name", "number")}), PAID_SAFELY)
unsafe_is("add_expression_index", "scan", migrations.AddIndex("Bill", models.Index(Upper("note"), name="i1")))
unsafe_is(
    "add_partial_index",
    "scan",
    migrations.AddIndex("Bill", models.Index(fields=["note"], name="i1", condition=models.Q(total__gt=5))),
)
unsafe_is("sql_expression_index", "scan", sql("CREATE INDEX ON shop_bill (lower(note))"), **EXPAND)
unsafe_is(
    "add_index_concurrently_atomically",
    "fails",
    AddIndexConcurrently("Bill", models.Index(fields=["note"], name="i1")),
)
unsafe_is("remove_index_concurrently_atomically", "fails", RemoveIndexConcurrently("Bill", "bill_state_idx"))
unsafe_is(
    "add_index_safely_atomically",
    "fails",
    safe.SaferAddIndexConcurrently("Bill", models.Index(fields=["note"], name="i1")),
)
unsafe_is("sql_drop_index_concurrently_atomically", "fails", sql("DROP INDEX CONCURRENTLY bill_state_idx"), **EXPAND)
safe_is(
    "sql_drop_index_concurrently",
    sql("DROP INDEX CONCURRENTLY IF EXISTS bill_state_idx"),
    **REPEATABLE,
    **EXPAND,
)
safe_is(
    "sql_index_concurrently",
    sql("CREATE INDEX CONCURRENTLY IF NOT EXISTS i1 ON shop_bill (lower(note))"),
    **REPEATABLE,
    **EXPAND,
)
unsafe_is(
    "sql_index_concurrently_not_repeatably",
    "not-repeatable",
    sql("CREATE INDEX CONCURRENTLY i1 ON shop_bill (note)"),
    **BY_STEPS,
    **EXPAND,
)
safe_is("order_with_respect_to", migrations.AlterOrderWithRespectTo("Bill", "buyer"), KEPT)

# Fields that are altered.
safe_is("other_python_default", alter("memo", text(default="new")))
safe_is("comment_and_null", alter("memo", text(null=True, db_comment="why")))
safe_is("blank_and_validators", alter("mail", char(max_length=100, blank=True, validators=[]), "Buyer"))
safe_is("column_name_as_it_is", alter("note", text(null=True, db_column="note")))
safe_is("foreign_key_required", alter("buyer", models.ForeignKey("shop.buyer", models.PROTECT)), PAID_SAFELY)
safe_is(
    "foreign_key_to_one_to_one", alter("buyer", models.OneToOneField("shop.buyer", models.PROTECT, null=True)), OWED
)
safe_is(
    "foreign_key_without_index",
    alter("buyer", models.ForeignKey("shop.buyer", models.PROTECT, null=True, db_index=False)),
    OWED,
)
unsafe_is(
    "foreign_key_to_another_table",
    "refused",
    alter("buyer", models.ForeignKey("shop.article", models.PROTECT, null=True)),
)
safe_is(
    "foreign_key_to_integer",
    alter("buyer", models.BigIntegerField(null=True, db_column="buyer_id")),
    OWED,
)
unsafe_is("text_to_slug", "scan rewrite", alter("memo", models.SlugField(max_length=100)))
unsafe_is("small_to_large_key", "rewrite", alter("position", models.BigIntegerField(null=True)))
unsafe_is("integer_to_decimal", "refused", alter("pieces", models.DecimalField(max_digits=9, decimal_places=0)))
unsafe_is("integer_to_text", "refused", alter("pieces", text()))
unsafe_is("date_to_text", "refused", alter("paid_on", text(null=True)))
unsafe_is("text_to_array", "refused", alter("note", ArrayField(text(), null=True)))
unsafe_is("shorter_and_required", "rewrite", alter("code", char(max_length=5, default=""), "Buyer"))
unsafe_is(
    "computed_field_of_another_formula",
    "fails refused",
    [
        add("x", models.GeneratedField(expression=models.F("pieces") * 2, output_field=integer(), db_persist=True)),
        alter("x", models.GeneratedField(expression=models.F("pieces") * 3, output_field=integer(), db_persist=True)),
    ],
)
safe_is("other_collation", alter("note", text(null=True, db_collation="C")), "No index has it, and no row is read.")
unsafe_is(
    "other_collation_of_an_index",
    "rewrite scan",
    alter("kind", char(max_length=5, null=True, db_index=True, db_collation="C")),
)

# Types by SQL.
safe_is("sql_wider", sql("ALTER TABLE shop_buyer ALTER COLUMN mail TYPE varchar(200)"), **EXPAND)
safe_is("sql_to_text", sql("ALTER TABLE shop_buyer ALTER COLUMN mail SET DATA TYPE text"), **EXPAND)
unsafe_is("sql_key_to_bigint", "rewrite", sql("ALTER TABLE shop_article ALTER COLUMN id TYPE bigint"), **EXPAND)
unsafe_is("sql_to_timestamp", "type", sql("ALTER TABLE shop_bill ALTER begins TYPE timestamp"), **CONTRACT)
unsafe_is("sql_narrower", "rewrite", sql("ALTER TABLE shop_buyer ALTER COLUMN mail TYPE varchar(90)"), **CONTRACT)

# Many to many.
safe_is(
    "many_to_many_options",
    alter("labels", models.ManyToManyField("shop.label", related_name="buyers", blank=True), "Buyer"),
)
unsafe_is(
    "many_to_many_of_another_table",
    "refused",
    alter("labels", models.ManyToManyField("shop.label", db_table="labels"), "Buyer"),
)
unsafe_is(
    "many_to_many_through_a_model",
    "fails",
    [
        migrations.CreateModel(
            "Member",
            [
                KEY,
                ("buyer", models.ForeignKey("shop.buyer", models.CASCADE)),
                ("label", models.ForeignKey("shop.label", models.CASCADE)),
            ],
        ),
        alter("labels", models.ManyToManyField("shop.label", through="shop.Member"), "Buyer"),
    ],
)

# Names.
unsafe_is(
    "rename_and_rename_back",
    "refused",
    [migrations.RenameField("Bill", "note", "a"), migrations.RenameField("Bill", "a", "note")],
)
unsafe_is("sql_rename_index_of_nobody", "fails", sql("ALTER INDEX nobody RENAME TO somebody"), **EXPAND)
safe_is("same_table_name", migrations.AlterModelTable("Leaflet", "shop_leaflet"))
unsafe_is("use_a_name_again", "refused", [migrations.RemoveField("Bill", "note"), add("note", integer(null=True))])
unsafe_is(
    "sql_of_what_is_removed",
    "refused",
    [migrations.RemoveField("Bill", "note"), sql("UPDATE shop_bill SET note = 'x' WHERE id = 1", "")],
    **EXPAND,
)
unsafe_is("remove_the_key", "refused", migrations.RemoveField("Article", "id"))
unsafe_is(
    "sql_swap_columns",
    "rename",
    sql("ALTER TABLE shop_bill RENAME note TO a; ALTER TABLE shop_bill RENAME memo TO note"),
    **CONTRACT,
)

# Models alone, and beside SQL.
safe_is("forget_model", state_only(migrations.DeleteModel("Leaflet")))
unsafe_is("field_in_code_alone", "missing-column", state_only(add("x", integer(null=True))))
unsafe_is("rename_in_code_alone", "missing-column", state_only(migrations.RenameField("Bill", "note", "remark")))
unsafe_is("model_in_code_alone", "missing-column", state_only(migrations.CreateModel("Ghost", [KEY])))
safe_is(
    "managers_and_permissions", migrations.AlterModelOptions("Bill", {"permissions": [("a", "A")], "managed": True})
)
safe_is("proxy", migrations.CreateModel("Old", [], options={"proxy": True}, bases=("shop.bill",)))
safe_is(
    "child_table",
    migrations.CreateModel(
        "Invoice",
        [("bill_ptr", models.OneToOneField("shop.bill", models.CASCADE, parent_link=True, primary_key=True))],
        bases=("shop.bill",),
    ),
)
safe_is("model_and_its_rows", [migrations.CreateModel("Fresh", [KEY, ("a", integer())]), python(noop, noop)])
safe_is("remove_reference_and_model", [migrations.RemoveField("Bill", "buyer"), migrations.DeleteModel("Buyer")], OWED)

# Data.
unsafe_is("python_saves_some_fields", "loop", python(save_some_fields, noop), **EXPAND)
unsafe_is("python_copies_all_rows", "writes", python(copy_all, noop), **EXPAND)
unsafe_is("python_in_batches_atomically", "writes", python(in_batches, noop), **EXPAND)
unsafe_is("python_drops_an_index", "drop-index", python(drop_index_by_cursor, noop), **EXPAND)
unsafe_is("python_adds_an_index", "scan", python(index_by_editor, noop), **EXPAND)
safe_is("python_counts", python(count_all, noop), **EXPAND)
safe_is("python_touches_one", python(touch_one, noop), **EXPAND)
safe_is("python_and_a_new_model", [migrations.CreateModel("Fresh", [KEY]), python(add_label, remove_label)], **EXPAND)
unsafe_is(
    "python_after_a_foreign_key",
    "lock-held",
    [
        migrations.CreateModel("Fresh", [KEY, ("bill", models.ForeignKey("shop.bill", models.CASCADE))]),
        add("y", integer(null=True)),
        python(add_label, remove_label),
    ],
    **EXPAND,
)
safe_is(
    "sql_with_parameters",
    migrations.RunSQL([("UPDATE shop_bill SET note = %s WHERE id = %s", ["100%", 1])], ""),
    **EXPAND,
)
safe_is(
    "sql_upsert", sql("INSERT INTO shop_label (id, word) VALUES (1, 'a') ON CONFLICT (id) DO NOTHING", ""), **EXPAND
)
unsafe_is("sql_locks_all_rows", "unlisted-sql", sql("SELECT id FROM shop_bill FOR UPDATE", ""), **EXPAND)
unsafe_is(
    "sql_update_by_another_table",
    "writes",
    sql("UPDATE shop_bill b SET note = u.name FROM shop_buyer u WHERE u.id = b.buyer_id", ""),
    **EXPAND,
)
unsafe_is(
    "sql_writes_in_a_query",
    "writes",
    sql("WITH gone AS (DELETE FROM shop_leaflet RETURNING id) SELECT count(*) FROM gone", ""),
    **EXPAND,
)
unsafe_is(
    "sql_do_loop",
    "writes scan unlisted-sql",
    sql(
        "DO $$ DECLARE r record; BEGIN FOR r IN SELECT id FROM shop_bill LOOP UPDATE shop_bill SET note = 'x' WHERE id = r.id; END LOOP; END $$",
        "",
    ),
    **EXPAND,
)

# Locks, storage, rights and the like.
unsafe_is("lock_table_in_share_mode", "unlisted-sql", sql("LOCK TABLE shop_bill IN SHARE MODE"), **EXPAND)
unsafe_is("cluster_all", "rewrite unlisted-sql fails", sql("CLUSTER"), **REPEATABLE, **EXPAND)
safe_is("cluster_on", sql("ALTER TABLE shop_bill CLUSTER ON shop_bill_pkey"), **EXPAND)
safe_is(
    "cost_of_a_function",
    sql(
        "CREATE FUNCTION half(numeric(9, 2)) RETURNS numeric LANGUAGE sql AS 'SELECT $1 / 2'; "
        "ALTER FUNCTION half(numeric(9, 2)) COST 500"
    ),
    **EXPAND,
)
safe_is("publication", sql("CREATE PUBLICATION p FOR TABLE shop_bill"), **EXPAND)
unsafe_is(
    "publication_by_other_columns",
    "breaks-old-code",
    sql("CREATE PUBLICATION p FOR TABLE shop_bill WHERE (note <> '')"),
    **EXPAND,
)
safe_is("vacuum", sql("VACUUM (ANALYZE) shop_bill"), **REPEATABLE, **EXPAND)
unsafe_is("truncate_later", "rewrite unlisted-sql", sql("TRUNCATE TABLE ONLY shop_leaflet"), **CONTRACT)
unsafe_is("inherit", "unlisted-sql fails", sql("ALTER TABLE keyless INHERIT log_2020"), **EXPAND)
unsafe_is("create_rule", "unlisted-sql", sql("CREATE RULE r AS ON DELETE TO shop_bill DO INSTEAD NOTHING"), **EXPAND)
unsafe_is("policy_too_early", "unlisted-sql", sql("CREATE POLICY p ON shop_bill USING (true)"), **EXPAND)
unsafe_is(
    "trigger_that_refuses",
    "breaks-old-code",
    sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END'; "
        "CREATE TRIGGER refuse BEFORE INSERT ON shop_bill FOR EACH ROW EXECUTE FUNCTION refuse()"
    ),
    **EXPAND,
)
safe_is("replace_view", sql("CREATE OR REPLACE VIEW open_bills AS SELECT id, state, note FROM shop_bill"), **EXPAND)
unsafe_is(
    "replace_view_by_less", "fails", sql("CREATE OR REPLACE VIEW open_bills AS SELECT id FROM shop_bill"), **EXPAND
)
safe_is("create_materialized_view", sql("CREATE MATERIALIZED VIEW m AS SELECT id FROM shop_bill"), **EXPAND)
safe_is("create_statistics", sql("CREATE STATISTICS s ON note, memo FROM shop_bill"), **EXPAND)
safe_is("create_domain", sql("CREATE DOMAIN small AS int CHECK (VALUE < 99)"), **EXPAND)
safe_is("create_schema", sql("CREATE SCHEMA more; CREATE TABLE more.a (id int)"), **EXPAND)
safe_is(
    "create_partition",
    sql("CREATE TABLE log_2025 PARTITION OF log FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')"),
    **EXPAND,
)
safe_is(
    "attach_checked_partition",
    sql(
        "CREATE TABLE log_2026 (LIKE log, CHECK (day >= '2026-01-01' AND day < '2027-01-01')); "
        "ALTER TABLE log ATTACH PARTITION log_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')"
    ),
    **EXPAND,
)
unsafe_is("index_of_partitioned_table", "scan", sql("CREATE INDEX ON log (day)"), **EXPAND)
unsafe_is("alter_partitioned_table", "rewrite", sql("ALTER TABLE log ALTER COLUMN id TYPE numeric"), **CONTRACT)
unsafe_is("drop_identity", "unlisted-sql", sql("ALTER TABLE shop_article ALTER COLUMN id DROP IDENTITY"), **EXPAND)
unsafe_is("enum_renamed", "unlisted-sql", sql("ALTER TYPE urgency RENAME TO haste"), **EXPAND)
unsafe_is("grant_taken_from_role", "unlisted-sql", sql("REVOKE SELECT ON shop_bill FROM pg_monitor"), **EXPAND)
unsafe_is("access_method", "rewrite unlisted-sql", sql("ALTER TABLE shop_bill SET ACCESS METHOD heap"), **EXPAND)
unsafe_is("restart_sequence", "unlisted-sql", sql("ALTER SEQUENCE shop_bill_id_seq RESTART"), **EXPAND)
unsafe_is("set_role", "unlisted-sql", sql("SET ROLE pg_monitor"), **EXPAND)
unsafe_is(
    "swap_tables",
    "rename",
    sql("ALTER TABLE shop_leaflet RENAME TO old; CREATE TABLE shop_leaflet (id bigint PRIMARY KEY, text text)"),
    **CONTRACT,
)
unsafe_is("unique_lower", "scan", sql("CREATE UNIQUE INDEX ON shop_bill (lower(note))"), **CONTRACT)
safe_is(
    "sql_unique_index_of_a_new_model",
    [
        migrations.CreateModel("Fresh", [KEY, ("word", text())]),
        sql('CREATE UNIQUE INDEX fresh_word ON "shop_fresh" (lower(word))', "DROP INDEX fresh_word"),
    ],
    **EXPAND,
)
safe_is("sql_extension", sql("CREATE EXTENSION IF NOT EXISTS pg_trgm", ""), "This server may not have it.", **EXPAND)
safe_is("sql_other_collation", sql('ALTER TABLE shop_bill ALTER note TYPE text COLLATE "C"'), **EXPAND)
unsafe_is(
    "sql_domain_checked_too_early",
    "unlisted-sql",
    sql("CREATE DOMAIN small AS int; ALTER DOMAIN small ADD CHECK (VALUE < 99)"),
    **EXPAND,
)
unsafe_is("sql_check_of_partitioned_table", "scan", sql("ALTER TABLE log ADD CHECK (id > -9)"), **CONTRACT)
unsafe_is("sql_update_of_partitioned_table", "writes", sql("UPDATE log SET id = 2", ""), **EXPAND)
unsafe_is("sql_rewrite_of_a_partition", "rewrite", sql("ALTER TABLE log_2024 SET UNLOGGED"), **EXPAND)
unsafe_is("sql_index_of_a_partition", "scan", sql("CREATE INDEX ON log_2024 (id)"), **EXPAND)
