"""Rarer changes: what hangs on a column, steps that belong together, partitions, triggers, loops over rows or none."""

from __future__ import annotations

from typing import Any

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models.functions import Upper

from rupaya.migrator.operations import Backfill
from tests.migrator.gate.cases.further import KEY
from tests.migrator.gate.cases.ordinary import (
    BY_STEPS,
    CONTRACT,
    EXPAND,
    OWED,
    REPEATABLE,
    add,
    alter,
    integer,
    noop,
    python,
    safe_is,
    sql,
    state_only,
    unsafe_is,
)

WORDS = [f"word {number}" for number in range(40)]


def seed(apps: Any, schema_editor: Any) -> None:
    for word in WORDS:
        apps.get_model("shop", "Label").objects.get_or_create(word=word)


def unseed(apps: Any, schema_editor: Any) -> None:
    apps.get_model("shop", "Label").objects.filter(word__in=WORDS).delete()


def update_by_key(apps: Any, schema_editor: Any) -> None:
    bills = apps.get_model("shop", "Bill").objects
    for key in bills.values_list("pk", flat=True):
        bills.filter(pk=key).update(note="x")


def label_each_buyer(apps: Any, schema_editor: Any) -> None:
    label = apps.get_model("shop", "Label").objects.create(word="all")
    for buyer in apps.get_model("shop", "Buyer").objects.iterator(chunk_size=500):
        buyer.labels.add(label)


def bulk_update_in_batches(apps: Any, schema_editor: Any) -> None:
    model, last = apps.get_model("shop", "Bill"), 0
    while bills := list(model.objects.filter(pk__gt=last).order_by("pk")[:2000]):
        for bill in bills:
            bill.note = "x"
        model.objects.bulk_update(bills, ["note"])
        last = bills[-1].pk


def read_all(apps: Any, schema_editor: Any) -> None:
    sum(bill.pieces for bill in apps.get_model("shop", "Bill").objects.iterator())


def doubled(factor: int) -> models.Field:  # type: ignore[type-arg]
    return models.GeneratedField(
        expression=models.F("pieces") * factor, output_field=models.IntegerField(), db_persist=True
    )


# Indexes.
unsafe_is(
    "add_unique_index_of_an_expression_atomically",
    "fails",
    AddIndexConcurrently("Bill", models.Index(Upper("memo"), name="i1")),
)
unsafe_is(
    "index_concurrently_of_partitioned_table",
    "fails",
    sql("CREATE INDEX CONCURRENTLY IF NOT EXISTS i1 ON log (day)"),
    **REPEATABLE,
    **EXPAND,
)
safe_is(
    "index_of_partitioned_table_by_parts",
    [
        sql("CREATE INDEX IF NOT EXISTS log_day ON ONLY log (day)", "DROP INDEX log_day"),
        sql("CREATE INDEX CONCURRENTLY IF NOT EXISTS log_2024_day ON log_2024 (day)"),
        sql("ALTER INDEX log_day ATTACH PARTITION log_2024_day"),
    ],
    **REPEATABLE,
    **EXPAND,
)
unsafe_is("reindex_index", "rewrite unlisted-sql", sql("REINDEX INDEX bill_state_idx"), **EXPAND)
unsafe_is(
    "index_by_create_table_like",
    "unlisted-sql",
    sql("CREATE TABLE IF NOT EXISTS shop_bill (LIKE shop_bill INCLUDING ALL); DROP TABLE shop_bill CASCADE"),
    **EXPAND,
)
safe_is(
    "copy_of_a_tables_shape",
    sql("CREATE TABLE shop_bill_old (LIKE shop_bill INCLUDING ALL)", "DROP TABLE shop_bill_old"),
    **EXPAND,
)

# Constraints.
safe_is(
    "sql_not_null_by_a_check",
    [
        sql("ALTER TABLE shop_bill DROP CONSTRAINT IF EXISTS c, ADD CONSTRAINT c CHECK (note IS NOT NULL) NOT VALID"),
        sql("ALTER TABLE shop_bill VALIDATE CONSTRAINT c"),
        sql("ALTER TABLE shop_bill ALTER COLUMN note SET NOT NULL"),
        sql("ALTER TABLE shop_bill DROP CONSTRAINT IF EXISTS c"),
    ],
    **REPEATABLE,
    **CONTRACT,
)
unsafe_is(
    "sql_not_null_by_a_check_that_goes_at_once",
    "scan",
    [
        sql("ALTER TABLE shop_bill DROP CONSTRAINT IF EXISTS c, ADD CONSTRAINT c CHECK (note IS NOT NULL) NOT VALID"),
        sql("ALTER TABLE shop_bill VALIDATE CONSTRAINT c"),
        sql("ALTER TABLE shop_bill ALTER COLUMN note SET NOT NULL, DROP CONSTRAINT c"),
    ],
    "The server drops before it looks, whatever the order in the statement.",
    **REPEATABLE,
    **CONTRACT,
)
safe_is(
    "no_bound_for_what_nobody_queues_behind",
    [
        sql("SET lock_timeout = 0"),
        sql("CREATE INDEX CONCURRENTLY IF NOT EXISTS i1 ON shop_bill (note)"),
        sql("SET lock_timeout = '5s'"),
        add("x", integer(null=True)),
    ],
    "Who builds an index concurrently waits for others, and keeps nobody waiting.",
    **REPEATABLE,
    **EXPAND,
)
unsafe_is(
    "no_bound_left_for_django",
    "endless-wait",
    [sql("RESET lock_timeout"), add("x", integer(null=True))],
    **EXPAND,
)
safe_is(
    "sql_unique_by_an_index",
    [
        sql("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS u1 ON shop_bill (position)"),
        sql("ALTER TABLE shop_bill ADD CONSTRAINT u1 UNIQUE USING INDEX u1"),
    ],
    **REPEATABLE,
    **CONTRACT,
)
unsafe_is(
    "sql_primary_key_by_an_index",
    "scan",
    [
        sql("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS k1 ON keyless (id)"),
        sql("ALTER TABLE keyless ADD CONSTRAINT k1 PRIMARY KEY USING INDEX k1"),
    ],
    "The column may be NULL, and every row is asked whether it is.",
    **REPEATABLE,
    **CONTRACT,
)
unsafe_is(
    "sql_foreign_key_from_a_big_table_to_a_big_table",
    "scan",
    sql("ALTER TABLE shop_bill ADD CONSTRAINT f FOREIGN KEY (serial) REFERENCES shop_bill (id)"),
    **CONTRACT,
)
safe_is(
    "foreign_key_of_a_new_table_to_a_big_one",
    sql(
        "CREATE TABLE fresh (id bigint PRIMARY KEY, bill_id bigint); CREATE INDEX ON fresh (bill_id); ALTER TABLE fresh ADD FOREIGN KEY (bill_id) REFERENCES shop_bill (id)",
        "DROP TABLE fresh",
    ),
    **EXPAND,
)
unsafe_is(
    "foreign_key_of_a_filled_new_table",
    "lock-held scan writes",
    sql(
        "CREATE TABLE fresh AS SELECT id AS bill_id FROM shop_bill; ALTER TABLE fresh ADD FOREIGN KEY (bill_id) REFERENCES shop_bill (id)",
        "DROP TABLE fresh",
    ),
    "Writes to the table that is referred to wait while all new rows are compared with it.",
    **EXPAND,
)
unsafe_is(
    "default_that_is_refused",
    "breaks-old-code",
    sql("ALTER TABLE shop_bill ALTER COLUMN state SET DEFAULT NULL"),
    **EXPAND,
)

# What hangs on a column.
unsafe_is(
    "remove_a_column_of_a_view",
    "fails",
    migrations.RemoveField("Bill", "state"),
    "Paying is refused: the view needs it.",
)
unsafe_is("remove_a_column_of_a_materialized_view", "fails", migrations.RemoveField("Bill", "total"))
safe_is(
    "remove_a_column_of_a_view_after_it",
    [sql("DROP VIEW open_bills"), migrations.RemoveField("Bill", "state")],
    **CONTRACT,
)
safe_is(
    "remove_a_computed_field",
    [
        migrations.CreateModel("Fresh", [KEY, ("pieces", integer()), ("x", doubled(2))]),
        migrations.RemoveField("Fresh", "x"),
    ],
)
safe_is(
    "computed_field_of_a_new_model", migrations.CreateModel("Fresh", [KEY, ("pieces", integer()), ("x", doubled(2))])
)
unsafe_is(
    "type_below_a_computed_column", "fails rewrite", [add("x", doubled(2)), alter("pieces", models.BigIntegerField())]
)
unsafe_is(
    "type_below_a_trigger",
    "fails",
    [
        sql(
            "CREATE TRIGGER t BEFORE UPDATE OF memo ON shop_bill FOR EACH ROW EXECUTE FUNCTION stamp()",
            "DROP TRIGGER t ON shop_bill",
        ),
        migrations.RemoveField("Bill", "memo"),
    ],
    **EXPAND,
)

# Types.
unsafe_is(
    "enum_to_text",
    "rewrite",
    sql("ALTER TABLE shop_buyer ALTER urgency DROP DEFAULT, ALTER urgency TYPE text"),
    **CONTRACT,
)
unsafe_is(
    "enum_by_another_enum",
    "rewrite",
    sql(
        "CREATE TYPE haste AS ENUM ('low', 'high', 'none'); ALTER TABLE shop_buyer ALTER urgency DROP DEFAULT; "
        "ALTER TABLE shop_buyer ALTER urgency TYPE haste USING urgency::text::haste; ALTER TABLE shop_buyer ALTER urgency SET DEFAULT 'low'"
    ),
    **CONTRACT,
)
unsafe_is("float_of_decimal", "refused", alter("weight", models.FloatField()))
unsafe_is(
    "sql_varchar_of_itself_and_more",
    "rewrite",
    sql("ALTER TABLE shop_buyer ALTER COLUMN mail TYPE varchar(200) USING lower(mail)"),
    **EXPAND,
)
safe_is(
    "sql_wider_with_using",
    sql("ALTER TABLE shop_buyer ALTER COLUMN mail TYPE varchar(200) USING mail::varchar(200)"),
    **EXPAND,
)
unsafe_is(
    "sql_bytes",
    "rewrite",
    sql("ALTER TABLE shop_leaflet ALTER COLUMN text TYPE bytea USING convert_to(text, 'UTF8')"),
    **CONTRACT,
)
unsafe_is(
    "foreign_key_to_another_column",
    "refused",
    alter("buyer", models.ForeignKey("shop.article", models.PROTECT, null=True, to_field="id")),
)
safe_is("duration_nullable", add("x", models.DurationField(null=True)))

# Many to many.
safe_is(
    "many_to_many_through_a_new_model",
    [
        migrations.CreateModel(
            "Tagging",
            [
                KEY,
                ("bill", models.ForeignKey("shop.bill", models.CASCADE)),
                ("label", models.ForeignKey("shop.label", models.CASCADE)),
            ],
        ),
        add("tags", models.ManyToManyField("shop.label", through="shop.Tagging")),
    ],
)
unsafe_is(
    "many_to_many_to_foreign_key",
    "fails refused",
    alter("labels", models.ForeignKey("shop.label", models.CASCADE, null=True), "Buyer"),
)
safe_is(
    "remove_many_to_many_and_add_another",
    [
        migrations.RemoveField("Buyer", "labels"),
        migrations.AddField("Buyer", "tags", models.ManyToManyField("shop.label", related_name="+")),
    ],
    OWED,
)
unsafe_is(
    "remove_many_to_many_and_add_it_again",
    "refused",
    [
        migrations.RemoveField("Buyer", "labels"),
        migrations.AddField("Buyer", "labels", models.ManyToManyField("shop.article")),
    ],
)
unsafe_is(
    "column_of_the_table_between", "scan", sql("CREATE INDEX ON shop_buyer_labels (label_id, buyer_id)"), **EXPAND
)
safe_is(
    "many_to_many_taken_over",
    state_only(
        migrations.AddField(
            "Buyer", "same", models.ManyToManyField("shop.label", related_name="+", db_table="shop_buyer_labels")
        )
    ),
    "",
    **EXPAND,
)

# Partitions.
unsafe_is(
    "detach_partition_too_early",
    "unlisted-sql",
    sql("ALTER TABLE log DETACH PARTITION log_2024 CONCURRENTLY"),
    **REPEATABLE,
    **EXPAND,
)
safe_is(
    "detach_partition_concurrently",
    sql("ALTER TABLE log DETACH PARTITION log_2024 CONCURRENTLY"),
    **REPEATABLE,
    **CONTRACT,
)
safe_is("default_partition", sql("CREATE TABLE log_rest PARTITION OF log DEFAULT"), **EXPAND)
safe_is("column_of_partitioned_table", sql("ALTER TABLE log ADD COLUMN note text"), **EXPAND)
unsafe_is(
    "computed_column_of_partitioned_table",
    "rewrite",
    sql("ALTER TABLE log ADD COLUMN x bigint GENERATED ALWAYS AS (id * 2) STORED"),
    **EXPAND,
)
unsafe_is("primary_key_of_partitioned_table", "scan", sql("ALTER TABLE log ADD PRIMARY KEY (id, day)"), **CONTRACT)
safe_is(
    "check_of_a_partition_not_valid", sql("ALTER TABLE log_2024 ADD CONSTRAINT c CHECK (id > 0) NOT VALID"), **CONTRACT
)

# Triggers.
REFUSES = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END'; "
unsafe_is(
    "trigger_that_refuses_deleting",
    "breaks-old-code",
    sql(REFUSES + "CREATE TRIGGER refuse BEFORE DELETE ON shop_leaflet FOR EACH ROW EXECUTE FUNCTION refuse()"),
    **EXPAND,
)
unsafe_is(
    "trigger_that_drops_updates",
    "breaks-old-code",
    sql(
        "CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER lose BEFORE UPDATE ON shop_leaflet FOR EACH ROW EXECUTE FUNCTION lose()"
    ),
    **EXPAND,
)
safe_is(
    "trigger_that_fills",
    [
        add("x", integer(null=True)),
        sql(
            "CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.x := NEW.pieces; RETURN NEW; END'; CREATE TRIGGER fill BEFORE INSERT OR UPDATE ON shop_bill FOR EACH ROW EXECUTE FUNCTION fill()",
            "DROP TRIGGER fill ON shop_bill; DROP FUNCTION fill()",
        ),
    ],
    **EXPAND,
)
unsafe_is(
    "constraint_trigger_that_refuses",
    "breaks-old-code",
    sql(
        REFUSES
        + "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON shop_leaflet DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"
    ),
    "It speaks at COMMIT.",
    **EXPAND,
)
unsafe_is(
    "event_trigger",
    "unlisted-sql",
    sql(
        "CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; CREATE EVENT TRIGGER watch ON ddl_command_start EXECUTE FUNCTION watch()"
    ),
    **EXPAND,
)

# Rows.
safe_is("python_seeds", python(seed, unseed), **EXPAND)
unsafe_is("python_updates_by_key", "loop", python(update_by_key, noop), **EXPAND)
unsafe_is("python_updates_by_key_not_atomic", "loop", python(update_by_key, noop), **REPEATABLE, **EXPAND)
unsafe_is("python_fills_many_to_many", "loop", python(label_each_buyer, noop), **EXPAND)
safe_is("python_bulk_updates_in_batches", python(bulk_update_in_batches, noop), **REPEATABLE, **EXPAND)
unsafe_is("python_bulk_updates_in_one_transaction", "writes", python(bulk_update_in_batches, noop), **EXPAND)
safe_is("python_reads_all", python(read_all, noop), "It keeps nobody waiting.", **EXPAND)
unsafe_is("restart_numbers", "breaks-old-code", sql("SELECT setval('shop_bill_id_seq', 1)", ""), **EXPAND)
unsafe_is(
    "no_bound_for_locks",
    "endless-wait",
    sql("SET LOCAL lock_timeout = 0; ALTER TABLE shop_bill ADD COLUMN x int"),
    **EXPAND,
)
unsafe_is(
    "upsert_of_all_rows",
    "writes",
    sql(
        "INSERT INTO shop_leaflet (id, text) SELECT id, memo FROM shop_bill ON CONFLICT (id) DO UPDATE SET text = EXCLUDED.text",
        "",
    ),
    **EXPAND,
)
safe_is("update_in_a_bound", sql("UPDATE shop_bill SET note = 'x' WHERE id BETWEEN 1 AND 100", ""), **EXPAND)
unsafe_is(
    "delete_with_what_refers",
    "writes",
    sql("DELETE FROM shop_buyer_labels USING shop_buyer b WHERE b.id = buyer_id", ""),
    **EXPAND,
)
unsafe_is(
    "rewrite_within_a_lock_timeout",
    "rewrite",
    sql("SET LOCAL lock_timeout = '1s'; ALTER TABLE shop_bill ALTER COLUMN pieces TYPE bigint"),
    **EXPAND,
)
unsafe_is(
    "writes_after_a_question",
    "writes",
    sql("SELECT count(*) FROM pg_class; UPDATE shop_bill SET note = 'x'", ""),
    **EXPAND,
)
FILL_SEASONS = Backfill("Season", set="note = 'z'", where="note <> 'z'", keep=True)
safe_is("backfill_of_fewer_rows_than_a_batch", FILL_SEASONS, **BY_STEPS)
unsafe_is(
    "backfill_of_all_rows_at_once",
    "writes",
    Backfill("Bill", set="note = 'z'", where="note <> 'z'", keep=True, batch_size=50_000),
    **BY_STEPS,
)
