"""What became of a migration that did not end well, and of those before it in its batch: by the server's word."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass

import psycopg2
from django.db.migrations.migration import Migration
from psycopg2.extensions import connection as PgConnection  # noqa: N812

from rupaya.migrator.plan.plan import Plan, key_of
from rupaya.migrator.plan.repeatable import may_run_again
from rupaya.migrator.plan.status import read_status
from rupaya.migrator.run.context import RunContext
from rupaya.migrator.run.transactions import COMMITTED, ROLLED_BACK, Transaction
from rupaya.migrator.session import database

# A backend whose client has gone may need a moment to roll back.
WAIT_S = 2.0
POLL_S = 0.1


@dataclass(frozen=True)
class Outcome:
    """Facts, and the sentences that follow from them; what could not be asked is left unsaid or called unknown."""

    is_atomic: bool
    transaction: str
    """``committed``, ``aborted``, or empty if the server could not be asked."""
    is_recorded: bool | None
    """Whether the history has the migration; None if it could not be asked."""
    is_half_done: bool
    """Whether it left something behind and may not be run again as it is."""
    is_whole_batch: bool
    still_applied: Sequence[str] | None
    """What the history has of this batch's earlier migrations; None if it could not be asked."""

    @classmethod
    def ask(cls, context: RunContext, migration: Migration, transaction: Transaction | None) -> Outcome:
        """Ask on the lock connection, or on a fresh one if that is gone."""
        fate, recorded = "", None
        for connection in _connections(context):
            fate = _fate(transaction, connection) if transaction else ""
            recorded = recorded_by(connection)
            if recorded is not None:
                break
        names = [str(done) for done in context.done if recorded and key_of(done) in recorded]
        # Where no transaction was begun, nothing was done in one.
        never_begun = migration.atomic and transaction is None
        return cls(
            is_atomic=bool(migration.atomic),
            transaction=ROLLED_BACK if never_begun else fate,
            is_recorded=None if recorded is None else key_of(migration) in recorded,
            is_half_done=not may_run_again(migration),
            is_whole_batch=context.one_transaction,
            still_applied=None if recorded is None else names,
        )

    def __str__(self) -> str:
        sentences = [self._of_the_migration()]
        if self.is_half_done:
            sentences.append("The next run will stop and ask; it will not guess how far this one got.")
        if self.still_applied:
            sentences.append(f"Still applied from this batch: {', '.join(self.still_applied)}.")
        elif self.still_applied is not None and self.transaction == ROLLED_BACK and not self.is_recorded:
            sentences.append("Nothing of this batch remains applied.")
        return " ".join(sentences)

    def of_a_transaction_that_it_ended(self) -> str:
        """What is known where the migration itself ended its transaction: nothing of what it did afterwards."""
        began = {
            COMMITTED: "What it did in the transaction that it ended is committed and stays.",
            ROLLED_BACK: "What it did in the transaction that it ended was rolled back.",
        }.get(self.transaction, "What became of the transaction that it ended could not be asked.")
        still = f" Still applied from this batch: {', '.join(self.still_applied)}." if self.still_applied else ""
        return f"{began} What it did after that, outside of any, stays.{still}"

    def _of_the_migration(self) -> str:
        if not self.is_atomic:
            return "It is not atomic: what it did so far stays."
        if self.transaction == ROLLED_BACK and not self.is_recorded:
            if not self.is_whole_batch:
                return "It was rolled back whole."
            if self.still_applied:
                return "The batch's last transaction was rolled back."
            return "The whole batch was rolled back."
        if self.transaction == COMMITTED and self.is_recorded:
            return "It was committed all the same, and is applied and recorded."
        if self.transaction == COMMITTED:
            return "What it did in that transaction is committed and stays, and it is not recorded as applied."
        if self.is_recorded:
            return "It is recorded as applied, although it did not end as one whole: look at what is there."
        return "Whether it was rolled back could not be asked of the server."


def how_far(context: RunContext, plan: Plan) -> str:
    """Whether everything of the plan's release is applied now, and if not, what this run has done."""
    for connection in _connections(context):
        recorded = recorded_by(connection)
        if recorded is None:
            continue
        if not read_status(plan.executor.loader, recorded).pending:
            return "All migrations are applied."
        done = [str(migration) for migration in context.done]
        return f"Done by this run: {', '.join(done)}." if done else "This run did no migration."
    return "What is applied could not be asked of the server."


def _connections(context: RunContext) -> list[PgConnection]:
    connections = [context.lock.lock_connection]
    with suppress(psycopg2.Error), closing(context.lock.lock_connection.cursor()) as cursor:
        cursor.execute("SELECT 1")
        return connections
    with suppress(psycopg2.Error):
        connections = [database.connect(context.connection)]
    return connections


def _fate(transaction: Transaction, connection: PgConnection) -> str:
    deadline = time.monotonic() + WAIT_S
    while True:
        fate = transaction.outcome(connection)
        if fate != "in progress" or time.monotonic() > deadline:
            return fate if fate in (COMMITTED, ROLLED_BACK) else ""
        time.sleep(POLL_S)


def recorded_by(connection: PgConnection) -> list[tuple[str, str]] | None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('django_migrations') IS NOT NULL")
            row = cursor.fetchone()
            if not (row and row[0]):
                return []
            cursor.execute("SELECT app, name FROM django_migrations ORDER BY id")
            return list(cursor.fetchall())
    except psycopg2.Error:
        return None
