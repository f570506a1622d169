"""`manage.py schemadiff`: what is not as it should be in the schema, one line each. It parses and prints."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import connection

from rupaya.migrator.analysis.schemadiff import Comparison, with_code, with_snapshot
from rupaya.migrator.errors import EnvironmentUnfit
from rupaya.migrator.ledger.snapshots import last_snapshot
from rupaya.migrator.output import Output
from rupaya.migrator.session.session import Session

EXIT_CODE_DIFFERENT = 1


class Command(BaseCommand):
    """Compare, print, and tell by the exit status."""

    help = (
        "Compares the database's schema with what the last migration run left and with what this code's migrations "
        "build in a scratch database on the same server. Exit codes: 0 the same, 1 different, 10 database "
        "unreachable, 16 no scratch database or no snapshot to be had. Changes nothing."
    )
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        """What to compare with, and how to say it."""
        parser.add_argument(
            "--against", choices=("snapshot", "code", "both"), default="both", help="What to compare with; both."
        )
        parser.add_argument(
            "--pending", action="store_true", help="Let the code's side have the migrations too that are not applied."
        )
        parser.add_argument("--format", choices=("text", "json"), default="text", help="For people or for machines.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print a line a difference; exit with 1 if there is any."""
        session = Session(Output(self.stderr, self.style))
        as_json = options["format"] == "json"
        comparisons: list[Comparison] = []
        with session.reading():
            if options["against"] != "code":
                snapshot = last_snapshot(connection.connection)
                if snapshot is not None:
                    comparisons.append(with_snapshot(connection, snapshot))
                elif options["against"] == "snapshot":
                    raise EnvironmentUnfit(
                        "There is no snapshot of this database's schema.",
                        "The first is taken by the first migration run that changes something; nothing was changed.",
                        "Compare with the code: manage.py schemadiff --against code.",
                    )
                self._print(comparisons, as_json=False, silent=as_json)
            if options["against"] != "snapshot":
                comparison = with_code(connection, pending_too=options["pending"])
                comparisons.append(comparison)
                self._print([comparison], as_json=False, silent=as_json)
        if as_json:
            self._print(comparisons, as_json=True)
        if any(comparison.differences for comparison in comparisons):
            sys.exit(EXIT_CODE_DIFFERENT)

    def _print(self, comparisons: list[Comparison], *, as_json: bool, silent: bool = False) -> None:
        if as_json:
            document = [
                {
                    "against": comparison.side.removeprefix("in the "),
                    "notes": comparison.notes,
                    "differences": [
                        {"message": line} | asdict(difference)
                        for line, difference in zip(comparison.lines, comparison.differences, strict=True)
                    ],
                }
                for comparison in comparisons
            ]
            self.stdout.write(json.dumps(document, indent=2))
            return
        for comparison in [] if silent else comparisons:
            for note in comparison.notes:
                self.stderr.write(note)
            for line in comparison.lines:
                self.stdout.write(line)
            if not comparison.differences:
                what = comparison.side.removeprefix("in ")
                self.stdout.write(self.style.SUCCESS(f"The database is the same as {what}."))
