"""What a rollback does to rows: of each column and table, how many are kept, need a value, or cannot come back."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import operations as ops
from django.db.migrations.migration import Migration

from rupaya.migrator.attic.atticstore import AtticStore
from rupaya.migrator.attic.bringing import relation_of, without_value
from rupaya.migrator.attic.facts import fetch, is_there
from rupaya.migrator.attic.item import COLUMN, FORGOTTEN, Item
from rupaya.migrator.debts.debt import COLUMN as COLUMN_DEBT
from rupaya.migrator.debts.debt import TABLE as TABLE_DEBT
from rupaya.migrator.debts.debt import Debt
from rupaya.migrator.debts.debtstore import DebtStore
from rupaya.migrator.django import table_of, unquoted
from rupaya.migrator.errors import counted
from rupaya.migrator.operations import Backfill
from rupaya.migrator.plan.phases import flat_operations
from rupaya.migrator.plan.plan import Plan, key_of
from rupaya.migrator.run.comingback import coming_back, fill_of


def foretold(connection: BaseDatabaseWrapper, plan: Plan) -> list[str]:
    """A line for each column and table that the plan's migrations take away or bring back."""
    store = DebtStore(connection)
    debts = [debt for debt in (*store.owed(), *store.paid()) if debt.kind in (COLUMN_DEBT, TABLE_DEBT)]
    coming = coming_back(connection, plan)
    lines: list[str] = []
    for migration, _backwards in plan.steps:
        items = [item for item in coming if item.key == key_of(migration)]
        lines += [_comes_back(connection, plan, item) for item in items]
        lines += _stays_away(connection, migration, items, [debt for debt in debts if debt.key == key_of(migration)])
        lines += _goes(connection, plan, migration)
    return lines


def _comes_back(connection: BaseDatabaseWrapper, plan: Plan, item: Item) -> str:
    relation = relation_of(connection, item)
    if not relation:
        return f"{item} cannot come back: somebody dropped {item.name}, where it was kept"
    column = f"count({connection.ops.quote_name(item.name)})" if item.kind == COLUMN else "count(*)"
    (number,) = fetch(connection, f"SELECT {column} FROM {relation}")[0]  # noqa: S608 - quoted names
    said = f"{item} comes back with {counted(number, 'value' if item.kind == COLUMN else 'row')}"
    if lacking := without_value(connection, item):
        fill = fill_of(connection, plan, item)
        then = f"get {fill}" if fill else "have none to get, so that it stays nullable until they are fixed"
        said += f"; {counted(lacking, 'row')} written meanwhile {'gets' + then[3:] if lacking == 1 and fill else then}"
    return said


def _stays_away(
    connection: BaseDatabaseWrapper, migration: Migration, items: list[Item], debts: list[Debt]
) -> Iterator[str]:
    """What the migration removed and the attic does not have."""
    known = {(item.table, item.object) for item in items}
    for item in AtticStore(connection).gone(*key_of(migration)):
        if (item.table, item.object) in known:
            continue
        known.add((item.table, item.object))
        why = "it was to be forgotten, and dropped for good" if item.state == FORGOTTEN else "it was purged"
        yield f"{item} comes back empty: {why} on {item.settled_at:%Y-%m-%d %H:%M} UTC"
    for debt in debts:
        if debt.state == "owed":
            yield f"{debt.kind} {_named(debt)} was never taken away: nothing is lost"
        elif (debt.table, debt.object) not in known:
            yield f"{debt.kind} {_named(debt)} comes back empty: it was dropped before there was an attic"
    if not debts and not known:
        for operation in flat_operations(migration.operations):
            if isinstance(operation, ops.RemoveField | ops.DeleteModel):
                yield f"{operation.describe()}: comes back empty: the migration ran to its end and dropped it"


def _goes(connection: BaseDatabaseWrapper, plan: Plan, migration: Migration) -> Iterator[str]:
    """What is put away by going back, and what has no way back."""
    state = plan.executor.loader.project_state(key_of(migration), at_end=True)
    for operation in flat_operations(migration.operations):
        if isinstance(operation, ops.CreateModel):
            key = (migration.app_label, operation.name_lower)
            if key in state.models:
                meta = state.apps.get_model(*key)._meta
                if meta.managed and not meta.proxy:
                    yield _put_away(connection, unquoted(meta.db_table))
        elif isinstance(operation, ops.AddField):
            key = (migration.app_label, operation.model_name_lower)
            if key in state.models and operation.name in state.models[key].fields:
                model = state.apps.get_model(*key)
                field = model._meta.get_field(operation.name)
                if getattr(field, "many_to_many", False):
                    yield _put_away(connection, unquoted(field.m2m_db_table()))
                elif getattr(field, "column", None):
                    yield _put_away(connection, table_of(model), str(field.column))
        elif isinstance(operation, Backfill):
            back = "what it overwrote comes back" if operation.keep else "what it overwrote does not come back"
            yield f"{operation.describe()}: {back}"


def _put_away(connection: BaseDatabaseWrapper, table: str, column: str = "") -> str:
    label = f"column {table}.{column}" if column else f"table {table}"
    quote = connection.ops.quote_name
    if not is_there(connection, table):
        return f"{label} is not in the database"
    (number,) = fetch(connection, f"SELECT count({quote(column) if column else '*'}) FROM {quote(table)}")[0]  # noqa: S608 - quoted names
    return f"{label} is put away with {counted(number, 'value' if column else 'row')}"


def _named(debt: Debt) -> str:
    return debt.table if debt.kind == TABLE_DEBT else f"{debt.table}.{debt.object}"
