"""Histories that this code must not build upon: edited since, or missing where the tables are there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db import router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import operations as ops
from django.db.migrations.migration import Migration
from django.db.migrations.operations.base import Operation
from django.utils.module_loading import import_string

from rupaya.migrator.django import unquoted
from rupaya.migrator.errors import HistoryRefused
from rupaya.migrator.ledger.ledger import Applied, comparable_versions
from rupaya.migrator.plan.fingerprint import do_the_same, file_hash_of, migration_hashes, source_path
from rupaya.migrator.plan.phases import flat_operations, model_name_of
from rupaya.migrator.plan.plan import Plan

Key = tuple[str, str]


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
        migration = disk.get(applied.key)
        if migration is None or not applied.file_hash:
            continue
        # The file's hash first: what it does is worked out only for a file that has changed.
        if file_hash_of(migration) in ("", applied.file_hash):
            continue
        if do_the_same(migration_hashes(migration)[0], applied.fingerprint):
            continue
        path = source_path(migration)
        is_ours = path is not None and not {"site-packages", "dist-packages"} & set(path.parts)
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


def refuse_existing(
    connection: BaseDatabaseWrapper, pending: Sequence[Migration], tables: Mapping[Key, str], *, applied: int
) -> None:
    """Refuse to create what is there already: a history that is empty, or half there, over existing tables.

    `tables` gives the table of each (app label, lower-case model name).

    Raises:
        HistoryRefused: naming each migration and what of it exists.
    """
    wanted: dict[tuple[str, str], str] = {}
    gone: set[str] = set()
    for migration in pending:
        for operation in flat_operations(migration.operations):
            key = (migration.app_label, model_name_of(operation))
            if not _is_for(connection, migration.app_label, operation):
                continue
            if isinstance(operation, ops.CreateModel) and operation.options.get("managed", True):
                named = operation.options.get("db_table") or f"{migration.app_label}_{operation.name_lower}"
                table = unquoted(named)
                if not (operation.options.get("proxy") or table in gone):
                    wanted.setdefault((table, ""), str(migration))
            elif isinstance(operation, ops.AddField) and not operation.field.many_to_many and key in tables:
                column = operation.field.db_column or operation.field.get_attname_column()[1] or operation.name
                wanted.setdefault((tables[key], column), str(migration))
            elif isinstance(operation, ops.DeleteModel | ops.RenameModel | ops.AlterModelTable | ops.RemoveField):
                gone.add(tables.get(key, ""))
    found = _existing(connection, [pair for pair in wanted if pair[0] not in gone])
    if not found:
        return
    things_of: dict[str, list[str]] = {}
    for pair in found:
        things_of.setdefault(wanted[pair], []).append(f"{pair[0]}.{pair[1]}" if pair[1] else pair[0])
    names = "; ".join(f"{migration} would create {', '.join(things)}" for migration, things in things_of.items())
    state = f"has {applied} migration{'s' if applied != 1 else ''}, but not these" if applied else "is empty"
    raise HistoryRefused(
        f"The history (django_migrations) {state}, while what they create exists: {names}.",
        "The tables were made by something else, or the history was lost or edited; nothing was changed.",
        "If this code made them, record it: 'manage.py migrate --fake-initial', or '--fake APP NAME' for one of them. "
        "If another system made them, they must be taken over, not created. If the history was lost, restore it.",
    )


def _is_for(connection: BaseDatabaseWrapper, app_label: str, operation: Operation) -> bool:
    """Whether Django would do it on this database: routers may refuse it, and a model that is swapped is not made."""
    if isinstance(operation, ops.CreateModel) and (swappable := operation.options.get("swappable")):
        wanted = str(getattr(settings, swappable, "")).lower()
        if wanted not in ("", f"{app_label}.{operation.name_lower}"):
            return False
    model_name = model_name_of(operation)
    return router.allow_migrate(connection.alias, app_label, model_name=model_name)


def _existing(connection: BaseDatabaseWrapper, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    if not pairs:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT t, c FROM unnest(%s::text[], %s::text[]) AS wanted (t, c) "
            "WHERE to_regclass(quote_ident(t)) IS NOT NULL AND (c = '' OR EXISTS ("
            "SELECT FROM pg_attribute WHERE attrelid = to_regclass(quote_ident(t)) AND attname = c "
            "AND NOT attisdropped))",
            [[table for table, _column in pairs], [column for _table, column in pairs]],
        )
        return [(table, column) for table, column in cursor.fetchall()]
