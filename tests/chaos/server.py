"""A worker's own server and databases, and what its driver asks them; every question has a connection of its own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psycopg2

from rupaya.localdb import SUPERUSER, LocalPostgres
from tests.chaos.bodies import BASE, Written
from tests.patience import HANGING_S

SETTINGS = {"fsync": "off", "max_connections": "60", "shared_buffers": "32MB", "autovacuum": "off"}


class Database:
    """One round's database."""

    def __init__(self, server: LocalPostgres, name: str) -> None:
        self.server = server
        self.name = name
        self.url = server.url(user=SUPERUSER, database=name)

    def ask(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """Run one statement; waits for a server that starts again."""
        deadline = time.monotonic() + HANGING_S
        while True:
            try:
                connection = psycopg2.connect(self.url)
                try:
                    connection.autocommit = True
                    with connection.cursor() as cursor:
                        cursor.execute(sql, parameters)
                        return cursor.fetchall() if cursor.description else []
                finally:
                    connection.close()
            except psycopg2.OperationalError as error:
                if time.monotonic() > deadline or not (error.pgcode or "08").startswith(("08", "57P")):
                    raise
                time.sleep(0.05)

    def history(self) -> list[str]:
        """The names of the app's recorded migrations, in their order, doubles and all."""
        return [name for (name,) in self.ask("SELECT name FROM django_migrations WHERE app = 'shop' ORDER BY id")]

    def has(self, migration: Written) -> int:
        """What the schema or the rows have of a migration: 0 nothing, 1 all of it, 2 something else."""
        if migration.kind.name == "backfill":
            column = f"filled_{migration.place}"
            ((filled, all_rows),) = self.ask(f"SELECT count({column}), count(*) FROM shop_item WHERE true")
            return 1 if filled == all_rows else 2 if filled else 0
        sql = migration.kind.probe
        if migration.kind.name == "gone":
            column = f"gone_{migration.place}"
            ((is_there,),) = self.ask(
                "SELECT EXISTS (SELECT FROM pg_attribute WHERE attname = %s AND NOT attisdropped)", [column]
            )
            if not is_there:
                return 1
        return int(self.ask(sql, {"place": migration.place, "name": migration.name})[0][0])


def copy(server: LocalPostgres, template: str, name: str) -> Database:
    """A round's database."""
    postgres = Database(server, "postgres")
    postgres.ask(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
    return Database(server, name)


def drop(server: LocalPostgres, name: str) -> None:
    """The end of a round's database, whoever is connected."""
    Database(server, "postgres").ask(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def write_release(folder: Path, migrations: list[Written], base_text: str) -> None:
    """A release's files: one app with these migrations."""
    package = folder / "shop" / "migrations"
    package.mkdir(parents=True)
    (folder / "shop" / "__init__.py").touch()
    (folder / "shop" / "models.py").touch()  # Django sends its signals for apps with models alone
    (package / "__init__.py").touch()
    (folder / "chaos_settings.py").write_text(
        "import os\n\nfrom tests.migrator.fixtures.small import *\n\n"
        'INSTALLED_APPS = [*([] if "STOCK" in os.environ else ["rupaya.migrator"]), "shop"]\n'
    )
    (package / f"{BASE}.py").write_text(base_text)
    after = BASE
    for migration in migrations:
        (package / f"{migration.name}.py").write_text(migration.text(after))
        after = migration.name
