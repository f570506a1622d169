"""`manage.py showmigrations`: Django's command, and `--audit`: who applied what, when and with which release."""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import sys
from typing import Any

from django.core.management.base import CommandParser
from django.core.management.commands import showmigrations
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader

from rupaya.migrator import conf
from rupaya.migrator.analysis.audit import BAD_STATES, COLUMNS, Entry, as_rows, audit, is_clean
from rupaya.migrator.analysis.schemadiff import with_snapshot
from rupaya.migrator.analysis.terminal import fitted
from rupaya.migrator.debts.debtstore import DebtStore
from rupaya.migrator.debts.window import windows
from rupaya.migrator.errors import counted
from rupaya.migrator.ledger.ledger import Ledger
from rupaya.migrator.ledger.snapshots import last_snapshot
from rupaya.migrator.management.logged import LoggedCommand
from rupaya.migrator.output import Output, logs_json
from rupaya.migrator.plan.plan import history_explained
from rupaya.migrator.session.session import Session


class Command(LoggedCommand, showmigrations.Command):
    """Django's output and flags are unchanged."""

    def add_arguments(self, parser: CommandParser) -> None:
        """Django's arguments and our own."""
        super().add_arguments(parser)
        ours = parser.add_argument_group("what the migrator's ledger knows")
        ours.add_argument(
            "--audit", action="store_true", help="Show each migration's phase, state, time, batch, release and role."
        )
        ours.add_argument(
            "--format",
            # Django's --list and --plan have this name for what they set, so that call_command may say format="plan".
            dest="format",
            choices=("table", "json", "csv"),
            default=argparse.SUPPRESS,
            help="With --audit: for a person to read, or for a machine.",
        )
        ours.add_argument(
            "--check",
            action="store_true",
            help=f"With --audit: exit with status 1 if a migration is {', '.join(BAD_STATES)}, or the schema drifted.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not (options["audit"] or options["check"]):
            with history_explained():
                super().handle(*args, **options)
            return
        self.notes = Output(self.stderr, self.style, as_json=logs_json())
        session = Session(self.notes, alias=options["database"])
        # A server that cannot be asked is 10 here as elsewhere: 1 means that something is wrong with what it holds.
        with session.reading():
            sound = self._audit(options)
        if not sound:
            sys.exit(1)

    def _audit(self, options: dict[str, Any]) -> bool:
        """Show who applied what; whether nothing of what `--check` looks for was found."""
        connection = connections[options["database"]]
        connection.ensure_connection()
        loader = MigrationLoader(connection, ignore_no_migrations=True)
        if options["app_label"]:
            self._validate_app_names(loader, options["app_label"])  # type: ignore[attr-defined]
        ledger = Ledger(connection.connection)
        debts = DebtStore(connection).owed()
        entries = [
            entry
            for entry in audit(loader, connection, ledger, owed={debt.key for debt in debts})
            if not options["app_label"] or entry.app in options["app_label"]
        ]
        match options["format"]:
            case "json":
                self.stdout.write(json.dumps(as_rows(entries), indent=2))
            case "csv":
                writer = csv.DictWriter(self.stdout, COLUMNS, lineterminator="\n")
                writer.writeheader()
                writer.writerows(as_rows(entries))
            case _:
                self._write_table(entries)
                after_h = conf.read()[0].contract_after_h
                found = windows(connection, debts, after_h)
                for debt in debts:
                    window = f"; {found[debt.run_id]}" if after_h > 0 else ""
                    self.stdout.write(
                        f"Owed since release {debt.release} ({debt.owed_at:%Y-%m-%d %H:%M} UTC): {debt}{window}"
                    )
        if not options["check"]:
            return True
        sound = self._check(entries, connection)
        if sound and options["format"] not in ("json", "csv"):
            self.stdout.write(self.style.SUCCESS(f"All is well: {_counted(entries)}, and nothing was changed by hand."))
        return sound

    def _check(self, entries: list[Entry], connection: BaseDatabaseWrapper) -> bool:
        """Say what needs attention in the history and in the schema; whether nothing does."""
        if not is_clean(entries):
            bad = ", ".join(f"{entry.app}.{entry.migration} is {entry.state}" for entry in entries if _is_bad(entry))
            self.notes.say(f"The history needs attention: {bad}.", warning=True)
        snapshot = last_snapshot(connection.connection)
        drift = with_snapshot(connection, snapshot).lines if snapshot else []
        if drift:
            self.notes.say(f"The schema was changed by hand since {snapshot}:", warning=True)
            for line in drift:
                self.notes.say(f"  {line}", warning=True)
        return is_clean(entries) and not drift

    def _write_table(self, entries: list[Entry]) -> None:
        table = fitted(entries, _width(self.stdout))
        self.stdout.write(table.heading)
        for entry, (before, state, after) in zip(entries, table.lines, strict=True):
            if _is_bad(entry):
                self.stdout.write(self.style.ERROR(f"{before}{state}{after}"))
            else:
                self.stdout.write(f"{before}{self._coloured(entry.state, state)}{after}")
        if table.left_out:
            self.stdout.write(f"Left out here: {', '.join(table.left_out)}.")
            self.stdout.write("A wider terminal, or --format json, has them.")
        self.stdout.write(f"{_counted(entries)}.")

    def _coloured(self, state: str, text: str) -> str:
        if state == "applied":
            return str(self.style.SUCCESS(text))
        return str(self.style.WARNING(text)) if state in ("pending", "owed", "unknown") else text


def _width(stream: Any) -> int | None:
    """How many characters there are in a line; None where nobody's terminal is written to."""
    is_read_here = bool(getattr(stream, "isatty", lambda: False)()) or os.environ.get("COLUMNS", "").isdecimal()
    return shutil.get_terminal_size().columns if is_read_here else None


def _counted(entries: list[Entry]) -> str:
    counts: dict[str, int] = {}
    for entry in entries:
        counts[entry.state] = counts.get(entry.state, 0) + 1
    listed = ", ".join(f"{count} {state}" for state, count in counts.items())
    return f"{counted(len(entries), 'migration')}: {listed}" if len(counts) > 1 else f"{listed or 'no'} migrations"


def _is_bad(entry: Entry) -> bool:
    return entry.state in BAD_STATES
