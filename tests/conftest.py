"""Fixtures that more than one folder of tests uses."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest


@pytest.fixture(scope="session")
def server_url() -> str:
    """The address of the suite's PostgreSQL, as somebody who may create databases."""
    return os.environ["DATABASE_URL"]


@pytest.fixture
def database_url(server_url: str) -> Iterator[str]:
    """A new, empty database of the test's own, dropped afterwards whoever is still connected."""
    name = f"rupaya_test_{uuid.uuid4().hex[:12]}"
    with_server(server_url, f'CREATE DATABASE "{name}"')
    yield urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
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
