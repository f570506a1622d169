"""`manage.py presumptions`: what this code's migrations presume of rows, as the file that is shipped with the code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import connection

from rupaya.migrator.analysis.presuming import as_text, presumed_by_code
from rupaya.migrator.output import Output
from rupaya.migrator.session.session import Session


class Command(BaseCommand):
    """Carry out, read, write."""

    help = (
        "Carries this code's migrations out in a scratch database and prints what each presumes of the rows that are "
        "there, as JSON: the same text on every server. 'migrate' asks live rows by it, where MIGRATOR_PRESUMPTIONS "
        "names the file. The live database is neither read nor changed."
    )
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        """Where to write it."""
        parser.add_argument("--write", metavar="FILE", help="Write it to a file instead of printing it.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print or write."""
        session = Session(Output(self.stderr, self.style))
        with session.reading():
            text = as_text(presumed_by_code(connection))
        if options["write"]:
            Path(options["write"]).write_text(text)
        else:
            self.stdout.write(text, ending="")
