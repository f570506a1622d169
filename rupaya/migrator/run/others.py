"""What somebody else, who takes none of our locks, does at the same time: stock Django, a person at a shell, or a
migration's own code in a session of its own."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from subprocess import CalledProcessError

import psycopg2
from django.db.migrations.migration import Migration

from rupaya.migrator.django import Key
from rupaya.migrator.errors import is_lost
from rupaya.migrator.plan.fingerprint import migration_hashes
from rupaya.migrator.plan.plan import key_of
from rupaya.migrator.run.context import RunContext
from rupaya.migrator.run.outcome import recorded_by
from rupaya.migrator.run.transactions import COMMITTED, DoneByOthers, Transaction
from rupaya.migrator.sqlstates import NOT_THERE


def has_been_done(
    context: RunContext, migration: Migration, direction: str, error: BaseException, transaction: Transaction | None
) -> bool:
    """Whether somebody else has done a migration that did not end well here, so that nothing is left to do.

    Only of an atomic one, of which nothing of ours stays.
    """
    if isinstance(error, DoneByOthers):
        return True
    if context.stop.requested or not migration.atomic or is_lost(error):
        return False
    by = context.ledger.connection
    try:
        if transaction is not None and transaction.outcome(by) == COMMITTED:
            return False
    except psycopg2.Error:
        return False
    return is_done_by_now(context, migration, direction)


def is_done_by_now(context: RunContext, migration: Migration, direction: str) -> bool:
    """Whether the history has by now what a step would bring about; False where it cannot be asked."""
    recorded = recorded_by(context.ledger.connection)
    return recorded is not None and is_done(migration, direction == "unapply", recorded)


def is_done(migration: Migration, backwards: bool, recorded: Collection[Key]) -> bool:
    """Whether a history has, or has no more, what a step would bring about; a squash counts by what it replaces."""
    keys: list[Key] = list(migration.replaces) or [key_of(migration)]
    return all((key in recorded) != backwards for key in keys)


def was_said_to_another_session(error: BaseException, context: RunContext) -> bool:
    """Whether a migration's own code has used another session of this database, or a program that may have had one, and
    failed there: that sees nothing of what this run has not committed."""
    while not isinstance(error, psycopg2.Error | CalledProcessError):
        if error.__cause__ is None:
            return False
        error = error.__cause__
    if isinstance(error, CalledProcessError):
        return True
    if error.pgcode not in NOT_THERE or error.cursor is None:
        return False
    other, ours = error.cursor.connection, context.connection.connection
    if other is ours or other.closed:
        return False
    with suppress(psycopg2.Error), context.ledger.connection.cursor() as cursor:
        cursor.execute(
            "SELECT FROM pg_stat_activity WHERE pid = %s AND datname = current_database()", [other.info.backend_pid]
        )
        return cursor.fetchone() is not None
    return False


def attest(context: RunContext, migration: Migration, direction: str, phase: str) -> None:
    """Let the ledger know of what somebody else did, who keeps none; it ran whole, and left nothing owed."""
    fingerprint, file_hash = migration_hashes(migration)
    with context.ledger.connection.cursor() as cursor:
        context.ledger.attest(
            cursor,
            key_of(migration),
            direction=direction,
            phase=phase,
            fingerprint=fingerprint,
            file_hash=file_hash,
        )
