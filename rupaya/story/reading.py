"""Short, read-only, bounded looks at the primary: a page must neither wait for a migration nor keep one waiting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg2
from django.db import DEFAULT_DB_ALIAS, Error, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

STATEMENT_TIMEOUT_MS = 3000
LOCK_TIMEOUT_MS = 300
# query_canceled and lock_not_available: the two limits above.
OUT_OF_TIME_SQLSTATES = ("57014", "55P03")
# The migrator's own reads go round Django, and so do their errors.
ERRORS = (Error, psycopg2.Error)


@dataclass(frozen=True)
class Tables:
    """Which of the tables that tell the story are there, for this role to read."""

    history: bool
    ledger: bool
    snapshots: bool
    traces: bool


_TABLES = """
    SELECT array_agg(coalesce(has_table_privilege(to_regclass(name), 'SELECT'), false) ORDER BY position)
    FROM unnest(string_to_array(
        'django_migrations migrator_runs migrator_attempts migrator_snapshots migrator_traces', ' '
    )) WITH ORDINALITY AS wanted (name, position)
"""


@contextmanager
def bounded() -> Iterator[BaseDatabaseWrapper]:
    """A read-only transaction on the default connection, each statement of which is short or fails."""
    connection = connections[DEFAULT_DB_ALIAS]
    is_outermost = not connection.in_atomic_block
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        if is_outermost:
            cursor.execute("SET TRANSACTION READ ONLY")
        cursor.execute(
            "SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true)",
            [str(STATEMENT_TIMEOUT_MS), str(LOCK_TIMEOUT_MS)],
        )
        yield connection


def tables(connection: BaseDatabaseWrapper) -> Tables:
    """What there is to read."""
    (((history, runs, attempts, snapshots, traces),),) = rows(connection, _TABLES)
    ledger = runs and attempts
    return Tables(history, ledger, snapshots=ledger and snapshots, traces=ledger and traces)


def rows(
    connection: BaseDatabaseWrapper, sql: str, **parameters: str | int | list[int] | list[str]
) -> list[tuple[Any, ...]]:
    """All rows of a query, their number bounded by the caller."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters or None)
        return list(cursor.fetchall())
