"""Histories that this code must not build upon: edited since, or missing where the tables are there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import operations as ops
from django.db.migrations.migration import Migration
from django.db.migrations.operations.base import Operation
from django.utils.module_loading import import_string

from rupaya.migrator.django import Key, applied_state
from rupaya.migrator.errors import HistoryRefused, counted
from rupaya.migrator.ledger.ledger import Applied, comparable_versions
from rupaya.migrator.plan.fingerprint import do_the_same, file_hash_of, migration_hashes, source_path
from rupaya.migrator.plan.phases import flat_operations, model_name_of
from rupaya.migrator.plan.plan import Plan, has_table, table_in_state

Named = tuple[str, str]
"""A table and a column of it; an empty column for the table itself."""


@dataclass(frozen=True)
class Edited:
    """A migration whose code is not what was applied."""

    applied: Applied
    is_certain: bool
    """False for somebody else's app, and where another Python or Django version may explain the difference."""

    def __str__(self) -> str:
        return f"{self.applied.app}.{self.applied.name}"


def edited_migrations(disk: Mapping[Key, Migration], in_force: Iterable[Applied]) -> list[Edited]:
    """Applied migrations whose file and fingerprint both differ from what the ledger says was applied."""
    found = []
    for applied in in_force:
        if applied.key not in disk or not applied.file_hash:
            continue
        migration = disk[applied.key]
        # The file's hash first: what it does is worked out only for a file that has changed.
        if file_hash_of(migration) in ("", applied.file_hash):
            continue
        if do_the_same(migration_hashes(migration)[0], applied.fingerprint):
            continue
        is_ours = not {"site-packages", "dist-packages"} & set(source_path(migration).parts)
        found.append(
            Edited(applied, is_ours and (applied.python_version, applied.django_version) == comparable_versions())
        )
    return found


def refuse_edited(edited: Sequence[Edited]) -> None:
    """Refuse to build upon migrations that were edited after they were applied.

    Raises:
        HistoryRefused: naming them, with when and by which release they were applied.
    """
    listed = "; ".join(
        f"{item} (applied {item.applied.finished_at:%Y-%m-%d %H:%M} UTC by release {item.applied.release})"
        for item in edited
    )
    raise HistoryRefused(
        f"Applied migrations were edited since: {listed}.",
        "The database has what they did before the edit, not what they say now; nothing was changed.",
        "Change them back and put the difference into a new migration. If the database has it already, record that "
        "with 'manage.py migrate --accept-edited'.",
    )


def refuse_by_project(connection: BaseDatabaseWrapper, plan: Plan) -> None:
    """Ask the project whether a plan may be carried out on this database.

    The setting `MIGRATOR_HISTORY_CHECKS` names functions that take the connection and the plan, and raise.

    Raises:
        HistoryRefused: as one of them says.
    """
    for path in getattr(settings, "MIGRATOR_HISTORY_CHECKS", ()) if plan.steps else ():
        import_string(path)(connection, plan)


def refuse_existing(connection: BaseDatabaseWrapper, plan: Plan) -> None:
    """Refuse to create what is there already: a history that is empty, or half there, over existing tables.

    Raises:
        HistoryRefused: naming each migration and what of it exists.
    """
    wanted: dict[Named, str] = {}
    tables = plan.tables()
    for migration in (migration for migration, backwards in plan.steps if not backwards):
        for operation in flat_operations(migration.operations):
            if _is_for(connection, migration.app_label, operation) and (made := _made(migration, operation, tables)):
                wanted.setdefault(made, str(migration))
    if not (found := _existing(connection, list(wanted))):
        return
    # What the history accounts for is renamed or dropped before its name is used again.
    accounted = _accounted_for(plan)
    things_of: dict[str, list[str]] = {}
    for name in (name for name in found if name not in accounted):
        things_of.setdefault(wanted[name], []).append(".".join(filter(None, name)))
    if not things_of:
        return
    names = "; ".join(f"{migration} would create {', '.join(things)}" for migration, things in things_of.items())
    state = f"has {counted(plan.applied, 'migration')}, but not these" if plan.applied else "is empty"
    raise HistoryRefused(
        f"The history (django_migrations) {state}, while what they create exists: {names}.",
        "The tables were made by something else, or the history was lost or edited; nothing was changed.",
        "If this code made them, record it: 'manage.py migrate --fake-initial', or '--fake APP NAME' for one of them. "
        "If another system made them, they must be taken over, not created. If the history was lost, restore it.",
    )


def _made(migration: Migration, operation: Operation, tables: Mapping[Key, str]) -> Named | None:
    """The table, or the column of a table of this code, that an operation makes."""
    if isinstance(operation, ops.CreateModel) and has_table(operation.options):
        return table_in_state((migration.app_label, operation.name_lower), operation.options), ""
    if isinstance(operation, ops.AddField):
        table = tables.get((migration.app_label, operation.model_name_lower))
        column = _column(operation.name, operation.field)
        return (table, column) if table and column else None
    return None


def _column(name: str, field: Any) -> str:
    """The column that a field gets; empty for a many-to-many field."""
    named = field.clone()
    named.set_attributes_from_name(name)
    return "" if field.many_to_many else named.column


def _accounted_for(plan: Plan) -> set[Named]:
    """The tables and columns that the applied migrations of this code amount to."""
    return {
        (table_in_state(key, model.options), column)
        for key, model in applied_state(plan.executor).models.items()
        if has_table(model.options)
        for column in ("", *(_column(name, field) for name, field in model.fields.items()))
    }


def _is_for(connection: BaseDatabaseWrapper, app_label: str, operation: Operation) -> bool:
    """Whether Django would do it on this database: routers may refuse it, and a model that is swapped is not made."""
    if isinstance(operation, ops.CreateModel) and (swappable := operation.options.get("swappable")):
        wanted = str(getattr(settings, swappable, "")).lower()
        if wanted not in ("", f"{app_label}.{operation.name_lower}"):
            return False
    model_name = model_name_of(operation)
    return router.allow_migrate(connection.alias, app_label, model_name=model_name)


def _existing(connection: BaseDatabaseWrapper, names: Sequence[Named]) -> list[Named]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT t, c FROM unnest(%s::text[], %s::text[]) AS wanted (t, c) "
            "WHERE to_regclass(quote_ident(t)) IS NOT NULL AND (c = '' OR EXISTS ("
            "SELECT FROM pg_attribute WHERE attrelid = to_regclass(quote_ident(t)) AND attname = c "
            "AND NOT attisdropped))",
            [[table for table, _column in names], [column for _table, column in names]],
        )
        return [(table, column) for table, column in cursor.fetchall()]
