"""`manage.py attic`: what was put away instead of dropped; bring one thing back, or drop for good what is old."""

from __future__ import annotations

import json
from argparse import ArgumentTypeError
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandParser, no_translations

from rupaya.migrator.attic.emptying import AtticEntry, listed
from rupaya.migrator.management.logged import LoggedCommand
from rupaya.migrator.output import Output, logs_json
from rupaya.migrator.run import tidying
from rupaya.migrator.session.session import Session

SHOWN = ("what", "kind", "id", "size", "rows", "since", "by", "release", "run")


class Command(LoggedCommand):
    """Parses and prints; `rupaya.migrator.run.tidying` decides."""

    help = "Shows, restores and purges what debts and rollbacks put away instead of dropping it."

    def add_arguments(self, parser: CommandParser) -> None:
        commands = parser.add_subparsers(dest="action", required=True)
        shown = commands.add_parser("list", help="What there is, with its size, since when and from which run.")
        shown.add_argument("--format", choices=("table", "json"), default="table", help="For people or a machine.")
        restored = commands.add_parser("restore", help="Bring one thing back under its real name, to copy from it.")
        restored.add_argument("name", metavar="NAME", help="As the list has it: table.column, table, or the id.")
        purged = commands.add_parser("purge", help="Drop for good what was put away long ago.")
        purged.add_argument("--older-than", type=_age, required=True, metavar="30d", help="In days (d) or hours (h).")

    @no_translations
    def handle(self, *args: Any, **options: Any) -> None:
        output = Output(
            self.stdout,
            self.style,
            verbosity=options["verbosity"],
            as_json=logs_json(),
        )
        session = Session(output)
        match options["action"]:
            case "purge":
                tidying.purge(session, options["older_than"])
            case "restore":
                tidying.restore(session, options["name"])
            case _:
                with session.reading():
                    found = listed(session.connection)
                self._show(found, options["format"])

    def _show(self, found: list[AtticEntry], style: str) -> None:
        if style == "json":
            self.stdout.write(json.dumps([_facts(kept) for kept in found], indent=2))
            return
        if not found:
            self.stdout.write("The attic is empty.")
            return
        rows = [SHOWN, *(_cells(kept) for kept in found)]
        widths = [max(len(row[place]) for row in rows) for place in range(len(SHOWN))]
        for row in rows:
            self.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        self.stdout.write(f"{tidying.size(sum(kept.size_bytes for kept in found))} in all, by the server's estimate.")


def _age(text: str) -> timedelta:
    try:
        return tidying.age(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def _facts(kept: AtticEntry) -> dict[str, Any]:
    item = kept.item
    return {
        "what": item.label,
        "kind": item.kind,
        "id": item.id,
        "name": item.name,
        "size_bytes": kept.size_bytes,
        "rows": kept.rows,
        "since": item.put_away_at.isoformat() if item.put_away_at else None,
        "migration": f"{item.source.app}.{item.source.migration}",
        "reason": item.source.reason,
        "release": item.source.release,
        "run_id": item.source.run_id,
    }


def _cells(kept: AtticEntry) -> tuple[str, ...]:
    item = kept.item
    return (
        item.label,
        item.kind,
        item.id,
        tidying.size(kept.size_bytes) if kept.relation else "gone",
        str(kept.rows),
        f"{item.put_away_at:%Y-%m-%d %H:%M}" if item.put_away_at else "",
        f"{item.source.app}.{item.source.migration} ({item.source.reason})",
        item.source.release,
        str(item.source.run_id),
    )
