"""Runs one migration: under both locks, within timeouts, tried again where that helps, recorded exactly once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from typing import Any

import psycopg2
from django.db import DatabaseError, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.migration import Migration
from django.db.migrations.state import ProjectState, StateApps
from django.db.models import Model

from rupaya.migrator.django import Key, PlanStep, applied_state, no_savepoint_within
from rupaya.migrator.errors import (
    MigrationFailed,
    MigratorError,
    driver_text,
    sqlstate,
)
from rupaya.migrator.ledger.ledger import Done, Ledger
from rupaya.migrator.ledger.trace import Trace
from rupaya.migrator.plan.fingerprint import migration_hashes
from rupaya.migrator.plan.phases import CONTRACT
from rupaya.migrator.plan.plan import Plan, key_of
from rupaya.migrator.plan.repeatable import may_run_again
from rupaya.migrator.run import again, backoff
from rupaya.migrator.run.context import RunContext
from rupaya.migrator.run.failures import explained, kind_of
from rupaya.migrator.run.others import attest, has_been_done, is_done_by_now, was_said_to_another_session
from rupaya.migrator.run.outcome import Outcome
from rupaya.migrator.run.shownsql import runs_anything, trace_of
from rupaya.migrator.run.transactions import (
    CheckedRecorder,
    Depth,
    RowGone,
    Transaction,
    TransactionEnded,
    check_deferred_constraints,
    has_temporary_tables,
)
from rupaya.migrator.sessionsettings import read_settings, restore_settings, session_settings
from rupaya.migrator.sqlstates import (
    DUPLICATE_TABLE,
    NEEDS_COMMIT,
    RETRYABLE,
)


class TryBatchAgain(Exception):
    """A whole batch in one transaction must be tried again, because of what happened at the migration it names."""

    def __init__(self, migration: Migration, why: str = "a table is locked") -> None:
        super().__init__(str(migration))
        self.why = why


class CommitFirst(Exception):
    """A migration needs what was done before it in the same transaction to be committed."""

    def __init__(self, migration: Migration) -> None:
        self.migration = migration


class Executor(MigrationExecutor):
    """Django's executor, each migration of which is locked, bounded, retried and recorded."""

    recorder: CheckedRecorder

    def __init__(self, plan: Plan, context: RunContext) -> None:
        # Not Django's own __init__, which would read every migration again: the plan's executor has just done that.
        self.connection = plan.executor.connection
        self.loader = plan.executor.loader
        self.recorder = CheckedRecorder(
            self.connection, lambda: self._transaction, lambda: self._may_have_let_go, self._recorded
        )
        self.progress_callback = None
        self.plan = plan
        self.context = context
        self.apps_after: StateApps | None = None
        """The models of every app after the run, which Django rendered for the receivers of post_migrate."""
        self._transaction: Transaction | None = None
        self._settings: dict[str, str] = {}
        self._is_within_limits = False
        self._is_observed = False
        self._may_have_let_go = True
        """Whether a migration's own code may have freed a lock since it was looked at."""
        self._has_temporary = False
        """Whether the session had temporary tables when the last code of a batch had run."""
        self._faked = False
        self._under_way: Migration | None = None
        self._attempt_to_close: tuple[int, int, float] | None = None
        """Its number, at which try it is, and when it began, by `time.monotonic`."""

    def migration_plan(self, targets: object, clean_start: bool = False) -> list[PlanStep]:
        """The run's plan, whatever Django makes of the targets; with `clean_start`, Django's full plan."""
        if clean_start:
            full: list[PlanStep] = super().migration_plan(targets, clean_start)  # type: ignore[arg-type]
            return full
        return list(self.plan.steps)

    def applied_models(self) -> list[type[Model]]:
        """The models that the migrations applied by now amount to, tables of many-to-many fields included."""
        apps = self.apps_after
        if apps is None or len(self.context.done) != len(self.plan.steps):  # a receiver may have migrated as well
            self.loader.build_graph()
            apps = applied_state(self).apps
        return apps.get_models(include_auto_created=True)

    def apply_migration(
        self, state: ProjectState, migration: Migration, fake: bool = False, fake_initial: bool = False
    ) -> ProjectState:
        """Run a migration forwards; see `MigratorError` for what it raises."""

        def work(state: ProjectState) -> ProjectState:
            self._faked = fake
            return super(Executor, self).apply_migration(state, migration, fake=fake, fake_initial=fake_initial)

        return self.run_recorded(migration, "apply", state, work)

    def unapply_migration(self, state: ProjectState, migration: Migration, fake: bool = False) -> ProjectState:
        """Run a migration backwards; see `MigratorError` for what it raises."""

        def work(state: ProjectState) -> ProjectState:
            self._faked = fake
            return super(Executor, self).unapply_migration(state, migration, fake=fake)

        return self.run_recorded(migration, "unapply", state, work)

    def run_recorded(
        self,
        migration: Migration,
        direction: str,
        state: ProjectState,
        work: Callable[[ProjectState], ProjectState],
    ) -> ProjectState:
        """Do `work` as an attempt at a migration: bounded, tried again where that helps, recorded in the ledger.

        Raises:
            MigratorError: the failure as its class.
        """
        context = self.context
        fingerprint, file_hash = migration_hashes(migration)
        context.stop.check()
        if self._may_have_let_go:
            context.lock.verify()
        self._may_have_let_go = runs_anything(migration)
        if not migration.atomic and is_done_by_now(context, migration, direction):  # it could not be rolled back
            self._say_left_to_others(migration, direction, "this run did nothing of it")
            return self._state_now(direction, state)
        start = partial(
            Ledger.start_attempt,
            batch=context.batch,
            app=migration.app_label,
            name=migration.name,
            direction=direction,
            phase=context.phases.get(key_of(migration), CONTRACT),
            atomic=bool(migration.atomic),
            fingerprint=fingerprint,
            file_hash=file_hash,
        )
        attempt_id = start(context.ledger)
        context.output.progress(f"{migration}")
        context.progress.begin(f"{migration}", context.rows.took_s(migration) if context.rows else None)
        trace = context.watch.trace = trace_of(migration)
        began = time.monotonic()
        tries = 0
        while True:
            tries += 1
            try:
                new_state = self._attempt(migration, state, work, attempt_id, tries, direction, began)
            except BaseException as error:
                self._under_way = self._attempt_to_close = None
                if self._needs_commit(error) and context.open_attempts and context.conf.batch != "all":
                    context.ledger.fail_attempt(
                        attempt_id, "rolled back", tries, sqlstate(error), driver_text(error), trace
                    )
                    raise CommitFirst(migration) from error
                if has_been_done(context, migration, direction, error, self._transaction):
                    self._leave_to_others(migration, direction, attempt_id, tries, error)
                    if context.one_transaction:
                        raise TryBatchAgain(migration, "somebody else did a part of it") from error
                    return self._state_now(direction, state)
                if not self._is_worth_another_try(migration, error, tries):
                    outcome = self._outcome(migration, direction)
                    failure = self.explain(migration, error, outcome, tries)
                    ended = "interrupted" if context.stop.requested else "failed"
                    kind = kind_of(self.context, error, self._limits_ms(migration)["statement_timeout"])
                    if not kind and isinstance(failure, MigrationFailed) and not isinstance(error, RowGone):
                        kind = "PYTHON"
                    if not outcome.is_committed:  # else the ledger has that it succeeded, by the same commit
                        how = (ended, tries, kind, failure.happened, trace)
                        self._record_failure(key_of(migration), attempt_id, start, how)
                    raise failure from (None if isinstance(error, DatabaseError | MigratorError) else error)
                if context.one_transaction:
                    context.ledger.fail_attempt(
                        attempt_id, "rolled back", tries, sqlstate(error), driver_text(error), trace
                    )
                    raise TryBatchAgain(migration) from error
                self._back_off(migration, error, tries)
                context.lock.verify()
                if has_been_done(context, migration, direction, error, self._transaction):
                    self._leave_to_others(migration, direction, attempt_id, tries, error)
                    return self._state_now(direction, state)
                state = self.state_before(direction, state)
            else:
                break
        self._say_done(migration, direction, attempt_id, trace, time.monotonic() - began, tries)
        return new_state

    def _record_failure(
        self, key: Key, attempt_id: int, start: Callable[[Ledger], int], how: tuple[str, int, str, str, Trace]
    ) -> None:
        """Close the attempt; where somebody took its row away, another one, as the next run must know all the same."""

        def record(ledger: Ledger) -> None:
            ledger.fail_attempt(attempt_id, *how)
            if ledger.last_end(*key)[0] != how[0]:
                ledger.fail_attempt(start(ledger), *how)

        with suppress(psycopg2.Error):  # the server may be what was lost
            again.on_the_ledger(self.connection, self.context.stop, self.context.ledger, record)

    def _leave_to_others(
        self, migration: Migration, direction: str, attempt_id: int, tries: int, error: BaseException
    ) -> None:
        """Close an attempt at what somebody else has done meanwhile, who takes none of our locks."""
        context = self.context
        context.ledger.fail_attempt(
            attempt_id,
            "rolled back",
            tries,
            sqlstate(error),
            "somebody else has done it meanwhile",
            context.watch.trace,
        )
        ours = f"what this run did of it {'was rolled back' if migration.atomic else 'stays'}"
        self._say_left_to_others(migration, direction, ours)

    def _say_left_to_others(self, migration: Migration, direction: str, ours: str) -> None:
        attest(self.context, migration, direction, self.plan.phases.get(key_of(migration), CONTRACT))
        verb = "applied" if direction == "apply" else "unapplied"
        self.context.output.say(f"{migration} was {verb} by somebody else meanwhile; {ours}", warning=True)

    def _say_done(
        self, migration: Migration, direction: str, attempt_id: int, trace: Trace, duration_s: float, tries: int
    ) -> None:
        context = self.context
        verb = "" if direction == "apply" else " unapplied"
        line = f"✓ {migration}{verb} ({duration_s:.3f} s)" + (" faked" if self._faked else "")
        fields: dict[str, Any] = {
            "migration": str(migration),
            "duration_s": round(duration_s, 3),
            "tries": tries,
        }
        context.done.append(migration)
        if context.one_transaction:
            context.lines.append((line, fields))  # printed once it is true: after the commit
        else:
            context.output.say(line, success=True, **fields)

    def _attempt(
        self,
        migration: Migration,
        state: ProjectState,
        work: Callable[[ProjectState], ProjectState],
        attempt_id: int,
        tries: int,
        direction: str,
        began: float,
    ) -> ProjectState:
        context, connection = self.context, self.connection
        if not self._settings:
            self._settings = read_settings(connection)
        if not context.one_transaction:
            self._transaction = None
        self._attempt_to_close = (attempt_id, tries, began)
        self._under_way = migration
        if direction == "apply" and context.rows is not None:
            with context.stop.interrupting():
                context.rows.look_again(migration)
        is_code_in_a_batch = context.one_transaction and runs_anything(migration)
        with (
            # First: a signal that is raised while a thread starts leaves that in pieces.
            self._observing(migration),
            context.stop.interrupting(),
            self._limits(migration),
            connection.execute_wrapper(context.watch.statement),
            self._one_transaction(migration),
            self._by_halves(migration, direction),
        ):
            if is_code_in_a_batch:
                self._close_all()  # it may end this transaction, and what was recorded in it is committed then
            depth = Depth.of(connection)
            try:
                new_state = work(state)
            except BaseException:
                depth.come_back(connection)
                raise
            depth.refuse_deeper(connection)
            context.stop.check()  # a migration may have swallowed the exception
            if is_code_in_a_batch:
                check_deferred_constraints(connection)
                self._has_temporary = has_temporary_tables(connection)
            if context.one_transaction:
                self._keep_session(migration)
                done = self._done()
                context.open_attempts.append(done)
                context.unclosed.append(done)
            else:
                self._check_transaction()
                self._keep_session(migration)
                if self._attempt_to_close:
                    self._close([self._done()])
                if migration.atomic:
                    self._bound_commit(migration)
        self._under_way = None
        if not context.one_transaction:
            self._transaction = None  # over: what Django records next, a squash that is complete, is on its own
        return new_state

    def _observing(self, migration: Migration) -> AbstractContextManager[None]:
        """Watch what the session waits for and holds, for one try."""
        watch = self.context.watch
        hold_at_most_ms = self._limits_ms(migration)["statement_timeout"] * bool(migration.atomic)
        if self._is_observed:
            watch.begin_try(hold_at_most_ms)
            return nullcontext()
        return watch.observing(self.connection.connection.info.backend_pid, hold_at_most_ms=hold_at_most_ms)

    @contextmanager
    def _one_transaction(self, migration: Migration) -> Iterator[None]:
        """The migration, its history row and its ledger row in one transaction: Django alone writes the history after
        the deferred SQL has committed."""
        if not migration.atomic:
            yield
            return
        # Where the batch is one transaction, its failure takes back all of it: no savepoint is ever returned to.
        block = transaction.atomic(using=self.connection.alias, savepoint=not self.context.one_transaction)
        with block, no_savepoint_within(block, self.connection):
            if self._transaction is None:
                self._transaction = Transaction.begun(self.connection)
            raw = self.connection.connection
            try:
                yield
            except BaseException as error:
                # Before Django's own way out, which closes it as well. 1: this process closed it; 2: it was lost.
                if raw.closed == 1 and not self.context.stop.requested:
                    raise TransactionEnded("this process closed the connection") from error
                raise

    @contextmanager
    def _by_halves(self, migration: Migration, direction: str) -> Iterator[None]:
        """Let Django's operations do the half that old code survives, and owe the rest, where the run says so."""
        owing = self.context.owing
        if owing is None:
            yield
            return
        told = len(owing.warnings)
        with owing.carrying_out(migration, backwards=direction == "unapply"):
            yield
        for warning in owing.warnings[told:]:
            self.context.output.say(warning, warning=True)

    def _check_transaction(self) -> None:
        if self._transaction is not None:
            self._transaction.verify(self.connection)

    def _bound_commit(self, migration: Migration) -> None:
        """Let the COMMIT that comes next wait only until the deadline for a replica that never answers."""
        if not self._limits_ms(migration)["statement_timeout"]:
            with self.connection.cursor() as cursor:
                cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(self.context.left_ms)])
        self.context.watch.begin_statement("COMMIT")  # where deferred constraints are checked

    def _recorded(self, direction: str, key: Key) -> None:
        """Let the ledger know of each row that stands for no attempt: what a squashed migration replaces, and one that
        is complete because all that it replaces is there."""
        migration = self._under_way
        if migration is not None and key in (key_of(migration), *migration.replaces):
            # Of one that is not atomic, nothing else commits together with its row.
            if not migration.atomic and self._attempt_to_close:
                self._close([self._done()])
            if key == key_of(migration):
                return
        with self.connection.cursor() as cursor:
            self.context.ledger.attest_change(cursor, key, direction)

    def _done(self) -> Done:
        """The attempt under way, as it is to be closed."""
        assert self._attempt_to_close  # noqa: S101 - for the type checker
        attempt_id, tries, began = self._attempt_to_close
        self._attempt_to_close = None
        return Done(attempt_id, tries, self._faked, time.monotonic() - began, self.context.watch.trace)

    def _close_all(self) -> None:
        """Close those of a batch in one transaction that are not closed yet, all at once."""
        self._close(self.context.unclosed)
        self.context.unclosed.clear()

    def _close(self, done: list[Done]) -> None:
        """Close the ledger's rows of attempts, in the transaction that records their migrations.

        Raises:
            RowGone: if one is not there.
        """
        if not done:
            return
        with self.connection.cursor() as cursor:
            if not self.context.ledger.finish_attempts(cursor, done):
                raise RowGone(
                    "the ledger's row of this attempt is gone, or closed already",
                    "Somebody changed the ledger while it ran. It is not recorded as applied without it.",
                    "Start again.",
                )

    def _keep_session(self, migration: Migration) -> None:
        """Give the session back the settings that it had: none may govern the next migration."""
        if not runs_anything(migration):
            return
        changed = restore_settings(self.connection, self._settings)
        if changed:
            left = ", ".join(f"{name} = {value!r}" if value else name for name, value in sorted(changed.items()))
            self.context.output.say(
                f"{migration} changed settings of the session and left them: {left}. They were set back",
                warning=True,
            )

    def _limits_ms(self, migration: Migration) -> dict[str, int]:
        """How long each statement may wait for a table, and (atomic, live) how long it may hold one."""
        usual = self._usual_limits_ms
        statement_timeout_ms = usual["statement_timeout"] if migration.atomic else 0
        return {
            "lock_timeout": getattr(migration, "lock_timeout_ms", usual["lock_timeout"]),
            "statement_timeout": getattr(migration, "statement_timeout_ms", statement_timeout_ms),
        }

    @property
    def _usual_limits_ms(self) -> dict[str, int]:
        """Those of an atomic migration that says nothing of them."""
        conf = self.context.conf
        return {
            "lock_timeout": conf.lock_timeout_ms,
            "statement_timeout": conf.statement_timeout_ms if self.context.is_live else 0,
        }

    @contextmanager
    def within_limits(self) -> Iterator[None]:
        """Keep the session within the usual limits for as long as the block runs, so that few migrations set any."""
        with session_settings(self.connection, **self._usual_limits_ms):
            self._is_within_limits = True
            try:
                yield
            finally:
                self._is_within_limits = False

    def _limits(self, migration: Migration) -> AbstractContextManager[None]:
        limits_ms = self._limits_ms(migration)
        if self._is_within_limits and limits_ms == self._usual_limits_ms and not runs_anything(migration):
            return nullcontext()
        return session_settings(self.connection, **limits_ms)

    def detect_soft_applied(
        self, project_state: ProjectState | None, migration: Migration
    ) -> tuple[bool, ProjectState]:
        """Whether `--fake-initial` finds a migration's tables there; it is faked then."""
        found: tuple[bool, ProjectState] = super().detect_soft_applied(project_state, migration)
        self._faked = found[0]
        return found

    def _needs_commit(self, error: BaseException) -> bool:
        """Whether what failed may do once what was done before it in the same transaction is committed."""
        code = sqlstate(error)
        return (
            code in NEEDS_COMMIT
            or (code == DUPLICATE_TABLE and self._has_temporary)
            or was_said_to_another_session(error, self.context)
        )

    def _is_worth_another_try(self, migration: Migration, error: BaseException, tries: int) -> bool:
        context = self.context
        return (
            sqlstate(error) in RETRYABLE
            and may_run_again(migration)
            and not context.stop.requested
            and tries <= context.conf.retries
            and time.monotonic() < context.deadline
        )

    def _back_off(self, migration: Migration, error: BaseException, tries: int) -> None:
        context = self.context
        pause_s = backoff.pause_s(tries, at_most_s=context.deadline - time.monotonic())
        blockers = context.watch.blockers
        context.output.say(
            f"{migration} was {'rolled back' if migration.atomic else 'interrupted'}: {driver_text(error)}"
            + (f" on {blockers}" if blockers else "")
            + f". Try {tries + 1} of {context.conf.retries + 1} in {pause_s:.1f} s",
            warning=True,
            migration=str(migration),
            sqlstate=sqlstate(error),
        )
        context.stop.wait(pause_s)

    def state_before(self, direction: str, state: ProjectState) -> ProjectState:
        """The project state to try again from: applying has changed the old one in place."""
        return self._state_now(direction, state)

    def _state_now(self, direction: str, state: ProjectState) -> ProjectState:
        return state if direction == "unapply" else self.state_now()

    def state_now(self) -> ProjectState:
        """The project state that what is recorded now amounts to."""
        self.loader.build_graph()  # reads what has been applied meanwhile
        state = applied_state(self)
        state.apps  # noqa: B018 - rendered here, outside the migration's transaction
        return state

    def _outcome(self, migration: Migration, direction: str) -> Outcome:
        """What became of a migration that did not end well, by the server's word."""
        raw = self.connection.connection
        if self.context.one_transaction and raw is not None and not raw.closed:
            with suppress(psycopg2.Error):  # Django would do it later; what became of it is asked now
                raw.rollback()
        return Outcome.ask(self.context, migration, self._transaction, backwards=direction == "unapply")

    def explain(self, migration: Migration, error: BaseException, outcome: Outcome, tries: int) -> MigratorError:
        """The failure as its class, with what happened, what it means and what to do."""
        limit_ms = self._limits_ms(migration)["statement_timeout"]
        return explained(self.context, migration, error, outcome, tries=tries, limit_ms=limit_ms)
