"""A table of a million rows that is read and written all the time: no deployment makes anybody wait for long."""

from __future__ import annotations

import re
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest

from rupaya.localdb import binary
from tests.conftest import with_server
from tests.faults.migrator import Migrator, applied, invalid_indexes, migrate, query, wait_for
from tests.faults.test_exit_codes import assert_explained, ended

LOCK_TIMEOUT_S = 1.0  # MIGRATE_LOCK_TIMEOUT_MS
LONGEST_WAIT_S = LOCK_TIMEOUT_S + 0.5
READER_HOLDS_S = 8.0
SCRIPT = """
\\set id random(1, 999999)
UPDATE traffic_entry SET amount = amount + 1 WHERE id = :id;
SELECT amount FROM traffic_entry WHERE id = :id;
"""


@pytest.fixture(scope="module")
def template(server_url: str) -> Iterator[str]:
    """A database with the million rows, made once and copied by each test."""
    name = f"rupaya_traffic_{uuid.uuid4().hex[:8]}"
    with_server(server_url, f"CREATE DATABASE {name}")
    url = urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    assert migrate(url, "migrate", "traffic", "0001", apps="traffic").process.returncode == 0
    query(url, "VACUUM ANALYZE traffic_entry")
    yield name
    with_server(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def url(server_url: str, template: str) -> Iterator[str]:
    name = f"{template}_{uuid.uuid4().hex[:4]}"
    with_server(server_url, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    yield urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    with_server(server_url, f"DROP DATABASE {name} WITH (FORCE)")


class Traffic:
    """pgbench: clients that read and write by key, and note how long each transaction took."""

    def __init__(self, url: str, folder: Path) -> None:
        self.folder = folder
        (folder / "script.sql").write_text(SCRIPT)
        self.process = subprocess.Popen(
            [binary("pgbench"), "-n", "-f", "script.sql", "-c", "4", "-T", "120", "-R", "200",
             "-l", "--log-prefix=transactions", url],
            cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def transactions(self) -> list[tuple[float, float]]:
        """When each transaction ended, and how many seconds it took once its turn had come."""
        lines = [
            line.split()
            for path in self.folder.glob("transactions.*")
            for line in path.read_text().rpartition("\n")[0].splitlines()
        ]
        return [
            (int(line[4]) + int(line[5]) / 1e6, (int(line[2]) - int(line[6])) / 1e6) for line in lines if len(line) == 7
        ]

    def longest_s(self) -> float:
        """The longest that anybody waited, up to now."""
        now = time.time()
        wait_for(lambda: (done := self.transactions()) and done[-1][0] > now, "transactions after the deployment")
        assert self.process.poll() is None, self.process.communicate()[1]
        return max(took_s for _ended_at, took_s in self.transactions())


@contextmanager
def traffic_on(url: str, folder: Path) -> Iterator[Traffic]:
    traffic = Traffic(url, folder)
    try:
        wait_for(traffic.transactions, "traffic")
        yield traffic
    finally:
        traffic.process.kill()
        traffic.process.communicate()


@contextmanager
def idle_in_transaction(url: str, sql: str) -> Iterator[psycopg2.extensions.connection]:
    """A session that has done something, and then forgets to commit."""
    connection = psycopg2.connect(url, application_name="reporting")
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
        yield connection
    finally:
        connection.close()


READ = "SELECT id FROM traffic_entry WHERE id = 1000000 AND currency <> 'do-not-show-this'"
WROTE = "UPDATE traffic_entry SET currency = 'INR' WHERE id = 1000000"


@pytest.mark.slow
def test_a_column_and_an_index_behind_a_long_reader_hold_nobody_up(url: str, tmp_path: Path) -> None:
    with traffic_on(url, tmp_path) as traffic:
        with idle_in_transaction(url, READ) as reader:
            pid = reader.info.backend_pid
            timer = threading.Timer(READER_HOLDS_S, reader.close)
            timer.start()
            began = time.monotonic()
            migrator = Migrator(url, "migrate", "traffic", "0003", apps="traffic")
            status, output = ended(migrator)
            timer.join()

        assert status == 0, output
        assert time.monotonic() - began > READER_HOLDS_S
        assert traffic.longest_s() < LONGEST_WAIT_S
    assert re.search(
        rf"traffic\.0002_add_column was rolled back: .* on traffic_entry, held by backend pid {pid}, user \w+ "
        r"\(reporting\), idle in transaction, its transaction \d+ s old: .*\. Try 2 of 31 in 0\.\d s",
        output,
    )
    assert "do-not-show-this" not in output
    assert "1000000" not in output
    assert invalid_indexes(url) == []
    assert query(url, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'traffic_entry_amount'::regclass") == [
        (True,)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "migration", "session", "truth"),
    [
        (
            "0003",
            "0004_currency_not_null",
            READ,
            "SELECT attnotnull FROM pg_attribute WHERE attrelid = 'traffic_entry'::regclass AND attname = 'currency'",
        ),
        (
            "0004",
            "0005_add_wallet",
            READ,
            "SELECT bool_and(convalidated) AND count(*) = 1 FROM pg_constraint"
            " WHERE conrelid = 'traffic_entry'::regclass AND contype = 'f'",
        ),
    ],
)
def test_a_safer_operation_that_needs_the_table_is_tried_until_it_gets_it(
    url: str, tmp_path: Path, before: str, migration: str, session: str, truth: str
) -> None:
    assert migrate(url, "migrate", "traffic", before, apps="traffic").process.returncode == 0
    with traffic_on(url, tmp_path) as traffic:
        with idle_in_transaction(url, session):
            migrator = Migrator(url, "migrate", "traffic", migration, apps="traffic")
            wait_for(lambda: migrator.says("Try 4 of 31"), "three tries in vain")
            assert migrator.process.poll() is None
        status, output = ended(migrator)

        assert status == 0, output
        assert traffic.longest_s() < LONGEST_WAIT_S
    assert query(url, truth) == [(True,)]
    assert applied(url)[-1] == f"traffic.{migration}"


@pytest.mark.slow
def test_a_concurrent_index_waits_for_a_writer_beyond_the_lock_timeout_and_holds_nobody_up(
    url: str, tmp_path: Path
) -> None:
    assert migrate(url, "migrate", "traffic", "0002", apps="traffic").process.returncode == 0
    with traffic_on(url, tmp_path) as traffic:
        with idle_in_transaction(url, WROTE):
            migrator = Migrator(url, "migrate", "traffic", "0003", apps="traffic")
            wait_for(
                lambda: query(
                    url,
                    "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%%'"
                    " AND wait_event = 'virtualxid' AND query_start < clock_timestamp() - interval '2 s'",
                ),
                "a wait longer than the lock timeout",
            )
        status, output = ended(migrator)

        assert status == 0, output
        assert traffic.longest_s() < LONGEST_WAIT_S
    assert "Try 2" not in output
    assert invalid_indexes(url) == []


@pytest.mark.slow
def test_behind_a_session_that_never_ends_it_gives_up_with_12_and_nothing_is_changed(url: str) -> None:
    with idle_in_transaction(url, READ) as reader:
        pid = reader.info.backend_pid
        migrator = Migrator(url, apps="traffic", MIGRATE_RETRIES="2")
        status, output = ended(migrator)

    assert status == 12, output
    assert_explained(
        output,
        "TableLocked",
        rf"traffic\.0002_add_column could not lock traffic_entry, held by backend pid {pid}",
        "rolled back whole",
        "MIGRATE_RETRIES",
    )
    assert "do-not-show-this" not in output
    assert applied(url) == ["traffic.0001_initial"]
    assert (
        query(url, "SELECT 1 FROM pg_attribute WHERE attname = 'note' AND attrelid = 'traffic_entry'::regclass") == []
    )
