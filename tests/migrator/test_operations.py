"""Backfill: in batches, each its own transaction, resumable, harmless to repeat, and kind to traffic."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest
from django.db import NotSupportedError, OperationalError, connection, migrations, models
from django.db.migrations.state import ProjectState
from django.db.migrations.writer import OperationWriter

from rupaya.environment import BASE_DIR
from rupaya.migrator.ledger.ledger import Ledger
from rupaya.migrator.operations import POSITIONS_TABLE, Backfill
from rupaya.migrator.operations import backfill as operations
from rupaya.migrator.operations.kept import columns_set
from tests.patience import HANGING_S
from tests.processes import inherited

ROWS = 2_000
BATCH = 100

# A statement trigger fires once for each UPDATE, rows or none: it counts the batches, and their transactions.
TABLE = """
    CREATE TABLE shop_payment (
        id {key_type} PRIMARY KEY, description text NOT NULL, merchant text, hits integer NOT NULL DEFAULT 0
    );
    CREATE TABLE shop_batches (transaction_id xid8 NOT NULL);
    CREATE FUNCTION shop_note() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO shop_batches VALUES (pg_current_xact_id()); RETURN NULL; END';
    CREATE TRIGGER note AFTER UPDATE OF merchant ON shop_payment FOR EACH STATEMENT EXECUTE FUNCTION shop_note();
    INSERT INTO shop_payment (id, description)
        SELECT {key}, 'SHOP ' || n || ' 50% OFF' FROM generate_series(1, {rows}) AS n;
    ANALYZE shop_payment;
"""
KEYS = {
    "bigint": (models.BigAutoField(primary_key=True), "n"),
    "uuid": (models.UUIDField(primary_key=True), "gen_random_uuid()"),
    "text": (models.CharField(primary_key=True, max_length=20), "'P' || n"),
}


class Shop:
    """A table of payments whose merchant is to be filled in."""

    def __init__(self, key_type: str) -> None:
        field, key = KEYS[key_type]
        self.state = ProjectState()
        payment = migrations.CreateModel(
            "Payment",
            [
                ("id", field),
                ("description", models.TextField()),
                ("merchant", models.TextField(null=True)),
                ("hits", models.IntegerField()),
            ],
        )
        payment.state_forwards("shop", self.state)
        self.sql(TABLE.format(key_type=key_type, key=key, rows=ROWS))

    def backfill(self, *, atomic: bool = False, model: str = "Payment", **options: Any) -> None:
        """Run the operation as a migration would."""
        given = {"set": "merchant = lower(description)", "where": "merchant IS NULL", "batch_size": BATCH, "pause_s": 0}
        operation = Backfill(model, **{**given, **options})
        with connection.schema_editor(atomic=atomic) as editor:
            operation.database_forwards("shop", editor, self.state, self.state)

    def sql(self, sql: str) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def number(self, sql: str) -> int:
        return int(self.sql(sql)[0][0])

    @property
    def left(self) -> int:
        return self.number("SELECT count(*) FROM shop_payment WHERE merchant IS DISTINCT FROM lower(description)")

    @property
    def batches(self) -> int:
        return self.number("SELECT count(*) FROM shop_batches")


@pytest.fixture
def make_shop(transactional_db: None) -> Iterator[Callable[[str], Shop]]:
    yield Shop
    with connection.cursor() as cursor:
        cursor.execute(
            f"DROP TABLE shop_payment, shop_batches; DROP FUNCTION shop_note; DROP TABLE IF EXISTS {POSITIONS_TABLE};"
            "RESET lock_timeout"
        )


@pytest.fixture
def shop(make_shop: Callable[[str], Shop]) -> Shop:
    return make_shop("bigint")


@pytest.fixture
def other_session(transactional_db: None) -> Iterator[psycopg2.extensions.connection]:
    """A second session on the same database: traffic."""
    session = psycopg2.connect(**connection.get_connection_params() | {"cursor_factory": None})
    session.autocommit = True
    yield session
    session.close()


@pytest.fixture
def on_sleep(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Do something whenever the operation rests: between two batches, or before it tries one again."""

    def install(action: Callable[[], None]) -> None:
        class Time:
            monotonic = staticmethod(time.monotonic)

            @staticmethod
            def sleep(_seconds: float) -> None:
                action()

        monkeypatch.setattr(operations, "time", Time)

    return install


@pytest.mark.parametrize("key_type", KEYS)
def test_every_row_is_set_once_and_every_batch_is_a_transaction(
    make_shop: Callable[[str], Shop], key_type: str
) -> None:
    shop = make_shop(key_type)
    before = shop.number("SELECT count(*) FROM shop_payment")
    shop.backfill(set="merchant = lower(description), hits = hits + 1")
    assert shop.left == 0
    assert shop.sql("SELECT count(*), min(hits), max(hits) FROM shop_payment") == [(before, 1, 1)]
    assert shop.number("SELECT count(DISTINCT transaction_id) FROM shop_batches") == shop.batches == ROWS // BATCH


def test_running_again_sets_nothing_and_leaves_no_position_behind(shop: Shop) -> None:
    shop.backfill()
    rows = shop.sql("SELECT id, xmin::text FROM shop_payment ORDER BY id")
    shop.backfill()
    assert shop.sql("SELECT id, xmin::text FROM shop_payment ORDER BY id") == rows
    assert shop.number(f"SELECT count(*) FROM {POSITIONS_TABLE}") == 0


def test_rows_that_where_excludes_stay_as_they_are(shop: Shop) -> None:
    shop.sql("UPDATE shop_payment SET merchant = 'by hand' WHERE id % 2 = 0")
    shop.backfill(set="merchant = 'batch 100%'", where="merchant IS NULL AND description LIKE '%50% OFF'")
    assert shop.sql("SELECT merchant, count(*) FROM shop_payment GROUP BY 1 ORDER BY 1") == [
        ("batch 100%", ROWS // 2),
        ("by hand", ROWS // 2),
    ]


def test_an_empty_table_is_nothing_to_do(shop: Shop) -> None:
    shop.sql("TRUNCATE shop_payment")
    shop.backfill()
    assert shop.batches == 0


def test_an_atomic_migration_is_refused(shop: Shop) -> None:
    with pytest.raises(NotSupportedError, match="Write atomic = False in the migration"):
        shop.backfill(atomic=True)
    assert shop.batches == 0


def test_a_primary_key_of_several_columns_is_refused(shop: Shop) -> None:
    pair = migrations.CreateModel(
        "Pair",
        [("a", models.IntegerField()), ("b", models.IntegerField()), ("pk", models.CompositePrimaryKey("a", "b"))],
    )
    pair.state_forwards("shop", shop.state)
    with pytest.raises(NotSupportedError, match="a primary key of one column"):
        shop.backfill(model="Pair")


def test_a_where_that_still_holds_after_set_is_refused_and_the_batch_rolled_back(shop: Shop) -> None:
    with pytest.raises(ValueError, match="still holds for 100 of the 100 rows just set"):
        shop.backfill(set="hits = hits + 1", where="hits >= 0")
    assert shop.number("SELECT sum(hits) FROM shop_payment") == 0


@pytest.mark.parametrize("nonsense", [{"where": " "}, {"set": ""}, {"batch_size": 0}, {"pause_s": -1}])
def test_nonsense_is_refused_when_the_migration_is_written(nonsense: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Backfill needs"):
        Backfill("Payment", **{"set": "a = 1", "where": "a IS NULL", **nonsense})


def test_what_is_raised_between_two_batches_leaves_it_and_the_next_run_goes_on(
    shop: Shop,
    on_sleep: Callable[[Callable[[], None]], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def stop_after_three_batches() -> None:
        if shop.batches == 3:
            raise KeyboardInterrupt

    with monkeypatch.context():
        on_sleep(stop_after_three_batches)
        with pytest.raises(KeyboardInterrupt):
            shop.backfill()
    assert shop.number("SELECT count(*) FROM shop_payment WHERE merchant IS NOT NULL") == 3 * BATCH
    on_sleep(lambda: None)
    with caplog.at_level(logging.INFO, logger=operations.__name__):
        shop.backfill()
    assert 'goes on after "id" = 300' in caplog.text
    assert shop.left == 0
    assert shop.batches == ROWS // BATCH


def test_rows_that_are_written_meanwhile_are_neither_lost_nor_left_out(
    shop: Shop, on_sleep: Callable[[Callable[[], None]], None], other_session: psycopg2.extensions.connection
) -> None:
    """Old code goes on inserting rows without the new column, behind the position as well, and updating others."""
    hits = 0
    finished = threading.Event()

    def traffic() -> None:
        nonlocal hits
        with other_session.cursor() as cursor:
            while not finished.is_set():
                cursor.execute("UPDATE shop_payment SET hits = hits + 1 WHERE id = %s", [hits % ROWS + 1])
                hits += cursor.rowcount
                if hits % 10 == 0 and hits < 5_000:
                    cursor.execute("INSERT INTO shop_payment (id, description) VALUES (%s, 'NEW')", [-hits])

    thread = threading.Thread(target=traffic)
    behind = False

    def insert_behind() -> None:
        nonlocal behind
        if not behind and shop.batches > 2:
            behind = True
            shop.sql("INSERT INTO shop_payment (id, description) VALUES (0, 'BEHIND')")

    on_sleep(insert_behind)
    thread.start()
    try:
        shop.backfill()
    finally:
        finished.set()
        thread.join()
    assert shop.number("SELECT sum(hits) FROM shop_payment") == hits > 0
    assert shop.sql("SELECT merchant FROM shop_payment WHERE id = 0") == [("behind",)]
    assert shop.number("SELECT count(*) FROM shop_payment WHERE id > 0 AND merchant IS NULL") == 0


def test_code_that_never_sets_the_column_is_reported_and_not_chased_for_ever(
    shop: Shop, on_sleep: Callable[[Callable[[], None]], None], caplog: pytest.LogCaptureFixture
) -> None:
    last_id = 0

    def insert_behind() -> None:
        nonlocal last_id
        last_id -= 1
        shop.sql(f"INSERT INTO shop_payment (id, description) VALUES ({last_id}, 'BEHIND')")

    on_sleep(insert_behind)
    shop.backfill(batch_size=ROWS // 2)
    assert "Deploy code that does" in caplog.text


def test_a_batch_that_meets_a_lock_is_tried_again_alone(
    shop: Shop,
    on_sleep: Callable[[Callable[[], None]], None],
    other_session: psycopg2.extensions.connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    other_session.autocommit = False
    with other_session.cursor() as cursor:
        cursor.execute("SELECT 1 FROM shop_payment WHERE id = 250 FOR UPDATE")
    shop.sql("SET lock_timeout = '50ms'")

    def release_once_it_waited() -> None:
        if "was rolled back" in caplog.text:
            other_session.rollback()

    on_sleep(release_once_it_waited)
    with caplog.at_level(logging.INFO, logger=operations.__name__):
        shop.backfill()
    assert "Try 2 of 6" in caplog.text
    assert "Try 3 of 6" not in caplog.text
    assert shop.left == 0
    assert shop.batches == ROWS // BATCH


def test_a_lock_that_is_never_released_ends_it_with_what_was_done_committed(
    shop: Shop, on_sleep: Callable[[Callable[[], None]], None], other_session: psycopg2.extensions.connection
) -> None:
    other_session.autocommit = False
    with other_session.cursor() as cursor:
        cursor.execute("SELECT 1 FROM shop_payment WHERE id = 250 FOR UPDATE")
    shop.sql("SET lock_timeout = '20ms'")
    on_sleep(lambda: None)
    with pytest.raises(OperationalError, match="lock timeout"):
        shop.backfill()
    other_session.rollback()
    assert shop.sql(f"SELECT last_key, rows_read FROM {POSITIONS_TABLE}") == [("200", 200)]


def test_progress_says_how_far_of_how_much_how_fast_and_how_long_still(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(operations, "PROGRESS_EVERY_S", 0.0)
    with caplog.at_level(logging.INFO, logger=operations.__name__):
        shop.backfill()
    assert caplog.messages[0].startswith(f"Backfill of shop_payment: 100 rows of about {ROWS} read, 100 set, ")
    assert caplog.messages[0].endswith(" s left")
    assert " rows/s, about " in caplog.messages[0]
    assert caplog.messages[-1].startswith(f"Backfill of shop_payment is done: {ROWS} rows set in ")


def test_sqlmigrate_shows_the_whole_update_and_does_nothing(shop: Shop) -> None:
    operation = Backfill("Payment", set="merchant = 'x'", where="merchant IS NULL")
    with connection.schema_editor(atomic=False, collect_sql=True) as editor:
        operation.database_forwards("shop", editor, shop.state, shop.state)
    assert editor.collected_sql == [
        """-- In batches of 5000: UPDATE "shop_payment" SET merchant = 'x' WHERE merchant IS NULL;"""
    ]
    assert shop.batches == 0


def test_reversing_does_nothing(shop: Shop) -> None:
    shop.backfill()
    with connection.schema_editor(atomic=False) as editor:
        Backfill("Payment", set="hits = 9", where="hits = 0").database_backwards("shop", editor, shop.state, shop.state)
    assert shop.left == 0


def test_squashmigrations_can_write_it() -> None:
    operation = Backfill("Payment", set="a = 1", where="a IS NULL", elidable=True)
    text, imports = OperationWriter(operation, indentation=0).serialize()
    assert imports == {"import rupaya.migrator.operations"}
    written = eval(text.rstrip(","), {"rupaya": sys.modules["rupaya"]})  # noqa: S307 - our own text
    assert written.deconstruct() == operation.deconstruct()
    assert written.migration_name_fragment == "backfill_payment"


KILLED_ROWS = 20_000
KILLED_BATCH = 200


@pytest.mark.parametrize(("number_sent", "status"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 143)])
def test_a_killed_backfill_goes_on_from_its_last_committed_batch(
    database_url: str, number_sent: signal.Signals, status: int
) -> None:
    """Killed or terminated in the middle; the next `migrate` repeats no batch and leaves none out."""
    environ = inherited(
        RUPAYA_ENV="test",
        DATABASE_URL=database_url,
        DJANGO_SETTINGS_MODULE="tests.migrator.fixtures.settings",
        RUPAYA_FIXTURE_APPS="tests.migrator.fixtures.backfill",
    )
    command = [sys.executable, "manage.py", "migrate", "backfill"]
    subprocess.run([*command, "0001"], cwd=BASE_DIR, env=environ, check=True, capture_output=True, timeout=HANGING_S)
    session = psycopg2.connect(database_url)
    session.autocommit = True
    cursor = session.cursor()
    cursor.execute(TABLE.format(key_type="bigint", key="n", rows=KILLED_ROWS))

    def number(sql: str) -> int:
        cursor.execute(sql)
        row = cursor.fetchone()
        assert row is not None
        return int(row[0])

    process = subprocess.Popen(command, cwd=BASE_DIR, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + HANGING_S
    while number("SELECT count(*) FROM shop_batches") < 10:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number_sent)
    assert process.wait(timeout=HANGING_S) == status
    # The backend may be committing one more batch: it is gone when nobody but this session is connected.
    sessions = "pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
    while number(f"SELECT count(*) FROM {sessions}") > 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)

    killed_at = number(f"SELECT last_key FROM {POSITIONS_TABLE}")
    assert 10 * KILLED_BATCH <= killed_at < KILLED_ROWS
    assert number("SELECT count(*) FROM shop_payment WHERE merchant IS NOT NULL") == killed_at
    resumed = subprocess.run(
        command, cwd=BASE_DIR, env=environ, check=True, capture_output=True, text=True, timeout=HANGING_S
    )
    assert f'goes on after "id" = {killed_at}' in resumed.stdout
    assert number("SELECT count(*) FROM shop_payment WHERE merchant IS NULL") == 0
    assert number("SELECT count(*) FROM shop_batches") == KILLED_ROWS // KILLED_BATCH
    session.close()


def test_what_it_keeps_comes_back_to_rows_that_nobody_has_changed_since(shop: Shop) -> None:
    Ledger(connection.connection).ensure_schema()
    shop.sql("UPDATE shop_payment SET merchant = 'old ' || hits WHERE merchant IS NULL")
    before = shop.sql("SELECT * FROM shop_payment ORDER BY 1")
    set_to_lower = {"set": "merchant = lower(description)", "where": "merchant <> lower(description)", "keep": True}
    shop.backfill(**set_to_lower)
    assert shop.left == 0
    shop.sql("UPDATE shop_payment SET merchant = 'theirs' WHERE id = (SELECT min(id) FROM shop_payment)")

    operation = Backfill("Payment", batch_size=BATCH, pause_s=0, **set_to_lower)
    with connection.schema_editor(atomic=False) as editor:
        operation.database_backwards("shop", editor, shop.state, shop.state)

    after = shop.sql("SELECT * FROM shop_payment ORDER BY 1")
    assert after[1:] == before[1:]
    assert "theirs" in after[0]
    assert shop.sql("SELECT kind, state FROM migrator_attic") == [("values", "restored")]
    assert shop.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'migrator_attic'") == [(0,)]


@pytest.mark.parametrize(
    ("assignments", "columns"),
    [
        ("a = 1", ["a"]),
        ("a = f(b, ','), \"B c\" = ARRAY[1, 2]", ["a", "B c"]),
        ("A = ', x = 1'", ["a"]),
    ],
)
def test_the_columns_that_a_set_assigns(assignments: str, columns: list[str]) -> None:
    assert columns_set(assignments) == columns


def test_columns_that_cannot_be_told_are_refused() -> None:
    with pytest.raises(ValueError, match="keep=True needs to know the columns"):
        Backfill("Payment", set="(a, b) = (1, 2)", where="a <> 1", keep=True)


@pytest.mark.parametrize(
    ("where", "only_null"),
    [
        ("merchant IS NULL", True),
        ('description IS NOT NULL AND "merchant" IS NULL', True),
        ("merchant IS NULL OR merchant = ''", False),
        ("merchant <> lower(description)", False),
    ],
)
def test_whether_it_overwrites_any_value(where: str, only_null: bool) -> None:
    assert Backfill("Payment", set="merchant = lower(description)", where=where).fills_only_null == only_null
