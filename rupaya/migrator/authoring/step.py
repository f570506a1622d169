"""One step: a migration that knows its name, and why it is one of its own."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.migrations.migration import Migration
from django.db.migrations.operations.base import Operation


class Step(Migration):
    """A migration that is still to be written; `comment` is the line that its reader will want."""

    def __init__(
        self,
        name: str,
        app_label: str,
        operations: Sequence[Operation],
        *,
        title: str,
        comment: str = "",
        atomic: bool = True,
    ) -> None:
        super().__init__(name, app_label)
        self.operations = list(operations)  # type: ignore[misc]  # as Django does
        self.title = title
        self.comment = comment
        self.atomic = atomic  # type: ignore[misc]
        self.stem = ""
        """What the user wants the migrations to be called, in place of what the operations do."""

    def suggest_name(self) -> str:
        """What it does; Django's own suggestion where that says it."""
        words = [word for word in (self.stem, self.title) if word]
        if not self.title and not self.stem:
            return super().suggest_name()
        return "_".join(words)
