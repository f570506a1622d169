"""Before anything is applied or unapplied: what comes back is made ready in the attic, where nobody waits for it."""

from __future__ import annotations

import time
from itertools import count

from django.db import DatabaseError

from rupaya.migrator.attic.item import PAID, UNAPPLIED, Item
from rupaya.migrator.attic.returning import Returning
from rupaya.migrator.attic.store import Store
from rupaya.migrator.errors import (
    DatabaseUnreachable,
    MigrationFailed,
    MigratorError,
    TableLocked,
    counted,
    driver_text,
    is_lost,
    sqlstate,
)
from rupaya.migrator.plan.plan import Plan, key_of
from rupaya.migrator.run import backoff
from rupaya.migrator.run.context import RunContext
from rupaya.migrator.sessionsettings import session_settings
from rupaya.migrator.sqlstates import RETRYABLE


def returning(store: Store, plan: Plan) -> list[Item]:
    """What a plan brings back from the attic: removed by what it unapplies, or made by what it applies again."""
    ways = {key_of(migration): PAID if backwards else UNAPPLIED for migration, backwards in plan.steps}
    return [item for item in store.kept() if ways.get((item.app, item.migration)) == item.reason]


def prepare(context: RunContext, plan: Plan) -> None:
    """Fill and check what comes back, in batches, each in a transaction of its own.

    Raises:
        MigratorError: if that fails; nothing else was done yet, and starting again goes on from there.
    """
    for item in returning(Store(context.connection), plan):
        began = time.monotonic()
        filled = _prepare_one(context, item)
        if filled:
            context.output.say(
                f"{item.label}: {counted(filled, 'row')} written since it was put away filled, in the attic "
                f"({time.monotonic() - began:.3f} s)"
            )


def _prepare_one(context: RunContext, item: Item) -> int:
    returning = Returning(context.connection, run_id=context.ledger.run_id)
    for tries in count(1):
        context.stop.check()
        context.lock.verify()
        try:
            raw = context.connection.connection
            with (
                context.stop.interrupting(),
                context.watch.observing(raw.info.backend_pid),
                session_settings(context.connection, lock_timeout=context.conf.lock_timeout_ms),
            ):
                return returning.prepare(item, context.stop.check)
        except Exception as error:
            if context.stop.requested:
                raise context.stop.error("Nothing was changed yet.") from None
            may_wait = tries <= context.conf.retries and time.monotonic() < context.deadline
            if sqlstate(error) in RETRYABLE and may_wait:
                context.stop.wait(backoff.pause_s(tries, at_most_s=context.deadline - time.monotonic()))
                continue
            raise _explained(context, item, error, tries) from error
    raise AssertionError


def _explained(context: RunContext, item: Item, error: Exception, tries: int) -> MigratorError:
    still = "Nothing was changed yet; the item is in the attic still, and both releases can go on."
    if isinstance(error, MigratorError):
        return error
    if is_lost(error):
        return DatabaseUnreachable.lost(error, f"{item.label} was being made ready to come back", still)
    if sqlstate(error) in RETRYABLE:
        return TableLocked(item.label, error, tries, still, context.watch.blockers)
    reason = driver_text(error) if isinstance(error, DatabaseError) else f"{type(error).__name__}: {error}"
    return MigrationFailed(
        f"{item} cannot be made ready to come back: {reason}",
        still,
        "Fix the rows or what else is in the way, then start again.",
    )
