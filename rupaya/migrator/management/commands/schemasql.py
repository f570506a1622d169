"""`manage.py schemasql`: the schema that this code's migrations build, as SQL for people to read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import connection

from rupaya.migrator.analysis.schemadiff import built_by_code
from rupaya.migrator.output import Output
from rupaya.migrator.schema.dump import draw
from rupaya.migrator.session.session import Session

HEADER = (
    "-- The schema that the migrations build, as PostgreSQL tells it. Written by `make schema`; not to be edited.\n\n"
)


class Command(BaseCommand):
    """Build, read, draw."""

    help = (
        "Prints the schema that this code's migrations build in a scratch database: the same text on every server. "
        "The live database is neither read nor changed."
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
            text = HEADER + draw(built_by_code(connection))
        if options["write"]:
            Path(options["write"]).write_text(text)
        else:
            self.stdout.write(text, ending="")
