"""The attic in a run: what comes back is filled before its migration runs, and made sure of after it."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from typing import Any

from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.migrator.attic import bringing
from rupaya.migrator.attic.item import COLUMN, DEBT, ROLLBACK, Item
from rupaya.migrator.attic.store import AtticStore
from rupaya.migrator.django import Key
from rupaya.migrator.errors import (
    DatabaseUnreachable,
    MigrationFailed,
    MigratorError,
    TableLocked,
    driver_text,
    is_lost,
    sqlstate,
)
from rupaya.migrator.plan.fingerprint import migration_hashes
from rupaya.migrator.plan.plan import Plan, key_of
from rupaya.migrator.run import backoff
from rupaya.migrator.run.context import RunContext
from rupaya.migrator.sessionsettings import session_settings
from rupaya.migrator.sqlstates import RETRYABLE


def coming_back(connection: BaseDatabaseWrapper, plan: Plan) -> list[Item]:
    """What is in the attic and comes back by this plan, in its order."""
    store = AtticStore(connection)
    if not store.exists():
        return []
    found: list[Item] = []
    for migration, backwards in plan.steps:
        items = store.of_migration(*key_of(migration), reason=DEBT if backwards else ROLLBACK)
        fingerprint = migration_hashes(migration)[0]
        found += [item for item in items if backwards or item.source.fingerprint == fingerprint]
    return found


def fill_of(connection: BaseDatabaseWrapper, plan: Plan, item: Item) -> str:
    """SQL for the value that a column's field gives to rows without one; empty if it has none."""
    if item.kind != COLUMN or not item.details.get("not_null"):
        return ""
    backwards = {key_of(migration): is_backwards for migration, is_backwards in plan.steps}
    key: Key = item.key
    state = plan.executor.loader.project_state(key, at_end=not backwards.get(key, True))
    editor: Any = connection.schema_editor(collect_sql=True)
    for model in state.apps.get_models(include_auto_created=True):
        if model._meta.db_table != item.table:
            continue
        for field in model._meta.local_fields:
            if field.column == item.object and not field.null:
                value = editor.effective_default(field)
                return "" if value is None else str(editor.connection.ops.compose_sql("%s", [value]))
    return ""


def prepare(context: RunContext, plan: Plan) -> None:
    """Fill what comes back by this plan, in the attic.

    Raises:
        MigratorError: if a table stays locked, or a row does not take the value; nothing has come back then.
    """
    for item in coming_back(context.connection, plan):
        if fill := fill_of(context.connection, plan, item):
            tried(
                context,
                f"filling the {item}",
                lambda item=item, fill=fill: bringing.prepare(  # type: ignore[misc]
                    context.connection, item, fill, context.stop.check
                ),
            )


def finish(context: RunContext) -> None:
    """Make, and make sure of, what is left of what came back by now, in this run or in one that was cut off.

    Raises:
        MigratorError: if a table stays locked; the next run goes on from there.
    """
    for item in AtticStore(context.connection).unfinished():
        tried(
            context,
            f"making the rules of the {item} again",
            lambda item=item: bringing.finish(  # type: ignore[misc]
                context.connection, item, lambda line: context.output.say(line, warning=True)
            ),
        )
        context.output.say(f"✓ {item} is back", success=True)


def tried(context: RunContext, what: str, work: Callable[[], None]) -> None:
    """Do what bears being done again, until no lock is in its way."""
    conf = context.conf
    for tries in count(1):
        context.stop.check()
        context.lock.verify()
        try:
            raw = context.connection.connection
            with (
                context.stop.interrupting(),
                context.watch.observing(raw.info.backend_pid),
                session_settings(
                    context.connection,
                    lock_timeout=conf.lock_timeout_ms,
                    statement_timeout=conf.statement_timeout_ms,
                ),
            ):
                work()
            return
        except Exception as error:
            if context.stop.requested:
                raise context.stop.error(f"It was {what}; the next run goes on from there.") from None
            if sqlstate(error) in RETRYABLE and tries <= conf.retries and time.monotonic() < context.deadline:
                context.stop.wait(backoff.pause_s(tries, at_most_s=context.deadline - time.monotonic()))
                continue
            raise _explained(context, what, error, tries) from error


def _explained(context: RunContext, what: str, error: Exception, tries: int) -> MigratorError:
    still = "What was in the attic is there still or is back whole; starting again goes on from there."
    if isinstance(error, MigratorError):
        return error
    if is_lost(error):
        return DatabaseUnreachable.lost(error, what, still)
    if sqlstate(error) in RETRYABLE:
        return TableLocked(what, error, tries, still, context.watch.blockers)
    reason = driver_text(error) if isinstance(error, DatabaseError) else f"{type(error).__name__}: {error}"
    return MigrationFailed(
        f"{what.capitalize()} failed: {reason}", still, "Mend what is named, then start the same command again."
    )
