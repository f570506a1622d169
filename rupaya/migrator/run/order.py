"""One run, in order: wait → plan → lock → plan again → refuse → apply → record → release."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

import psycopg2
from django.conf import settings
from django.core.management.base import CommandError
from django.db import Error as DjangoDatabaseError
from django.db.migrations.recorder import MigrationRecorder

from rupaya.migrator.debts.debtstore import DebtStore
from rupaya.migrator.errors import (
    EnvironmentUnfit,
    HistoryRefused,
    LedgerDamaged,
    MigratorError,
    Terminated,
    driver_text,
    is_or_are,
    sqlstate,
)
from rupaya.migrator.fieldcopies import fields_copied
from rupaya.migrator.foresight.progress import Progress
from rupaya.migrator.ledger.ledger import Ledger
from rupaya.migrator.plan.plan import Plan
from rupaya.migrator.run import again
from rupaya.migrator.run.context import RunContext
from rupaya.migrator.run.drift import Drift
from rupaya.migrator.run.outcome import how_far
from rupaya.migrator.run.procedure import Procedure
from rupaya.migrator.session import database
from rupaya.migrator.session.lock import FIRST_KEY, MigrationLock, try_lock, unlock
from rupaya.migrator.session.session import Session
from rupaya.migrator.session.stop import UNKNOWN
from rupaya.migrator.session.watch import Watch
from rupaya.migrator.sessionsettings import session_settings
from rupaya.migrator.sqlstates import NOT_AS_MADE, RETRYABLE, UNFIT

_under_way: dict[str, RunContext] = {}
"""The run of this process on each alias: a receiver or a migration that calls `migrate` is part of it."""


def run(procedure: Procedure, session: Session) -> None:
    """Carry a procedure out, whole: alone, within limits, recorded; or find that there is nothing to do.

    Raises:
        MigratorError: each failure as its class, with its exit code.
        CommandError: if the request names no app or no migration.
    """
    session.output.say(f"Using environment: {getattr(settings, 'RUPAYA_ENV', 'unknown')}")
    with session.opened(), session.output.hearing(), fields_copied():
        session.keep_rights()
        plan = procedure.read_plan(session)
        procedure.refuse_before_the_lock(session, plan)
        if not procedure.has_work(session, plan):
            _close_dead_runs(session)
            procedure.nothing_to_do(session, plan)
            return
        with _locked(procedure, session, plan) as context:
            if context is None:
                procedure.nothing_to_do(session, procedure.read_plan(session))
                return
            plan = procedure.read_plan(session)  # somebody may have been faster
            procedure.refuse_before_the_lock(session, plan)
            if not procedure.has_work(session, plan):
                procedure.nothing_to_do(session, plan)
                return
            plan = _without_existing(procedure, session, plan)
            context.is_live = not plan.history_is_empty
            context.phases = plan.phases
            session.stop.so_far = partial(how_far, context, plan)
            with recorded(procedure.command, session, context.ledger):
                _say_abandoned(context)
                procedure.refuse_under_the_lock(context, plan)
                context.drift.look(context.output)
                context.drift.say_or_refuse(context.output, session.conf.on_drift)
                procedure.look_at_rows(context, plan)
                _apply(procedure, context, plan, session)


def _without_existing(procedure: Procedure, session: Session, plan: Plan) -> Plan:
    """The plan, if nothing of what it would make is there; read again if somebody else is at it, who takes no lock.

    Raises:
        HistoryRefused: if it is there, and the history does not change.
    """
    while True:
        try:
            procedure.refuse_existing(session, plan)
        except HistoryRefused:
            seen, plan = plan.history, procedure.read_plan(session)
            if plan.history == seen:
                raise
        else:
            return plan


def _close_dead_runs(session: Session) -> None:
    """Close what dead migrators left open, where no run with anything to do will: only if nobody is at work."""
    ledger = Ledger(session.raw)
    with suppress(psycopg2.Error):  # a standby, or a role that only reads
        # Through a pooler the lock might stay behind with a session of its own, and keep every migrator waiting.
        if ledger.has_open_runs() and not database.is_pooled(session.raw) and try_lock(session.raw, FIRST_KEY):
            try:
                ledger.close_abandoned()
            finally:
                unlock(session.raw, FIRST_KEY)


def joined(alias: str) -> RunContext | None:
    """The run of this process that is under way on a database, if there is one."""
    return _under_way.get(alias)


@contextmanager
def _locked(procedure: Procedure, session: Session, plan: Plan) -> Iterator[RunContext | None]:
    """Both locks, and what a run works with; None if somebody else has done it all while this process waited."""
    with session.lock_connection() as lock_connection:
        lock = MigrationLock(lock_connection, session.connection)
        ledger = Ledger(lock_connection)

        def somebody_else_did_it() -> bool:
            # Asked at every poll by every waiter: one cheap query, and the plan only when it says yes.
            return ledger.is_settled(plan.digest) and not procedure.has_work(session, procedure.read_plan(session))

        if not lock.acquire(
            session.conf,
            session.stop,
            session.output,
            somebody_else_did_it=somebody_else_did_it if plan.digest else lambda: False,
            doing=ledger.under_way,
        ):
            yield None
            return
        session.heartbeat.stop_after(session.conf.deadline_s)
        session.vigil.stop_after(session.conf.deadline_s)
        watch, progress = Watch(lock_connection), Progress(session.output, lambda: ledger.run_id)
        watch.look = progress.look
        context = RunContext(
            conf=session.conf,
            connection=session.connection,
            lock=lock,
            ledger=ledger,
            watch=watch,
            progress=progress,
            stop=session.stop,
            output=session.output,
            drift=Drift(session.connection, ledger, session.conf.lock_timeout_ms),
            deadline=time.monotonic() + session.conf.deadline_s,
            is_live=True,
            phases={},
        )
        _under_way[session.connection.alias] = context
        try:
            yield context
        finally:
            session.stop.so_far = lambda: UNKNOWN
            del _under_way[session.connection.alias]
            with suppress(psycopg2.Error):
                lock.release()


@contextmanager
def alone(command: str, session: Session) -> Iterator[Ledger]:
    """For what else changes the history or the schema: under the lock and in the ledger, like a run."""
    with session.opened(), under_the_lock(session) as ledger, recorded(command, session, ledger):
        yield ledger


@contextmanager
def under_the_lock(session: Session) -> Iterator[Ledger]:
    """The ledger, whole, while nobody else migrates: for what is written there without being a run."""
    with session.lock_connection() as lock_connection:
        lock, ledger = MigrationLock(lock_connection, session.connection), Ledger(lock_connection)
        lock.acquire(
            session.conf,
            session.stop,
            session.output,
            somebody_else_did_it=lambda: False,
            doing=ledger.under_way,
        )
        try:
            _ensure_records(session, ledger)
            yield ledger
        finally:
            with suppress(psycopg2.Error):
                lock.release()


@contextmanager
def recorded(command: str, session: Session, ledger: Ledger) -> Iterator[None]:
    """A row in the ledger for what the block does, and for how it ends; a failure goes on as it is."""
    _ensure_records(session, ledger)
    ledger.start_run(
        command=command,
        release=getattr(settings, "RELEASE", "unknown"),
        git_sha=getattr(settings, "GIT_SHA", "unknown"),
        environment=getattr(settings, "RUPAYA_ENV", "unknown"),
        task=database.task_name(),
    )
    try:
        yield
    except BaseException as raised:
        error: BaseException = raised
        if isinstance(raised, Exception) and not isinstance(raised, CommandError):
            error = session.named(raised)
        interrupted = isinstance(error, Terminated | KeyboardInterrupt)
        code = error.exit_code if isinstance(error, MigratorError) else 1
        happened = error.happened if isinstance(error, MigratorError) else driver_text(error)
        with suppress(psycopg2.Error):  # the server may be what failed; a later start closes this row
            _finish(session, ledger, "interrupted" if interrupted else "failed", code, happened)
        raise
    _finish(session, ledger, "succeeded", 0)


def _finish(session: Session, ledger: Ledger, outcome: str, code: int, error: str = "") -> None:
    again.on_the_ledger(
        session.connection, session.stop, ledger, lambda reachable: reachable.finish_run(outcome, code, error)
    )


def _ensure_records(session: Session, ledger: Ledger) -> None:
    """Django's history and the ledger, made where they are missing.

    Raises:
        EnvironmentUnfit: if they cannot be made or written.
    """
    try:
        with session_settings(session.connection, statement_timeout=database.OWN_STATEMENT_MS):
            MigrationRecorder(session.connection).ensure_schema()
        ledger.ensure_schema()
        missing = ledger.missing_tables()
    except Exception as error:
        cause = error.__cause__ or error.__context__ or error  # Django's MigrationSchemaMissing hides it
        code = sqlstate(error) or sqlstate(cause)
        if not code or code.startswith(("08", "57")) or code in (*RETRYABLE, *NOT_AS_MADE):
            raise
        fact, remedy = UNFIT.get(code, ("the server refuses it", "Look at what the server says"))
        raise EnvironmentUnfit(
            f"The migrator cannot write its ledger, because {fact}: {driver_text(cause)}",
            "Without its ledger nothing is migrated; nothing was changed.",
            f"{remedy}; it needs CREATE on the schema and ownership of the tables.",
        ) from None
    if missing:
        raise LedgerDamaged(f"{', '.join(missing)} {is_or_are(len(missing))} missing")


def _say_abandoned(context: RunContext) -> None:
    for attempt in context.ledger.close_abandoned():
        context.output.say(f"{attempt.app}.{attempt.name} was interrupted: its process died", warning=True)


def _apply(procedure: Procedure, context: RunContext, plan: Plan, session: Session) -> None:
    # What an earlier crash could leave unsettled must be settled again by a run that changes anything.
    context.ledger.unsettle(plan.digest)
    executor = procedure.executor(plan, context)
    try:
        procedure.apply(executor)
    except BaseException:
        # What is committed already is ours, and the next run must not take it for somebody's handiwork.
        if not context.one_transaction:
            with suppress(psycopg2.Error, DjangoDatabaseError):
                context.drift.keep(executor.applied_models())
        raise
    session.keep_rights()
    context.drift.keep_or_say(context.output, executor.applied_models())
    if plan.is_complete and plan.digest:
        owed = sorted({debt.migration_label for debt in DebtStore(context.connection).owed()})
        context.ledger.settle(plan.digest, owed)
    procedure.say_done(context, plan)
