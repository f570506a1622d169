"""A migrator as a process: started, watched, killed, and asked what became of it; and what the database says."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg2

from rupaya.migrator.schema import catalog
from tests import warm
from tests.patience import HANGING_S
from tests.processes import PROJECT, inherited

TIMEOUT_S = HANGING_S


def wait_for(condition: Callable[[], Any], what: str = "a condition", timeout_s: float = TIMEOUT_S) -> Any:
    """Poll until the condition holds, and return its value."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited {timeout_s} s in vain: {what}")


def query(url: str, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Run one statement on a connection of its own and return its rows."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql, parameters or None)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def catalog_of(url: str) -> catalog.Catalog:
    """The schema that a database has."""
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            return catalog.read(cursor)
    finally:
        connection.close()


class Migrator:
    """One `migrate` of the small fixture project, or of the service itself when no apps are named."""

    def __init__(self, url: str, *arguments: str, apps: str = "", gates: Path | None = None, **variables: str) -> None:
        env = inherited(DATABASE_URL=url, RUPAYA_ENV="test", PYTHONUNBUFFERED="1")
        if apps:
            names = ",".join(f"tests.migrator.fixtures.{app}" for app in apps.split(","))
            env |= {"RUPAYA_FIXTURE_APPS": names, "DJANGO_SETTINGS_MODULE": "tests.migrator.fixtures.small"}
            program = ["-m", "django"]
            if apps == "points":  # its gates stand between migrations, so each must be a transaction of its own
                env["MIGRATE_BATCH"] = "each"
        else:
            program = ["manage.py"]
        if gates is not None:
            env["RUPAYA_GATES"] = str(gates)
        self._told = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process lives; `end` closes it
        self._output = ""
        self.process = warm.start(
            [*program, *(arguments or ("migrate", "--noinput"))],
            env | {"PYTHONPATH": str(PROJECT)} | variables,
            self._told.fileno(),
        )

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)

    def says(self, text: str) -> bool:
        """Whether it has said something so far, or has ended; poll it."""
        return text in self._so_far() or self.process.poll() is not None

    def _so_far(self) -> str:
        """All that it has said until now; by place, for it writes on where it is."""
        if not self._told.closed:
            self._output = os.pread(self._told.fileno(), os.fstat(self._told.fileno()).st_size, 0).decode()
        return self._output

    def end(self, timeout_s: float = TIMEOUT_S) -> int:
        """Wait for the exit status; the output is then there to read."""
        try:
            status = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"did not end within {timeout_s} s:\n{self._so_far()}") from None
        finally:
            self._so_far()
            self._told.close()
        return status

    @property
    def output(self) -> str:
        assert self.process.returncode is not None, "read the output after the end"
        return self._output


def migrate(url: str, *arguments: str, **options: Any) -> Migrator:
    """Run a migrator to its end."""
    migrator = Migrator(url, *arguments, **options)
    migrator.end()
    return migrator


def applied(url: str) -> list[str]:
    """The history, in order, doubles and all."""
    return [f"{app}.{name}" for app, name in query(url, "SELECT app, name FROM django_migrations ORDER BY id")]


def invalid_indexes(url: str) -> list[str]:
    """Indexes that a concurrent build left unfinished."""
    return [name for (name,) in query(url, "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid")]
