"""Each recipe of docs/writing-migrations.md, on a table that is being read and written all the time."""

from __future__ import annotations

import itertools
import random
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2
import pytest

from tests.conftest import with_server
from tests.patience import HANGING_S
from tests.processes import PROJECT, python

MIGRATIONS = Path(__file__).parent / "fixtures" / "recipes" / "migrations"
DOCUMENT = PROJECT / "docs" / "writing-migrations.md"

ROWS = 200_000
CLIENTS = 3
LOCK_TIMEOUT_S = 1.0  # MIGRATE_LOCK_TIMEOUT_MS
READER_HOLDS_S = 3.0  # so long that without a lock timeout traffic would queue behind the migration for too long
LONGEST_WAIT_S = LOCK_TIMEOUT_S + 0.5

COLUMN = """SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'payments'::regclass AND attname = '{}'
            AND NOT attisdropped AND {})"""
CONSTRAINT = "SELECT convalidated FROM pg_constraint WHERE conname = '{}'"
INDEX = "SELECT indisvalid AND indisready FROM pg_index WHERE indexrelid = '{}'::regclass"


@dataclass
class Recipe:
    """A migration, what the code that runs meanwhile does not use (any more), and what must be true afterwards."""

    name: str
    truth: str
    unused: set[str] = field(default_factory=set)
    behind_a_reader: bool = False

    def __str__(self) -> str:
        return self.name


RECIPES = [
    Recipe("0002_payment_merchant", COLUMN.format("merchant", "NOT attnotnull"), {"merchant"}, behind_a_reader=True),
    Recipe("0003_payment_currency", "SELECT bool_and(currency = 'INR') FROM payments", {"merchant"}),
    Recipe("0004_fill_merchant", "SELECT bool_and(merchant = lower(description)) FROM payments"),
    Recipe("0005_merchant_not_null", COLUMN.format("merchant", "attnotnull"), behind_a_reader=True),
    Recipe("0006_index_merchant", INDEX.format("payments_merchant_idx"), behind_a_reader=True),
    Recipe("0007_unique_reference", CONSTRAINT.format("payments_reference_unique")),
    Recipe("0008_payment_customer", CONSTRAINT.format("payments_customer_id_fk"), behind_a_reader=True),
    Recipe("0009_amount_positive", CONSTRAINT.format("payments_amount_check")),
    Recipe("0010_rename_status_in_code", COLUMN.format("status", "TRUE")),
    Recipe("0011_widen_status", COLUMN.format("status", "atttypid = 'text'::regtype")),
    Recipe("0012_payment_quantity_big", COLUMN.format("quantity_big", "atttypid = 'bigint'::regtype")),
    Recipe("0013_fill_quantity_big", "SELECT bool_and(quantity_big = quantity) FROM payments"),
    Recipe("0014_drop_note", f"SELECT NOT ({COLUMN.format('note', 'TRUE')})", {"note"}, behind_a_reader=True),
    Recipe("0015_rename_customer_in_code", "SELECT to_regclass('customers') IS NOT NULL", {"note"}),
    Recipe("0016_drop_legacy", "SELECT to_regclass('legacy') IS NULL", {"note", "legacy"}),
    Recipe("0017_no_merchant_index", "SELECT to_regclass('payments_merchant_idx') IS NULL", {"note", "legacy"}),
    Recipe("0018_payment_guests", "SELECT to_regclass('payments_guests') IS NOT NULL", {"note", "legacy"}),
    Recipe("0019_guest", COLUMN.replace("payments", "payments_guests").format("seat", "TRUE"), {"note", "legacy"}),
    Recipe("0020_payment_code", COLUMN.format("code", "NOT attnotnull"), {"note", "legacy"}),
    Recipe("0021_index_payment_code", INDEX.format("payments_code_idx"), {"note", "legacy"}),
]


class Traffic:
    """Clients that read and write without a pause, as the code of one release would, and time every query."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.used: set[str] = set()
        self.longest_s = 0.0
        self.queries = 0
        self.errors: list[str] = []
        self._references = itertools.count(10 * ROWS)
        self._finished = threading.Event()
        self.rounds = [0] * CLIENTS
        self._threads = [threading.Thread(target=self._client, args=(number,)) for number in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._finished.set()
        for thread in self._threads:
            thread.join()

    def use(self, names: set[str]) -> None:
        """Be the code that uses these, once the last query of the code before has ended; forget what was measured."""
        self.used = names
        before = list(self.rounds)
        deadline = time.monotonic() + HANGING_S
        while any(now < then + 2 for now, then in zip(self.rounds, before, strict=True)):  # the second began afterwards
            assert time.monotonic() < deadline
            time.sleep(0.001)
        self.longest_s = 0.0
        self.queries = 0
        self.errors.clear()

    def _client(self, number: int) -> None:
        session = psycopg2.connect(self.url)
        session.autocommit = True
        with session.cursor() as cursor:
            while not self._finished.is_set():
                try:
                    for sql in self._statements():
                        began = time.monotonic()
                        cursor.execute(sql)
                        self.longest_s = max(self.longest_s, time.monotonic() - began)
                        self.queries += 1
                except psycopg2.Error as error:
                    self.errors.append(str(error))
                self.rounds[number] += 1
                time.sleep(0.001)  # two cores are shared with the server and the migration
        session.close()

    def _statements(self) -> list[str]:
        some_id = random.randint(1, ROWS)
        values = {
            "description": "'SHOP'",
            "amount": "1",
            "status": "'new'",
            "reference": str(next(self._references)),
            "quantity": "2",
            "note": "'a note'",
            "merchant": "'shop'",
        }
        for column in {"note", "merchant"} - self.used:
            del values[column]
        statements = [
            f"SELECT {', '.join(values)} FROM payments WHERE id = {some_id}",
            f"UPDATE payments SET amount = amount + 1 WHERE id = {some_id}",
            f"INSERT INTO payments ({', '.join(values)}) VALUES ({', '.join(values.values())})",
        ]
        return statements + (["SELECT count(*) FROM legacy"] if "legacy" in self.used else [])


@dataclass
class Stage:
    """A database with the table, and its traffic."""

    url: str
    traffic: Traffic

    def migrate(self, target: str) -> subprocess.CompletedProcess[str]:
        return run_migrate(self.url, target)


def run_migrate(url: str, target: str) -> subprocess.CompletedProcess[str]:
    environ = {
        "RUPAYA_ENV": "test",
        "DATABASE_URL": url,
        "DJANGO_SETTINGS_MODULE": "tests.migrator.fixtures.settings",
        "RUPAYA_FIXTURE_APPS": "tests.migrator.fixtures.recipes",
        "MIGRATE_PHASE": "expand",
    }
    # By halves, and paid in the same run.
    return python("manage.py", "migrate", "--contract", "recipes", target, **environ)


@pytest.fixture(scope="module")
def stage(server_url: str) -> Iterator[Stage]:
    name = "rupaya_test_recipes"
    with_server(server_url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    with_server(server_url, f"CREATE DATABASE {name}")
    url = re.sub(r"/\w+\?", f"/{name}?", server_url, count=1)
    first = run_migrate(url, "0001")
    assert first.returncode == 0, first.stderr
    with_server(
        url,
        "INSERT INTO payments (description, amount, status, reference, quantity, note)"
        f" SELECT 'SHOP ' || n, n, 'new', n, n, 'a note' FROM generate_series(1, {ROWS}) AS n",
    )
    with_server(url, "ANALYZE payments")
    traffic = Traffic(url)
    yield Stage(url, traffic)
    traffic.stop()
    with_server(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_a_recipe_does_its_work_and_traffic_hardly_notices(stage: Stage, recipe: Recipe) -> None:
    traffic = stage.traffic
    traffic.use({"note", "legacy", "merchant"} - recipe.unused)
    reader = psycopg2.connect(stage.url)
    release = threading.Timer(READER_HOLDS_S, reader.rollback)
    if recipe.behind_a_reader:
        with reader.cursor() as cursor:
            cursor.execute("SELECT 1 FROM payments LIMIT 1")
        release.start()
    completed = stage.migrate(recipe.name)
    if recipe.behind_a_reader:
        release.join()
    reader.close()
    longest_s, queries, errors = traffic.longest_s, traffic.queries, list(traffic.errors)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert f"✓ recipes.{recipe.name} (" in completed.stdout
    assert errors == []
    assert queries > 100
    assert longest_s < LONGEST_WAIT_S
    with psycopg2.connect(stage.url) as connection, connection.cursor() as cursor:
        cursor.execute(recipe.truth)
        assert cursor.fetchone() == (True,)
    connection.close()


def test_the_document_shows_the_migrations_that_are_tested_here() -> None:
    shown = dict(re.findall(r"^```python\n# (\S+\.py)\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL))
    assert shown == {path.name: path.read_text() for path in MIGRATIONS.glob("0*.py") if path.stem != "0001_initial"}
    assert {recipe.name for recipe in RECIPES} == {name.removesuffix(".py") for name in shown}
