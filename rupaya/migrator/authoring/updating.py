"""Whether changes may go into the last migration, as `--update` asks."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.migration import Migration
from django.db.migrations.optimizer import MigrationOptimizer

from rupaya.migrator.authoring.planning import Planner

_WRITTEN = {"dependencies", "operations", "initial", "replaces", "run_before"}
"""What Django writes of a migration's class."""


def why_not_update(connection: BaseDatabaseWrapper, app_label: str, made: Sequence[Migration]) -> str:
    """Why these would not be what they are in the last migration; empty: they would."""
    if len(made) > 1 or not all(migration.atomic for migration in made):
        names = ", ".join(map(str, made))
        return f"The changes of {app_label} need migrations of their own: {names}. --update would merge them into one."
    loader = MigrationLoader(connection)
    leaves = loader.graph.leaf_nodes(app_label)
    if not leaves:
        return ""  # Django says so
    last = loader.graph.nodes[leaves[0]]
    lost = sorted(name for name in vars(type(last)) if not name.startswith("__") and name not in _WRITTEN)
    if lost:
        said = ", ".join(lost)
        return f"{last} says {said}, which --update would lose, or apply to operations that it was not declared for."
    merged = Migration(last.name, app_label)
    operations = [*last.operations, *(each for migration in made for each in migration.operations)]
    merged.operations = MigrationOptimizer().optimize(operations, app_label)  # type: ignore[misc]  # as Django does
    written = [each.deconstruct() for each in merged.operations]
    planner = Planner(connection, loader.project_state(leaves[0], at_end=False))
    planned = planner.plan({app_label: [merged]})[app_label]
    kept = [each.deconstruct() for step in planned for each in step.operations]
    if planner.refused or len(planned) > 1 or kept != written:
        return f"In one migration with what {last} does, this needs steps of its own."
    return ""
