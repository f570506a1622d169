"""How the database stands to this code: what is applied, pending, owed, or unknown, and whether it may serve."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

import psycopg2.extensions
from django.db.migrations.loader import MigrationLoader
from psycopg2.errors import InsufficientPrivilege, UndefinedTable

from rupaya.migrator.debts.releases import breaking
from rupaya.migrator.django import Key
from rupaya.migrator.errors import counted
from rupaya.migrator.ledger.ledger import Ledger
from rupaya.migrator.plan.status import Status, read_status


@dataclass(frozen=True)
class SchemaState:
    """Counts of migrations."""

    applied: int
    """In the database and in this code."""
    pending: int
    """In this code only, and needed by it."""
    owed: int
    """What older releases would not survive, and what is paid once none of them runs."""
    unknown: int
    """In the database only."""
    breaking: int
    """Of the unknown ones, those that this code may not survive."""
    contradicted: int
    """Of the applied ones, those whose last attempt failed."""
    unattested: int
    """Of the applied ones, those that no attempt of the migrator applied."""

    @property
    def unready_reason(self) -> str:
        """Why this code must not be sent traffic on that schema; empty if it may."""
        if self.pending:
            return f"{counted(self.pending, 'migration')} of this release not applied"
        if self.breaking:
            return f"the schema has {counted(self.breaking, 'breaking migration')} of a newer release"
        if self.contradicted:
            return f"{counted(self.contradicted, 'migration')} recorded as applied failed at the last attempt"
        return ""


@cache
def _loader() -> MigrationLoader:
    """What this code ships; it cannot change while the process lives."""
    return MigrationLoader(None)


@lru_cache(maxsize=2)
def _status(recorded: tuple[Key, ...]) -> Status:
    return read_status(_loader(), recorded)


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
    newer = status.newer
    ledger = Ledger(connection)
    try:
        contradicted, unattested = ledger.contradicted(), ledger.unattested()
    except InsufficientPrivilege:  # a role that may not read the ledger cannot know, and must still serve
        contradicted, unattested = {}, []
    return SchemaState(
        applied=len(status.applied),
        pending=len(status.pending),
        owed=_count_owed(connection),
        unknown=len(status.unknown),
        breaking=len({item.key for item in breaking(newer, connection, ledger.in_force(), unattested)}) if newer else 0,
        contradicted=len(status.applied.intersection(contradicted)),
        unattested=len(status.applied.intersection(unattested)),
    )


def _count_owed(connection: psycopg2.extensions.connection) -> int:
    with connection.cursor() as cursor:
        try:
            cursor.execute("SELECT count(*) FROM migrator_debts WHERE state = 'owed'")
        except UndefinedTable:
            return 0
        row = cursor.fetchone()
        return int(row[0]) if row else 0
