"""A column of a larger type, made beside the old one and put in its place: in place, it would rewrite the table."""

from __future__ import annotations

from typing import Any

from django.db import DataError, NotSupportedError
from django.db.migrations import operations as ops
from django.db.migrations.state import ProjectState

from rupaya.migrator.attic.facts import short_transaction
from rupaya.migrator.django import table_of
from rupaya.migrator.errors import HistoryRefused, MigrationFailed, driver_text
from rupaya.migrator.operations.backfill import Backfill
from rupaya.migrator.operations.beside import Beside

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
    """

    halves_itself = True
    """Read by `rupaya.migrator.debts.treatment`: it works through the editor of debts."""
    batch_size = 5_000
    """Rows that are filled at a time."""

    def describe(self) -> str:
        """What `migrate --plan` says."""
        return f"Widen field {self.name} on {self.model_name}, beside the old column"

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
        table, column, type_ = table_of(to_model), str(new.column), str(new.db_type(connection))
        if other := next((each for each in _SAME if getattr(old, each) != getattr(new, each)), ""):
            raise ValueError(f"WidenField({self.model_name}, {self.name}) changes {other}; it is for the type alone.")
        if pay_first := getattr(schema_editor, "pay_before_widening", None):
            pay_first(table, column)
        is_fresh = hasattr(schema_editor, "book") and table in schema_editor.book.fresh.tables
        is_plain = schema_editor.collect_sql or schema_editor.atomic_migration or connection.in_atomic_block
        beside = Beside(connection, table, column, type_)
        if is_fresh or is_plain:
            if not is_fresh and schema_editor.collect_sql:
                self._refuse(beside)
            if is_fresh or not getattr(schema_editor, "is_forecast", False):  # it owes nothing of it
                schema_editor.alter_field(from_model, old, new)
            return
        if beside.is_done():
            return
        if not beside.is_begun():
            self._refuse(beside)
            with short_transaction(connection):
                beside.begin()
        try:
            self._fill(beside, app_label, schema_editor, from_state, to_state)
        except (DataError, NotSupportedError) as error:
            with short_transaction(connection):
                beside.give_up()
            if isinstance(error, NotSupportedError):
                raise
            raise MigrationFailed(
                f"{table}.{column} cannot become {type_}: {driver_text(error)}.",
                "A row has a value that does not fit; the column is as it was, and nothing is lost.",
                "Fix these rows, then start again.",
            ) from error
        beside.make_rules()
        with short_transaction(connection):
            beside.swap()

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """The same the other way round."""
        self.database_forwards(app_label, schema_editor, from_state, to_state)

    def _fill(self, beside: Beside, app_label: str, schema_editor: Any, *states: ProjectState) -> None:
        fill = Backfill(
            self.model_name,
            set=f'"{beside.name}" = {beside.value(beside.quoted)}',
            where=f'"{beside.name}" IS NULL AND {beside.quoted} IS NOT NULL',
            batch_size=self.batch_size,
        )
        fill.database_forwards(app_label, schema_editor, *states)

    def _refuse(self, beside: Beside) -> None:
        if reason := beside.why_not():
            raise HistoryRefused(
                f"{beside.table}.{beside.column} cannot become {beside.type}: {reason}.",
                "The new column takes the place of the old one, and what hangs on that would not follow; nothing was "
                "changed.",
                "Drop what is named by a migration before, and make it again after; or add a new field of the new "
                "type, fill it, and remove the old one.",
            )
