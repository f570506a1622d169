"""`manage.py attic`: what removals and rollbacks put away; bring it back by hand, or throw it away for good."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser, no_translations
from django.db import DatabaseError, connection, transaction

from rupaya.migrator.attic.item import Item
from rupaya.migrator.attic.purging import older_than, purge, size_and_rows
from rupaya.migrator.attic.returning import Returning
from rupaya.migrator.attic.store import Store
from rupaya.migrator.errors import MigratorError, driver_text

_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


def age(text: str) -> timedelta:
    """``30d``, ``12h`` or ``5m``.

    Raises:
        ArgumentTypeError: for anything else.
    """
    found = re.fullmatch(r"(\d+)([dhm])", text)
    if not found:
        raise ArgumentTypeError(f"{text!r} is no age: say 30d, 12h or 5m")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


class Command(BaseCommand):
    """Parses and prints; `rupaya.migrator.attic` does the work."""

    help = (
        "Lists what was put away instead of dropped, and brings it back or purges it. A rollback brings back by itself "
        "what belongs to it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """The arguments."""
        actions = parser.add_subparsers(dest="action", metavar="ACTION")
        actions.add_parser("list", help="What is in the attic, the oldest first: the default.")
        restore = actions.add_parser("restore", help="Give one item its own name again.")
        restore.add_argument("item", metavar="NAME", help="Its number, or TABLE or TABLE.COLUMN.")
        purging = actions.add_parser("purge", help="Drop for good what has been there for long.")
        purging.add_argument(
            "--older-than", type=age, required=True, metavar="AGE", help="30d, 12h or 5m; younger things stay."
        )

    @no_translations
    def handle(self, *args: Any, **options: Any) -> None:
        """Do what was asked for."""
        connection.ensure_connection()
        kept = Store(connection).kept()
        if options["action"] == "restore":
            self._restore(kept, options["item"])
        elif options["action"] == "purge":
            self._purge(older_than(kept, options["older_than"]))
        else:
            self._list(kept)

    def _list(self, kept: list[Item]) -> None:
        if not kept:
            self.stdout.write("Nothing is in the attic.")
            return
        rows = [("NUMBER", "WHAT", "SINCE (UTC)", "BY", "RUN", "WHY", "SIZE", "ROWS")]
        for item in kept:
            size, count = size_and_rows(connection, item)
            rows.append(
                (
                    str(item.id),
                    item.label,
                    f"{item.put_away_at:%Y-%m-%d %H:%M}",
                    item.migration_label,
                    str(item.run_id),
                    item.reason,
                    "in its table" if size is None else f"{size / 1_000_000:.1f} MB",
                    "" if count is None else f"about {count}",
                )
            )
        widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
        for row in rows:
            self.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    def _restore(self, kept: list[Item], name: str) -> None:
        found = [item for item in kept if name in (str(item.id), item.label)]
        if len(found) != 1:
            why = f"{len(found)} things of that name are" if found else "nothing of that name is"
            raise CommandError(f"{name}: {why} in the attic; 'manage.py attic' lists them with their numbers.")
        (item,) = found
        returning = Returning(connection, run_id=None)
        try:
            returning.prepare(item)
            with transaction.atomic():
                lost = returning.bring_back(item)
        except MigratorError as error:
            raise CommandError(str(error)) from None
        except DatabaseError as error:
            raise CommandError(f"{item} could not come back, and is where it was: {driver_text(error)}") from None
        for fact in lost:
            self.stderr.write(self.style.WARNING(f"{item.label} came back, but {fact}"))
        self.stdout.write(self.style.SUCCESS(f"{item.label} is back under its own name."))

    def _purge(self, due: list[Item]) -> None:
        if not due:
            self.stdout.write("Nothing in the attic is that old.")
        failed = 0
        for number, item in enumerate(due, 1):
            try:
                if purge(connection, item):
                    self.stdout.write(f"{number} of {len(due)}: {item} is gone for good.")
            except DatabaseError as error:
                failed += 1
                self.stderr.write(self.style.ERROR(f"{number} of {len(due)}: {item} stays: {driver_text(error)}"))
        if failed:
            raise CommandError(f"{failed} of {len(due)} could not be purged; start again later.")
