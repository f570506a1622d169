"""Indexes built without a lock that traffic would notice, and again after an interruption."""

from __future__ import annotations

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import operations as ops
from django.db.migrations.state import ProjectState

from rupaya.migrator.schema.indexbuild import drop_index, make_index


class AddIndexConcurrently(ops.AddIndex):
    """``AddIndex``, with CREATE INDEX CONCURRENTLY; in a migration with ``atomic = False``.

    An index of its name that is whole is left, so that it may be run again; one that an interruption left invalid is
    rebuilt. A partitioned table's is made partition by partition. In a transaction, where a squashed migration has it,
    it is Django's own AddIndex.
    """

    def describe(self) -> str:
        return f"Concurrently: {super().describe()}"

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, model):
            return
        if _is_in_transaction(schema_editor):
            schema_editor.add_index(model, self.index)
        else:
            _make(schema_editor, self.index.create_sql(model, schema_editor, concurrently=True))

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        model = from_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            _drop(schema_editor, self.index.name)


class AlterFieldIndexConcurrently(ops.AlterField):
    """``AlterField`` that does nothing but set ``db_index=True``, whose indexes are made CONCURRENTLY.

    Likewise in a migration with ``atomic = False``, to be run again, and without CONCURRENTLY in a transaction.
    """

    def describe(self) -> str:
        return f"Concurrently: index field {self.name} on {self.model_name}"

    @property
    def migration_name_fragment(self) -> str:
        """Part of an automatic migration name."""
        return f"index_{self.model_name_lower}_{self.name_lower}"

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, model):
            return
        for statement in _statements(schema_editor, model, self.name):
            if _is_in_transaction(schema_editor):
                schema_editor.execute(statement)
            else:
                statement.template = schema_editor.sql_create_index_concurrently
                _make(schema_editor, statement)

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        model = from_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, model):
            return
        for statement in _statements(schema_editor, model, self.name):
            _drop(schema_editor, _name(statement))


def _statements(schema_editor: Any, model: Any, field_name: str) -> list[Any]:
    """Django's statements for the indexes that a field's own `db_index` asks for (read in 5.2.19)."""
    statements: list[Any] = schema_editor._field_indexes_sql(model, model._meta.get_field(field_name))
    return statements


def _name(statement: Any) -> str:
    return str(statement.parts["name"]).strip('"')


def _is_in_transaction(schema_editor: Any) -> bool:
    connection: BaseDatabaseWrapper = schema_editor.connection
    return bool(schema_editor.atomic_migration or connection.in_atomic_block)


def _make(schema_editor: Any, statement: Any) -> None:
    if schema_editor.collect_sql:
        schema_editor.execute(statement, params=None)
    else:
        make_index(schema_editor.connection, _name(statement), str(statement))


def _drop(schema_editor: Any, name: str) -> None:
    if schema_editor.collect_sql or _is_in_transaction(schema_editor):
        how = "" if _is_in_transaction(schema_editor) else "CONCURRENTLY "
        schema_editor.execute(f"DROP INDEX {how}IF EXISTS {schema_editor.quote_name(name)}", params=None)
    else:
        drop_index(schema_editor.connection, name)
