"""Whether the database has every migration that this code needs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import psycopg2.extensions
from django.db.migrations.loader import MigrationLoader
from psycopg2.errors import UndefinedTable


@dataclass(frozen=True)
class SchemaState:
    """Counts of migrations: applied and known, pending (in the code only), unknown (in the database only)."""

    applied: int
    pending: int
    unknown: int


@cache
def code_migrations() -> frozenset[tuple[str, str]]:
    """The (app label, name) pairs that this code ships; they cannot change while the process lives."""
    loader = MigrationLoader(None)
    return frozenset(loader.graph.nodes)


@cache
def replaced_migrations() -> frozenset[tuple[str, str]]:
    """The names that squashed migrations of this code replace: in a database they are history, not unknown."""
    loader = MigrationLoader(None)
    return frozenset(name for migration in loader.replacements.values() for name in migration.replaces)


def read_schema_state(connection: psycopg2.extensions.connection) -> SchemaState:
    """Compare the database's history with this code's migrations.

    Raises:
        psycopg2.Error: if the database does not answer.
    """
    with connection.cursor() as cursor:
        try:
            cursor.execute("SELECT app, name FROM django_migrations")
            recorded = set(cursor.fetchall())
        except UndefinedTable:
            recorded = set()
    known = code_migrations()
    return SchemaState(
        applied=len(known & recorded),
        pending=len(known - recorded),
        unknown=len(recorded - known - replaced_migrations()),
    )
