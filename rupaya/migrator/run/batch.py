"""A batch of migrations, in as few transactions as the migrations and MIGRATE_BATCH allow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count

import psycopg2
from django.db import transaction
from django.db.migrations.migration import Migration
from django.db.migrations.state import ProjectState

from rupaya.migrator.django import PlanStep
from rupaya.migrator.errors import EnvironmentUnfit, TableLocked, is_lost
from rupaya.migrator.plan.plan import Plan, key_of
from rupaya.migrator.run import backoff
from rupaya.migrator.run.context import RunContext
from rupaya.migrator.run.executor import CommitFirst, Executor, TryBatchAgain
from rupaya.migrator.run.failures import after_the_commit
from rupaya.migrator.run.others import is_done
from rupaya.migrator.run.outcome import recorded_by
from rupaya.migrator.run.transactions import COMMITTED

Migrate = Callable[[Sequence[PlanStep], ProjectState | None], ProjectState]


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

        def migrate(steps: Sequence[PlanStep], state: ProjectState | None) -> ProjectState:
            new_state: ProjectState = super(BatchExecutor, self).migrate(
                targets,  # type: ignore[arg-type]
                plan=list(steps),
                state=state.clone() if state else None,
                fake=fake,
                fake_initial=fake_initial,
            )
            return new_state

        steps = self.plan.steps
        if not steps:
            return migrate(steps, state)
        self._say_batch(len(steps))
        with self.context.drift.watching(), self.within_limits():
            if not is_shared(self.context.conf.batch, self.plan):
                return migrate(steps, state)
            for shared in segments(steps):
                run = self._in_one_transaction if shared[0][0].atomic else _each
                state = run(migrate, shared, state)
        assert state is not None  # noqa: S101 - there was a segment
        return state

    def _say_batch(self, number: int) -> None:
        context = self.context
        context.batch = context.ledger.next_batch()
        context.output.say(
            f"Batch {context.batch} run: {number} migration{'s' if number != 1 else ''}",
            batch=context.batch,
            migrations=number,
        )

    def _in_one_transaction(
        self, migrate: Migrate, steps: Sequence[PlanStep], state: ProjectState | None
    ) -> ProjectState:
        """Run consecutive atomic migrations in one transaction, again as a whole if a table is locked.

        Where the server says that what was done must be committed before the next migration may use it (a new value of
        an enum, rows with a foreign key that is checked at the end), or has no room for more locks, or where a
        migration's own code has a session of its own, it is: the rest is a transaction of its own.
        """
        context = self.context
        for tries in count(1):
            self._begin(context, steps)
            is_committing = False
            try:
                with (
                    self._observed(steps[0][0]),
                    transaction.atomic(using=self.connection.alias),
                ):
                    new_state = migrate(steps, state)
                    self._check_transaction()
                    self._close_all()
                    self._bound_commit(steps[-1][0])
                    is_committing = True
            except CommitFirst as error:
                self._roll_back(context)
                position = next(n for n, (migration, _backwards) in enumerate(steps) if migration is error.migration)
                state = self._in_one_transaction(migrate, steps[:position], state)
                return self._in_one_transaction(migrate, steps[position:], state)
            except BaseException as error:
                if is_committing and isinstance(error, Exception) and self._was_committed(error):
                    self._leave_committed(context)
                    raise after_the_commit(steps, error) from error
                self._roll_back(context)
                if not isinstance(error, TryBatchAgain):
                    raise
                cause = error.__cause__ or error
                if tries > context.conf.retries or time.monotonic() >= context.deadline:
                    raise TableLocked(
                        str(error), cause, tries, "The whole batch was rolled back.", context.watch.blockers
                    ) from None
                context.output.say(f"The batch was rolled back because {error.why}; trying again", warning=True)
                context.stop.wait(backoff.pause_s(tries))
                steps, state = self._what_is_left(steps, state)
                if not steps:
                    return self.state_now()
            else:
                self._leave_committed(context)
                return new_state
        raise AssertionError("count() does not end")

    def _was_committed(self, error: Exception) -> bool:
        """Whether an error came after the commit: of a function that was left for that (`transaction.on_commit`)."""
        began = self._transaction
        return began is not None and not is_lost(error) and began.outcome(self.context.ledger.connection) == COMMITTED

    def _leave_committed(self, context: RunContext) -> None:
        self._transaction = None
        self.recorder.coming = frozenset()
        context.one_transaction = False
        context.open_attempts.clear()
        for line, fields in context.lines:
            context.output.say(line, success=True, **fields)

    @contextmanager
    def _observed(self, first: Migration) -> Iterator[None]:
        """One thread watches the whole transaction; each migration of it begins a try of its own there."""
        with self._observing(first):
            self._is_observed = True
            try:
                yield
            finally:
                self._is_observed = False

    def _what_is_left(
        self, steps: Sequence[PlanStep], state: ProjectState | None
    ) -> tuple[Sequence[PlanStep], ProjectState | None]:
        """The steps that nobody has done meanwhile, and the state to begin from: None lets Django work it out."""
        recorded = recorded_by(self.context.ledger.connection)
        left = [step for step in steps if recorded is None or not is_done(*step, recorded)]
        if len(left) == len(steps):
            return steps, state
        self.loader.build_graph()
        return left, None

    def _begin(self, context: RunContext, steps: Sequence[PlanStep]) -> None:
        self._transaction = None
        self.recorder.coming = frozenset(
            key for migration, _backwards in steps for key in (key_of(migration), *migration.replaces)
        )
        self._fresh = context.owing.fresh.copy() if context.owing else None
        self._has_temporary = False
        context.one_transaction = True
        context.lines.clear()
        context.open_attempts.clear()
        context.unclosed.clear()

    def _roll_back(self, context: RunContext) -> None:
        """Close the ledger's rows of what the transaction that was rolled back had done."""
        if context.owing and self._fresh is not None:
            context.owing.fresh = self._fresh
        self.recorder.coming = frozenset()
        context.one_transaction = False
        undone = len(context.open_attempts)
        if undone:
            del context.done[-undone:]
        with suppress(psycopg2.Error):
            for done in context.open_attempts:
                context.ledger.fail_attempt(
                    done.attempt_id, "rolled back", 1, "", "rolled back with its batch", done.trace
                )


def _each(migrate: Migrate, steps: Sequence[PlanStep], state: ProjectState | None) -> ProjectState:
    return migrate(steps, state)


def segments(steps: Sequence[PlanStep]) -> list[list[PlanStep]]:
    """Consecutive atomic migrations together, each of the others by itself."""
    found: list[list[PlanStep]] = []
    for step in steps:
        if found and step[0].atomic and found[-1][-1][0].atomic:
            found[-1].append(step)
        else:
            found.append([step])
    return found


def is_shared(mode: str, plan: Plan) -> bool:
    """Whether migrations are to share transactions: where nobody can be using the schema yet, or where it is demanded.

    Raises:
        EnvironmentUnfit: if one transaction for all was demanded (``MIGRATE_BATCH=all``) and cannot be.
    """
    not_atomic = [str(migration) for migration, _backwards in plan.steps if not migration.atomic]
    if mode == "all" and not_atomic:
        raise EnvironmentUnfit(
            f"MIGRATE_BATCH=all, but not every pending migration is atomic: {', '.join(not_atomic)}.",
            "They cannot be in one transaction; nothing was changed.",
            "Set MIGRATE_BATCH to auto or each.",
        )
    return mode == "all" or (mode == "auto" and plan.history_is_empty)
