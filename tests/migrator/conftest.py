"""A ledger, a lock and plans in this process, for rules that need neither a command nor a process of their own."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest
from django.core.management.color import no_style
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.migration import Migration
from django.db.migrations.recorder import MigrationRecorder

from rupaya.migrator import conf
from rupaya.migrator.foresight.progress import Progress
from rupaya.migrator.ledger.ledger import Done, Ledger
from rupaya.migrator.ledger.trace import Trace
from rupaya.migrator.output import Output
from rupaya.migrator.plan.fingerprint import migration_hashes
from rupaya.migrator.plan.plan import Plan
from rupaya.migrator.plan.status import Status
from rupaya.migrator.run.context import RunContext
from rupaya.migrator.run.drift import Drift
from rupaya.migrator.session.lock import FIRST_KEY, MigrationLock, try_lock
from rupaya.migrator.session.stop import Stop
from rupaya.migrator.session.watch import Watch
from tests.conftest import new_database
from tests.migrator.releases import CREATE, Deployed, Release, migration
from tests.pointed import pointed_at


class Record(Ledger):
    """A ledger that can be given a past: ``ledger.had(migration, "failed", sqlstate="22012")``."""

    def begin(self) -> None:
        """Open a run."""
        self.start_run(command="migrate", release="v1", git_sha="", environment="test", task="task-1")

    def age(self, by: str) -> None:
        """Move every attempt into the past, which the ledger refuses to whoever does not switch its triggers off."""
        self._fetch(
            "SET session_replication_role = replica; "
            "UPDATE migrator_attempts SET started_at = started_at - %s::interval, "
            "finished_at = finished_at - %s::interval; RESET session_replication_role",
            [by, by],
        )

    def had(self, migration: Migration, outcome: str, *, sqlstate: str = "", fingerprint: str | None = None) -> None:
        """Record an attempt at a migration that ended so; "" is one that has not ended."""
        current, file_hash = migration_hashes(migration)
        attempt = self.start_attempt(
            batch=1,
            app=migration.app_label,
            name=migration.name,
            direction="apply",
            phase="expand",
            atomic=migration.atomic,
            fingerprint=current if fingerprint is None else fingerprint,
            file_hash=file_hash,
        )
        if outcome == "failed":
            self.fail_attempt(attempt, outcome, 1, sqlstate, "as the test says", Trace(keeps_literals=True))
        elif outcome == "interrupted":
            self.begin()  # a later run finds it
            self.close_abandoned()
        elif outcome:
            with self.connection.cursor() as cursor:
                self.finish_attempts(cursor, [Done(attempt, 1, False, 0.0, Trace(keeps_literals=True))])


@pytest.fixture
def working(database_url: str, django_db_blocker: Any) -> Iterator[BaseDatabaseWrapper]:
    """Django's connection to an empty database of the test's own."""
    with pointed_at(database_url, django_db_blocker):
        yield connections["default"]


@pytest.fixture(scope="module")
def _empty(server_url: str, django_db_blocker: Any) -> Iterator[BaseDatabaseWrapper]:
    """Django's connection to an empty database of this module's own."""
    with new_database(server_url) as url, pointed_at(url, django_db_blocker):
        yield connections["default"]


@pytest.fixture
def scratch(_empty: BaseDatabaseWrapper) -> Iterator[BaseDatabaseWrapper]:
    """Django's connection to a database that is empty again after each test of a module: all is rolled back."""
    with transaction.atomic():
        yield _empty
        transaction.set_rollback(True)


@pytest.fixture
def lock(database_url: str, working: BaseDatabaseWrapper) -> Iterator[MigrationLock]:
    """A migrator's two locks, not taken yet; another one needs ``MigrationLock`` on connections of its own."""
    connection = psycopg2.connect(database_url)
    connection.autocommit = True
    yield MigrationLock(connection, working)
    connection.close()


@pytest.fixture
def ledger(lock: MigrationLock) -> Record:
    """The ledger of a run that has begun, on the lock's connection."""
    MigrationRecorder(lock.working).ensure_schema()
    record = Record(lock.lock_connection)
    record.ensure_schema()
    record.begin()
    return record


@pytest.fixture
def said() -> io.StringIO:
    """What the run of `context` has said."""
    return io.StringIO()


@pytest.fixture
def context(ledger: Record, lock: MigrationLock, said: io.StringIO) -> RunContext:
    """What a run works with that has both locks and has done nothing yet, with ten minutes to its deadline."""
    assert try_lock(lock.lock_connection, FIRST_KEY)
    assert lock.take_second()
    output = Output(said, no_style())
    configured = conf.require_configuration()
    return RunContext(
        conf=configured,
        connection=lock.working,
        lock=lock,
        ledger=ledger,
        watch=Watch(lock.lock_connection),
        stop=Stop(),
        output=output,
        drift=Drift(lock.working, ledger, configured.lock_timeout_ms),
        deadline=time.monotonic() + 600,
        progress=Progress(output, lambda: ledger.run_id),
        is_live=True,
        phases={},
    )


@pytest.fixture
def plan(working: BaseDatabaseWrapper) -> Callable[..., Plan]:
    """Make a plan that would apply these migrations: ``plan(first, second)``."""

    def planned(*migrations: Migration) -> Plan:
        executor = MigrationExecutor(working)
        disk = {(migration.app_label, migration.name): migration for migration in migrations}
        executor.loader.disk_migrations = disk
        return Plan(
            executor=executor,
            steps=tuple((migration, False) for migration in migrations),
            status=Status(applied=frozenset(), pending=tuple(disk)),
            phases=dict.fromkeys(disk, "expand"),
            unrecorded=frozenset(),
            recorded=(),
            is_complete=True,
            digest="",
            known_tables=None,
        )

    return planned


@pytest.fixture(scope="session")
def _templates(server_url: str) -> Iterator[Callable[[Release], str]]:
    """Make a database that a release has migrated, to be copied: once, whichever test asks first."""
    with ExitStack() as databases:
        made: dict[object, str] = {}

        def template(release: Release) -> str:
            code = (release.name, *(path.read_text() for path in sorted(release.migrations_folder.glob("0*.py"))))
            if code not in made:
                url = databases.enter_context(new_database(server_url))
                ran = release.run(url)
                assert ran.returncode == 0, ran.stdout + ran.stderr
                made[code] = urlsplit(url).path.strip("/")
            return made[code]

        yield template


@pytest.fixture
def deployed(server_url: str, _templates: Callable[[Release], str]) -> Iterator[Deployed]:
    """Make a database that a release has migrated, as its first run would: ``url = deployed(release)``."""
    with ExitStack() as databases:
        yield lambda release: databases.enter_context(new_database(server_url, template=_templates(release)))


@pytest.fixture
def release(tmp_path: Path) -> Release:
    """A release of one app with one table, which nobody has deployed; a test may write it more migrations."""
    return Release(tmp_path, "v1", {"0001_initial": migration(CREATE)})
