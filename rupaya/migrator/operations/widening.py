"""A column of a larger type, made beside the old one and put in its place: in place, it would rewrite the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import DataError, NotSupportedError
from django.db.migrations import operations as ops
from django.db.migrations.state import ProjectState

from rupaya.migrator.attic import facts
from rupaya.migrator.attic.facts import short_transaction
from rupaya.migrator.django import table_of
from rupaya.migrator.errors import HistoryRefused, MigrationFailed, driver_text
from rupaya.migrator.operations.backfill import Backfill
from rupaya.migrator.operations.beside import Beside
from rupaya.migrator.operations.keybeside import KeyBeside, is_smaller

_SAME = ("column", "null", "unique", "db_index", "db_default", "primary_key", "db_comment")
"""Of a field, what `AlterField` changes."""


class WidenField(ops.AlterField):
    """``AlterField`` to a type that takes all values of the old one, without rewriting the table under a lock.

    Or to ``inet`` or ``jsonb`` from a text: old code reads and writes these as it did, if each text is one.

    A column beside the old one, which a trigger fills for what is written and batches for what is there; its indexes
    concurrently, its rules validated; then it takes the old one's name and place in one short lock. Both codes read
    the new column from then on. In a migration with ``atomic = False``; it may be run again after an interruption.

    Reversing does the same the other way round, and is refused while a value does not fit. On a table that the same
    run creates, and in a transaction, where a squashed migration has it, it is Django's own AlterField.

    With a primary key, the foreign keys that refer to it get the type as well, first, and keep their names.
    """

    halves_itself = True
    """Read by `rupaya.migrator.debts.treatment`: it works through the editor of debts."""
    batch_size = 5_000
    """Rows that are filled at a time."""

    def describe(self) -> str:
        others = " and what refers to it" if self.field.primary_key else ""
        return f"Widen field {self.name} on {self.model_name}{others}, beside the old column"

    @property
    def migration_name_fragment(self) -> str:
        """Part of an automatic migration name."""
        return f"widen_{self.model_name_lower}_{self.name_lower}"

    def reduce(self, operation: Any, app_label: str) -> Any:
        """Nothing is merged with it but what does not touch it."""
        return ops.base.Operation.reduce(self, operation, app_label)

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Make it, or go on making it.

        Raises:
            ValueError: if more than the type is changed.
            HistoryRefused: where something hangs on the column that would not follow.
            MigrationFailed: if a value does not fit; all is as it was then.
        """
        from_model = from_state.apps.get_model(app_label, self.model_name)
        to_model = to_state.apps.get_model(app_label, self.model_name)
        connection = schema_editor.connection
        if not self.allow_migrate_model(connection.alias, to_model):
            return
        old, new = (model._meta.get_field(self.name) for model in (from_model, to_model))
        if other := next((each for each in _SAME if getattr(old, each) != getattr(new, each)), ""):
            raise ValueError(f"WidenField({self.model_name}, {self.name}) changes {other}; it is for the type alone.")
        columns = self._columns(connection, to_state, to_model, new)
        if is_smaller(str(new.db_type(connection)), str(old.db_type(connection))):
            columns.reverse()  # what refers to it may be wider, and not narrower
        if pay_first := getattr(schema_editor, "pay_before_widening", None):
            for _model, beside in columns:
                pay_first(beside.table, beside.column)
        is_fresh = hasattr(schema_editor, "book") and table_of(to_model) in schema_editor.book.fresh.tables
        is_plain = schema_editor.collect_sql or schema_editor.atomic_migration or connection.in_atomic_block
        if is_fresh or is_plain:
            if not is_fresh and schema_editor.collect_sql:
                self._refuse(columns)
            if not is_fresh and getattr(schema_editor, "is_forecast", False):
                return  # it owes nothing of it
            if len(columns) == 1:
                schema_editor.alter_field(from_model, old, new)
                return
            for _model, made in columns:  # Django's AlterField makes the foreign keys again, under other names
                schema_editor.execute(f"{made.here} ALTER COLUMN {made.quoted} TYPE {made.type}", None)
            return
        for _model, beside in columns:
            if beside.is_done():
                beside.finish()  # what an attempt that was cut off has left
        self._refuse(columns)
        for model, beside in columns:
            self._widen(model, beside, schema_editor, from_state, to_state)

    def _columns(self, connection: Any, state: ProjectState, of_model: Any, of_field: Any) -> list[tuple[Any, Beside]]:
        """The columns that get the type: those of foreign keys that refer to it, directly or not, and its own."""
        columns = [
            (model, field)
            for model in state.apps.get_models(include_auto_created=True)
            if model._meta.managed and not model._meta.proxy and self.allow_migrate_model(connection.alias, model)
            for field in model._meta.local_concrete_fields
            if _refers(field, of_field)
        ]
        return [
            (model, beside(connection, table_of(model), str(field.column), str(field.db_type(connection))))
            for model, field in [*columns, (of_model, of_field)]
        ]

    def _widen(self, model: Any, made: Beside, schema_editor: Any, *states: ProjectState) -> None:
        """Make one column, or go on making it.

        Raises:
            MigrationFailed: if a value does not fit.
        """
        connection = schema_editor.connection
        if not made.is_done():
            if not made.is_begun():
                with short_transaction(connection):
                    made.begin()
            try:
                self._fill(model, made, schema_editor, *states)
                made.make_rules()
                made.settle()
            except (DataError, NotSupportedError) as error:
                with short_transaction(connection):
                    made.give_up()
                if isinstance(error, NotSupportedError):
                    raise
                raise MigrationFailed(
                    f"{made.table}.{made.column} cannot become {made.type}: {driver_text(error)}.",
                    "A row has a value that does not fit; the column is as it was, and nothing is lost.",
                    "Fix these rows, then start again.",
                ) from error
            with short_transaction(connection):
                made.swap()
        made.finish()

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """The same the other way round."""
        self.database_forwards(app_label, schema_editor, from_state, to_state)

    def _fill(self, model: Any, made: Beside, schema_editor: Any, *states: ProjectState) -> None:
        fill = Backfill(
            model._meta.model_name,
            set=f'"{made.name}" = {made.value(made.quoted)}',
            where=f'"{made.name}" IS NULL AND {made.quoted} IS NOT NULL',
            batch_size=self.batch_size,
        )
        fill.database_forwards(model._meta.app_label, schema_editor, *states)

    def _refuse(self, columns: Sequence[tuple[Any, Beside]]) -> None:
        for _model, made in columns:
            if made.is_done() or made.is_begun():
                continue
            if reason := made.why_not():
                raise HistoryRefused(
                    f"{made.table}.{made.column} cannot become {made.type}: {reason}.",
                    "The new column takes the place of the old one, and what hangs on that would not follow; nothing "
                    "was changed.",
                    "Drop what is named by a migration before, and make it again after; or add a new field of the new "
                    "type, fill it, and remove the old one.",
                )


def beside(connection: Any, table: str, column: str, type_: str) -> Beside:
    """The column and the one beside it, in the way that what is unique needs."""
    found = facts.column(connection, table, column)
    is_key = found is not None and (
        found.is_unique or found.is_primary or found.is_identity or str(found.default or "").startswith("nextval(")
    )
    return (KeyBeside if is_key else Beside)(connection, table, column, type_)


def _refers(field: Any, to: Any) -> bool:
    """Whether a field is a foreign key to this one, or to one that is."""
    while field.remote_field and field.concrete and not field.many_to_many:
        field = field.target_field
        if field == to:
            return True
    return False
