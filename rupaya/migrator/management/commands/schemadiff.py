"""`manage.py schemadiff`: what is not as it should be in the schema, one line each. It parses and prints."""

from __future__ import annotations

import getpass
import json
import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import connection

from rupaya.migrator.analysis.schemadiff import LIVE_SIDE, Comparison, with_code, with_snapshot
from rupaya.migrator.errors import EnvironmentUnfit, counted
from rupaya.migrator.ledger.acceptance import accept
from rupaya.migrator.ledger.snapshots import last_snapshot
from rupaya.migrator.management.logged import LoggedCommand
from rupaya.migrator.output import Output, logs_json
from rupaya.migrator.run import order
from rupaya.migrator.schema.diff import Difference
from rupaya.migrator.session.database import task_name
from rupaya.migrator.session.session import Session

EXIT_CODE_DIFFERENT = 1


class Command(LoggedCommand):
    """Compare and print; the exit status says whether they differ."""

    help = (
        "Compares the database's schema with what the last migration run left and with what this code's migrations "
        "build in a scratch database on the same server. Exit codes: 0 the same, 1 different, 10 database "
        "unreachable, 16 no scratch database or no snapshot available. Changes nothing but the record of what is "
        "intended, with --accept."
    )
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        """What to compare with, and how to say it."""
        parser.add_argument(
            "--against", choices=("snapshot", "code", "both"), default="both", help="What to compare with; both."
        )
        parser.add_argument("--pending", action="store_true", help="Count pending migrations on the code's side, too.")
        parser.add_argument(
            "--accept",
            metavar="REASON",
            help="Declare all that differs now as intended, and why. It is kept in the ledger, and no run, audit or "
            "page counts it any more until it changes again.",
        )
        parser.add_argument("--format", choices=("text", "json"), default="text", help="For people or for machines.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print a line a difference; exit with 1 if there is any, unless they are accepted."""
        if options["accept"] is not None and not options["accept"].strip():
            raise CommandError("--accept needs a reason: anyone who reads it in a year must understand why.")
        self.notes = Output(self.stderr, self.style, as_json=logs_json())
        session = Session(self.notes)
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
        if options["accept"] is not None:
            self._accept(comparisons, options["accept"], session)
        elif any(comparison.differences for comparison in comparisons):
            sys.exit(EXIT_CODE_DIFFERENT)

    def _accept(self, comparisons: list[Comparison], reason: str, session: Session) -> None:
        """Declare what was just shown as intended."""
        if not any(comparison.differences for comparison in comparisons):
            self.notes.say("Nothing to accept.")
            return
        by = f"{_person()} at {task_name()}"
        number = 0
        with session.opened(), order.under_the_lock(session) as ledger:
            for comparison in comparisons:
                number += accept(
                    ledger.connection, comparison.side, comparison.differences, comparison.lines, reason=reason, by=by
                )
        self.notes.say(f"{counted(number, 'difference')} accepted by {by}: {reason.strip()}")

    def _print(self, comparisons: list[Comparison], *, as_json: bool, silent: bool = False) -> None:
        if as_json:
            document = [
                {
                    "against": comparison.side.removeprefix("in the "),
                    "notes": comparison.notes,
                    "differences": [
                        _fields(line, difference)
                        for line, difference in zip(comparison.lines, comparison.differences, strict=True)
                    ],
                    "accepted": [
                        _fields(difference.compared(comparison.side, LIVE_SIDE), difference)
                        | {"by": known.by, "at": known.at.isoformat(), "reason": known.reason}
                        for difference, known in comparison.accepted
                    ],
                    "prescribed": [
                        difference.compared(comparison.side, LIVE_SIDE) for difference in comparison.prescribed
                    ],
                }
                for comparison in comparisons
            ]
            self.stdout.write(json.dumps(document, indent=2))
            return
        for comparison in [] if silent else comparisons:
            for note in comparison.notes:
                self.notes.say(note)
            for line in comparison.known_lines:
                self.notes.say(f"Known: {line}")
            for line in comparison.lines:
                self.stdout.write(line)
            if not comparison.differences:
                what = comparison.side.removeprefix("in ")
                self.stdout.write(self.style.SUCCESS(f"The database is the same as {what}."))


def _person() -> str:
    """Who runs the command, as far as the system knows."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "somebody"


def _fields(line: str, difference: Difference) -> dict[str, object]:
    """A difference for machines; the hashes are of the whole values, which the texts may cut."""
    names = ("kind", "name", "on", "fact", "role", "old", "new", "old_hash", "new_hash")
    return {"message": line} | {name: getattr(difference, name) for name in names}
