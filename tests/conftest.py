"""Fixtures that more than one folder of tests uses."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest

pytest_plugins = ["tests.server.releases"]


@pytest.fixture(scope="session")
def server_url() -> str:
    """The address of the suite's PostgreSQL, as somebody who may create databases."""
    return os.environ["DATABASE_URL"]


@pytest.fixture
def database_url(server_url: str) -> Iterator[str]:
    """A new, empty database of the test's own, dropped afterwards whoever is still connected."""
    with new_database(server_url) as url:
        yield url


@pytest.fixture(scope="session")
def _template(server_url: str) -> Iterator[str]:
    """The name of a database that the service has migrated, to be copied."""
    with new_database(server_url) as url:
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--noinput"],
            cwd=Path(__file__).parents[1],
            env=os.environ | {"DATABASE_URL": url},
            check=True,
            capture_output=True,
        )
        yield urlsplit(url).path.strip("/")


@pytest.fixture
def migrated_url(server_url: str, _template: str) -> Iterator[str]:
    """A new database with the service's whole schema, as the last deployment left it."""
    with new_database(server_url, template=_template) as url:
        yield url


@pytest.fixture(scope="module")
def module_url(server_url: str, _template: str) -> Iterator[str]:
    """As `migrated_url`, but one for all tests of a module that only look."""
    with new_database(server_url, template=_template) as url:
        yield url


@cache
def _strategy(server_url: str) -> str:
    """The quicker way to copy a database: files, a quarter of the time, where a checkpoint need not reach the disk."""
    connection = psycopg2.connect(server_url)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SHOW fsync")
            return "wal_log" if cursor.fetchone() == ("on",) else "file_copy"
    finally:
        connection.close()


@contextmanager
def new_database(server_url: str, template: str = "template1") -> Iterator[str]:
    """A database of a new name, dropped afterwards."""
    name = f"rupaya_test_{uuid.uuid4().hex[:12]}"
    with_server(server_url, f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY {_strategy(server_url)}')
    try:
        yield urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    finally:
        with_server(server_url, f'DROP DATABASE "{name}" WITH (FORCE)')


def with_server(url: str, sql: str) -> None:
    """Run one statement outside a transaction."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
    finally:
        connection.close()
