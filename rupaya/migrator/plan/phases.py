"""Whether old code keeps working after a migration (expand) or not (contract): declared, or inferred.

Expand migrations may run while the old release still serves. Contract migrations remove, rename or tighten what the old
release may use; they wait until no such release is left.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.conf import settings
from django.db.migrations import operations as ops
from django.db.migrations.migration import Migration
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ModelState, ProjectState
from django.db.models import Field
from django.db.models.fields import NOT_PROVIDED
from django_pg_migration_tools import operations as safer

from rupaya.migrator.operations import Backfill

EXPAND = "expand"
CONTRACT = "contract"
PHASES = (EXPAND, CONTRACT)

_ALWAYS_CONTRACT = (
    ops.RemoveField,
    ops.DeleteModel,
    ops.RenameField,
    ops.RenameModel,
    ops.AlterModelTable,
    ops.AlterUniqueTogether,
    ops.AddConstraint,
    safer.SaferAlterFieldSetNotNull,
    safer.SaferAddUniqueConstraint,
    safer.SaferAddCheckConstraint,
    safer.SaferRemoveFieldForeignKey,
)
_MUST_BE_DECLARED = (ops.RunSQL, ops.RunPython)


def declared_phase(migration: Migration) -> str | None:
    """What the migration itself says (``phase = "expand"``), or the project's settings say of somebody else's."""
    of_others: dict[str, str] = getattr(settings, "DECLARED_MIGRATION_PHASES", {})
    declared = getattr(migration, "phase", None) or of_others.get(str(migration))
    return str(declared) if declared else None


def must_declare(migration: Migration) -> bool:
    """Whether a migration has SQL or Python of its own, which nobody can judge by its form, and does not say."""
    return declared_phase(migration) is None and any(
        isinstance(operation, _MUST_BE_DECLARED) for operation in flat_operations(migration.operations)
    )


def phase_of(migration: Migration, before: ProjectState) -> str:
    """``expand`` or ``contract``; `before` is the project state without the migration, and is left as it is.

    SQL and Python that declare nothing are taken for contract: held back needlessly is better than broken.
    """
    declared = declared_phase(migration)
    if declared in PHASES:
        return declared
    state = before.clone()
    created: set[str] = set()
    for operation in flat_operations(migration.operations):
        if isinstance(operation, ops.CreateModel):
            created.add(operation.name_lower)
        elif _is_contract(operation, migration.app_label, state, created):
            return CONTRACT
        operation.state_forwards(migration.app_label, state)
    return EXPAND


def unready_removals(migration: Migration, before: ProjectState) -> list[str]:
    """Columns that a migration removes although new code could not insert a row while the removal waits.

    Such a column must have been nullable or have had a database default in an earlier release.
    """
    state = before.clone()
    found = []
    for operation in flat_operations(migration.operations):
        if isinstance(operation, ops.RemoveField):
            field = state.models[migration.app_label, operation.model_name_lower].fields.get(operation.name)
            if field is not None and not _may_be_left_out(field):
                found.append(f"{operation.model_name}.{operation.name}")
        operation.state_forwards(migration.app_label, state)
    return found


def flat_operations(operations: Iterable[Operation]) -> Iterable[Operation]:
    """What operations do to the database, those inside SeparateDatabaseAndState included."""
    for operation in operations:
        if isinstance(operation, ops.SeparateDatabaseAndState):
            yield from flat_operations(operation.database_operations)
        else:
            yield operation


def _is_contract(operation: Operation, app_label: str, state: ProjectState, created: set[str]) -> bool:
    if isinstance(operation, Backfill):
        return False
    if isinstance(operation, _MUST_BE_DECLARED):
        return True
    model_name = str(getattr(operation, "model_name", getattr(operation, "name", ""))).lower()
    if model_name in created:
        return False
    model: ModelState | None = state.models.get((app_label, model_name))
    if isinstance(operation, _ALWAYS_CONTRACT):
        return True
    if isinstance(operation, ops.AddField):
        return not _may_be_left_out(operation.field)
    if isinstance(operation, ops.AlterField):
        old = model.fields.get(operation.name) if model is not None else None
        return old is None or _is_narrower(operation.field, old)
    return False


def _may_be_left_out(field: Field) -> bool:  # type: ignore[type-arg]
    """Whether code that does not know a column can insert a row."""
    return bool(field.null or field.many_to_many or field.db_default is not NOT_PROVIDED or field.primary_key)


def _is_narrower(new: Field, old: Field) -> bool:  # type: ignore[type-arg]
    """Whether values that the old column took may be refused, or read differently, by the new one."""
    if (new.db_column or "") != (old.db_column or ""):
        return True
    if (old.null and not new.null) or (new.unique and not old.unique):
        return True
    if old.db_default is not NOT_PROVIDED and new.db_default is NOT_PROVIDED and not new.null:
        return True
    if type(new) is not type(old):
        return True
    if old.is_relation and getattr(old.remote_field, "model", None) != getattr(new.remote_field, "model", None):
        return True
    for limit in ("max_length", "max_digits"):
        old_limit, new_limit = getattr(old, limit, None), getattr(new, limit, None)
        if new_limit is not None and (old_limit is None or new_limit < old_limit):
            return True
    return getattr(new, "decimal_places", None) != getattr(old, "decimal_places", None)
