"""`manage.py makemigrations`: Django's, writing what two codes and their traffic survive."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.management.base import CommandError, CommandParser
from django.core.management.commands import makemigrations
from django.db import DEFAULT_DB_ALIAS, connections

from rupaya.migrator.authoring import explain
from rupaya.migrator.authoring.autodetector import SafeAutodetector
from rupaya.migrator.authoring.questioner import Answers
from rupaya.migrator.authoring.updating import why_not_update
from rupaya.migrator.authoring.writer import StepWriter, format_files
from rupaya.migrator.django import writing_migrations_with

_base: Any = makemigrations.Command
if apps.is_installed("django_linear_migrations"):  # its command keeps max_migration.txt
    from django_linear_migrations.management.commands.makemigrations import Command as LinearCommand

    _base = LinearCommand


class Command(_base):  # type: ignore[misc]
    """Django's flags, and four, shown apart."""

    help = f"{makemigrations.Command.help} In the steps that a running release and its traffic survive."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        ours = parser.add_argument_group("safe changes")
        ours.add_argument("--plain", action="store_true", help="Write what Django would, in one step.")
        ours.add_argument("--explain", action="store_true", help="Print the steps as a table as well.")
        ours.add_argument(
            "--rename",
            action="append",
            default=[],
            metavar="OLD=NEW",
            help="Say that app.Model.old_field=new_field, or app.OldModel=NewModel, was renamed; may be given again.",
        )
        ours.add_argument(
            "--no-renames", action="store_true", help="Say that what is gone was removed, and what is new is new."
        )

    def handle(self, *app_labels: str, **options: Any) -> None:
        """As Django does, with an autodetector and a writer of ours."""
        self.is_plain, self.is_explained = options["plain"], options["explain"]
        if self.is_plain:
            super().handle(*app_labels, **options)
            return
        answers = Answers.read(options["rename"], no_renames=options["no_renames"])
        # For this command alone: Django demands that the class's is the one of `migrate`, which only looks.
        self.autodetector = SafeAutodetector.answering(answers)
        writer = StepWriter.noting()
        try:
            with writing_migrations_with(writer):
                super().handle(*app_labels, **options)
        except EOFError:
            raise CommandError(
                "A question needs an answer, and nobody is there to give it; nothing was written. Run it in a "
                "terminal, or give the field a default=, a db_default= or null=True."
            ) from None
        finally:
            format_files(writer.noted)

    def write_migration_files(self, changes: Any, update_previous_migration_paths: Any = None) -> None:
        """Print the table, if it is asked for, and write."""
        if self.is_explained:
            self.log(explain.table(changes))
        super().write_migration_files(changes, update_previous_migration_paths)

    def write_to_last_migration_files(self, changes: Any) -> None:
        """``--update``, where all of it fits into one migration.

        Raises:
            CommandError: where it does not.
        """
        for app_label, made in changes.items():
            if not self.is_plain and (reason := why_not_update(connections[DEFAULT_DB_ALIAS], app_label, made)):
                raise CommandError(f"{reason} Nothing was written. Leave --update out, or say --plain too.")
        super().write_to_last_migration_files(changes)
