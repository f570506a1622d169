"""What no code that serves can know of: tables and columns that this plan made, or one that was cut off."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from django.db.migrations import operations as ops
from django.db.migrations.loader import MigrationLoader

from rupaya.migrator.django import unquoted
from rupaya.migrator.plan.phases import flat_operations

Key = tuple[str, str]


@dataclass
class Fresh:
    """Tables that were made, and columns of tables that were there before."""

    tables: set[str] = field(default_factory=set)
    columns: set[tuple[str, str]] = field(default_factory=set)

    def copy(self) -> Fresh:
        """One of its own, for an attempt that may be rolled back."""
        return Fresh(set(self.tables), set(self.columns))


def fresh_of(loader: MigrationLoader, migrations: Collection[Key]) -> Fresh:
    """What these applied migrations made, as it is called now; for `Store.never_served`.

    Without it, a release whose run was cut off between creating a table and renaming it would be refused.
    """
    if not migrations:
        return Fresh()
    models: set[Key] = set()
    fields: set[tuple[Key, str]] = set()
    for key in loader.graph._generate_plan(loader.graph.leaf_nodes(), at_end=True):
        if key not in migrations:
            continue
        app = key[0]
        for operation in flat_operations(loader.graph.nodes[key].operations):
            if isinstance(operation, ops.CreateModel):
                models.add((app, operation.name_lower))
            elif isinstance(operation, ops.RenameModel):
                old, new = (app, operation.old_name_lower), (app, operation.new_name_lower)
                models = {new if model == old else model for model in models}
                fields = {(new if model == old else model, name) for model, name in fields}
            elif isinstance(operation, ops.AddField):
                fields.add(((app, operation.model_name_lower), operation.name))
            elif isinstance(operation, ops.RenameField):
                pair = ((app, operation.model_name_lower), operation.old_name)
                if pair in fields:
                    fields = fields - {pair} | {(pair[0], operation.new_name)}
    applied = [key for key in loader.applied_migrations or {} if key in loader.graph.nodes]
    state = loader.project_state(applied)
    fresh = Fresh()
    for model in state.apps.get_models(include_auto_created=True):
        meta = model._meta
        key = (meta.app_label, str(meta.model_name))
        if key in models:
            fresh.tables.add(unquoted(meta.db_table))
        for many in meta.local_many_to_many:
            if key in models or (key, many.name) in fields:
                fresh.tables.add(unquoted(many.m2m_db_table()))
        fresh.columns |= {
            (unquoted(meta.db_table), str(each.column)) for each in meta.local_fields if (key, each.name) in fields
        }
    return fresh
