"""Runs one migration: under both locks, within timeouts, tried again where that helps, recorded exactly once."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2
from django.db import DatabaseError, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.migration import Migration
from django.db.migrations.operations import RunPython, RunSQL
from django.db.migrations.state import ProjectState
from django.db.models import Model

from rupaya.migrator.django import Key, Step, applied_state
from rupaya.migrator.errors import (
    DatabaseUnreachable,
    EnvironmentUnfit,
    MigrationFailed,
    MigratorError,
    TableLocked,
    driver_text,
    is_lost,
    sqlstate,
)
from rupaya.migrator.ledger.trace import Trace
from rupaya.migrator.plan.fingerprint import migration_hashes, source_path
from rupaya.migrator.plan.phases import CONTRACT, flat_operations
from rupaya.migrator.plan.plan import Plan, key_of
from rupaya.migrator.plan.repeatable import may_run_again
from rupaya.migrator.run import backoff
from rupaya.migrator.run.context import RunContext
from rupaya.migrator.run.outcome import Outcome
from rupaya.migrator.run.transactions import CheckedRecorder, Transaction, TransactionEnded
from rupaya.migrator.sessionsettings import read_settings, restore_settings, session_settings
from rupaya.migrator.sqlstates import NEEDS_COMMIT, RETRYABLE, UNFIT
from rupaya.migrator.statements import mask_literals, one_line

KNOWN_OPERATIONS = ("django.", "django_pg_migration_tools.", "rupaya.migrator.")
"""Modules of operations that send people's data as parameters, never in a statement's text."""


class TryBatchAgain(Exception):
    """A whole batch in one transaction met a lock, at the migration it names; all of it must be tried again."""


class CommitFirst(Exception):
    """A migration needs what was done before it in the same transaction to be committed."""

    def __init__(self, migration: Migration) -> None:
        super().__init__(str(migration))
        self.migration = migration


def _runs_anything(migration: Migration) -> bool:
    """Whether a migration has SQL or Python of its own, which may do anything to the session."""
    return any(
        isinstance(operation, RunPython | RunSQL) or not type(operation).__module__.startswith(KNOWN_OPERATIONS)
        for operation in flat_operations(migration.operations)
    )


def _trace_of(migration: Migration) -> Trace:
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


class Executor(MigrationExecutor):
    """Django's executor, each migration of which is locked, bounded, retried and recorded."""

    def __init__(self, plan: Plan, context: RunContext) -> None:
        # Not Django's own __init__, which would read every migration again: the plan's executor has just done that.
        self.connection = plan.executor.connection
        self.loader = plan.executor.loader
        self.recorder = CheckedRecorder(self.connection, self._check_transaction, self._recorded)
        self.progress_callback = self._progress  # type: ignore[assignment]  # Django's stubs know no such method
        self.plan = plan
        self.context = context
        self._transaction: Transaction | None = None
        self._settings: dict[str, str] = {}
        self._faked = False
        self._under_way: Key | None = None

    def migration_plan(self, targets: object, clean_start: bool = False) -> list[Step]:
        """The run's plan, whatever Django makes of the targets; with `clean_start`, Django's full plan."""
        if clean_start:
            full: list[Step] = super().migration_plan(targets, clean_start)  # type: ignore[arg-type]
            return full
        return list(self.plan.steps)

    def applied_models(self) -> list[type[Model]]:
        """The models that the migrations applied by now amount to, tables of many-to-many fields included."""
        self.loader.build_graph()
        return applied_state(self).apps.get_models(include_auto_created=True)

    def apply_migration(
        self, state: ProjectState, migration: Migration, fake: bool = False, fake_initial: bool = False
    ) -> ProjectState:
        """Run a migration forwards; see `MigratorError` for what it raises."""

        def work(state: ProjectState) -> ProjectState:
            return super(Executor, self).apply_migration(state, migration, fake=fake, fake_initial=fake_initial)

        return self.run_recorded(migration, "apply", state, work)

    def unapply_migration(self, state: ProjectState, migration: Migration, fake: bool = False) -> ProjectState:
        """Run a migration backwards; see `MigratorError` for what it raises."""

        def work(state: ProjectState) -> ProjectState:
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
        context.lock.verify()
        attempt_id = context.ledger.start_attempt(
            batch=context.batch,
            app=migration.app_label,
            name=migration.name,
            direction=direction,
            phase=context.phases.get(key_of(migration), CONTRACT),
            atomic=bool(migration.atomic),
            fingerprint=fingerprint,
            file_hash=file_hash,
        )
        context.output.progress(f"{migration}")
        trace = context.watch.trace = _trace_of(migration)
        began = time.monotonic()
        tries = 0
        while True:
            tries += 1
            try:
                new_state = self._attempt(migration, state, work, attempt_id, tries, direction)
            except BaseException as error:
                if sqlstate(error) in NEEDS_COMMIT and context.open_attempts and context.conf.batch != "all":
                    context.ledger.fail_attempt(
                        attempt_id, "rolled back", tries, sqlstate(error), driver_text(error), trace
                    )
                    raise CommitFirst(migration) from error
                if not self._is_worth_another_try(migration, error, tries):
                    failure = self.explain(migration, direction, error, tries)
                    outcome = "interrupted" if context.stop.requested else "failed"
                    kind = sqlstate(error) or ("PYTHON" if isinstance(failure, MigrationFailed) else "")
                    with suppress(psycopg2.Error):  # the lock connection may be what was lost
                        context.ledger.fail_attempt(attempt_id, outcome, tries, kind, failure.happened, trace)
                    raise failure from (None if isinstance(error, DatabaseError | MigratorError) else error)
                if context.one_transaction:
                    context.ledger.fail_attempt(
                        attempt_id, "rolled back", tries, sqlstate(error), driver_text(error), trace
                    )
                    raise TryBatchAgain(str(migration)) from error
                self._back_off(migration, error, tries)
                context.lock.verify()
                if self._is_done_by_others(migration, direction):
                    context.ledger.fail_attempt(
                        attempt_id, "rolled back", tries, sqlstate(error), "somebody else has done it meanwhile", trace
                    )
                    self._attest_others_work(migration, direction)
                    context.output.say(
                        f"{migration} was {'applied' if direction == 'apply' else 'unapplied'} by somebody else while "
                        "this run waited; it is not run again",
                        warning=True,
                    )
                    return self._state_now(direction, state)
                state = self.state_before(direction, state)
            else:
                break
        self._say_done(migration, direction, attempt_id, trace, time.monotonic() - began, tries)
        return new_state

    def _attest_others_work(self, migration: Migration, direction: str) -> None:
        """Record what somebody else did, who keeps no ledger; it ran whole, whatever this run would have owed of it."""
        phase = self.plan.phases.get(key_of(migration), CONTRACT)
        fingerprint, file_hash = migration_hashes(migration)
        with self.context.ledger.connection.cursor() as cursor:
            self.context.ledger.attest(
                cursor,
                key_of(migration),
                direction=direction,
                phase=phase,
                fingerprint=fingerprint,
                file_hash=file_hash,
            )

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
            context.open_attempts[attempt_id] = trace
            context.lines.append((line, fields))  # said once it is true: after the commit
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
    ) -> ProjectState:
        context, connection = self.context, self.connection
        if not self._settings:
            self._settings = read_settings(connection)
        backend_pid = connection.connection.info.backend_pid
        limits_ms = self._limits_ms(migration)
        if not context.one_transaction:
            self._transaction = None
        self._faked = False
        self._under_way = key_of(migration)
        with (
            context.stop.interrupting(),
            context.watch.observing(
                backend_pid, hold_at_most_ms=limits_ms["statement_timeout"] * bool(migration.atomic)
            ),
            session_settings(connection, **limits_ms),
            connection.execute_wrapper(context.watch.statement),
            self._one_transaction(migration),
            self._by_halves(migration, direction),
        ):
            new_state = work(state)
            context.stop.check()  # a migration may have swallowed the exception
            self._check_transaction()
            self._keep_session(migration)
            with connection.cursor() as cursor:
                if not context.ledger.finish_attempt(
                    cursor, attempt_id, tries=tries, faked=self._faked, trace=context.watch.trace
                ):
                    raise TransactionEnded("the ledger's row of this attempt cannot be seen or is closed already")
            context.watch.last_sql = "COMMIT"  # where deferred constraints are checked
        self._under_way = None
        if not context.one_transaction:
            self._transaction = None  # over: what Django records next, a squash that is complete, is on its own
        return new_state

    @contextmanager
    def _one_transaction(self, migration: Migration) -> Iterator[None]:
        """The migration, its history row and its ledger row in one transaction: Django alone writes the history after
        the deferred SQL has committed."""
        if not migration.atomic:
            yield
            return
        with transaction.atomic(using=self.connection.alias):
            if self._transaction is None:
                self._transaction = Transaction.begun(self.connection)
            yield

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

    def _recorded(self, direction: str, key: Key) -> None:
        """Let the ledger know of each row that stands for no attempt: what a squashed migration replaces, and one that
        is complete because all that it replaces is there."""
        if key == self._under_way:
            return
        with self.connection.cursor() as cursor:
            if self.context.ledger.last_success(cursor, key) != direction:
                self.context.ledger.attest(cursor, key, direction=direction)

    def _keep_session(self, migration: Migration) -> None:
        """Give the session back the settings that it had: none may govern the next migration."""
        if not _runs_anything(migration):
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
        conf = self.context.conf
        statement_timeout_ms = conf.statement_timeout_ms if migration.atomic and self.context.is_live else 0
        return {
            "lock_timeout": getattr(migration, "lock_timeout_ms", conf.lock_timeout_ms),
            "statement_timeout": getattr(migration, "statement_timeout_ms", statement_timeout_ms),
        }

    def _progress(self, action: str, migration: Migration | None = None, fake: bool = False) -> None:
        """Django's progress callback: it alone knows that `--fake-initial` found a migration's tables there."""
        if action in ("apply_success", "unapply_success"):
            self._faked = bool(fake)

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
            f"{migration} was rolled back: {driver_text(error)}"
            + (f" on {blockers}" if blockers else "")
            + f". Try {tries + 1} of {context.conf.retries + 1} in {pause_s:.1f} s",
            warning=True,
            migration=str(migration),
            sqlstate=sqlstate(error),
        )
        context.stop.wait(pause_s)

    def _is_done_by_others(self, migration: Migration, direction: str) -> bool:
        """Whether somebody who does not take our locks has done it meanwhile; only ever asked after a wait."""
        keys: list[Key] = list(migration.replaces) or [key_of(migration)]
        recorded = self.recorder.applied_migrations()
        wanted = direction == "apply"
        return all((key in recorded) == wanted for key in keys) and migration.atomic

    def state_before(self, direction: str, state: ProjectState) -> ProjectState:
        """The project state to try again from: applying has changed the old one in place."""
        if direction == "unapply":
            return state
        return self._state_now(direction, state)

    def _state_now(self, direction: str, state: ProjectState) -> ProjectState:
        if direction == "unapply":
            return state
        self.loader.build_graph()  # reads what has been applied meanwhile
        state = applied_state(self)
        state.apps  # noqa: B018 - rendered here, outside the migration's transaction
        return state

    def explain(self, migration: Migration, direction: str, error: BaseException, tries: int) -> MigratorError:
        """The failure as its class, with what happened, what it means and what to do; what became of it is asked."""
        context = self.context
        raw = self.connection.connection
        if context.one_transaction and raw is not None and not raw.closed:
            with suppress(psycopg2.Error):  # Django would do it later; what became of it is asked now
                raw.rollback()
        outcome = Outcome.ask(context, migration, self._transaction)
        verb = "applied" if direction == "apply" else "unapplied"
        if context.stop.requested:
            remedy = ["Look at what it did so far."] if outcome.is_half_done else []
            return context.stop.error(f"{migration} was being {verb}. {outcome}", *remedy)
        if isinstance(error, TransactionEnded):
            return MigrationFailed(
                f"{migration} failed: {error.happened}.",
                f"{error.meaning} {outcome.of_a_transaction_that_it_ended()}",
                error.remedy,
            )
        if isinstance(error, MigratorError):
            return error
        if is_lost(error):
            return DatabaseUnreachable.lost(error, f"{migration} was being {verb}", str(outcome))
        code = sqlstate(error)
        if code in RETRYABLE:
            return TableLocked(str(migration), error, tries, str(outcome), context.watch.blockers)
        if code in UNFIT:
            fact, change = UNFIT[code]
            return EnvironmentUnfit(
                f"{migration} cannot be {verb}, because {fact}: {driver_text(error)}",
                str(outcome),
                f"{change}; start again.",
            )
        if table := context.watch.held_too_long:
            limit_s = self._limits_ms(migration)["statement_timeout"] / 1000
            return MigrationFailed(
                f"{migration} kept traffic from {table} for more than {limit_s:g} s, and was cancelled.",
                f"Each of its statements may be short; the lock stays until the transaction ends. {outcome} The server "
                "was not started; the running release is not affected.",
                "Put the change of the schema and the work on rows into migrations of their own; Backfill does the "
                "latter in short transactions. `statement_timeout_ms` in the migration allows it more.",
            )
        place = self._place(migration, error)
        sql = "" if place else one_line(self._shown(migration, context.watch.last_sql))
        at = f" at {place}" if place else f". The statement: {sql}" if sql else ""
        return MigrationFailed(
            f"{migration} failed: {type(error).__name__}: {driver_text(error)}{at}",
            f"{outcome} The server was not started; the running release is not affected.",
            "Fix the migration or the data and release again. The same failure is not tried again "
            + ("" if outcome.is_half_done else f"for {context.conf.failed_hold_s:g} s ")
            + "unless 'manage.py migrate --retry-failed' says so.",
        )

    @staticmethod
    def _shown(migration: Migration, sql: str) -> str:
        """A statement as it may be shown: whole if it is surely the migration's own text, else without literals."""
        return sql if _trace_of(migration).shows_literals(sql) else mask_literals(sql)

    @staticmethod
    def _place(migration: Migration, error: BaseException) -> str:
        """File and line in the migration's own module, for an error that Python code raised."""
        path = source_path(migration)
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
