"""Whether old code keeps working after a migration (expand) or not (contract): declared, or inferred.

Expand migrations may run while the old release still serves. Contract migrations remove, rename or tighten what the old
release may use. What is not known here (SQL and Python of one's own, operations of other packages) is never taken for
safe: it must be declared.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.postgres import operations as postgres
from django.db import connection
from django.db.migrations import operations as ops
from django.db.migrations.migration import Migration
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.db.models import Field
from django.db.models.fields import NOT_PROVIDED
from django_pg_migration_tools import operations as safer

from rupaya.migrator.django import apps_with, table_of
from rupaya.migrator.operations import (
    AddIndexConcurrently,
    AlterFieldIndexConcurrently,
    Backfill,
    FillRenamedField,
    RenameFieldInStep,
    WidenField,
)
from rupaya.migrator.schema.diff import INTEGERS

EXPAND = "expand"
CONTRACT = "contract"
PHASES = (EXPAND, CONTRACT)

_HARMLESS = (
    AddIndexConcurrently,
    AlterFieldIndexConcurrently,
    Backfill,
    FillRenamedField,
    RenameFieldInStep,
    WidenField,
    ops.AddIndex,
    ops.AlterIndexTogether,
    ops.AlterModelManagers,
    ops.AlterModelOptions,
    ops.AlterModelTableComment,
    ops.CreateModel,
    ops.RemoveConstraint,
    ops.RemoveIndex,
    ops.RenameIndex,
    postgres.AddIndexConcurrently,
    postgres.BloomExtension,
    postgres.BtreeGinExtension,
    postgres.BtreeGistExtension,
    postgres.CITextExtension,
    postgres.CreateCollation,
    postgres.CreateExtension,
    postgres.CryptoExtension,
    postgres.HStoreExtension,
    postgres.RemoveIndexConcurrently,
    postgres.TrigramExtension,
    postgres.UnaccentExtension,
    postgres.ValidateConstraint,
    safer.SaferAddFieldForeignKey,
    safer.SaferAddFieldOneToOne,
    safer.SaferAddIndexConcurrently,
    safer.SaferRemoveCheckConstraint,
    safer.SaferRemoveIndexConcurrently,
    safer.SaferRemoveUniqueConstraint,
)
_BREAKING = (
    ops.AddConstraint,
    ops.AlterOrderWithRespectTo,
    ops.DeleteModel,
    ops.RemoveField,
    postgres.AddConstraintNotValid,
    postgres.RemoveCollation,
    safer.SaferAddCheckConstraint,
    safer.SaferAddUniqueConstraint,
    safer.SaferAlterFieldSetNotNull,
    safer.SaferRemoveFieldForeignKey,
)
_JUDGED = (
    ops.AddField,
    ops.AlterField,
    ops.AlterModelTable,
    ops.AlterUniqueTogether,
    ops.RenameField,
    ops.RenameModel,
)
"""These depend on what the models were before."""
_KNOWN = frozenset((*_HARMLESS, *_BREAKING, *_JUDGED))
"""Exactly these classes: a subclass may do anything."""


@dataclass(frozen=True)
class Part:
    """One operation that changes the database, and the models before and after it, as Django hands them to it."""

    operation: Operation
    before: ProjectState
    after: ProjectState
    number: int
    """Of the operation in the migration's list that it belongs to, from 1."""


def declared_phase(migration: Migration) -> str | None:
    """What the migration itself says (``phase = "expand"``), or the project's settings say of somebody else's."""
    of_others: dict[str, str] = getattr(settings, "DECLARED_MIGRATION_PHASES", {})
    declared = getattr(migration, "phase", None) or of_others.get(str(migration))
    return str(declared) if declared else None


def must_declare(migration: Migration) -> bool:
    """Whether a migration does what nobody can judge by its form, and does not say whether old code survives it."""
    return declared_phase(migration) is None and any(
        not is_known(operation) and not is_nothing(operation) for operation in flat_operations(migration.operations)
    )


def is_known(operation: Operation) -> bool:
    """Whether it is an operation that this module can judge: Django's own, the safe ones, and no subclass of them."""
    return type(operation) in _KNOWN


def is_nothing(operation: Operation) -> bool:
    """Whether it is SQL or Python that says of itself that it does nothing."""
    if isinstance(operation, ops.RunSQL):
        return operation.sql in (ops.RunSQL.noop, [], ())
    return isinstance(operation, ops.RunPython) and operation.code is ops.RunPython.noop


def phase_of(migration: Migration, before: ProjectState) -> str:
    """``expand`` or ``contract``; `before` is the project state without the migration, and is left as it is.

    SQL and Python that declare nothing are taken for contract: held back needlessly is better than broken.
    """
    declared = declared_phase(migration)
    if declared in PHASES:
        return declared
    created: set[str] = set()
    # Each by itself first: states of all models, before and after each operation, are expensive.
    by_themselves = [_by_itself(operation, created) for operation in flat_operations(migration.operations)]
    if True in by_themselves:
        return CONTRACT
    if None in by_themselves:
        judged = zip(parts(migration, before), by_themselves, strict=True)
        if any(_is_contract(part, migration.app_label) for part, known in judged if known is None):
            return CONTRACT
    return EXPAND


def unready_removals(migration: Migration, before: ProjectState) -> list[str]:
    """Columns that a migration removes although new code could not insert a row while the removal waits.

    Such a column must have been nullable or have had a database default in an earlier release.
    """
    found = []
    for part in parts(migration, before):
        if isinstance(part.operation, ops.RemoveField):
            model = part.before.models[migration.app_label, part.operation.model_name_lower]
            if not _may_be_left_out(model.fields[part.operation.name]):
                found.append(f"{part.operation.model_name}.{part.operation.name}")
    return found


def flat_operations(operations: Iterable[Operation]) -> Iterable[Operation]:
    """What operations do to the database, those inside SeparateDatabaseAndState included."""
    return (operation for _place, operation in numbered_operations(operations))


def numbered_operations(operations: Iterable[Operation], within: str = "") -> Iterator[tuple[str, Operation]]:
    """Likewise, each with its place: ``2``, or ``2.0`` for the first one inside a SeparateDatabaseAndState."""
    for number, operation in enumerate(operations):
        if isinstance(operation, ops.SeparateDatabaseAndState):
            yield from numbered_operations(operation.database_operations, f"{within}{number}.")
        else:
            yield f"{within}{number}", operation


def parts(migration: Migration, before: ProjectState) -> Iterator[Part]:
    """Each operation on the database with the states before and after it; `before` is left as it is.

    A whole operation is applied to the state, as Django does: what SeparateDatabaseAndState does to the database is
    seen from states of its own, which what it does to the models then replaces.
    """
    state = before.clone()
    for number, operation in enumerate(migration.operations, 1):
        after = state.clone()
        operation.state_forwards(migration.app_label, after)
        yield from _parts(operation, migration.app_label, state, after, number)
        state = after


def _parts(
    operation: Operation, app_label: str, before: ProjectState, after: ProjectState, number: int
) -> Iterator[Part]:
    if not isinstance(operation, ops.SeparateDatabaseAndState):
        yield Part(operation, before, after, number)
        return
    state = before
    for inner in operation.database_operations:
        changed = state.clone()
        inner.state_forwards(app_label, changed)
        yield from _parts(inner, app_label, state, changed, number)
        state = changed


def _by_itself(operation: Operation, created: set[str]) -> bool | None:
    """Whether an operation is contract, as far as that is known without its models; else None.

    `created` is given the models that the migration makes, lower-case.
    """
    if is_nothing(operation):
        return False
    if isinstance(operation, ops.CreateModel):
        created.add(operation.name_lower)
        return False
    if not is_known(operation):
        return True
    if model_name_of(operation) in created or isinstance(operation, _HARMLESS):
        return False
    if isinstance(operation, _BREAKING):
        return True
    if isinstance(operation, ops.AddField):
        return not _may_be_left_out(operation.field)
    return None


def model_name_of(operation: Operation) -> str:
    """The model that an operation is about, lower-case."""
    return str(getattr(operation, "model_name", getattr(operation, "name", ""))).lower()


def _is_contract(part: Part, app_label: str) -> bool:
    """Whether an operation that cannot be judged by itself is contract."""
    operation, states = part.operation, (part.before, part.after)
    model_name = model_name_of(operation)
    if isinstance(operation, ops.AlterUniqueTogether):
        old, new = (state.models[app_label, model_name].options.get("unique_together") or () for state in states)
        return not set(map(tuple, new)) <= set(map(tuple, old))
    try:
        if isinstance(operation, ops.AlterField):
            altered = app_label, model_name, operation.name
            if _is_the_same_for_the_database(*(state.models[altered[:2]].fields[operation.name] for state in states)):
                return False
            try:
                return _is_narrower(_field(part.after, *altered), _field(part.before, *altered))
            except AttributeError:  # a field that asks its model for something
                return _is_narrower(_field_of_model(part.after, *altered), _field_of_model(part.before, *altered))
        return not _columns(part.before) <= _columns(part.after)
    except (LookupError, ValueError):  # the models cannot be made of what the migration's own dependencies amount to
        return True


def _is_the_same_for_the_database(old: Any, new: Any) -> bool:
    """Whether two fields of one name differ in nothing that the database has, as far as they show without a model."""
    plain = []
    for field in (old, new):
        _name, path, arguments, keywords = field.deconstruct()
        others = set(field.non_db_attrs) - {"db_column"}
        plain.append((path, arguments, {name: value for name, value in keywords.items() if name not in others}))
    return bool(plain[0] == plain[1])


def _field(state: ProjectState, app_label: str, model_name: str, name: str) -> Any:
    """A field as its model has it. Most need none, and making all models takes long: but those that refer to one, and
    whose database default Django works out with it."""
    field: Any = state.models[app_label, model_name].fields[name]
    if field.remote_field or field.has_db_default():
        return _field_of_model(state, app_label, model_name, name)
    field = field.clone()
    field.set_attributes_from_name(name)
    return field


def _field_of_model(state: ProjectState, app_label: str, model_name: str, name: str) -> Any:
    return apps_with(state, (app_label, model_name)).get_model(app_label, model_name)._meta.get_field(name)


def _columns(state: ProjectState) -> Counter[tuple[str, str]]:
    """Every (table, column) of all models, the tables of many-to-many fields included, and how many models have it.

    Of other apps as well: their many-to-many fields name a column after a model that is renamed here. A table that a
    model has left is gone, although another app's model that is on its way out may still name it.
    """
    return Counter(
        (table_of(model), str(field.column))
        for model in state.apps.get_models(include_auto_created=True)
        for field in model._meta.local_concrete_fields
    )


def _may_be_left_out(field: Field[Any, Any]) -> bool:
    """Whether code that does not know a column can insert a row."""
    return bool(
        field.null or field.many_to_many or field.db_default is not NOT_PROVIDED or field.primary_key or field.generated
    )


def _is_narrower(new: Any, old: Any) -> bool:
    """Whether values that the old column took may be refused, or read differently, by the new one.

    Columns are compared and not fields: what the database does not notice, old code does not.
    """
    editor: Any = connection.SchemaEditorClass(connection)
    if new.many_to_many or old.many_to_many:
        return not (new.many_to_many and old.many_to_many and _between(new) == _between(old))
    if not editor._field_should_be_altered(old, new):
        return False
    if new.column != old.column or (old.null and not new.null) or (new.unique and not old.unique):
        return True
    if old.db_default is not NOT_PROVIDED and new.db_default is NOT_PROVIDED and not new.null:
        return True
    old_column, new_column = (field.db_parameters(connection=connection) for field in (old, new))
    if new_column["check"] != old_column["check"] and new_column["check"] is not None:
        return True
    if references(new) != references(old) and references(new) is not None:
        return True
    if old_column.get("collation") != new_column.get("collation"):
        return True
    return old_column["type"] != new_column["type"] and not is_wider(str(old_column["type"]), str(new_column["type"]))


def _between(field: Any) -> tuple[str, set[str]]:
    """The table of a many-to-many field, and its columns."""
    through = field.remote_field.through
    return table_of(through), {column.column for column in through._meta.local_concrete_fields}


def references(field: Any) -> str | None:
    """The table that a field's foreign key refers to; None if there is no such constraint in the database."""
    remote = field.remote_field
    return str(table_of(remote.model)) if remote and field.db_constraint else None


def is_wider(old: str, new: str) -> bool:
    """Whether each value of the old column type is one of the new, and both codes read it alike."""
    if old.endswith("[]") and new.endswith("[]"):
        return is_wider(old.removesuffix("[]"), new.removesuffix("[]"))
    if old in INTEGERS and new in INTEGERS:
        return INTEGERS.index(new) >= INTEGERS.index(old)
    was, becomes = _TYPE.fullmatch(old), _TYPE.fullmatch(new)
    if was is None or becomes is None:
        return old == new
    (old_name, old_size, old_scale), (new_name, new_size, new_scale) = was.groups(), becomes.groups()
    texts = ("varchar", "text")
    if (old_name in texts and new_name in texts) or old_name == new_name == "numeric":
        return not new_size or (bool(old_size) and int(new_size) >= int(old_size) and old_scale == new_scale)
    return old == new


_TYPE = re.compile(r"(\w+)(?:\((\d+)(?:, ?(\d+))?\))?")
