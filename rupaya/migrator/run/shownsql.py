"""What of a migration's statements may be shown and kept: its own text, and nobody's data."""

from __future__ import annotations

from django.db.migrations.migration import Migration
from django.db.migrations.operations import RunPython, RunSQL

from rupaya.migrator.ledger.trace import Trace
from rupaya.migrator.plan.phases import flat_operations
from rupaya.migrator.statements import mask_literals

KNOWN_OPERATIONS = ("django.", "django_pg_migration_tools.", "rupaya.migrator.")
"""Modules of operations that send people's data as parameters, never in a statement's text."""


def runs_anything(migration: Migration) -> bool:
    """Whether a migration has SQL or Python of its own, which may do anything to the session."""
    return any(
        isinstance(operation, RunPython | RunSQL) or not type(operation).__module__.startswith(KNOWN_OPERATIONS)
        for operation in flat_operations(migration.operations)
    )


def trace_of(migration: Migration) -> Trace:
    """An empty trace, which keeps literals only of what is surely the migration's own text and not somebody's data."""
    operations = list(flat_operations(migration.operations))
    runs_python = any(
        isinstance(operation, RunPython) or not type(operation).__module__.startswith(KNOWN_OPERATIONS)
        for operation in operations
    )
    own_sql = {
        sql
        for operation in operations
        if isinstance(operation, RunSQL)
        for script in (operation.sql, operation.reverse_sql)
        for sql in ([script] if isinstance(script, str) else script or ())
        if isinstance(sql, str)
    }
    return Trace(keeps_literals=not runs_python, own_sql=own_sql)


def shown(migration: Migration, sql: str) -> str:
    """A statement as it may be shown: whole if it is surely the migration's own text, else without literals."""
    return sql if trace_of(migration).shows_literals(sql) else mask_literals(sql)
