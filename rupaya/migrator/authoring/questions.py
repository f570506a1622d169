"""Whoever answers the autodetector's questions: a rename is never guessed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.core.management.base import CommandError
from django.db.migrations.questioner import NonInteractiveMigrationQuestioner
from django.utils import timezone

from rupaya.migrator.authoring.refusals import Unasked


@dataclass(frozen=True)
class Answers:
    """What the command line says of renames: ``app.model.field=new`` or ``app.model=New``, in small letters."""

    renames: frozenset[tuple[str, str]] = frozenset()
    no_renames: bool = False

    @classmethod
    def read(cls, texts: Sequence[str], *, no_renames: bool) -> Answers:
        """Read ``--rename``.

        Raises:
            CommandError: for what is not ``OLD=NEW``.
        """
        pairs = []
        for text in texts:
            old, equals, new = text.lower().partition("=")
            if not (equals and old.count(".") in (1, 2) and new.isidentifier()):
                raise CommandError(f"--rename {text}: say app.Model.old_field=new_field, or app.OldModel=NewModel.")
            pairs.append((old, new))
        return cls(frozenset(pairs), no_renames)


class Questioner:
    """Django's questioner, which knows the command line's answers; where nobody can be asked it stops."""

    def __init__(self, asked: Any, answers: Answers, app_of: Any) -> None:
        self.asked = asked
        self.answers = answers
        self.app_of = app_of
        """The app labels that have a model of this name."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.asked, name)

    def ask_rename(self, model_name: str, old_name: str, new_name: str, field_instance: Any) -> bool:
        """Whether a field was renamed. One that keeps the column of the old one was.

        Raises:
            Unasked: if nobody can be asked.
        """
        for app in self.app_of(model_name):
            if (f"{app}.{model_name}.{old_name}".lower(), new_name.lower()) in self.answers.renames:
                return True
        if field_instance.db_column and field_instance.db_column == old_name:
            return True
        if self.answers.no_renames:
            return False
        apps = self.app_of(model_name) or ["app"]
        return self._ask(
            "ask_rename",
            f"{model_name}.{old_name} is gone and {model_name}.{new_name} is new and like it",
            f"--rename {apps[0]}.{model_name}.{old_name}={new_name}",
            (model_name, old_name, new_name, field_instance),
        )

    def ask_rename_model(self, old_model_state: Any, new_model_state: Any) -> bool:
        """Whether a model was renamed. One that keeps the table of the old one was.

        Raises:
            Unasked: if nobody can be asked.
        """
        app, old, new = old_model_state.app_label, old_model_state.name, new_model_state.name
        if (f"{app}.{old}".lower(), new.lower()) in self.answers.renames:
            return True
        if new_model_state.options.get("db_table", "") == table_of(old_model_state):
            return True
        if self.answers.no_renames:
            return False
        return self._ask(
            "ask_rename_model",
            f"{app}.{old} is gone and {app}.{new} is new and like it",
            f"--rename {app}.{old}={new}",
            (old_model_state, new_model_state),
        )

    def ask_auto_now_add_addition(self, field_name: str, model_name: str) -> Any:
        """What the rows that are there have in a new field with `auto_now_add`: where nobody can be asked, the time of
        the migration, which is what Django proposes and `migrate` keeps in the database for old code's rows."""
        if isinstance(self.asked, NonInteractiveMigrationQuestioner):
            return timezone.now
        return self.asked.ask_auto_now_add_addition(field_name, model_name)

    def _ask(self, question: str, seen: str, how: str, arguments: tuple[Any, ...]) -> bool:
        unasked = Unasked(
            f"{seen}. If it was renamed, say {how}; if what the old one holds is to go, say --no-renames. "
            "Nothing was written."
        )
        if isinstance(self.asked, NonInteractiveMigrationQuestioner):
            raise unasked
        try:
            return bool(getattr(self.asked, question)(*arguments))
        except EOFError:
            raise unasked from None


def table_of(model_state: Any) -> str:
    """The table of a model, by its state alone."""
    return str(model_state.options.get("db_table") or f"{model_state.app_label}_{model_state.name_lower}")
