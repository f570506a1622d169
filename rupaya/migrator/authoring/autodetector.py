"""Django's autodetector, whose migrations become steps."""

from __future__ import annotations

from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.migrations.autodetector import MigrationAutodetector

from rupaya.migrator.authoring.planning import Planner
from rupaya.migrator.authoring.questioner import Answers, Questioner, refuse_likely_renames
from rupaya.migrator.authoring.step import Step
from rupaya.migrator.authoring.unwritable import NotSafely


class SafeAutodetector(MigrationAutodetector):
    """Detects as Django does, and writes it as two codes survive it."""

    answers = Answers()
    """What the command line says."""

    @classmethod
    def answering(cls, answers: Answers) -> type[SafeAutodetector]:
        """The class for one command line; Django's command calls class methods of it, too."""
        return type(cls.__name__, (cls,), {"answers": answers})

    def __init__(self, from_state: Any, to_state: Any, questioner: Any = None) -> None:
        asked: Any = Questioner(questioner, self.answers, from_state)
        super().__init__(from_state, to_state, asked)
        self.denied: set[tuple[str, str, str]] = asked.denied

    def _detect_changes(self, convert_apps: Any = None, graph: Any = None) -> dict[str, list[Any]]:
        """Detect, and plan.

        Raises:
            NotSafely: for what no safe way is known for.
            Unasked: where something may be a rename that Django does not see.
        """
        changes = super()._detect_changes(convert_apps, graph)  # type: ignore[misc]
        if not self.answers.no_renames:
            refuse_likely_renames(changes, self.from_state, self.denied)
        planner = Planner(connections[DEFAULT_DB_ALIAS], self.from_state)
        planned = planner.plan(changes)
        if planner.refused:
            raise NotSafely(planner.refused)
        return planned

    def arrange_for_graph(self, changes: Any, graph: Any, migration_name: str | None = None) -> Any:
        """Number and name them; the name that was asked for is the first one's, and the others' begin with it."""
        if migration_name is None or not any(isinstance(one, Step) for made in changes.values() for one in made):
            return super().arrange_for_graph(changes, graph, migration_name)
        for made in changes.values():
            for number, one in enumerate(made):
                if isinstance(one, Step):
                    one.stem, one.title = migration_name, one.title if number else ""
                else:
                    one.suggest_name = lambda: migration_name
        return super().arrange_for_graph(changes, graph)
