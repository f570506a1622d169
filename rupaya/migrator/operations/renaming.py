"""A field under another name, in a column of its own, for as long as an older release writes the old one."""

from __future__ import annotations

from typing import Any

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations import operations as ops
from django.db.migrations.state import ProjectState

from rupaya.migrator.attic.instep import InStep
from rupaya.migrator.django import table_of
from rupaya.migrator.operations.backfill import Backfill


class RenameFieldInStep(ops.RenameField):
    """``RenameField`` with a new column, which triggers keep in step with the old one, in both directions.

    The running release goes on with the old column and the next one has the new: what either writes, both have. The
    old column is owed: `migrate --contract` puts it away, with the triggers. `field` is what the new column is until
    every row has a value: nullable, without index, uniqueness, CHECK and foreign key, which later migrations give it.

    On a table that the same run creates, and where nobody owes, it is Django's RenameField and AlterField.
    """

    halves_itself = True
    """Read by `rupaya.migrator.debts.treatment`: it works through the editor of debts."""
    bears_a_transaction = True
    """Likewise: what it does and what it owes are done together."""

    def __init__(self, model_name: str, old_name: str, new_name: str, field: Any) -> None:
        super().__init__(model_name, old_name, new_name)
        self.field = field

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        """How `makemigrations` and `squashmigrations` write it."""
        name, arguments, keywords = super().deconstruct()
        return name, list(arguments), {**keywords, "field": self.field}

    def describe(self) -> str:
        return f"{super().describe()}, in a column kept in step"

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """The new name, and what the column is until it is full."""
        super().state_forwards(app_label, state)
        state.alter_field(app_label, self.model_name_lower, self.new_name, self.field, True)

    def reduce(self, operation: Any, app_label: str) -> Any:
        """Nothing is merged with it but what does not touch it: Django's own knows nothing of the field."""
        return ops.base.Operation.reduce(self, operation, app_label)

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Make the new column and keep it in step, or rename the old one where nobody minds."""
        self._rename(app_label, schema_editor, (from_state, self.old_name), (to_state, self.new_name))

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """The old column alone, with all that was written since."""
        self._rename(app_label, schema_editor, (from_state, self.new_name), (to_state, self.old_name))

    def _rename(
        self, app_label: str, schema_editor: Any, before: tuple[ProjectState, str], after: tuple[ProjectState, str]
    ) -> None:
        (old_model, old_field), (new_model, new_field) = (
            (model := state.apps.get_model(app_label, self.model_name), model._meta.get_field(name))
            for state, name in (before, after)
        )
        if not self.allow_migrate_model(schema_editor.connection.alias, new_model):
            return
        rename = getattr(schema_editor, "rename_in_step", None)
        if rename is None or old_field.column == new_field.column:
            schema_editor.alter_field(old_model, old_field, new_field)
        else:
            rename(old_model, new_model, old_field, new_field)


class FillRenamedField(Backfill):
    """Fill the column that `RenameFieldInStep` made, in batches, wherever it differs from the old one.

    Every row has it before the new code serves. Where there is no old column, as in a new database, nothing is done.
    It overwrites nothing that is not in the old column as well, so reversing does nothing.
    """

    fills_only_null = True  # nothing is lost that would have to be kept

    def __init__(
        self, model_name: str, *, old_column: str, new_column: str, batch_size: int = 5_000, pause_s: float = 0.05
    ) -> None:
        self.old_column, self.new_column = old_column, new_column
        pair = InStep(_quoted, "", old_column, new_column)
        super().__init__(
            model_name,
            set=f"{_quoted(new_column)} = {_quoted(old_column)}",
            where=pair.differ,
            batch_size=batch_size,
            pause_s=pause_s,
            elidable=True,
        )

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        """How `makemigrations` and `squashmigrations` write it."""
        keywords: dict[str, Any] = {"old_column": self.old_column, "new_column": self.new_column}
        if self.batch_size != 5_000:
            keywords["batch_size"] = self.batch_size
        if self.pause_s != 0.05:
            keywords["pause_s"] = self.pause_s
        return type(self).__name__, [self.model_name], keywords

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Do all batches from the last committed one on, if there is anything to fill from."""
        table = table_of(from_state.apps.get_model(app_label, self.model_name))
        with schema_editor.connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_attribute WHERE attrelid = to_regclass(quote_ident(%s)) "
                "AND attname IN (%s, %s) AND NOT attisdropped",
                [table, self.old_column, self.new_column],
            )
            if cursor.fetchone()[0] < 2:
                return
        super().database_forwards(app_label, schema_editor, from_state, to_state)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
