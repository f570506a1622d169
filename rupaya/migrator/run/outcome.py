"""What became of a migration that did not end well, and of those before it in its batch: by the server's word."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass

import psycopg2
from django.db.migrations.migration import Migration
from psycopg2.extensions import connection as PgConnection  # noqa: N812 - a class, whatever its author named it

from rupaya.migrator.django import Key, recorded_keys
from rupaya.migrator.plan.plan import Plan, key_of
from rupaya.migrator.plan.repeatable import may_run_again
from rupaya.migrator.plan.status import read_status
from rupaya.migrator.run.context import RunContext
from rupaya.migrator.run.transactions import COMMITTED, ROLLED_BACK, UNDER_WAY, Transaction
from rupaya.migrator.session import database

# A backend whose client has gone may need a moment to roll back.
WAIT_S = 2.0
POLL_S = 0.1


@dataclass(frozen=True)
class Outcome:
    """Facts, and the sentences that follow from them; what could not be asked is left unsaid or called unknown."""

    is_atomic: bool
    transaction: str
    """``committed``, ``aborted``, ``in progress`` if it is still neither, or empty if the server could not be asked."""
    is_recorded: bool | None
    """Whether the history has the migration; None if it could not be asked."""
    may_run_again: bool
    """Whether it may be run again as it is, whatever it left behind."""
    is_whole_batch: bool
    still_done: Sequence[str] | None
    """Of this batch's earlier migrations, those that the history has; or, backwards, has no more. None if it could not
    be asked."""
    backwards: bool
    """Whether the batch unapplies."""

    @classmethod
    def ask(
        cls, context: RunContext, migration: Migration, transaction: Transaction | None, *, backwards: bool
    ) -> Outcome:
        """Ask on the lock connection, or on a fresh one if that is gone."""
        connection = reachable(context)
        fate = _fate(transaction, connection) if transaction else ""
        recorded = recorded_by(connection)
        names = [str(done) for done in context.done if (key_of(done) in (recorded or ())) != backwards]
        # Where no transaction was begun, nothing was done in one.
        never_begun = migration.atomic and transaction is None
        return cls(
            is_atomic=bool(migration.atomic),
            transaction=ROLLED_BACK if never_begun else fate,
            is_recorded=None if recorded is None else key_of(migration) in recorded,
            may_run_again=may_run_again(migration),
            is_whole_batch=context.one_transaction,
            still_done=None if recorded is None else names,
            backwards=backwards,
        )

    @property
    def is_settled(self) -> bool:
        """Whether the history has, or has no more, what was to be brought about."""
        return self.is_recorded is not None and self.is_recorded != self.backwards

    @property
    def is_committed(self) -> bool:
        """Whether all of it is there, in spite of what failed: that came after the commit."""
        return self.transaction == COMMITTED and self.is_settled

    @property
    def is_half_done(self) -> bool:
        """Whether it may have left something behind and must not be run again as it is."""
        return not self.may_run_again and not self.is_settled

    def __str__(self) -> str:
        sentences = [self._of_the_migration()]
        if self.is_half_done:
            sentences.append("The next run will stop and ask; it will not guess how far this one got.")
        if self.still_done:
            sentences.append(self._of_the_batch())
        elif self.still_done is not None and self.transaction == ROLLED_BACK and not self.is_settled:
            sentences.append(f"Nothing of this batch {'was unapplied' if self.backwards else 'remains applied'}.")
        return " ".join(sentences)

    def _of_the_batch(self) -> str:
        begin = "Unapplied before it, and so it stays" if self.backwards else "Still applied from this batch"
        return f"{begin}: {', '.join(self.still_done or ())}."

    def of_a_transaction_that_it_ended(self) -> str:
        """What is known where the migration itself ended its transaction: nothing of what it did afterwards."""
        began = {
            COMMITTED: "What it did in the transaction that it ended is committed and stays.",
            ROLLED_BACK: "What it did in the transaction that it ended was rolled back.",
            UNDER_WAY: "What it did in the transaction that it left is neither committed nor rolled back, and its "
            "locks stay: if pg_prepared_xacts has it, end it by COMMIT PREPARED or ROLLBACK PREPARED.",
        }.get(self.transaction, "The server could not be asked what became of the transaction that it ended.")
        still = f" {self._of_the_batch()}" if self.still_done else ""
        return f"{began} What it did after that, outside any transaction, stays.{still}"

    def _of_the_migration(self) -> str:
        is_done = "is unapplied" if self.backwards else "is applied and recorded"
        if not self.is_atomic:
            return f"All of it was done: it {is_done}." if self.is_settled else "It is not atomic: what it did stays."
        if self.transaction == ROLLED_BACK and not self.is_settled:
            if not self.is_whole_batch:
                return "Its transaction was rolled back whole."
            if self.still_done:
                return "The batch's last transaction was rolled back."
            return "The whole batch was rolled back."
        if self.is_committed:
            return f"It was committed all the same, and {is_done}."
        if self.transaction == COMMITTED:
            return "What it did in that transaction is committed and stays, and it is not recorded."
        if self.is_settled:
            return f"It {is_done}, although it did not end as one whole: look at what is there."
        if self.transaction == UNDER_WAY:
            return "It is neither committed nor rolled back yet: pg_stat_activity or pg_prepared_xacts has it."
        return "The server could not be asked whether it was rolled back."


def how_far(context: RunContext, plan: Plan) -> str:
    """Whether everything of the plan's release is applied now, and if not, what this run has done."""
    recorded = recorded_by(reachable(context))
    if recorded is None:
        return "The server could not be asked what is applied."
    if not read_status(plan.executor.loader, recorded).pending:
        return "All migrations are applied."
    backwards = any(backwards for _migration, backwards in plan.steps)
    done = [str(migration) for migration in context.done if (key_of(migration) in recorded) != backwards]
    return f"Done by this run: {', '.join(done)}." if done else "This run completed no migration."


def reachable(context: RunContext) -> PgConnection:
    """Whom to ask: the lock connection, or a fresh one if that is gone; where there is no server, neither answers."""
    lost = context.lock.lock_connection
    with suppress(psycopg2.Error), closing(lost.cursor()) as cursor:
        cursor.execute("SELECT 1")
        return lost
    with suppress(psycopg2.Error):
        return database.connect(context.connection)
    return lost


def _fate(transaction: Transaction, connection: PgConnection) -> str:
    deadline = time.monotonic() + WAIT_S
    while True:
        fate = transaction.outcome(connection)
        if fate != UNDER_WAY or time.monotonic() > deadline:
            return fate
        time.sleep(POLL_S)


def recorded_by(connection: PgConnection) -> tuple[Key, ...] | None:
    try:
        return recorded_keys(connection)
    except psycopg2.Error:
        return None
