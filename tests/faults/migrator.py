"""A migrator as a process: started, watched, killed, and asked what became of it; and what the database says."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg2

from rupaya.migrator.schema import catalog
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
            program = [sys.executable, "-m", "django"]
            if apps == "points":  # its gates stand between migrations, so each must be a transaction of its own
                env["MIGRATE_BATCH"] = "each"
        else:
            program = [sys.executable, "manage.py"]
        if gates is not None:
            env["RUPAYA_GATES"] = str(gates)
        self.process = subprocess.Popen(
            [*program, *(arguments or ("migrate", "--noinput"))],
            cwd=PROJECT,
            env=env | {"PYTHONPATH": str(PROJECT)} | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._output = ""

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)

    def says(self, text: str) -> bool:
        """Whether it has said something so far, or has ended; poll it."""
        assert self.process.stdout is not None
        while select.select([self.process.stdout], [], [], 0)[0] and (
            read := os.read(self.process.stdout.fileno(), 4096)
        ):
            self._output += read.decode()
        return text in self._output or self.process.poll() is not None

    def end(self, timeout_s: float = TIMEOUT_S) -> int:
        """Wait for the exit status; the output is then there to read."""
        try:
            self._output += self.process.communicate(timeout=timeout_s)[0] or ""
        except subprocess.TimeoutExpired:
            self.process.kill()
            self._output += self.process.communicate()[0] or ""
            raise AssertionError(f"did not end within {timeout_s} s:\n{self._output}") from None
        return self.process.returncode

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
