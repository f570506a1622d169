"""The admin site in this process, on a database of the test's own that the service has migrated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from django.test import Client

from rupaya.migrator.foresight.progress import BY_SERVER
from tests.faults.migrator import query
from tests.pointed import pointed_at


@pytest.fixture(autouse=True)
def _nothing_collected(settings: Any, tmp_path: Path) -> None:
    """WhiteNoise warns of a folder of collected static files that is not there."""
    settings.STATIC_ROOT = tmp_path


@pytest.fixture
def url(migrated_url: str, django_db_blocker: Any) -> Iterator[str]:
    """A migrated database, which Django's connection is pointed at."""
    with pointed_at(migrated_url, django_db_blocker):
        yield migrated_url


@pytest.fixture
def viewer(module_url: str, django_db_blocker: Any) -> Iterator[Client]:
    """Somebody who may see everything, on a database that all tests of a module look at and none changes."""
    with pointed_at(module_url, django_db_blocker):
        yield somebody(is_superuser=True)


@pytest.fixture
def empty_url(database_url: str, django_db_blocker: Any) -> Iterator[str]:
    """An empty database, likewise."""
    with pointed_at(database_url, django_db_blocker):
        yield database_url


@pytest.fixture
def client(url: str) -> Client:
    return somebody(is_superuser=True)


def somebody(*permissions: str, is_superuser: bool = False) -> Client:
    """A member of staff, signed in, with these permissions of the app `story`."""
    from django.contrib.auth.models import Permission

    from accounts.models import User

    user, _created = User.objects.get_or_create(
        email=f"{'-'.join(permissions) or is_superuser}@example.com",
        defaults={"is_staff": True, "is_superuser": is_superuser, "timezone": "Asia/Kolkata"},
    )
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="story", codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def add_run(url: str, outcome: str = "succeeded", exit_code: int | None = 0, error: str = "", **columns: Any) -> int:
    """A run as the ledger keeps it; returns its number."""
    values = {"command": "migrate", "release": "v7", "git_sha": "abc", "environment": "test", "task": "task-1"}
    values |= {"python_version": "3", "django_version": "5", "outcome": outcome, "exit_code": exit_code} | columns
    values["error"] = error or None
    finished = "NULL" if outcome == "started" else "clock_timestamp()"
    ((run_id,),) = query(
        url,
        f"INSERT INTO migrator_runs ({', '.join(values)}, finished_at) "
        f"VALUES ({', '.join(['%s'] * len(values))}, {finished}) RETURNING run_id",
        *values.values(),
    )
    return int(run_id)


def add_attempt(
    url: str, run_id: int, app: str, name: str, outcome: str, error: str = "", sqlstate: str = "",
    direction: str = "apply",
) -> int:  # fmt: skip
    """An attempt as the ledger keeps it; returns its number."""
    ((attempt_id,),) = query(
        url,
        "INSERT INTO migrator_attempts (run_id, batch, app, name, direction, phase, atomic, fingerprint, file_hash, "
        "finished_at, tries, outcome, error, sqlstate) VALUES "
        "(%s, 9, %s, %s, %s, 'expand', true, 'f', 'h', clock_timestamp(), 3, %s, %s, %s) RETURNING attempt_id",
        run_id, app, name, direction, outcome, error or None, sqlstate or None,
    )  # fmt: skip
    return int(attempt_id)


def rewrite(url: str, table: str, sql: str) -> None:
    """Change what the ledger refuses to have changed, as only a test may."""
    query(url, f"ALTER TABLE {table} DISABLE TRIGGER USER; {sql}; ALTER TABLE {table} ENABLE TRIGGER USER")


@contextmanager
def run_under_way_in(url: str, app: str, name: str, release: str = "v7") -> Iterator[int]:
    """A run that somebody is at, on one migration, for half a minute; its number. It was interrupted in the end."""
    with closing(psycopg2.connect(url)) as migrator:
        with migrator.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(42)")
        run_id = add_run(url, "started", None, release=release, backend_pid=migrator.info.backend_pid)
        query(
            url,
            "INSERT INTO migrator_attempts (run_id, batch, app, name, direction, phase, atomic, fingerprint, file_hash,"
            " started_at) VALUES (%s, 9, %s, %s, 'apply', 'expand', true, '', '', now() - interval '31 seconds')",
            run_id, app, name,
        )  # fmt: skip
        yield run_id
        query(url, "UPDATE migrator_runs SET outcome = 'interrupted', finished_at = now() WHERE run_id = %s", run_id)


def far(url: str, run_id: int, what: str, percent: int) -> None:
    """So far it is with an index."""
    query(
        url,
        "INSERT INTO migrator_progress (run_id, what, phase, percent, basis, running_s) "
        "VALUES (%s, %s, 'building index: scanning table on transactions', %s, %s, 31) "
        "ON CONFLICT (run_id) DO UPDATE SET percent = excluded.percent",
        run_id, what, percent, BY_SERVER,
    )  # fmt: skip
