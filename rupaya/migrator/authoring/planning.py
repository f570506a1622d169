"""From what Django detected to the steps in which two codes and their traffic survive it.

Most of it stays as Django writes it, because `migrate` carries that out by halves (docs/debts.md). Written otherwise is
what works at once on every row of a table that is in use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib.postgres.constraints import ExclusionConstraint
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import operations as ops
from django.db.migrations.migration import Migration
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ModelState, ProjectState

from rupaya.migrator.authoring import unwritable
from rupaya.migrator.authoring.columns import ends_uniqueness
from rupaya.migrator.authoring.fieldchanges import FieldsLine
from rupaya.migrator.authoring.fields import AnyField, target_of
from rupaya.migrator.authoring.line import short, title_of
from rupaya.migrator.authoring.questioner import table_of
from rupaya.migrator.authoring.step import Step
from rupaya.migrator.operations import AddIndexConcurrently

INDEXED = "Built without a lock that traffic would notice, which a transaction cannot do."
ALONE = "Alone: who locks several tables at once may be in a deadlock with traffic that goes the other way round."
NOT_UNIQUE = (
    "From here on old code's upserts fail that name what was unique (ON CONFLICT): deploy code without them before."
)


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


class _Line(FieldsLine):
    """One of Django's migrations, turned into steps."""

    def steps(self) -> list[Any]:
        """The migration itself, and what has to be one of its own."""
        reached: list[frozenset[str]] = []
        for operation in self._pinned_first(self.migration.operations):
            self._place(operation)
            reached += [self._reached(operation)] * (len(self.main) - len(reached))
            if ends_uniqueness(self._model, operation):
                self._say(NOT_UNIQUE)
            operation.state_forwards(self.app, self.planner.state)
        removals = self._removals(reached)
        self.main = [operation for operation in self.main if operation not in removals]
        if name_of_all := title_of(self.main):
            self.migration.suggest_name = lambda: name_of_all
        self.migration.operations = self.main
        main: list[Any] = [self.migration] if self.main else []
        later = [
            *((title, [operation], comment, False) for title, operation, comment in self.fills),
            *((title, [operation], "", True) for title, operation in self.finals),
            *((title, [operation], INDEXED, False) for title, operation in self.indexes),
            *((title_of([operation]), [operation], ALONE, True) for operation in removals),
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

    def _reached(self, operation: Operation) -> frozenset[str]:
        """The tables in use that are locked by an operation, those that foreign keys of it refer to included."""
        names = [getattr(operation, each, "") for each in ("model_name", "old_name", "name")]
        model = next((self.planner.state.models.get((self.app, name.lower())) for name in names if name), None)
        fields: list[AnyField] = []
        if isinstance(operation, ops.CreateModel):
            fields = [field for _name, field in operation.fields]
            model = ModelState(self.app, operation.name, [], {"managed": False})
        elif model is None:
            return frozenset()
        elif isinstance(operation, ops.DeleteModel):
            fields = list(model.fields.values())
        elif isinstance(operation, ops.RemoveField):
            fields = [model.fields[operation.name]]
        elif isinstance(operation, ops.AddField):
            fields = [operation.field]
        own = {f"{self.app}.{model.name_lower}"} if model.options.get("managed", True) else set()
        created = {".".join(key) for key in self.planner.created}
        return frozenset((own | {target_of(each, model) for each in fields if each.remote_field}) - created)

    def _removals(self, reached: Sequence[frozenset[str]]) -> list[Operation]:
        """What drops foreign keys, and so locks both tables against all, where the migration locks others as well; in
        Django's order, with the removal of models that these refer to."""
        if len({tables for tables in reached if tables}) < 2:
            return []
        added = {(each.model_name_lower, each.name_lower) for each in self.main if isinstance(each, ops.AddField)}
        found: list[Operation] = []
        referred: set[str] = set()
        for operation, tables in zip(self.main, reached, strict=True):
            match operation:
                case ops.DeleteModel() if len(tables) > 1 or f"{self.app}.{operation.name_lower}" in referred:
                    pass
                case ops.RemoveField() if (
                    len(tables) > 1 and (operation.model_name_lower, operation.name_lower) not in added
                ):
                    pass
                case _:
                    continue
            found.append(operation)
            referred |= tables
        return found

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

    def _place(self, operation: Operation) -> None:
        match operation:
            case ops.RenameModel():
                self._rename_model(operation)
            case ops.AlterModelTable():
                self._alter_table(operation)
            case ops.AddIndex() if not self._is_new(operation.model_name):
                name = operation.index.name
                if any(isinstance(one, ops.RemoveIndex) and one.name == name for one in self.main):
                    self._refuse(unwritable.same_index_name(operation.model_name, name))
                made = AddIndexConcurrently(operation.model_name, operation.index)
                self.indexes.append((short(f"index_{name}"), made))
                return
            case ops.AddField() if not self._is_new(operation.model_name):
                self._add_field(operation)
                return
            case ops.AlterField() if not self._is_new(operation.model_name):
                self._alter_field(operation)
                return
            case ops.RemoveField() if not self._is_new(operation.model_name):
                self._remove_field(operation)
                return
            case ops.RenameField() if not self._is_new(operation.model_name):
                self._rename_field(operation)
                return
            case ops.AddConstraint(constraint=ExclusionConstraint()) if not self._is_new(operation.model_name):
                self._refuse(unwritable.exclusion(f"{self.app}.{operation.model_name}", operation.constraint.name))
        self.main.append(operation)
