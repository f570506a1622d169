"""The one PostgreSQL that all contestants meet, and a new database in it for each of them."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2

from rupaya.localdb import OWNER, LocalPostgres

# Everything else is PostgreSQL's default, durability (fsync) included.
SETTINGS = {"max_connections": "200"}


@dataclass(frozen=True)
class Database:
    """A database of the embedded server, and how a contestant is told of it."""

    name: str
    url: str
    socket_dir: Path

    def variables(self) -> dict[str, str]:
        """The environment variables that lead Django (by URL) and Knex (by libpq's names) here."""
        return {
            "DATABASE_URL": self.url,
            "PGHOST": str(self.socket_dir),
            "PGUSER": OWNER,
            "PGDATABASE": self.name,
        }

    def query(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Run one statement on a connection of its own and return its rows."""
        connection = psycopg2.connect(self.url)
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql, parameters or None)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()


class Server:
    """An embedded PostgreSQL in a temporary directory; a context manager that removes it."""

    def __init__(self) -> None:
        # Short, for a socket's path has to be; outside this tree, for root's server runs as somebody else.
        self._root = Path(tempfile.mkdtemp(prefix="rupaya-bench-", dir="/tmp"))
        self._root.chmod(0o755)
        self._postgres = LocalPostgres(self._root / "data", self._root / "socket", SETTINGS)
        self._numbers = itertools.count(1)

    def __enter__(self) -> Server:
        self._postgres.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._postgres.stop("immediate")
        shutil.rmtree(self._root, ignore_errors=True)

    @property
    def version(self) -> str:
        """Such as 18.1."""
        return self._postgres.psql("SHOW server_version").split()[0]

    @contextmanager
    def database(self, template: str = "template1") -> Iterator[Database]:
        """A new database, empty or a copy of another, dropped afterwards whoever is still connected."""
        name = f"bench_{next(self._numbers)}"
        self._postgres.psql(f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE {template}")
        try:
            yield Database(name, self._postgres.url(name), self._postgres.socket_dir)
        finally:
            self._postgres.psql(f"DROP DATABASE {name} WITH (FORCE)")
