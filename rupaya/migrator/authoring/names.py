"""Names that change: a column is had under both, a table keeps its own."""

from __future__ import annotations

from django.db import models
from django.db.migrations import operations as ops

from rupaya.migrator.authoring import unwritable
from rupaya.migrator.authoring.columns import why_not_in_step
from rupaya.migrator.authoring.fields import AnyField, bare, but, column_of, explicit, target_of
from rupaya.migrator.authoring.line import Line, short
from rupaya.migrator.authoring.questioner import table_of
from rupaya.migrator.operations import FillRenamedField, RenameFieldInStep

RENAMED = (
    "Triggers keep both columns in step until no older release is left, and 'migrate --contract' takes the old one."
)
FILLED_FROM_OLD = "In batches; every row has it before new code serves."


class NamesLine(Line):
    """Places renamed models, tables and fields."""

    def _rename_model(self, operation: ops.RenameModel) -> None:
        model = self._model(operation.old_name)
        label = f"{self.app}.{operation.new_name}"
        if not model.options.get("db_table"):
            old, new = table_of(model), f"{self.app}_{operation.new_name_lower}"
            if old != new:
                self._refuse(unwritable.renamed_table(label, old, new))
        between = [
            f"{other.app_label}.{other.name}.{name}"
            for other in self.planner.state.models.values()
            for name, field in other.fields.items()
            if isinstance(field, models.ManyToManyField)
            and not field.remote_field.through
            and (other is model or target_of(field, other) == f"{self.app}.{operation.old_name_lower}")
        ]
        if between and operation.old_name_lower != operation.new_name_lower:
            self._refuse(unwritable.renamed_in_between(label, between))

    def _alter_table(self, operation: ops.AlterModelTable) -> None:
        if self._is_new(operation.name):
            return
        old = table_of(self._model(operation.name))
        new = operation.table or f"{self.app}_{operation.name_lower}"
        if old != new:
            self._refuse(unwritable.renamed_table(f"{self.app}.{operation.name}", old, new))

    def _rename_field(self, operation: ops.RenameField) -> None:
        field: AnyField = self._model(operation.model_name).fields[operation.old_name]
        label = f"{self.app}.{operation.model_name}"
        if isinstance(field, models.ManyToManyField):
            if not (explicit(field, "db_table") or field.remote_field.through):
                table = table_of(self._model(operation.model_name))
                self._refuse(
                    unwritable.renamed_table(
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
            self._refuse(unwritable.not_in_step(label, name, old, new, reason))
        plain = but(bare(field), null=True)
        if isinstance(field, models.ForeignKey):
            plain = but(plain, db_constraint=False)
        self.main.append(RenameFieldInStep(model_name, operation.old_name, name, plain))
        self._say(RENAMED)
        fill = FillRenamedField(model_name, old_column=old, new_column=new)
        self.fills.append((short(f"fill_{model_name}_{name}"), fill, FILLED_FROM_OLD))
        is_indexed = bool(field.db_index)
        unindexed = but(field, db_index=False) if is_indexed else field
        if unindexed.deconstruct()[1:] != plain.deconstruct()[1:]:
            self.finals.append((short(f"{model_name}_{name}_rules"), ops.AlterField(model_name, name, unindexed)))
        if is_indexed:
            self._index_field(model_name, name, field)
