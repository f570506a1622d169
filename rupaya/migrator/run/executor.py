"""Carries out one migration: under both locks, within timeouts, tried again where that helps, recorded exactly once."""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field

import psycopg2
from django.db import DatabaseError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.migration import Migration
from django.db.migrations.operations import RunPython, RunSQL
from django.db.migrations.state import ProjectState
from django.db.models import Model

from rupaya.migrator.conf import Conf
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
from rupaya.migrator.ledger.ledger import FINISH_ATTEMPT, Ledger, trace_parameters
from rupaya.migrator.ledger.trace import Trace
from rupaya.migrator.output import Output
from rupaya.migrator.plan.fingerprint import migration_hashes, source_path
from rupaya.migrator.plan.phases import CONTRACT, flat_operations
from rupaya.migrator.plan.repeatable import may_run_again
from rupaya.migrator.session.lock import MigrationLock
from rupaya.migrator.session.stop import Stop
from rupaya.migrator.session.watch import Watch
from rupaya.migrator.sqlstates import RETRYABLE, UNFIT
from rupaya.migrator.statements import one_line

BACKOFF_FIRST_S = 0.5
BACKOFF_FACTOR = 1.5
BACKOFF_MAX_S = 30.0
BACKOFF_JITTER = 0.25

KNOWN_OPERATIONS = ("django.", "django_pg_migration_tools.", "rupaya.migrator.")
"""Modules of operations that send people's data as parameters, never in a statement's text."""


class TryBatchAgain(Exception):
    """A whole batch in one transaction met a lock, at the migration it names; all of it must be tried again."""


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


@dataclass
class Session:
    """What one run works with: the connections, the lock, the ledger and the means to speak and to stop."""

    conf: Conf
    connection: BaseDatabaseWrapper
    lock: MigrationLock
    ledger: Ledger
    watch: Watch
    stop: Stop
    output: Output
    deadline: float
    """When, by `time.monotonic`, no further attempt is made."""
    is_live: bool
    """Whether the database had a history before this run, and so may have traffic."""
    phases: Mapping[tuple[str, str], str]
    """The phase of each migration of the plan."""
    batch: int = 0
    one_transaction: bool = False
    carried_out: list[str] = field(default_factory=list)
    """What is committed so far, in order."""
    open_attempts: dict[int, Trace] = field(default_factory=dict)
    """Attempts of a whole batch that is not committed yet."""


class Executor(MigrationExecutor):
    """Django's executor, each migration of which is locked, bounded, retried and recorded."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        super().__init__(connection)
        self.session: Session | None = None

    def applied_state(self) -> ProjectState:
        """The project state that the applied migrations amount to."""
        state: ProjectState = self._create_project_state(with_applied_migrations=True)  # type: ignore[attr-defined]
        return state

    def applied_models(self) -> list[type[Model]]:
        """The models that the migrations applied by now amount to, tables of many-to-many fields included."""
        self.loader.build_graph()
        return self.applied_state().apps.get_models(include_auto_created=True)

    def apply_migration(
        self, state: ProjectState, migration: Migration, fake: bool = False, fake_initial: bool = False
    ) -> ProjectState:
        """Run a migration forwards; see `MigratorError` for what it raises."""

        def work(state: ProjectState) -> ProjectState:
            return super(Executor, self).apply_migration(state, migration, fake=fake, fake_initial=fake_initial)

        return self._carry_out(migration, "apply", state, work, faked=fake)

    def unapply_migration(self, state: ProjectState, migration: Migration, fake: bool = False) -> ProjectState:
        """Run a migration backwards; see `MigratorError` for what it raises."""

        def work(state: ProjectState) -> ProjectState:
            return super(Executor, self).unapply_migration(state, migration, fake=fake)

        return self._carry_out(migration, "unapply", state, work, faked=fake)

    def _carry_out(
        self,
        migration: Migration,
        direction: str,
        state: ProjectState,
        work: Callable[[ProjectState], ProjectState],
        *,
        faked: bool,
    ) -> ProjectState:
        session = self.session
        assert session is not None  # noqa: S101 - the runner sets it before it migrates
        fingerprint, file_hash = migration_hashes(migration)
        session.stop.check()
        session.lock.verify()
        attempt_id = session.ledger.start_attempt(
            batch=session.batch,
            app=migration.app_label,
            name=migration.name,
            direction=direction,
            phase=session.phases.get((migration.app_label, migration.name), CONTRACT),
            atomic=bool(migration.atomic),
            fingerprint=fingerprint,
            file_hash=file_hash,
        )
        session.output.progress(f"{migration}")
        trace = session.watch.trace = _trace_of(migration)
        began = time.monotonic()
        tries = 0
        while True:
            tries += 1
            try:
                new_state = self._attempt(migration, state, work, attempt_id, tries, faked=faked)
            except BaseException as error:
                if not self._is_worth_another_try(migration, error, tries):
                    failure = self._explain(migration, direction, error, tries)
                    outcome = "interrupted" if session.stop.requested else "failed"
                    kind = sqlstate(error) or ("PYTHON" if isinstance(failure, MigrationFailed) else "")
                    with suppress(psycopg2.Error):  # the lock connection may be what was lost
                        session.ledger.fail_attempt(attempt_id, outcome, tries, kind, failure.happened, trace)
                    raise failure from (None if isinstance(error, DatabaseError) else error)
                if session.one_transaction:
                    session.ledger.fail_attempt(
                        attempt_id, "rolled back", tries, sqlstate(error), driver_text(error), trace
                    )
                    raise TryBatchAgain(str(migration)) from error
                self._back_off(migration, error, tries)
                session.lock.verify()
                state = self._state_before(direction, state)
            else:
                break
        duration_s = time.monotonic() - began
        verb = "" if direction == "apply" else " unapplied"
        line = f"✓ {migration}{verb} ({duration_s:.3f} s)" + (" faked" if faked else "")
        if session.one_transaction:
            session.open_attempts[attempt_id] = trace
            session.carried_out.append(line)  # said once it is true: after the commit
        else:
            session.carried_out.append(line)
            session.output.say(
                line, success=True, migration=str(migration), duration_s=round(duration_s, 3), tries=tries
            )
        return new_state

    def _attempt(
        self,
        migration: Migration,
        state: ProjectState,
        work: Callable[[ProjectState], ProjectState],
        attempt_id: int,
        tries: int,
        *,
        faked: bool,
    ) -> ProjectState:
        session = self.session
        assert session is not None  # noqa: S101
        connection = self.connection
        backend_pid = connection.connection.info.backend_pid
        with (
            session.stop.interrupting(),
            session.watch.observing(backend_pid),
            self._timeouts(migration),
            connection.execute_wrapper(session.watch.statement),
            # The migration, its history row and its ledger row in one transaction: Django alone writes the history
            # after the deferred SQL has committed.
            transaction.atomic(using=connection.alias) if migration.atomic else nullcontext(),
        ):
            new_state = work(state)
            session.stop.check()  # a migration may have swallowed the exception
            with connection.cursor() as cursor:
                cursor.execute(FINISH_ATTEMPT, [tries, faked, attempt_id, *trace_parameters(session.watch.trace)])
            session.watch.last_sql = "COMMIT"  # where deferred constraints are checked
        return new_state

    @contextmanager
    def _timeouts(self, migration: Migration) -> Iterator[None]:
        """Bound how long each statement may wait for a table, and (atomic, live) how long it may hold one."""
        session = self.session
        assert session is not None  # noqa: S101
        lock_timeout_ms = getattr(migration, "lock_timeout_ms", session.conf.lock_timeout_ms)
        statement_timeout_ms = session.conf.statement_timeout_ms if migration.atomic and session.is_live else 0
        statement_timeout_ms = getattr(migration, "statement_timeout_ms", statement_timeout_ms)
        with self.connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('lock_timeout', %s, false), set_config('statement_timeout', %s, false)",
                [str(lock_timeout_ms), str(statement_timeout_ms)],
            )
        try:
            yield
        finally:
            raw = self.connection.connection
            if raw is not None and not raw.closed and not self.connection.in_atomic_block:
                with suppress(psycopg2.Error, DatabaseError), self.connection.cursor() as cursor:
                    cursor.execute("RESET lock_timeout; RESET statement_timeout")

    def _is_worth_another_try(self, migration: Migration, error: BaseException, tries: int) -> bool:
        session = self.session
        assert session is not None  # noqa: S101
        return (
            sqlstate(error) in RETRYABLE
            and may_run_again(migration)
            and not session.stop.requested
            and tries <= session.conf.retries
            and time.monotonic() < session.deadline
        )

    def _back_off(self, migration: Migration, error: BaseException, tries: int) -> None:
        session = self.session
        assert session is not None  # noqa: S101
        pause_s = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * BACKOFF_FACTOR ** (tries - 1))
        pause_s *= 1 + random.uniform(-BACKOFF_JITTER, BACKOFF_JITTER)  # noqa: S311 - jitter, not a secret
        pause_s = max(0.0, min(pause_s, session.deadline - time.monotonic()))
        blockers = session.watch.blockers
        session.output.say(
            f"{migration} was rolled back: {driver_text(error)}"
            + (f" on {blockers}" if blockers else "")
            + f". Try {tries + 1} of {session.conf.retries + 1} in {pause_s:.1f} s",
            warning=True,
            migration=str(migration),
            sqlstate=sqlstate(error),
        )
        session.stop.wait(pause_s)

    def _state_before(self, direction: str, state: ProjectState) -> ProjectState:
        """The project state to try again from: applying has changed the old one in place."""
        if direction == "unapply":
            return state
        self.loader.build_graph()  # reads what has been applied meanwhile
        state = self.applied_state()
        state.apps  # noqa: B018 - rendered here, outside the migration's transaction
        return state

    def _explain(self, migration: Migration, direction: str, error: BaseException, tries: int) -> MigratorError:
        """The failure as its class, with what happened, what it means and what to do."""
        session = self.session
        assert session is not None  # noqa: S101
        code = sqlstate(error)
        kept = ", ".join(line.split(" ")[1] for line in session.carried_out)
        is_half_done = not may_run_again(migration)
        if session.one_transaction:
            consequence = "The whole batch was rolled back; nothing of it remains applied."
        else:
            consequence = (
                "It was rolled back whole. " if migration.atomic else "It is not atomic: what it did so far stays. "
            )
            if is_half_done:
                consequence += "The next run will not guess how far it came, and ask. "
            consequence += (
                f"Of this batch remain applied: {kept}." if kept else "Nothing of this batch remains applied."
            )
        verb = "applied" if direction == "apply" else "unapplied"
        if session.stop.requested:
            remedy = ["Look at what it did so far."] if is_half_done else []
            return session.stop.error(f"{migration} was being {verb}. {consequence}", *remedy)
        if isinstance(error, MigratorError):
            return error
        if is_lost(error):
            return DatabaseUnreachable(
                f"The connection to the database was lost while {migration} was being {verb}: {driver_text(error)}",
                f"The server ended the session or cannot be reached any more. {consequence}",
                "Start again when the server is back; it goes on with whatever is still pending.",
            )
        if code in RETRYABLE:
            blockers = session.watch.blockers
            return TableLocked(
                f"{migration} could not lock {blockers or 'a table'} after {tries} tries: {driver_text(error)}",
                f"Another session keeps the table locked, and traffic was not to wait for it. {consequence}",
                "Look at those sessions and end what should not run, then start again; "
                "MIGRATE_RETRIES and MIGRATE_DEADLINE_S set how long to try.",
            )
        if code in UNFIT:
            fact, change = UNFIT[code]
            return EnvironmentUnfit(
                f"{migration} cannot be {verb}, for {fact}: {driver_text(error)}",
                consequence,
                f"{change}; start again.",
            )
        at = self._place(migration, error) or one_line(session.watch.last_sql)
        return MigrationFailed(
            f"{migration} failed: {type(error).__name__}: {driver_text(error)}" + (f" at {at}" if at else ""),
            consequence + " The server was not started; the running release is not affected.",
            "Mend the migration or the data and release again. The same failure is not tried again "
            + ("" if is_half_done else f"for {session.conf.failed_hold_s:g} s ")
            + "unless 'manage.py migrate --retry-failed' says so.",
        )

    @staticmethod
    def _place(migration: Migration, error: BaseException) -> str:
        """File and line in the migration's own module, for an error that Python code raised."""
        path = source_path(migration)
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
