"""A command whose output is a file of the project: printed, or written to where it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.migrator.output import Output
from rupaya.migrator.session.session import Session


class WritingCommand(BaseCommand):
    """What a command that works in a scratch database shares; the live one is neither read nor changed."""

    requires_system_checks = []
    requires_migrations_checks = False

    def text(self, connection: BaseDatabaseWrapper) -> str:
        """What to print or write."""
        raise NotImplementedError

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--write", metavar="FILE", help="Write it to a file instead of printing it.")

    def handle(self, *args: Any, **options: Any) -> None:
        session = Session(Output(self.stderr, self.style))
        with session.reading():
            text = self.text(connection)
        if options["write"]:
            Path(options["write"]).write_text(text)
        else:
            self.stdout.write(text, ending="")
