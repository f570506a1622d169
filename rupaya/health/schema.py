"""How the database stands to this code: what is applied, pending, held back, or unknown, and whether it may serve."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

import psycopg2.extensions
from django.conf import settings
from django.db.migrations.loader import MigrationLoader
from psycopg2.errors import UndefinedTable

from rupaya.migrator.django import Key
from rupaya.migrator.errors import counted
from rupaya.migrator.ledger.ledger import Ledger
from rupaya.migrator.plan.history import breaking_migrations
from rupaya.migrator.plan.phases import CONTRACT
from rupaya.migrator.plan.plan import pending_phases
from rupaya.migrator.plan.status import Status, read_status


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
            return f"{counted(self.pending, 'migration')} of this release not applied"
        if self.breaking:
            return f"the schema has {counted(self.breaking, 'breaking migration')} of a newer release"
        return ""


@cache
def _loader() -> MigrationLoader:
    """What this code ships; it cannot change while the process lives."""
    return MigrationLoader(None)


@lru_cache(maxsize=2)
def _status(recorded: tuple[Key, ...]) -> Status:
    return read_status(_loader(), recorded)


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
            cursor.execute("SELECT app, name FROM django_migrations ORDER BY id")
            recorded: tuple[Key, ...] = tuple(cursor.fetchall())
        except UndefinedTable:
            recorded = ()
    status = _status(recorded)
    pending = frozenset(status.pending)
    # On an empty history nothing is held: everything is to be applied.
    held = _held(pending) if recorded else frozenset()
    newer = status.newer
    return SchemaState(
        applied=len(status.applied),
        pending=len(pending - held),
        held=len(held),
        unknown=len(status.unknown),
        breaking=len(breaking_migrations(newer, Ledger(connection).in_force())) if newer else 0,
    )
