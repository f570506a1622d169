"""Whoever answers the autodetector's questions: a rename is never guessed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.management.base import CommandError
from django.db.migrations import operations as ops
from django.db.migrations.migration import Migration
from django.db.migrations.questioner import NonInteractiveMigrationQuestioner
from django.db.migrations.state import ModelState, ProjectState
from django.db.models.fields import NOT_PROVIDED

from rupaya.migrator.authoring.fields import AnyField, column_of, target_of
from rupaya.migrator.authoring.unwritable import Unasked
from rupaya.migrator.django import unquoted


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

    def __init__(self, asked: Any, answers: Answers, state: ProjectState) -> None:
        self.asked = asked
        self.answers = answers
        self.state = state
        self.denied: set[tuple[str, str, str]] = set()
        """Model, old and new field, in small letters, of which somebody has said that they are not the same."""

    def _models(self, model_name: str) -> list[ModelState]:
        """The models of this name, whatever their app: Django does not say which."""
        return [model for key, model in sorted(self.state.models.items()) if key[1] == model_name.lower()]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.asked, name)

    def ask_rename(self, model_name: str, old_name: str, new_name: str, field_instance: Any) -> bool:
        """Whether a field was renamed. One that keeps the column of the old one was.

        Raises:
            Unasked: if nobody can be asked.
        """
        models = self._models(model_name)
        for model in models:
            if (f"{model.app_label}.{model_name}.{old_name}".lower(), new_name.lower()) in self.answers.renames:
                return True
        columns = [column_of(model.fields[old_name], old_name) for model in models if old_name in model.fields]
        if field_instance.db_column and field_instance.db_column in columns:
            return True
        if self.answers.no_renames:
            return False
        apps = [model.app_label for model in models] or ["app"]
        was_renamed = self._ask(
            "ask_rename",
            f"{model_name}.{old_name} is gone and {model_name}.{new_name} is new and like it",
            f"--rename {apps[0]}.{model_name}.{old_name}={new_name}",
            (model_name, old_name, new_name, field_instance),
        )
        if not was_renamed:
            self.denied.add((model_name.lower(), old_name.lower(), new_name.lower()))
        return was_renamed

    def ask_rename_model(self, old_model_state: Any, new_model_state: Any) -> bool:
        """Whether a model was renamed. One that keeps the table of the old one was.

        Raises:
            Unasked: if nobody can be asked.
        """
        app, old, new = old_model_state.app_label, old_model_state.name, new_model_state.name
        if (f"{app}.{old}".lower(), new.lower()) in self.answers.renames:
            return True
        if unquoted(new_model_state.options.get("db_table", "")) == table_of(old_model_state):
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
            return NOT_PROVIDED  # the field knows
        return self.asked.ask_auto_now_add_addition(field_name, model_name)

    def _ask(self, question: str, seen: str, how: str, arguments: tuple[Any, ...]) -> bool:
        unasked = Unasked(
            f"{seen}. If it was renamed, say {how}; if the old one's data may go, say --no-renames. "
            "Nothing was written."
        )
        if isinstance(self.asked, NonInteractiveMigrationQuestioner):
            raise unasked
        try:
            return bool(getattr(self.asked, question)(*arguments))
        except EOFError:
            raise unasked from None


def refuse_likely_renames(
    changes: Mapping[str, Sequence[Migration]], before: ProjectState, denied: Collection[tuple[str, str, str]]
) -> None:
    """Stop where Django sees one removed and one added, and asks nobody, because more than the name is another.

    Of those that are `denied` somebody was asked.

    Raises:
        Unasked: for a field of the type of one that is gone, and for a model with the table of one that is gone.
    """
    for app, migrations in changes.items():
        operations = [each for migration in migrations for each in migration.operations]
        gone = {
            table_of(before.models[app, each.name_lower]) for each in operations if isinstance(each, ops.DeleteModel)
        }
        for each in operations:
            if isinstance(each, ops.CreateModel) and table_of(ModelState(app, each.name, [], each.options)) in gone:
                raise Unasked(
                    f"{app}.{each.name} is new and has the table of a model that is gone. Rename the model first, with "
                    "its fields as they are, and let makemigrations write that; then change its fields. Nothing was "
                    "written."
                )
        for added in operations:
            for removed in operations:
                if (
                    isinstance(added, ops.AddField)
                    and isinstance(removed, ops.RemoveField)
                    and (added.model_name_lower, removed.name_lower, added.name_lower) not in denied
                ):
                    _refuse_likely_rename(app, added, removed, before)


def _refuse_likely_rename(app: str, added: ops.AddField, removed: ops.RemoveField, before: ProjectState) -> None:
    model = before.models.get((app, removed.model_name_lower))
    if model is None or added.model_name_lower != removed.model_name_lower:
        return
    old: AnyField = model.fields[removed.name]
    new: AnyField = added.field
    if type(old) is not type(new) or (old.remote_field and target_of(old, model) != target_of(new, model)):
        return
    raise Unasked(
        f"{app}.{model.name}.{removed.name} is gone, and {app}.{model.name}.{added.name} is new and of its type. If it "
        "was renamed, rename it first and let makemigrations write that; then make the other changes. If the old "
        "one's data may go, say --no-renames. Nothing was written."
    )


def table_of(model_state: Any) -> str:
    """The table of a model, by its state alone."""
    return unquoted(model_state.options.get("db_table") or f"{model_state.app_label}_{model_state.name_lower}")
