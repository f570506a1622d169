"""A batch of migrations: one transaction a migration, or one for all of them, tried again as a whole."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count

import psycopg2
from django.db import transaction
from django.db.migrations.state import ProjectState

from rupaya.migrator.errors import EnvironmentUnfit, TableLocked
from rupaya.migrator.plan.plan import Plan
from rupaya.migrator.run import backoff
from rupaya.migrator.run.context import RunContext
from rupaya.migrator.run.executor import Executor, TryBatchAgain


class BatchExecutor(Executor):
    """The executor that Django's command is given."""

    def migrate(
        self,
        targets: object,
        plan: object = None,
        state: ProjectState | None = None,
        fake: bool = False,
        fake_initial: bool = False,
    ) -> ProjectState:
        """Run the plan, in as many transactions as MIGRATE_BATCH and the migrations themselves say.

        Raises:
            MigratorError: the failure as its class.
        """

        def migrate(state: ProjectState | None) -> ProjectState:
            new_state: ProjectState = super(BatchExecutor, self).migrate(
                targets,  # type: ignore[arg-type]
                plan=plan,  # type: ignore[arg-type]
                state=state.clone() if state else None,
                fake=fake,
                fake_initial=fake_initial,
            )
            return new_state

        self._begin_batch()
        with self.context.drift.watching():
            if not self.context.one_transaction:
                return migrate(state)
            return self._in_one_transaction(lambda: migrate(state))

    def _begin_batch(self) -> None:
        """Number the batch, say so, and decide whether it is one transaction."""
        context = self.context
        if not self.plan.steps:
            return
        context.batch = context.ledger.next_batch()
        context.one_transaction = is_one_transaction(context.conf.batch, self.plan)
        number = len(self.plan.steps)
        context.output.say(
            f"Batch {context.batch} run: {number} migration{'s' if number != 1 else ''}",
            batch=context.batch,
            migrations=number,
        )

    def _in_one_transaction(self, migrate: Callable[[], ProjectState]) -> ProjectState:
        context = self.context
        for tries in count(1):
            self._transaction = None
            context.done.clear()
            context.lines.clear()
            context.open_attempts.clear()
            try:
                with transaction.atomic(using=self.connection.alias):
                    new_state = migrate()
                    self._check_transaction()
            except BaseException as error:
                self._close_attempts(context)
                if not isinstance(error, TryBatchAgain):
                    raise
                cause = error.__cause__ or error
                if tries > context.conf.retries or time.monotonic() >= context.deadline:
                    raise TableLocked(
                        str(error), cause, tries, "The whole batch was rolled back.", context.watch.blockers
                    ) from None
                context.output.say("The batch was rolled back because a table is locked; trying again", warning=True)
                context.stop.wait(backoff.pause_s(tries))
            else:
                for line in context.lines:
                    context.output.say(line, success=True)
                return new_state
        raise AssertionError("count() does not end")

    @staticmethod
    def _close_attempts(context: RunContext) -> None:
        with suppress(psycopg2.Error):
            for attempt_id, trace in context.open_attempts.items():
                context.ledger.fail_attempt(attempt_id, "rolled back", 1, "", "rolled back with its batch", trace)


def is_one_transaction(mode: str, plan: Plan) -> bool:
    """Whether a plan is to be one transaction.

    Raises:
        EnvironmentUnfit: if it was demanded (``MIGRATE_BATCH=all``) and cannot be.
    """
    not_atomic = [str(migration) for migration, _backwards in plan.steps if not migration.atomic]
    if mode == "all" and not_atomic:
        raise EnvironmentUnfit(
            f"MIGRATE_BATCH=all, but not every pending migration is atomic: {', '.join(not_atomic)}.",
            "They cannot be in one transaction; nothing was changed.",
            "Set MIGRATE_BATCH to auto or each.",
        )
    return mode == "all" or (mode == "auto" and plan.history_is_empty and not not_atomic)
