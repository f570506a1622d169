"""How the database stands to this code: what is applied, pending, held back, or unknown, and whether it may serve."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import psycopg2.extensions
from django.conf import settings
from django.db.migrations.loader import MigrationLoader
from psycopg2.errors import UndefinedTable

from rupaya.migrator.ledger.ledger import Ledger
from rupaya.migrator.plan.history import breaking_migrations
from rupaya.migrator.plan.phases import CONTRACT
from rupaya.migrator.plan.plan import pending_phases

Key = tuple[str, str]


@dataclass(frozen=True)
class SchemaState:
    """Counts of migrations."""

    applied: int
    """In the database and in this code."""
    pending: int
    """In this code only, and needed by it."""
    held: int
    """In this code only, and held back until the rollout is over: this code works without them."""
    unknown: int
    """In the database only."""
    breaking: int
    """Of the unknown ones, those that this code may not survive."""

    @property
    def unready_reason(self) -> str:
        """Why this code must not be sent traffic on that schema; empty if it may."""
        if self.pending:
            return f"{self.pending} migrations that this release needs are not applied"
        if self.breaking:
            return f"the schema has {self.breaking} breaking migrations of a newer release"
        return ""


@cache
def _loader() -> MigrationLoader:
    """What this code ships; it cannot change while the process lives."""
    return MigrationLoader(None)


@cache
def _known() -> frozenset[Key]:
    return frozenset(_loader().graph.nodes)


@cache
def _replaced() -> frozenset[Key]:
    """The names that squashed migrations replace: in a database they are history, not unknown."""
    return frozenset(name for migration in _loader().replacements.values() for name in migration.replaces)


@cache
def _held(pending: frozenset[Key]) -> frozenset[Key]:
    """Of the pending migrations, those that `migrate` holds back."""
    if settings.MIGRATE_PHASE != "expand" or not pending:
        return frozenset()
    phases = pending_phases(_loader(), [_loader().graph.nodes[key] for key in pending])
    return frozenset(key for key, phase in phases.items() if phase == CONTRACT)


def read_schema_state(connection: psycopg2.extensions.connection) -> SchemaState:
    """Compare the database's history with this code's migrations.

    Raises:
        psycopg2.Error: if the database does not answer.
    """
    with connection.cursor() as cursor:
        try:
            cursor.execute("SELECT app, name FROM django_migrations")
            recorded = frozenset(cursor.fetchall())
        except UndefinedTable:
            recorded = frozenset()
    missing = _known() - recorded
    # On an empty history nothing is held: everything is to be applied.
    held = _held(missing) if recorded else frozenset()
    unknown = recorded - _known() - _replaced()
    return SchemaState(
        applied=len(_known() & recorded),
        pending=len(missing - held),
        held=len(held),
        unknown=len(unknown),
        breaking=len(breaking_migrations(unknown, Ledger(connection).in_force())) if unknown else 0,
    )
