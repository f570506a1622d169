"""One run of `migrate`, in order: wait → plan → lock → plan again → apply → record → release."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import psycopg2
from django.apps import apps
from django.conf import settings
from django.core.management.sql import emit_post_migrate_signal, emit_pre_migrate_signal
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db import Error as DjangoDatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.db.migrations.recorder import MigrationRecorder
from django.db.migrations.state import ModelState, ProjectState
from psycopg2.extensions import connection as PgConnection  # noqa: N812

from rupaya.migrator import conf as configuration
from rupaya.migrator.conf import Conf
from rupaya.migrator.errors import (
    DatabaseUnreachable,
    EnvironmentUnfit,
    FailedBefore,
    HistoryRefused,
    MigrationFailed,
    MigratorError,
    TableLocked,
    Terminated,
    driver_text,
    is_lost,
    sqlstate,
)
from rupaya.migrator.ledger.ledger import Failure, Ledger
from rupaya.migrator.output import Output
from rupaya.migrator.plan.fingerprint import migration_hashes
from rupaya.migrator.plan.history import (
    Edited,
    edited_migrations,
    refuse_breaking,
    refuse_by_project,
    refuse_edited,
    refuse_existing,
)
from rupaya.migrator.plan.plan import Plan, history_explained, read_plan, refuse_conflicts
from rupaya.migrator.plan.repeatable import may_run_again
from rupaya.migrator.run.drift import Drift
from rupaya.migrator.run.executor import (
    Executor,
    Session,
    TryBatchAgain,
)
from rupaya.migrator.session import database
from rupaya.migrator.session.heartbeat import Heartbeat
from rupaya.migrator.session.lock import MigrationLock
from rupaya.migrator.session.stop import Stop
from rupaya.migrator.session.watch import Watch
from rupaya.migrator.sqlstates import RETRYABLE, UNFIT

# data exception, integrity constraint violation, syntax error or access rule violation: trying again mends nothing.
DETERMINISTIC_SQLSTATE_CLASSES = ("22", "23", "42")
POST_MIGRATE_RETRIES = 9


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line; the names are those of Django's options."""

    app_label: str | None = None
    migration_name: str | None = None
    fake: bool = False
    fake_initial: bool = False
    retry_failed: bool = False
    contract: bool = False
    accept_edited: bool = False
    interactive: bool = True
    command: str = "migrate"
    run_syncdb: bool = False


class Runner:
    """Composes a run; `run` is the whole of it, and the other methods are its steps in order."""

    executor_class = Executor

    def __init__(self, request: Request, output: Output, sync_apps: Callable[[BaseDatabaseWrapper, list[str]], None]):
        self.request = request
        self.output = output
        self.sync_apps = sync_apps
        self.connection = connections[DEFAULT_DB_ALIAS]
        self.stop = Stop()
        self.began = time.monotonic()
        self.conf = require_configuration()
        self.heartbeat = Heartbeat(self.conf.heartbeat_file)
        self.accepted: list[Edited] = []
        self._told: set[str] = set()

    def run(self) -> None:
        """Bring the database to what was asked for.

        Raises:
            MigratorError: each failure as its class, with its exit code.
            CommandError: if the request names no app or no migration.
        """
        conf = self.conf
        self.output.say(f"Using environment: {getattr(settings, 'RUPAYA_ENV', 'unknown')}")
        with (
            self.stop.listening(),
            self.heartbeat.beating(),
            self._working_session(conf),
            self._errors_explained(),
        ):
            plan = self._plan()
            self._ask_project(plan)
            self._refuse_histories(plan)
            if not self._has_work(plan):
                self._say_nothing_to_do(plan)
                return
            with self._lock_connection(conf) as lock_connection:
                self._run_locked(conf, lock_connection, plan.digest)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """For what only reads: the database awaited, its loss explained, no lock; a signal interrupts it anywhere."""
        conf = require_configuration()
        self.stop.cancel = self._cancel
        with self.stop.listening(), self._working_session(conf), self._errors_explained(), self.stop.interrupting():
            yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """For other commands that write Django's history: under the lock and in the ledger, like a run."""
        conf = require_configuration()
        with (
            self.stop.listening(),
            self._working_session(conf),
            self._errors_explained(),
            self._lock_connection(conf) as lock_connection,
        ):
            lock, ledger = MigrationLock(lock_connection, self.connection), Ledger(lock_connection)
            lock.acquire(conf, self.stop, self.output, somebody_else_did_it=lambda: False, doing=ledger.under_way)
            try:
                with self._recorded(ledger):
                    yield
            finally:
                with suppress(psycopg2.Error):
                    lock.release()

    # 1. Wait for the database

    @contextmanager
    def _working_session(self, conf: Conf) -> Iterator[None]:
        """Django's own connection: reached as soon as the server answers, its session prepared after each connect."""
        database.use_migration_address(self.connection)

        def prepare(connection: BaseDatabaseWrapper, **_kwargs: object) -> None:
            if connection is self.connection:
                database.prepare_session(connection.connection)

        connection_created.connect(prepare)
        try:
            if self.connection.connection is not None:
                self.connection.close_if_unusable_or_obsolete()
            if self.connection.connection is None:
                database.when_reachable(
                    self.connection.ensure_connection,
                    database.connection_parameters(self.connection),
                    conf,
                    self.stop,
                    self.output,
                )
            else:
                database.prepare_session(self.connection.connection)
            yield
        finally:
            connection_created.disconnect(prepare)
            raw = self.connection.connection
            if raw is not None and not raw.closed and not self.connection.in_atomic_block:
                with suppress(psycopg2.Error):
                    database.restore_session(raw)

    @contextmanager
    def _lock_connection(self, conf: Conf) -> Iterator[PgConnection]:
        """The second connection, which only a run with something to do opens."""
        parameters = database.connection_parameters(self.connection)
        database.refuse_unfit_server(self.connection.connection, parameters)
        connection = database.connect_when_reachable(parameters, conf, self.stop, self.output)
        try:
            database.prepare_session(connection)
            with self.heartbeat.following(connection):
                yield connection
        finally:
            with suppress(psycopg2.Error):
                connection.close()

    # 2. Plan

    def _plan(self) -> Plan:
        return self._read_plan(self._executor())

    def plan_and_history(self) -> tuple[Plan, set[tuple[str, str]]]:
        """What this run would do, and what was done before: for a rehearsal of it."""
        executor = self._executor()
        return self._read_plan(executor), set(executor.loader.applied_migrations or {})

    def _read_plan(self, executor: Executor) -> Plan:
        request = self.request
        return read_plan(
            executor,
            request.app_label,
            request.migration_name,
            run_syncdb=request.run_syncdb,
            hold_contract=self.conf.phase == "expand" and not request.contract,
        )

    def _executor(self) -> Executor:
        with history_explained():
            executor = self.executor_class(self.connection)
            executor.loader.check_consistent_history(self.connection)
        refuse_conflicts(executor.loader)
        return executor

    def _has_work(self, plan: Plan) -> bool:
        """Whether to take the lock at all; forty tasks of an unchanged release must not queue for it."""
        return plan.has_work or bool(self.accepted) or self._wants_syncdb() or self._owes_post_migrate(plan)

    def _ask_project(self, plan: Plan) -> None:
        """Histories that only the project can judge."""
        refuse_by_project(self.connection, plan)

    def _refuse_histories(self, plan: Plan) -> None:
        """Edited, or newer and breaking: this code must not go on."""
        in_force = Ledger(self.connection.connection).in_force()
        refuse_breaking(plan.unknown, in_force)
        edited = edited_migrations(plan.disk, in_force)
        certain = [item for item in edited if item.is_certain]
        self.accepted = edited if self.request.accept_edited else []
        for item in edited:
            if str(item) not in self._told and (self.conf.on_edited == "warn" or not item.is_certain):
                self._told.add(str(item))
                self.output.say(
                    f"{item} was edited after release {item.applied.release} applied it; the database has what it did "
                    "before",
                    warning=True,
                )
        if certain and self.conf.on_edited == "error" and not self.request.accept_edited:
            refuse_edited(certain)

    def _refuse_existing(self, plan: Plan) -> None:
        """Tables without a history; asked under the lock, for another migrator may be making just these tables."""
        if not (self.request.fake or self.request.fake_initial or self.request.run_syncdb):
            forwards = [migration for migration, backwards in plan.steps if not backwards]
            refuse_existing(self.connection, forwards, plan.tables, applied=plan.applied)

    def _wants_syncdb(self) -> bool:
        return self.request.run_syncdb and bool(self._unmigrated_apps())

    def _unmigrated_apps(self) -> list[str]:
        wanted = self.request.app_label
        return sorted(
            config.label
            for config in apps.get_app_configs()
            if config.models_module and not _has_migrations(config.name) and wanted in (None, config.label)
        )

    def _owes_post_migrate(self, plan: Plan) -> bool:
        """Whether a run over this code was cut off before its post_migrate signal was through.

        Where the database is ahead of this code, its newer release has seen to that.
        """
        if plan.steps or plan.unknown or not plan.is_complete:
            return False
        return not plan.digest or not Ledger(self.connection.connection).is_settled(plan.digest)

    def _say_nothing_to_do(self, plan: Plan) -> None:
        duration_s = time.monotonic() - self.began
        if plan.unknown:
            names = ", ".join(f"{app}.{name}" for app, name in sorted(plan.unknown))
            self.output.say(
                f"The database is ahead of this release by {len(plan.unknown)} migrations: {names}", warning=True
            )
        self._say_held(plan)
        known = "all" if not plan.held else "the other"
        self.output.say(
            f"Nothing to migrate: {known} {plan.applied} migrations are applied ({duration_s:.3f} s)", success=True
        )

    def _say_held(self, plan: Plan) -> None:
        if plan.held:
            names = ", ".join(map(str, plan.held))
            self.output.say(
                f"Held back until 'manage.py migrate --contract', once no older release runs: {names}", warning=True
            )

    # 3. Lock, and plan again

    def _run_locked(self, conf: Conf, lock_connection: PgConnection, digest: str) -> None:
        lock = MigrationLock(lock_connection, self.connection)
        ledger = Ledger(lock_connection)

        def somebody_else_did_it() -> bool:
            # Asked at every poll by every waiter: one cheap query, and the plan only when it says yes.
            return bool(digest) and ledger.is_settled(digest) and not self._has_work(self._plan())

        if not lock.acquire(
            conf, self.stop, self.output, somebody_else_did_it=somebody_else_did_it, doing=ledger.under_way
        ):
            self._say_nothing_to_do(self._plan())
            return
        self.heartbeat.stop_after(conf.deadline_s)
        try:
            executor = self._executor()
            plan = self._read_plan(executor)
            self._refuse_histories(plan)
            if not self._has_work(plan):
                self._say_nothing_to_do(plan)
                return
            self._refuse_existing(plan)
            executor.session = Session(
                conf=conf,
                connection=self.connection,
                lock=lock,
                ledger=ledger,
                watch=Watch(lock_connection),
                stop=self.stop,
                output=self.output,
                deadline=time.monotonic() + conf.deadline_s,
                is_live=not plan.history_is_empty,
                phases=plan.phases,
            )
            self._run_recorded(executor, plan)
        finally:
            with suppress(psycopg2.Error):
                lock.release()

    # 4. Record, check history, apply

    def _run_recorded(self, executor: Executor, plan: Plan) -> None:
        session = executor.session
        assert session is not None  # noqa: S101 - set by the caller
        self.stop.cancel = partial(self._cancel, session.lock.lock_connection)
        with self._recorded(session.ledger):
            self._close_abandoned(session.ledger)
            if not self.request.retry_failed and not self.request.fake:
                self._refuse_failed_before(session.conf, session.ledger, plan)
                self._refuse_half_done(session.ledger, plan)
            for item in self.accepted:
                session.ledger.accept(item.applied, *migration_hashes(plan.disk[item.applied.key]))
                self.output.say(f"✓ {item} recorded as it is now", success=True)
            drift = Drift(self.connection, session.ledger, session.conf.lock_timeout_ms)
            drift.look(self.output)
            drift.say_or_refuse(self.output, session.conf.on_drift)
            self._apply(executor, plan, drift)

    @contextmanager
    def _recorded(self, ledger: Ledger) -> Iterator[None]:
        """A row in the ledger for what the block does, and for how it ends."""
        with self._privileges_explained():
            MigrationRecorder(self.connection).ensure_schema()
            ledger.ensure_schema()
        ledger.start_run(
            command=self.request.command,
            release=getattr(settings, "RELEASE", "unknown"),
            git_sha=getattr(settings, "GIT_SHA", "unknown"),
            environment=getattr(settings, "RUPAYA_ENV", "unknown"),
            task=database.task_name(),
        )
        try:
            yield
        except BaseException as error:
            interrupted = isinstance(error, Terminated | KeyboardInterrupt)
            code = error.exit_code if isinstance(error, MigratorError) else 1
            happened = error.happened if isinstance(error, MigratorError) else driver_text(error)
            with suppress(psycopg2.Error):  # the connection may be what failed; the next run closes this row
                ledger.finish_run("interrupted" if interrupted else "failed", code, happened)
            raise
        ledger.finish_run("succeeded", 0)

    def _close_abandoned(self, ledger: Ledger) -> None:
        for attempt in ledger.close_abandoned():
            self.output.say(f"{attempt.app}.{attempt.name} was interrupted by the death of its process", warning=True)

    def _refuse_half_done(self, ledger: Ledger, plan: Plan) -> None:
        """An attempt that left something behind; go on only where going on cannot do anything twice.

        Asked of the record and not only of what died just now: whoever is started after a refusal must refuse as well.
        """
        for migration, _backwards in plan.steps:
            if may_run_again(migration):
                continue
            outcome, fingerprint = ledger.last_end(migration.app_label, migration.name)
            if outcome != "interrupted" and (outcome != "failed" or fingerprint != migration_hashes(migration)[0]):
                continue
            raise HistoryRefused(
                f"{migration} {'failed' if outcome == 'failed' else 'was interrupted'} half-way, and it is not atomic.",
                "How far it came is unknown, and its operations are not known to bear being carried out twice; "
                "nothing was changed.",
                f"Look at what it did. Then run it again with 'manage.py migrate --retry-failed', or, if it is done, "
                f"record it with 'manage.py migrate --fake {migration.app_label} {migration.name}'.",
            )

    def _refuse_failed_before(self, conf: Conf, ledger: Ledger, plan: Plan) -> None:
        """An orchestrator replaces a failed task forever; the replacements must fail fast, without taking locks."""
        for migration, backwards in plan.steps:
            failure = None if backwards else ledger.last_failure(migration.app_label, migration.name)
            if failure is None or not _is_deterministic(failure) or failure.age_s > conf.failed_hold_s:
                continue
            if failure.fingerprint != migration_hashes(migration)[0]:
                continue
            raise FailedBefore(
                f"{migration} failed before in the same way: {failure.error}",
                f"It failed at {failure.finished_at:%Y-%m-%d %H:%M:%S} UTC (release {failure.release}, "
                f"task {failure.task}) and has not been changed since; nothing was changed now.",
                "Mend the migration or the data and release again; to insist: 'manage.py migrate --retry-failed'."
                + (f" One new attempt is made {conf.failed_hold_s:g} s after the last." * may_run_again(migration)),
            )

    def _apply(self, executor: Executor, plan: Plan, drift: Drift) -> None:
        session = executor.session
        assert session is not None  # noqa: S101
        # What an earlier crash could leave unsettled must be settled anew by whoever changes anything.
        session.ledger.unsettle()
        state = executor.applied_state()
        if plan.steps:
            emit_pre_migrate_signal(
                max(0, self.output.verbosity - 1),
                self.request.interactive,
                self.connection.alias,
                stdout=self.output.stream,
                apps=state.apps,
                plan=list(plan.steps),
            )
        if self._wants_syncdb():
            self.sync_apps(self.connection, self._unmigrated_apps())
        if plan.steps:
            session.batch = session.ledger.next_batch()
            count = len(plan.steps)
            self.output.say(
                f"Batch {session.batch} run: {count} migration{'s' if count != 1 else ''}",
                batch=session.batch,
                migrations=count,
            )
        try:
            with drift.watching():
                state = self._migrate(executor, plan, state)
        except BaseException:
            # What is committed already is ours, and the next run must not take it for somebody's handiwork.
            if not session.one_transaction:
                with suppress(psycopg2.Error, DjangoDatabaseError):
                    drift.keep(executor.applied_models())
            raise
        self._emit_post_migrate(executor, plan, state)
        if not drift.keep(state.apps.get_models(include_auto_created=True)):
            self.output.say("The schema's snapshot was not taken, for a table is locked", warning=True)
        if plan.is_complete and plan.digest:
            session.ledger.settle(plan.digest, [str(migration) for migration in plan.held])
        self._say_held(plan)
        if not plan.steps and not self.accepted:
            self.output.say("Finished what an interrupted run had left to do: the post_migrate signal", success=True)

    def _migrate(self, executor: Executor, plan: Plan, state: ProjectState) -> ProjectState:
        session = executor.session
        assert session is not None  # noqa: S101
        mode = session.conf.batch
        atomic = all(migration.atomic for migration, _backwards in plan.steps)
        if mode == "all" and not atomic:
            names = ", ".join(str(migration) for migration, _backwards in plan.steps if not migration.atomic)
            raise EnvironmentUnfit(
                f"MIGRATE_BATCH=all, but not every pending migration is atomic: {names}.",
                "They cannot be in one transaction; nothing was changed.",
                "Set MIGRATE_BATCH to auto or each.",
            )
        session.one_transaction = bool(plan.steps) and (
            mode == "all" or (mode == "auto" and plan.history_is_empty and atomic)
        )

        def migrate(state: ProjectState) -> ProjectState:
            return executor.migrate(
                list(plan.targets),
                plan=list(plan.steps),
                state=state,
                fake=self.request.fake,
                fake_initial=self.request.fake_initial,
            )

        if not session.one_transaction:
            return migrate(state.clone())
        for tries in count(1):
            session.carried_out.clear()
            session.open_attempts.clear()
            try:
                with transaction.atomic(using=self.connection.alias):
                    new_state = migrate(state.clone())
            except BaseException as error:
                with suppress(psycopg2.Error):
                    for attempt_id, trace in session.open_attempts.items():
                        session.ledger.fail_attempt(
                            attempt_id, "rolled back", 1, "", "rolled back with its batch", trace
                        )
                if not isinstance(error, TryBatchAgain):
                    raise
                if tries > session.conf.retries or time.monotonic() >= session.deadline:
                    raise TableLocked(
                        f"{error} could not lock {session.watch.blockers or 'a table'} after {tries} tries of the "
                        f"batch: {driver_text(error.__cause__ or error)}",
                        "Another session keeps the table locked, and traffic was not to wait for it. The whole batch "
                        "was rolled back; nothing of it remains applied.",
                        "Look at those sessions and end what should not run, then start again; "
                        "MIGRATE_RETRIES and MIGRATE_DEADLINE_S set how long to try.",
                    ) from None
                self.output.say("The batch was rolled back, for a table is locked; trying again", warning=True)
                self.stop.wait(min(30.0, 0.5 * 1.5 ** (tries - 1)))
            else:
                for line in session.carried_out:
                    self.output.say(line, success=True)
                return new_state
        raise AssertionError("unreachable")

    def _emit_post_migrate(self, executor: Executor, plan: Plan, state: ProjectState) -> None:
        """Send post_migrate as Django's command does; tried again when a table is locked, for it may be repeated."""
        session = executor.session
        assert session is not None  # noqa: S101
        state.clear_delayed_apps_cache()
        state_apps = state.apps
        # Re-render models of real apps to include relationships now that there is a final state.
        with state_apps.bulk_update():
            keys = [(model.app_label, model.name_lower) for model in state_apps.real_models]
            for key in keys:
                state_apps.unregister_model(*key)
        state_apps.render_multiple([ModelState.from_model(apps.get_model(*key)) for key in keys])
        for tries in count(1):
            self.stop.check()
            session.lock.verify()
            try:
                with self.stop.interrupting(), self.connection.execute_wrapper(_timed(session.conf)):
                    emit_post_migrate_signal(
                        max(0, self.output.verbosity - 1),
                        self.request.interactive,
                        self.connection.alias,
                        stdout=self.output.stream,
                        apps=state_apps,
                        plan=list(plan.steps),
                    )
            except Exception as error:
                if self.stop.requested:
                    raise self.stop.error("All migrations are applied; the next start does the rest.") from None
                if sqlstate(error) in RETRYABLE and tries <= min(POST_MIGRATE_RETRIES, session.conf.retries):
                    self.stop.wait(0.5 * tries)
                    continue
                if isinstance(error, MigratorError) or is_lost(error):
                    raise
                raise _handlers_failed("post_migrate", error, "All migrations are applied.") from error
            else:
                return

    # Failures outside a single migration

    @contextmanager
    def _errors_explained(self) -> Iterator[None]:
        try:
            yield
        except MigratorError:
            raise
        except (DjangoDatabaseError, psycopg2.Error) as error:
            if self.stop.requested:
                raise self.stop.error() from None
            if fact := UNFIT.get(sqlstate(error)):
                raise EnvironmentUnfit(
                    f"The migrator cannot do its work, for {fact[0]}: {driver_text(error)}",
                    "What was under way was rolled back.",
                    f"{fact[1]}; start again.",
                ) from None
            if not is_lost(error):
                raise
            raise DatabaseUnreachable(
                f"The connection to the database was lost: {driver_text(error)}",
                "The server ended the session or cannot be reached any more; a migration under way is rolled back.",
                "Start again when the server is back; it goes on with whatever is still pending.",
            ) from error

    @contextmanager
    def _privileges_explained(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            cause = error.__cause__ or error.__context__ or error  # Django's MigrationSchemaMissing hides it
            fact, remedy = UNFIT.get(sqlstate(error) or sqlstate(cause), ("", ""))
            if not fact:
                raise
            raise EnvironmentUnfit(
                f"The migrator cannot keep its record, for {fact}: {driver_text(cause)}",
                "Without its record nothing is migrated; nothing was changed.",
                f"{remedy}; it needs CREATE on the schema and ownership of the tables.",
            ) from None

    def _cancel(self, by: PgConnection | None = None) -> None:
        """Cancel the working connection's statement, by SQL: psycopg2's `cancel()` holds the interpreter's lock for as
        long as it takes, and a server that hangs would keep every thread from giving up."""
        raw: Any = self.connection.connection
        if raw is None:
            return
        connection = by or psycopg2.connect(**database.connection_parameters(self.connection))
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_cancel_backend(%s)", [raw.info.backend_pid])
        finally:
            if by is None:
                connection.close()


def require_configuration() -> Conf:
    """The MIGRATE_* settings.

    Raises:
        EnvironmentUnfit: if any is nonsense.
    """
    conf, problems = configuration.read()
    errors = [problem for problem in problems if ".E" in problem.id]
    if errors:
        raise EnvironmentUnfit(
            " ".join(f"{problem.fact} ({problem.id})" for problem in errors),
            "The migrator does not guess what was meant; nothing was changed.",
            " ".join(problem.remedy for problem in errors),
        )
    return conf


def _has_migrations(app_name: str) -> bool:
    from rupaya.migrator.plan.manifest import package_dir

    return package_dir(f"{app_name}.migrations") is not None


def _is_deterministic(failure: Failure) -> bool:
    return failure.sqlstate == "PYTHON" or (
        failure.sqlstate[:2] in DETERMINISTIC_SQLSTATE_CLASSES and failure.sqlstate not in UNFIT
    )


def _handlers_failed(signal: str, error: Exception, state: str) -> MigratorError:
    """What the handlers of a migration signal did wrong: their place, for it is in no migration."""
    if sqlstate(error) in RETRYABLE:
        return TableLocked(
            f"The handlers of {signal} could not lock a table: {driver_text(error)}",
            f"Another session keeps it locked, and traffic was not to wait for it. {state}",
            "Look at the sessions on this database and end what should not run, then start again: "
            "the next run does what was left to do.",
        )
    frame = traceback.extract_tb(error.__traceback__)[-1]
    at = f"{frame.filename}:{frame.lineno}"
    return MigrationFailed(
        f"A handler of {signal} failed: {type(error).__name__}: {driver_text(error)} at {at}",
        f"{state} The server was not started; the running release is not affected.",
        "Mend the handler and release again; the next run calls it again.",
    )


def _timed(conf: Conf) -> Callable[..., Any]:
    """Bounds how long a statement of a signal handler waits for a table."""

    def wrapper(execute: Callable[..., Any], sql: str, parameters: Any, many: bool, context: dict[str, Any]) -> Any:
        raw = context["connection"].connection
        with raw.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, false)", [str(conf.lock_timeout_ms)])
        return execute(sql, parameters, many, context)

    return wrapper
