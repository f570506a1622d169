"""A Django connection to any database, under an alias of its own, for tests in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from django.db import connections
from django.db.backends.postgresql.base import DatabaseWrapper
from psycopg2.extensions import parse_dsn

ALIAS = "foresight"


@contextmanager
def connected(url: str, alias: str = ALIAS, **settings: str) -> Iterator[DatabaseWrapper]:
    """The connection, closed afterwards; `settings` such as USER instead of the address's."""
    parameters = parse_dsn(url)
    given = {"USER": parameters.get("user", ""), "HOST": parameters.get("host", ""), "PORT": parameters.get("port", "")}
    connections.settings[alias] = (
        connections.settings["default"]
        | {"NAME": urlsplit(url).path.strip("/"), "PASSWORD": parameters.get("password", "")}
        | given
        | settings
        | {"TEST_URL": url}
    )
    connection = connections[alias]
    try:
        assert isinstance(connection, DatabaseWrapper)
        yield connection
    finally:
        connection.close()
        del connections[alias]
        del connections.settings[alias]
