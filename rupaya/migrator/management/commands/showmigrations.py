"""`manage.py showmigrations`: Django's command, and `--audit`: who applied what, when and with which release."""

from __future__ import annotations

import argparse
import csv
import json
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
from rupaya.migrator.debts.store import Store
from rupaya.migrator.debts.window import windows
from rupaya.migrator.ledger.ledger import Ledger
from rupaya.migrator.ledger.snapshots import last_snapshot
from rupaya.migrator.output import Output
from rupaya.migrator.session.session import Session

SHOWN = ("migration", "phase", "state", "applied at", "batch", "release", "by", "duration", "tries")


class Command(showmigrations.Command):
    """Django's output and flags are unchanged."""

    def add_arguments(self, parser: CommandParser) -> None:
        """Django's arguments and our own."""
        super().add_arguments(parser)
        parser.add_argument(
            "--audit", action="store_true", help="Show each migration's phase, state, time, batch, release and role."
        )
        parser.add_argument(
            "--format",
            # Django's --list and --plan have this name for what they set, so that call_command may say format="plan".
            dest="format",
            choices=("table", "json", "csv"),
            default=argparse.SUPPRESS,
            help="With --audit: for a person to read, or for a machine.",
        )
        parser.add_argument(
            "--check",
            action="store_true",
            help=f"With --audit: exit with status 1 if a migration is {', '.join(BAD_STATES)}, or the schema drifted.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Show the history."""
        if not (options["audit"] or options["check"]):
            super().handle(*args, **options)
            return
        session = Session(Output(self.stderr, self.style), alias=options["database"])
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
        debts = Store(connection).owed()
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
        return not options["check"] or self._check(entries, connection)

    def _check(self, entries: list[Entry], connection: BaseDatabaseWrapper) -> bool:
        """Say what needs attention in the history and in the schema; whether nothing does."""
        if not is_clean(entries):
            bad = ", ".join(f"{entry.app}.{entry.migration} is {entry.state}" for entry in entries if _is_bad(entry))
            self.stderr.write(f"The history needs attention: {bad}.")
        snapshot = last_snapshot(connection.connection)
        drift = with_snapshot(connection, snapshot).lines if snapshot else []
        if drift:
            self.stderr.write(f"The schema was changed by hand since {snapshot}:")
            for line in drift:
                self.stderr.write(f"  {line}")
        return is_clean(entries) and not drift

    def _write_table(self, entries: list[Entry]) -> None:
        rows = [_cells(entry) for entry in entries]
        widths = [max(len(row[column]) for row in [SHOWN, *rows]) for column in range(len(SHOWN))]
        for entry, row in [(None, SHOWN), *zip(entries, rows, strict=True)]:
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            bad = entry is not None and _is_bad(entry)
            self.stdout.write(self.style.ERROR(line) if bad else line)


def _is_bad(entry: Entry) -> bool:
    return entry.state in BAD_STATES


def _cells(entry: Entry) -> tuple[str, ...]:
    return (
        f"{entry.app}.{entry.migration}",
        entry.phase,
        entry.state,
        f"{entry.applied_at:%Y-%m-%d %H:%M:%S}" if entry.applied_at else "",
        str(entry.batch or ""),
        entry.release,
        entry.by,
        f"{entry.duration_s:.3f} s" if entry.duration_s is not None else "",
        str(entry.tries or ""),
    )
