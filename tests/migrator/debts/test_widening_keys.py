"""A primary key, and what refers to it, get a larger type while both codes work; and what is unique."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg2
import pytest
from django.db import migrations, models
from django.db.migrations.migration import Migration

from rupaya.migrator.attic.facts import short_transaction
from rupaya.migrator.errors import HistoryRefused, MigrationFailed
from rupaya.migrator.operations import WidenField
from rupaya.migrator.operations.widening import beside
from rupaya.migrator.schema.diff import differences
from tests.migrator.debts.shop import Shop, migration
from tests.migrator.debts.test_widening import left_over

SMALL = ("id", models.AutoField(primary_key=True))
STARTED = migration(
    "0002_small",
    migrations.CreateModel("Ship", [SMALL, ("number", models.IntegerField(unique=True, null=True))]),
    migrations.CreateModel(
        "Boat",
        [
            (
                "ship_ptr",
                models.OneToOneField(
                    "shop.Ship", models.CASCADE, primary_key=True, parent_link=True, auto_created=True
                ),
            ),
            ("oars", models.IntegerField(default=2)),
        ],
        bases=("shop.ship",),
    ),
    migrations.CreateModel(
        "Sailor",
        [
            ("id", models.BigAutoField(primary_key=True)),
            ("ship", models.ForeignKey("shop.Ship", models.CASCADE, null=True, related_name="+")),
            ("boat", models.ForeignKey("shop.Boat", models.CASCADE, null=True, related_name="+")),
            ("loose", models.ForeignKey("shop.Ship", models.CASCADE, null=True, db_constraint=False, related_name="+")),
            ("ships", models.ManyToManyField("shop.Ship", related_name="+")),
        ],
    ),
)
LARGER = models.BigIntegerField(unique=True, null=True)
ROWS = """
    INSERT INTO shop_ship (number) SELECT n FROM generate_series(1, 300) n;
    INSERT INTO shop_boat (ship_ptr_id, oars) SELECT id, 4 FROM shop_ship WHERE id % 2 = 0;
    INSERT INTO shop_sailor (ship_id, boat_id, loose_id) SELECT 5, 6, 7 FROM generate_series(1, 300);
    INSERT INTO shop_sailor_ships (sailor_id, ship_id) SELECT 1, id FROM shop_ship;
"""
KEY_COLUMNS = {
    ("shop_ship", "id"),
    ("shop_boat", "ship_ptr_id"),
    ("shop_sailor", "ship_id"),
    ("shop_sailor", "boat_id"),
    ("shop_sailor", "loose_id"),
    ("shop_sailor_ships", "ship_id"),
}


def widen(name: str = "id", field: models.Field | None = None) -> Migration:  # type: ignore[type-arg]
    larger = field or models.BigAutoField(primary_key=True)
    return migration("0003_widen", WidenField("ship", name, larger), atomic=False)


@pytest.fixture
def ships(shop: Shop) -> Iterator[Shop]:
    """The shop with ships, whose keys are small."""
    shop.stock(STARTED)
    shop.sql(ROWS)
    return shop


def types(shop: Shop) -> set[tuple[object, ...]]:
    names = ", ".join(f"('{table}', '{column}')" for table, column in sorted(KEY_COLUMNS))
    return set(
        shop.sql(
            "SELECT DISTINCT format_type(atttypid, atttypmod) FROM pg_attribute JOIN pg_class c ON c.oid = attrelid "
            f"WHERE (relname, attname) IN ({names})"
        )
    )


def test_a_primary_key_and_all_that_refers_to_it_is_what_django_would_make_and_back_again(ships: Shop) -> None:
    ships.sql("GRANT USAGE ON SEQUENCE shop_ship_id_seq TO PUBLIC; ALTER SEQUENCE shop_ship_id_seq INCREMENT BY 3")
    before, old = ships.schema(), ships.state
    step = widen()
    assert ships.forecast(step).owed == []
    ships.apply(step)

    assert types(ships) == {("bigint",)}
    assert left_over(ships) == []
    assert ships.sql("INSERT INTO shop_ship (number) VALUES (301) RETURNING id") == [(303,)]
    assert ships.sql("SELECT has_sequence_privilege('public', 'shop_ship_id_seq', 'USAGE')") == [(True,)]
    with pytest.raises(Exception, match="violates foreign key"):
        ships.sql("INSERT INTO shop_sailor (ship_id) VALUES (999); SET CONSTRAINTS ALL IMMEDIATE")
    widened = ships.schema()

    ships.unapply(step, old)
    assert types(ships) == {("integer",)}
    assert differences(before, ships.schema()) == []
    found = ships.sql("SELECT seqincrement, seqmax FROM pg_sequence WHERE seqrelid = 'shop_ship_id_seq'::regclass")
    assert found == [(3, 2**31 - 1)]
    ships.stock(migration("0003_widen", *step.operations))
    assert differences(ships.schema(), widened) == []


def test_a_key_that_a_sequence_of_its_own_numbers_keeps_it(shop: Shop) -> None:
    shop.sql("CREATE TABLE shop_old (id serial PRIMARY KEY); INSERT INTO shop_old SELECT FROM generate_series(1, 9)")
    state = migrations.SeparateDatabaseAndState(state_operations=[migrations.CreateModel("Old", [SMALL])])
    shop.apply(migration("0002_old", state))
    step = WidenField("old", "id", models.BigAutoField(primary_key=True))
    shop.apply(migration("0003_old", step, atomic=False))
    assert shop.sql("INSERT INTO shop_old DEFAULT VALUES RETURNING id, pg_typeof(id)::text") == [(10, "bigint")]
    assert shop.sql("SELECT max_value, data_type::text FROM pg_sequences WHERE sequencename = 'shop_old_id_seq'") == [
        (2**63 - 1, "bigint")
    ]
    assert shop.sql("SELECT pg_get_serial_sequence('shop_old', 'id')") == [("public.shop_old_id_seq",)]


@pytest.mark.parametrize("column", ["id", "number"])
def test_upserts_that_race_never_fail_on_the_column_beside(ships: Shop, column: str) -> None:
    made = beside(ships.connection, "shop_ship", column, "bigint")
    made.begin()
    ships.sql(f'UPDATE shop_ship SET "{made.name}" = {column}')
    made.make_rules()
    upsert = (
        f"INSERT INTO shop_ship ({column}) VALUES (1000 + %s) ON CONFLICT ({column}) "
        f"DO UPDATE SET {column} = EXCLUDED.{column}"
    )
    failed: list[str] = []
    sent = [0]
    finished = threading.Event()

    def work() -> None:
        connection = psycopg2.connect(ships.url)
        connection.autocommit = True
        with connection.cursor() as cursor:
            while not finished.is_set():
                try:
                    cursor.execute(upsert, [sent[0] // 8])  # so that several insert the same at the same time
                except psycopg2.Error as error:
                    failed.append(str(error))
                sent[0] += 1
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    while sent[0] < 20_000:
        made.settle()
    with short_transaction(ships.connection):
        made.swap()
    made.finish()
    finished.set()
    for thread in threads:
        thread.join()
    assert failed == []
    assert ships.sql(f"SELECT count(*) FROM shop_ship WHERE {column} > 100000") == [(0,)]
    assert left_over(ships) == []


@pytest.mark.parametrize("until", ["begun", "ruled", "swapped"])
def test_it_goes_on_where_it_was_interrupted(until: str, ships: Shop) -> None:
    for column in ("id", "number"):
        made = beside(ships.connection, "shop_ship", column, "bigint")
        made.begin()
        ships.sql("INSERT INTO shop_ship (number) VALUES (nextval('shop_ship_id_seq') + 1000)")
        if until != "begun":
            ships.sql(f'UPDATE shop_ship SET "{made.name}" = {column}')
            made.make_rules()
            ships.sql("INSERT INTO shop_ship (number) VALUES (nextval('shop_ship_id_seq') + 1000)")
        if until == "swapped":
            with short_transaction(ships.connection):
                made.swap()
    ships.apply(widen())
    ships.apply(migration("0004_number", WidenField("ship", "number", LARGER), atomic=False))
    assert left_over(ships) == []
    assert types(ships) == {("bigint",)}
    assert ships.sql("SELECT count(*) FROM pg_constraint WHERE NOT convalidated") == [(0,)]
    assert ships.sql("SELECT count(*) FROM shop_ship WHERE number IS NULL OR greatest(id, number) > 3000") == [(0,)]


def test_going_back_is_refused_while_a_key_does_not_fit(ships: Shop) -> None:
    old = ships.state
    ships.apply(widen())
    ships.sql("INSERT INTO shop_ship (id) VALUES (3000000000)")
    before = ships.schema()
    with pytest.raises(MigrationFailed, match=r"shop_ship.id cannot become integer"):
        ships.unapply(widen(), old)
    assert differences(before, ships.schema()) == []
    assert left_over(ships) == []


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("ALTER TABLE shop_ship ADD UNIQUE (id, number) DEFERRABLE", "is deferrable"),
        ("CREATE VIEW v AS SELECT id FROM shop_ship", "view v"),
        ("CREATE VIEW v AS SELECT ship_id FROM shop_sailor", "view v"),
        (
            "ALTER TABLE shop_tag ADD ship int; ALTER TABLE shop_tag ADD CONSTRAINT loose FOREIGN KEY (ship) "
            "REFERENCES shop_ship (id) NOT VALID",
            "loose",
        ),
    ],
)
def test_what_would_not_follow_is_refused_before_anything_is_made(sql: str, what: str, ships: Shop) -> None:
    ships.sql(sql)
    before = ships.schema()
    for attempt in (ships.forecast, ships.apply):
        with pytest.raises(HistoryRefused, match=what):
            attempt(widen())
    assert differences(before, ships.schema()) == []
    assert left_over(ships) == []
