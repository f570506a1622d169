"""A migration's failure as its class: what happened, what it means by the server's word, and what to do."""

from __future__ import annotations

import traceback
from collections.abc import Sequence

from django.db.migrations.migration import Migration

from rupaya.migrator.django import PlanStep
from rupaya.migrator.errors import (
    DatabaseUnreachable,
    EnvironmentUnfit,
    MigrationFailed,
    MigratorError,
    TableLocked,
    driver_text,
    is_lost,
    python_text,
    sqlstate,
)
from rupaya.migrator.plan.fingerprint import source_path
from rupaya.migrator.run.context import RunContext
from rupaya.migrator.run.outcome import Outcome
from rupaya.migrator.run.shownsql import shown
from rupaya.migrator.run.transactions import RowGone, TransactionEnded, TransactionLeftOpen
from rupaya.migrator.sqlstates import CANCELED_BY_SOMEBODY, QUERY_CANCELED, RETRYABLE, UNFIT, passes_by_itself
from rupaya.migrator.statements import one_line


def explained(
    context: RunContext, migration: Migration, error: BaseException, outcome: Outcome, *, tries: int, limit_ms: int
) -> MigratorError:
    """The failure as its class; `limit_ms` is how long one of its statements might take."""
    verb = "unapplied" if outcome.backwards else "applied"
    if context.stop.requested:
        remedy = ["Look at what it did so far."] if outcome.is_half_done else []
        return context.stop.error(f"{migration} was being {verb}. {outcome}", *remedy)
    if isinstance(error, RowGone):
        return MigrationFailed(
            f"{migration} failed: {error.happened}.",
            f"{error.meaning} {outcome}",
            "Look at what it did so far; the next start says how to go on." if outcome.is_half_done else error.remedy,
        )
    if isinstance(error, TransactionEnded):
        return MigrationFailed(
            f"{migration} failed: {error.happened}.",
            f"{error.meaning} {outcome.of_a_transaction_that_it_ended()}",
            error.remedy,
        )
    if isinstance(error, TransactionLeftOpen):
        asks = " The next run will stop and ask." if outcome.is_half_done else ""
        rest = str(outcome) if outcome.is_atomic else f"It is not atomic: what it had committed before stays.{asks}"
        return MigrationFailed(f"{migration} failed: {error.happened}.", f"{error.meaning} {rest}", error.remedy)
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
        limit_s = limit_ms / 1000
        return MigrationFailed(
            f"{migration} kept traffic from {table} for more than {limit_s:g} s, and was cancelled.",
            f"Each of its statements may be short; the lock stays until the transaction ends. {outcome} The server "
            "was not started; the running release is not affected.",
            "Put the change of the schema and the work on rows into migrations of their own; Backfill does the "
            "latter in short transactions. `statement_timeout_ms` in the migration allows it more.",
        )
    place = _place(migration, error)
    # What Python raised, no statement did: the last one before it may be Django's or the migrator's own.
    is_by_server = bool(sqlstate(error))
    sql = one_line(shown(migration, context.watch.last_sql)) if is_by_server and not place else ""
    at = f" at {place}" if place else f". The statement: {sql}" if sql else ""
    return MigrationFailed(
        f"{migration} failed: {type(error).__name__}: {python_text(error)}{at}",
        f"{outcome} The server was not started; the running release is not affected.",
        _what_to_do(context, kind_of(context, error, limit_ms) or "PYTHON", outcome),
    )


def kind_of(context: RunContext, error: BaseException, limit_ms: int) -> str:
    """The failure's SQLSTATE; that of an administrator's doing where somebody cancelled, and not a time limit."""
    code = sqlstate(error)
    by_somebody = (
        code == QUERY_CANCELED and not context.watch.held_too_long and _has_time_left(context, error, limit_ms)
    )
    return CANCELED_BY_SOMEBODY if by_somebody else code


def _has_time_left(context: RunContext, error: BaseException, limit_ms: int) -> bool:
    """Whether a statement that was cancelled was within its limit.

    The server has one code for both and says which in words; where these are not English, the clock decides.
    """
    text, took_ms = str(error), context.watch.took_ms
    if "statement timeout" in text or "user request" in text:
        return "user request" in text
    return took_ms is not None and not 0 < limit_ms <= took_ms


def after_the_commit(steps: Sequence[PlanStep], error: Exception) -> MigrationFailed:
    """What is said of a batch that is committed, where a function failed that a migration had left for after that."""
    places = (_place(migration, error) for migration, _backwards in steps)
    at = next((f" at {place}" for place in places if place), "")
    return MigrationFailed(
        f"What a migration left to be done after the commit failed: {type(error).__name__}: {python_text(error)}{at}",
        "The batch was committed all the same: it is applied and recorded. The server was not started; the running "
        "release is not affected.",
        _AFTER_THE_COMMIT,
    )


_AFTER_THE_COMMIT = (
    "Start again: it goes on with what is pending. What was to be done after the commit (transaction.on_commit) is not "
    "tried again: do it by hand, or in a migration of its own."
)


def _what_to_do(context: RunContext, kind: str, outcome: Outcome) -> str:
    if outcome.is_committed:
        return _AFTER_THE_COMMIT
    if passes_by_itself(kind) and not outcome.is_half_done:
        return "This may pass by itself: start again. If it does not, look at the server."
    return (
        "Fix the migration or the data and release again. The same failure is not tried again "
        + ("" if outcome.is_half_done else f"for {context.conf.failed_hold_s:g} s ")
        + "unless 'manage.py migrate --retry-failed' says so."
    )


def _place(migration: Migration, error: BaseException) -> str:
    """File and line in the migration's own module, for an error that Python code raised."""
    path = source_path(migration)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
