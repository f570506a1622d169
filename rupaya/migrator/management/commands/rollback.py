"""`manage.py rollback`: undo the last batch of migrations, or every batch after a given one."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser, no_translations

from rupaya.migrator.management.logged import LoggedCommand
from rupaya.migrator.output import Output, logs_json
from rupaya.migrator.run import order
from rupaya.migrator.run.foretold import foretold
from rupaya.migrator.run.reopening import Reopening
from rupaya.migrator.run.rollback import Rollback
from rupaya.migrator.session.session import Session


class Command(LoggedCommand):
    """Parses and prints; `rupaya.migrator.run.rollback` decides."""

    help = (
        "Undoes the last batch of migrations, as one run of 'migrate' applied them. Refused whole, before anything "
        "changes, if any of it is irreversible, or while a release that may need it is connected."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--to", type=int, metavar="BATCH", help="Undo every batch after this one; 0 undoes them all."
        )
        parser.add_argument(
            "--paid",
            action="store_true",
            help="Undo no migration, only the payment of what the batch owed: the previous release can then serve too.",
        )
        parser.add_argument("--plan", action="store_true", help="Show what would be undone, and change nothing.")

    @no_translations
    def handle(self, *args: Any, **options: Any) -> None:
        """Undo, or show what would be undone."""
        output = Output(
            self.stdout,
            self.style,
            verbosity=options["verbosity"],
            as_json=logs_json(),
        )
        rollback = (Reopening if options["paid"] else Rollback)(options["to"], output)
        session = Session(output)
        if not options["plan"]:
            order.run(rollback, session)
            return
        with session.reading():
            # The plan first, and what it does to rows: those who are refused must see what was meant.
            applied_then = rollback.in_batch(session)
            if not applied_then:
                output.say("Nothing to roll back.")
            for applied in reversed(applied_then):
                output.say(
                    f"Batch {applied.batch}: {applied.app}.{applied.name}, "
                    f"applied {applied.finished_at:%Y-%m-%d %H:%M} UTC by release {applied.release}"
                )
            undoing = rollback.undoing(session)
            for line in foretold(session.connection, undoing.plan):
                output.say(f"  {line}")
            rollback.refuse(session, undoing.plan)
