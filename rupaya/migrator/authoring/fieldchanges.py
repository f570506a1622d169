"""Fields that are added and changed: what works on every row of a table in use becomes a step of its own."""

from __future__ import annotations

from django.contrib.postgres.functions import RandomUUID
from django.db import models
from django.db.migrations import operations as ops
from django.db.models.fields import NOT_PROVIDED
from django.utils import timezone

from rupaya.migrator.authoring import unwritable
from rupaya.migrator.authoring.columns import (
    built_on,
    why_not_in_step,
    widens,
)
from rupaya.migrator.authoring.fields import (
    LIKE,
    AnyField,
    bare,
    but,
    column_of,
    keeps_rows,
    target_of,
    unchecked,
    with_type_of,
    without_one_off,
)
from rupaya.migrator.authoring.filling import is_null_at_first, own_value, unfilled
from rupaya.migrator.authoring.line import short
from rupaya.migrator.authoring.names import NamesLine
from rupaya.migrator.debts.types import widest
from rupaya.migrator.operations import Backfill, WidenField

FILLED = "Each row gets a value of its own, in batches; a default in the same statement would give all rows the same."
WIDENED = (
    "A column beside the old one takes its place in one short lock; in place, all rows would be written under one."
)


class FieldsLine(NamesLine):
    """Places added, changed and removed fields."""

    def _add_field(self, operation: ops.AddField) -> None:
        name, model_name = operation.name, operation.model_name
        field: AnyField = operation.field
        label = f"{self.app}.{model_name}"
        if isinstance(field, models.ManyToManyField):
            self.main.append(operation)
            return
        if getattr(field, "auto_now_add", False) and field.default in (NOT_PROVIDED, timezone.now):
            # What it does without one; and a squash would keep the one that was only for the rows that are there.
            operation = ops.AddField(model_name, name, but(field, default=NOT_PROVIDED))
            field = operation.field
        if field.generated:
            self._refuse(unwritable.stored_expression(label, name))

        def in_model() -> AnyField:
            state = self.planner.state.clone()
            operation.state_forwards(self.app, state)
            return state.apps.get_model(self.app, model_name)._meta.get_field(name)

        with self.planner.connection.schema_editor(collect_sql=True, atomic=False) as editor:
            value = own_value(editor, field, in_model)
        if value is None:
            self._refuse(unwritable.other_each_time(label, name))
        elif field.unique and not value and not is_null_at_first(field):
            self._refuse(unwritable.same_for_all(label, name))
        first, final = field.clone(), without_one_off(operation)
        if value:
            first = unfilled(field)
            column = self.planner.connection.ops.quote_name(field.db_column or name)
            fill = Backfill(model_name, set=f"{column} = {value}", where=f"{column} IS NULL", elidable=True)
            self.fills.append((short(f"fill_{model_name}_{name}"), fill, FILLED))
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
            self.finals.append((short(f"{model_name}_{name}_rules"), ops.AlterField(model_name, name, unindexed)))
        if is_indexed:
            self._index_field(model_name, name, final)

    def _remove_field(self, operation: ops.RemoveField) -> None:
        field: AnyField = self._model(operation.model_name).fields[operation.name]
        if field.primary_key:
            self._refuse(unwritable.primary_key(f"{self.app}.{operation.model_name}", operation.name))
        self.main.append(operation)

    def _alter_field(self, operation: ops.AlterField) -> None:
        name, model_name = operation.name, operation.model_name
        new: AnyField = operation.field
        old: AnyField = self._model(model_name).fields[name]
        if isinstance(old, models.ManyToManyField) or isinstance(new, models.ManyToManyField):
            self.main.append(operation)
            return
        label = f"{self.app}.{model_name}"
        old_column, new_column = column_of(old, name), column_of(new, name)
        if old_column != new_column:
            self._refuse(unwritable.renamed_column(label, name, old_column, new_column))
        if old.primary_key != new.primary_key:
            self._refuse(unwritable.primary_key(label, name))
        elif old.remote_field and new.remote_field and self._refers_elsewhere(operation, old):
            self._refuse(unwritable.other_target(label, name))
        elif self._changes_type(operation, old):
            return
        self._alter_in_place(operation, old)

    def _alter_in_place(self, operation: ops.AlterField, old: AnyField) -> None:
        """The field, and an index that is new concurrently."""
        name, model_name = operation.name, operation.model_name
        new: AnyField = operation.field
        is_newly_indexed = bool(new.db_index and not new.unique and not (old.db_index or old.unique))
        if not is_newly_indexed:
            self.main.append(operation)
            return
        unindexed = but(new, db_index=False)
        if unindexed.deconstruct()[1:] != but(old, db_index=False).deconstruct()[1:]:
            self.main.append(ops.AlterField(model_name, name, unindexed, preserve_default=operation.preserve_default))
        self._index_field(model_name, name, without_one_off(operation))

    def _refers_elsewhere(self, operation: ops.AlterField, old: AnyField) -> bool:
        """Whether a foreign key refers to other rows, or to another column of them."""
        model = self._model(operation.model_name)
        new: AnyField = operation.field
        olds, news = ((target_of(each, model), each.remote_field.field_name) for each in (old, new))
        return bool(olds != news)

    def _types(self, operation: ops.AlterField, old: AnyField) -> tuple[str, str]:
        """The types of the column before and after; a foreign key has that of what it refers to."""
        connection = self.planner.connection
        if not (old.remote_field or operation.field.remote_field):
            return str(old.db_type(connection)), str(operation.field.db_type(connection))
        after = self.planner.state.clone()
        operation.state_forwards(self.app, after)
        before, then = (
            state.apps.get_model(self.app, operation.model_name)._meta.get_field(operation.name).db_type(connection)
            for state in (self.planner.state, after)
        )
        return str(before), str(then)

    def _changes_type(self, operation: ops.AlterField, old: AnyField) -> bool:
        """Place or refuse a change of the column's type, and what else is changed with it; False: there is none."""
        name, model_name = operation.name, operation.model_name
        new: AnyField = operation.field
        label, model = f"{self.app}.{model_name}", self._model(model_name)
        types = self._types(operation, old)
        has_other_type = types[0] != types[1]
        if not has_other_type and getattr(old, "db_collation", None) == getattr(new, "db_collation", None):
            return False
        if keeps_rows(*types):
            is_other_kind = not has_other_type or types[0].split("(")[0] != types[1].split("(")[0]
            if built := built_on(model, name, old, is_other_kind=is_other_kind, is_collated=not has_other_type):
                self._refuse(unwritable.indexes_anew(label, name, built))
            return False
        may_be_unique = types[1] in ("integer", "bigint")
        if old.primary_key and not (may_be_unique and widest(*types) == types[1] and _numbers_alike(old, new)):
            self._refuse(unwritable.primary_key(label, name))
            return False
        wider = with_type_of(old, new)
        before = old if type(new) in LIKE else unchecked(old)
        is_wider = not (old.remote_field or new.remote_field) and widens(self.planner.connection, before, wider)
        reason = why_not_in_step(model, name, old, is_same_name=True, may_be_unique=may_be_unique) if is_wider else ""
        if not is_wider or reason:
            self._refuse(unwritable.other_type(label, name, *types, reason))
            return False
        self._widen(operation, old, wider)
        return True

    def _widen(self, operation: ops.AlterField, old: AnyField, wider: AnyField) -> None:
        """The type in a migration of its own; before it a CHECK that goes, after it whatever else is another."""
        name, model_name = operation.name, operation.model_name
        if type(old) in LIKE and type(operation.field) not in LIKE:
            self.main.append(ops.AlterField(model_name, name, unchecked(old)))
        self.fills.append((short(f"widen_{model_name}_{name}"), WidenField(model_name, name, wider), WIDENED))
        final = without_one_off(operation)
        is_newly_indexed = bool(final.db_index and not final.unique and not (old.db_index or old.unique))
        unindexed = but(final, db_index=False) if is_newly_indexed else final
        if unindexed.deconstruct()[1:] != wider.deconstruct()[1:]:
            rest = but(operation.field, db_index=False) if is_newly_indexed else operation.field
            rule = ops.AlterField(model_name, name, rest, preserve_default=operation.preserve_default)
            self.finals.append((short(f"{model_name}_{name}_rules"), rule))
        if is_newly_indexed:
            self._index_field(model_name, name, final)


def _numbers_alike(old: AnyField, new: AnyField) -> bool:
    """Whether the database numbers both, or neither."""
    return isinstance(old, models.AutoField) == isinstance(new, models.AutoField)
