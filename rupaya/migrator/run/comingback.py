"""The attic in a run: what comes back is filled before its migration runs, and made sure of after it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.migrator.attic import bringing
from rupaya.migrator.attic.atticstore import AtticStore
from rupaya.migrator.attic.instep import IN_STEP
from rupaya.migrator.attic.item import COLUMN, DEBT, KEPT, RESTORED, ROLLBACK, Item
from rupaya.migrator.django import table_of
from rupaya.migrator.plan.fingerprint import do_the_same, migration_hashes
from rupaya.migrator.plan.plan import Plan, key_of
from rupaya.migrator.run import again
from rupaya.migrator.run.context import RunContext
from rupaya.migrator.run.outcome import reachable
from rupaya.migrator.sessionsettings import session_settings


def coming_back(connection: BaseDatabaseWrapper, plan: Plan) -> list[Item]:
    """What is in the attic and comes back by this plan, in its order."""
    store = AtticStore(connection)
    if not store.exists():
        return []
    found: list[Item] = []
    for migration, backwards in plan.steps:
        items = store.of_migration(*key_of(migration), reason=DEBT if backwards else ROLLBACK)
        fingerprint = migration_hashes(migration)[0]
        found += [item for item in items if backwards or do_the_same(item.source.fingerprint, fingerprint)]
    return found


def fill_of(connection: BaseDatabaseWrapper, plan: Plan, item: Item) -> str:
    """SQL for the value that a column's field gives to rows without one; empty if it has none."""
    if item.kind != COLUMN or not item.details.get("not_null"):
        return ""
    backwards = {key_of(migration): is_backwards for migration, is_backwards in plan.steps}
    state = plan.executor.loader.project_state(item.key, at_end=not backwards[item.key])
    editor: Any = connection.schema_editor(collect_sql=True)
    for model in state.apps.get_models(include_auto_created=True):
        if table_of(model) != item.table:
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
        fill = "" if item.details.get(IN_STEP) else fill_of(context.connection, plan, item)
        if fill or item.details.get(IN_STEP):
            work = partial(bringing.prepare, context.connection, item, fill, context.stop.check)
            _tried(context, item, "filling", f"the {item}", work)


def finish(context: RunContext) -> None:
    """Make, and make sure of, what is left of what came back by now, in this run or in one that was cut off.

    Raises:
        MigratorError: if a table stays locked; the next run goes on from there.
    """
    say = partial(context.output.say, warning=True)
    for item in AtticStore(context.connection).unfinished():
        work = partial(bringing.finish, context.connection, item, say)
        _tried(context, item, "making", f"the rules of the {item} again", work)
        context.output.say(f"✓ {item} is back", success=True)


def _tried(context: RunContext, item: Item, doing: str, what: str, work: Callable[[], None]) -> None:
    subject = f"{doing.capitalize()} {what}"
    again.tried_in(
        context,
        subject,
        partial(limited, context, work),
        during=f"{doing} {what}",
        failed=f"{subject} failed",
        remedy="Fix what is named, then start the same command again: it goes on from there.",
        state=lambda: again.asked(reachable(context), partial(became, item), f"the {item}"),
    )


def became(item: Item, connection: Any) -> str:
    """What became of an item, by the ledger's word."""
    state = AtticStore(connection).state_of(item)
    if state == KEPT:
        return f"The {item} is still in the attic."
    if state == RESTORED:
        return f"The {item} is back under its own name; the next run makes what is left of its rules."
    return f"The {item} is {state}."


def limited(context: RunContext, work: Callable[[], None]) -> None:
    """Do something within the limits of a statement that keeps traffic waiting."""
    conf = context.conf
    with session_settings(
        context.connection, lock_timeout=conf.lock_timeout_ms, statement_timeout=conf.statement_timeout_ms
    ):
        work()
