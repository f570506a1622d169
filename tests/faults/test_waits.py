"""No wait is for ever, silent, or deaf to SIGTERM: whatever it is that the migrator waits for."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from rupaya.localdb import SUPERUSER, LocalPostgres
from tests.faults.migrator import Migrator, applied, migrate, query, wait_for
from tests.faults.servers import SETTINGS, server_root
from tests.faults.test_exit_codes import ended
from tests.migrator.releases import Release
from tests.migrator.test_atomicity import FIRST, sql

STOPPED_WITHIN_S = 10
HISTORY = "LOCK TABLE django_migrations IN ACCESS EXCLUSIVE MODE"
LEDGER = "LOCK TABLE migrator_runs, migrator_attempts IN ACCESS EXCLUSIVE MODE"


@pytest.mark.slow
@pytest.mark.parametrize("lock", [HISTORY, LEDGER], ids=["history", "ledger"])
def test_a_lock_on_the_migrators_own_tables_is_told_and_can_be_stopped(database_url: str, lock: str) -> None:
    assert migrate(database_url, "migrate", "points", "0002", apps="points").process.returncode == 0
    holder = psycopg2.connect(database_url)
    pid = holder.info.backend_pid
    try:
        with holder.cursor() as cursor:
            cursor.execute(lock)
        migrator = Migrator(database_url, apps="points")
        wait_for(lambda: migrator.says("held by backend pid"), "it says what it waits for")
        migrator.kill(signal.SIGTERM)
        status = migrator.end(timeout_s=STOPPED_WITHIN_S)
    finally:
        holder.close()

    assert status == 143, migrator.output
    assert re.search(rf"Waiting for \S+, held by backend pid {pid}.* for \d+ s", migrator.output)
    assert "Traceback" not in migrator.output
    assert migrate(database_url, apps="points").process.returncode == 0


SHORT_OF_PATIENCE = """
import django; django.setup()
from django.core.management import call_command
from rupaya.migrator.errors import MigratorError
from rupaya.migrator.session import database
database.OWN_LOCK_WAIT_MS = 300
try:
    call_command("migrate", verbosity=1)
except MigratorError as error:
    print(error.exit_code, error)
"""


@pytest.mark.parametrize("lock", [HISTORY, LEDGER], ids=["history", "ledger"])
def test_a_lock_on_the_migrators_own_tables_is_not_waited_for_for_ever(
    database_url: str, tmp_path: Path, lock: str
) -> None:
    release = Release(tmp_path, "v1", FIRST)
    assert release.run(database_url).returncode == 0
    release.write("0002_table", sql("CREATE TABLE made (i int)"))
    holder = psycopg2.connect(database_url)
    try:
        with holder.cursor() as cursor:
            cursor.execute(lock)
        said = release.python(database_url, SHORT_OF_PATIENCE)
    finally:
        holder.close()

    assert "\n12 The migrator could not lock" in said
    assert "canceling statement due to lock timeout" in said


THREADS = """
import threading
import django; django.setup()
from django.core.management import call_command
from rupaya.migrator.session.stop import Stop
stops, begin, start = [], Stop.__init__, threading.Thread.start
Stop.__init__ = lambda self: (begin(self), stops.append(self))[0]
def noted(self):
    print("starts", self.name, any(stop._interruptible for stop in stops))
    start(self)
threading.Thread.start = noted
call_command("migrate", verbosity=1)
"""


def test_no_signal_is_raised_while_a_thread_starts(database_url: str, tmp_path: Path) -> None:
    said = Release(tmp_path, "v1", FIRST).python(database_url, THREADS)

    assert said.count("starts migrate-watch False") == 1  # for the whole transaction
    assert "True" not in said


@pytest.fixture
def lonely() -> Iterator[LocalPostgres]:
    """A server whose replica is gone: each COMMIT waits for it."""
    with server_root() as root:
        server = LocalPostgres(root / "data", root / "socket", SETTINGS)
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")


def wait_for_a_replica(server: LocalPostgres, *, on: bool) -> None:
    name = "nobody" if on else ""
    server.psql(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
    server.psql("SELECT pg_reload_conf()")


@pytest.mark.slow
def test_a_commit_that_waits_for_a_replica_is_told_and_can_be_stopped(lonely: LocalPostgres) -> None:
    url = lonely.url(user=SUPERUSER)
    assert migrate(url, "migrate", "points", "0002", apps="points").process.returncode == 0
    wait_for_a_replica(lonely, on=True)
    migrator = Migrator(url, apps="points")
    wait_for(lambda: migrator.says("Waiting for a replica to confirm a COMMIT"), "it says what it waits for")

    migrator.kill(signal.SIGTERM)
    status = migrator.end(timeout_s=STOPPED_WITHIN_S)
    wait_for_a_replica(lonely, on=False)

    assert status == 143, migrator.output
    assert "Traceback" not in migrator.output
    said = migrator.output[migrator.output.index("What it means") :]
    assert ("points.0003_double_every_order" in applied(url)) == (
        "committed all the same" in said or "Done by this run: points.0003_double_every_order" in said
    ), said
    assert ended(Migrator(url, apps="points"))[0] == 0
    assert query(url, "SELECT sum(doubled) = 2 * sum(total) FROM points_order") == [(True,)]


@pytest.mark.slow
def test_past_the_deadline_no_commit_waits_for_a_replica(lonely: LocalPostgres) -> None:
    url = lonely.url(user=SUPERUSER)
    assert migrate(url, "migrate", "points", "0004", apps="points").process.returncode == 0
    wait_for_a_replica(lonely, on=True)

    status, said = ended(Migrator(url, apps="points", MIGRATE_DEADLINE_S="1"))
    wait_for_a_replica(lonely, on=False)

    assert status == 0, said
    assert "MIGRATE_DEADLINE_S is over: it is committed here" in said
    assert "points.0006_backfill_filled" in applied(url)
    assert query(url, "SELECT count(*) FROM migrator_runs WHERE finished_at IS NULL") == [(0,)]
