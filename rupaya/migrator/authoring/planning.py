"""From what Django detected to the steps in which two codes and their traffic survive it.

Most of it stays as Django writes it, for `migrate` carries that out by halves (docs/debts.md). Written otherwise is
what works at once on every row of a table that is in use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.functions import RandomUUID
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import operations as ops
from django.db.migrations.migration import Migration
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ModelState, ProjectState

from rupaya.migrator.authoring import refusals
from rupaya.migrator.authoring.columns import ends_uniqueness, why_not_in_step, widens
from rupaya.migrator.authoring.fields import (
    LIKE,
    AnyField,
    bare,
    but,
    column_of,
    explicit,
    keeps_rows,
    target_of,
    without_one_off,
)
from rupaya.migrator.authoring.filling import is_null_at_first, own_value, unfilled
from rupaya.migrator.authoring.questions import table_of
from rupaya.migrator.authoring.step import Step
from rupaya.migrator.operations import (
    AddIndexConcurrently,
    AlterFieldIndexConcurrently,
    Backfill,
    FillRenamedField,
    RenameFieldInStep,
    WidenField,
)

INDEXED = "Built without a lock that traffic would notice, which a transaction cannot do."
FILLED = "Each row gets a value of its own, in batches; a default in the same statement would give all rows the same."
RENAMED = (
    "Triggers keep both columns in step until no older release is left, and 'migrate --contract' takes the old one."
)
WIDENED = (
    "A column beside the old one takes its place in one short lock; in place, all rows would be written under one."
)
NOT_UNIQUE = (
    "From here on old code's upserts fail that name what was unique (ON CONFLICT): deploy code without them before."
)
FILLED_FROM_OLD = "In batches; every row has it before new code serves."


class Planner:
    """Works out the steps of all apps' migrations; `refused` is what it found no safe way for."""

    def __init__(self, connection: BaseDatabaseWrapper, state: ProjectState) -> None:
        self.connection = connection
        self.state = state.clone()
        self.created: set[tuple[str, str]] = set()
        self.refused: list[str] = []

    def plan(self, changes: dict[str, list[Migration]]) -> dict[str, list[Any]]:
        """The steps, by app; a migration that stays as it is goes on being Django's."""
        for migrations in changes.values():
            for migration in migrations:
                for operation in migration.operations:
                    if isinstance(operation, ops.CreateModel):
                        self.created.add((migration.app_label, operation.name_lower))
        lines = {
            (app_label, migration.name): _Line(self, migration).steps()
            for app_label, migrations in changes.items()
            for migration in migrations
        }
        # What comes after a migration, in its app or another, may need any of its steps: it comes after the last one.
        for steps in lines.values():
            for step in steps:
                step.dependencies = [
                    (needed[0], lines[needed][-1].name) if needed in lines and lines[needed] is not steps else needed
                    for needed in step.dependencies
                ]
        planned: dict[str, list[Any]] = {app_label: [] for app_label in changes}
        for (app_label, _name), steps in lines.items():
            planned[app_label] += steps
        return planned


class _Line:
    """One of Django's migrations, turned into steps."""

    def __init__(self, planner: Planner, migration: Any) -> None:
        self.planner, self.migration = planner, migration
        self.app = migration.app_label
        self.main: list[Operation] = []
        self.fills: list[tuple[str, Operation, str]] = []
        self.finals: list[tuple[str, Operation]] = []
        self.indexes: list[tuple[str, Operation]] = []

    def steps(self) -> list[Any]:
        """The migration itself, and what has to be one of its own."""
        for operation in self._pinned_first(self.migration.operations):
            self._place(operation)
            if ends_uniqueness(self._model, operation):
                self._say(NOT_UNIQUE)
            operation.state_forwards(self.app, self.planner.state)
        if name_of_all := _title(self.migration.operations):
            self.migration.suggest_name = lambda: name_of_all
        self.migration.operations = self.main
        main: list[Any] = [self.migration] if self.main else []
        later = [
            *((title, [operation], comment, False) for title, operation, comment in self.fills),
            *((title, [operation], "", True) for title, operation in self.finals),
            *((title, [operation], INDEXED, False) for title, operation in self.indexes),
        ]
        for number, (title, operations, comment, atomic) in enumerate(later, start=1):
            name = f"{self.migration.name}_{number}" if main else self.migration.name
            step: Any = Step(name, self.app, operations, title=title, comment=comment, atomic=atomic)
            if main:
                step.dependencies = [(self.app, main[-1].name)]
            else:
                step.dependencies = list(self.migration.dependencies)
                step.initial = self.migration.initial
            main.append(step)
        return main or [self.migration]

    def _pinned_first(self, operations: Sequence[Operation]) -> list[Operation]:
        """A table's pinned name comes before the renaming of its model, which then does nothing to it."""
        ordered = list(operations)
        for rename in [operation for operation in operations if isinstance(operation, ops.RenameModel)]:
            pin = next(
                (
                    operation
                    for operation in ordered
                    if isinstance(operation, ops.AlterModelTable)
                    and operation.name_lower == rename.new_name_lower
                    and operation.table == table_of(self._model(rename.old_name_lower))
                ),
                None,
            )
            if pin:
                ordered.remove(pin)
                ordered.insert(ordered.index(rename), ops.AlterModelTable(rename.old_name, pin.table))
        return ordered

    def _model(self, name: str) -> ModelState:
        model: ModelState = self.planner.state.models[self.app, name.lower()]
        return model

    def _refuse(self, sentence: str) -> None:
        self.planner.refused.append(sentence)

    def _say(self, comment: str) -> None:
        """Write a line for the reader of the migration, once."""
        said = getattr(self.migration, "comment", "").splitlines()
        self.migration.comment = "\n".join(dict.fromkeys([*said, comment]))

    def _is_new(self, name: str) -> bool:
        if (self.app, name.lower()) in self.planner.created:
            return True
        return not self._model(name).options.get("managed", True)

    def _place(self, operation: Operation) -> None:
        match operation:
            case ops.RenameModel():
                self._rename_model(operation)
            case ops.AlterModelTable():
                self._alter_table(operation)
            case ops.AddIndex() if not self._is_new(operation.model_name):
                name = operation.index.name
                if any(isinstance(one, ops.RemoveIndex) and one.name == name for one in self.main):
                    self._refuse(refusals.same_index_name(operation.model_name, name))
                made = AddIndexConcurrently(operation.model_name, operation.index)
                self.indexes.append((_short(f"index_{name}"), made))
                return
            case ops.AddField() if not self._is_new(operation.model_name):
                self._add_field(operation)
                return
            case ops.AlterField() if not self._is_new(operation.model_name):
                self._alter_field(operation)
                return
            case ops.RenameField() if not self._is_new(operation.model_name):
                self._rename_field(operation)
                return
            case ops.AddConstraint(constraint=ExclusionConstraint()) if not self._is_new(operation.model_name):
                self._refuse(refusals.exclusion(f"{self.app}.{operation.model_name}", operation.constraint.name))
        self.main.append(operation)

    # Names

    def _rename_model(self, operation: ops.RenameModel) -> None:
        model = self._model(operation.old_name)
        label = f"{self.app}.{operation.new_name}"
        if not model.options.get("db_table"):
            old, new = table_of(model), f"{self.app}_{operation.new_name_lower}"
            if old != new:
                self._refuse(refusals.renamed_table(label, old, new))
        between = [
            f"{other.app_label}.{other.name}.{name}"
            for other in self.planner.state.models.values()
            for name, field in other.fields.items()
            if isinstance(field, models.ManyToManyField)
            and not field.remote_field.through
            and (other is model or target_of(field, other) == f"{self.app}.{operation.old_name_lower}")
        ]
        if between and operation.old_name_lower != operation.new_name_lower:
            self._refuse(refusals.renamed_in_between(label, between))

    def _alter_table(self, operation: ops.AlterModelTable) -> None:
        if self._is_new(operation.name):
            return
        old = table_of(self._model(operation.name))
        new = operation.table or f"{self.app}_{operation.name_lower}"
        if old != new:
            self._refuse(refusals.renamed_table(f"{self.app}.{operation.name}", old, new))

    def _rename_field(self, operation: ops.RenameField) -> None:
        field: AnyField = self._model(operation.model_name).fields[operation.old_name]
        label = f"{self.app}.{operation.model_name}"
        if isinstance(field, models.ManyToManyField):
            if not (explicit(field, "db_table") or field.remote_field.through):
                table = table_of(self._model(operation.model_name))
                self._refuse(
                    refusals.renamed_table(
                        f"{label}.{operation.new_name}",
                        f"{table}_{operation.old_name}",
                        f"{table}_{operation.new_name}",
                    )
                )
        elif not field.db_column:
            self._rename_column(operation, field)
            return
        self.main.append(operation)

    def _rename_column(self, operation: ops.RenameField, field: AnyField) -> None:
        model_name, name = operation.model_name, operation.new_name
        old, new = (column_of(field, each) for each in (operation.old_name, name))
        label = f"{self.app}.{model_name}"
        if reason := why_not_in_step(self._model(model_name), operation.old_name, field):
            self._refuse(refusals.not_in_step(label, name, old, new, reason))
        plain = but(bare(field), null=True)
        if isinstance(field, models.ForeignKey):
            plain = but(plain, db_constraint=False)
        self.main.append(RenameFieldInStep(model_name, operation.old_name, name, plain))
        self._say(RENAMED)
        fill = FillRenamedField(model_name, old_column=old, new_column=new)
        self.fills.append((_short(f"fill_{model_name}_{name}"), fill, FILLED_FROM_OLD))
        is_indexed = bool(field.db_index)
        unindexed = but(field, db_index=False) if is_indexed else field
        if unindexed.deconstruct()[1:] != plain.deconstruct()[1:]:
            self.finals.append((_short(f"{model_name}_{name}_rules"), ops.AlterField(model_name, name, unindexed)))
        if is_indexed:
            self._index_field(model_name, name, field)

    def _index_field(self, model_name: str, name: str, field: AnyField) -> None:
        title = _short(f"index_{model_name}_{name}")
        self.indexes.append((title, AlterFieldIndexConcurrently(model_name, name, field)))

    # Columns

    def _add_field(self, operation: ops.AddField) -> None:
        name, model_name = operation.name, operation.model_name
        field: AnyField = operation.field
        label = f"{self.app}.{model_name}"
        if isinstance(field, models.ManyToManyField):
            self.main.append(operation)
            return
        if field.generated:
            self._refuse(refusals.stored_expression(label, name))

        def in_model() -> AnyField:
            state = self.planner.state.clone()
            operation.state_forwards(self.app, state)
            return state.apps.get_model(self.app, model_name)._meta.get_field(name)

        with self.planner.connection.schema_editor(collect_sql=True, atomic=False) as editor:
            value = own_value(editor, field, in_model)
        if value is None:
            self._refuse(refusals.other_each_time(label, name))
        elif field.unique and not value and not is_null_at_first(field):
            self._refuse(refusals.same_for_all(label, name))
        first, final = field.clone(), without_one_off(operation)
        if value:
            first = unfilled(field)
            column = self.planner.connection.ops.quote_name(field.db_column or name)
            fill = Backfill(model_name, set=f"{column} = {value}", where=f"{column} IS NULL", elidable=True)
            self.fills.append((_short(f"fill_{model_name}_{name}"), fill, FILLED))
        is_indexed = bool(field.db_index and not field.unique)
        is_split = bool(value or field.unique) or type(field) in LIKE
        first = bare(first)
        if isinstance(field, models.ForeignKey) and not field.null:
            first = but(first, db_constraint=False)
            is_split = True
        if not (is_split or is_indexed):
            self.main.append(operation)
            return
        self.main.append(ops.AddField(model_name, name, first, preserve_default=operation.preserve_default))
        if value:
            first = but(first, db_default=field.db_default if field.has_db_default() else RandomUUID())
            self.main.append(ops.AlterField(model_name, name, first))
        unindexed = but(final, db_index=False) if is_indexed else final
        if is_split and unindexed.deconstruct()[1:] != first.deconstruct()[1:]:
            self.finals.append((_short(f"{model_name}_{name}_rules"), ops.AlterField(model_name, name, unindexed)))
        if is_indexed:
            self._index_field(model_name, name, final)

    def _alter_field(self, operation: ops.AlterField) -> None:
        name, model_name = operation.name, operation.model_name
        new: AnyField = operation.field
        model = self._model(model_name)
        old: AnyField = model.fields[name]
        label = f"{self.app}.{model_name}"
        if isinstance(old, models.ManyToManyField) or isinstance(new, models.ManyToManyField):
            self.main.append(operation)
            return
        old_column, new_column = column_of(old, name), column_of(new, name)
        if old_column != new_column:
            self._refuse(refusals.renamed_column(label, name, old_column, new_column))
        if not (old.remote_field or new.remote_field):
            old_type, new_type = (side.db_type(self.planner.connection) for side in (old, new))
            if not keeps_rows(str(old_type), str(new_type)):
                is_wider = widens(self.planner.connection, old, new)
                reason = why_not_in_step(model, name, old, is_same_name=True) if is_wider else ""
                if is_wider and not reason:
                    title = _short(f"widen_{model_name}_{name}")
                    self.fills.append((title, WidenField(model_name, name, new), WIDENED))
                    return
                self._refuse(refusals.other_type(label, name, str(old_type), str(new_type), reason))
        is_newly_indexed = bool(new.db_index and not new.unique and not (old.db_index or old.unique))
        if not is_newly_indexed:
            self.main.append(operation)
            return
        unindexed = but(new, db_index=False)
        if unindexed.deconstruct()[1:] != but(old, db_index=False).deconstruct()[1:]:
            self.main.append(ops.AlterField(model_name, name, unindexed, preserve_default=operation.preserve_default))
        self._index_field(model_name, name, without_one_off(operation))


def _title(operations: Sequence[Operation]) -> str:
    """What these operations do, in a name that says so: Django's ends in `and_more`, which tells nobody what."""
    fragments = [str(operation.migration_name_fragment) for operation in operations]
    fragments = list(dict.fromkeys(fragment for fragment in fragments if fragment))
    named: list[str] = []
    for fragment in fragments:
        if named and len("_".join([*named, fragment])) > 52:
            break
        named.append(fragment)
    left = len(fragments) - len(named)
    return _short("_".join(named) + (f"_and_{left}_others" if left > 1 else f"_and_{fragments[-1]}" if left else ""))


def _short(title: str) -> str:
    return title.lower()[:90]
