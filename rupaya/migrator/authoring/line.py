"""One of Django's migrations on its way to be steps: what goes where, what its comment says, what is refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.db.migrations import AddField, AlterField
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ModelState

from rupaya.migrator.authoring.fields import AnyField
from rupaya.migrator.operations import AlterFieldIndexConcurrently

if TYPE_CHECKING:
    from rupaya.migrator.authoring.planning import Planner


class Line:
    """The operations by the step that they go to: the migration itself, then fills, then rules, then indexes."""

    def __init__(self, planner: Planner, migration: Any) -> None:
        self.planner, self.migration = planner, migration
        self.app = migration.app_label
        self.main: list[Operation] = []
        self.fills: list[tuple[str, Operation, str]] = []
        self.finals: list[tuple[str, Operation]] = []
        self.indexes: list[tuple[str, Operation]] = []

    def _model(self, name: str) -> ModelState:
        model: ModelState = self.planner.state.models[self.app, name.lower()]
        return model

    def _refuse(self, sentence: str) -> None:
        self.planner.refused.append(sentence)

    def _say(self, comment: str) -> None:
        """Write a line for the reader of the migration, once."""
        said = getattr(self.migration, "comment", "").splitlines()
        self.migration.comment = "\n".join(dict.fromkeys([*said, comment]))

    def _is_new(self, name: str) -> bool:
        if (self.app, name.lower()) in self.planner.created:
            return True
        return not self._model(name).options.get("managed", True)

    def _index_field(self, model_name: str, name: str, field: AnyField) -> None:
        title = short(f"index_{model_name}_{name}")
        self.indexes.append((title, AlterFieldIndexConcurrently(model_name, name, field)))


def title_of(operations: Sequence[Operation]) -> str:
    """What these operations do, in a name that says so: Django's ends in `and_more`, which says nothing."""
    added = {(each.model_name_lower, each.name_lower) for each in operations if isinstance(each, AddField)}
    fragments = [
        str(each.migration_name_fragment)
        for each in operations
        if not (isinstance(each, AlterField) and (each.model_name_lower, each.name_lower) in added)
    ]
    fragments = list(dict.fromkeys(fragment for fragment in fragments if fragment))
    named: list[str] = []
    for fragment in fragments:
        if named and len("_".join([*named, fragment])) > 52:
            break
        named.append(fragment)
    left = len(fragments) - len(named)
    return short("_".join(named) + (f"_and_{left}_others" if left > 1 else f"_and_{fragments[-1]}" if left else ""))


def short(title: str) -> str:
    """A migration's name: of a module, in small letters, not too long for its column in the history."""
    return re.sub(r"\W+", "_", title.lower())[:90]
