"""`manage.py adopt`: take over the database that the original system left. It parses and prints."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from django.core.management.base import CommandError, CommandParser, no_translations

from rupaya.adoption import report
from rupaya.adoption.adoption import Adoption, AdoptionRun, Finish, plan_of
from rupaya.adoption.decisions import REFUSE, Decisions, Mapping
from rupaya.migrator.management.logged import LoggedCommand
from rupaya.migrator.output import Output, logs_json
from rupaya.migrator.run import order
from rupaya.migrator.session.session import Session

EXIT_CODE_UNDECIDED = 1


class Command(LoggedCommand):
    """The two steps, and the survey before each."""

    help = (
        "Takes over the database that the original system left. --plan looks and changes nothing. Without an option, "
        "what the original tolerates is added and the history recorded; both systems can then run on the database. "
        "--finish, once the original is switched off, makes the contract's rules hold: there is no way back. Exit "
        "codes: those of migrate, and 1 where --plan found what needs a decision."
    )
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        """What to do, and what is decided about rows that break a rule."""
        parser.add_argument("--plan", action="store_true", help="Look at everything, and change nothing.")
        parser.add_argument("--finish", action="store_true", help="Make the rules hold. There is no way back.")
        parser.add_argument("--format", choices=("text", "json"), default="text", help="How --plan reports.")
        parser.add_argument(
            "--retry-failed",
            action="store_true",
            help="Go on although an earlier run failed at the same place or was interrupted half-way.",
        )
        rows = parser.add_argument_group("decisions", "What --finish does about rows that break a rule.")
        rows.add_argument(
            "--normalise-phones",
            action="store_true",
            help="Write phone numbers that have only one reading in E.164.",
        )
        rows.add_argument(
            "--ambiguous-phones",
            choices=(REFUSE, "international", "national", "clear"),
            default=REFUSE,
            help="Phone numbers that are valid with a + before them and in the user's country: how to read them, no "
            "longer verified; or make them NULL.",
        )
        rows.add_argument(
            "--unreadable-phones",
            choices=(REFUSE, "clear"),
            default=REFUSE,
            help="Phone numbers that cannot be read, or that somebody else has or claims: make them NULL.",
        )
        rows.add_argument(
            "--merge-email-case",
            choices=(REFUSE, "into-verified"),
            default=REFUSE,
            help="People whose e-mails differ in case alone: give all rows to the one who proved the address.",
        )
        rows.add_argument(
            "--several-defaults",
            choices=(REFUSE, "oldest", "newest"),
            default=REFUSE,
            help="Which of a person's default accounts stays the default.",
        )
        rows.add_argument(
            "--incomplete-transactions",
            choices=(REFUSE, "quarantine"),
            default=REFUSE,
            help="Transactions without account, amount, type, date or counterpart: move them to adoption_quarantine.",
        )
        rows.add_argument(
            "--left-over",
            choices=(REFUSE, "keep", "drop"),
            default=REFUSE,
            help="Constraints, indexes and triggers that the contract does not have: keep them, and schemadiff "
            "always reports them; or drop them, their text kept in adoption_quarantine. Columns are kept.",
        )
        rows.add_argument(
            "--map",
            action="append",
            default=[],
            metavar="TABLE.COLUMN:OLD=NEW",
            help="A value that becomes another one; an empty NEW is NULL. May be given several times.",
        )

    @no_translations
    def handle(self, *args: Any, **options: Any) -> None:
        """Look, adopt or finish."""
        decisions = Decisions(
            normalise_phones=options["normalise_phones"],
            ambiguous_phones=options["ambiguous_phones"],
            unreadable_phones=options["unreadable_phones"],
            merge_email_case=options["merge_email_case"],
            several_defaults=options["several_defaults"],
            incomplete_transactions=options["incomplete_transactions"],
            left_over=options["left_over"],
            maps=tuple(Mapping.parse(text) for text in options["map"]),
        )
        if not (options["plan"] or options["finish"]) and decisions != Decisions():
            raise CommandError(f"'adopt' changes no row; '{decisions}' belongs to 'adopt --finish' or 'adopt --plan'.")
        # A plan's own output is for a program, perhaps.
        stream = self.stderr if options["plan"] else self.stdout
        output = Output(stream, self.style, verbosity=options["verbosity"], as_json=logs_json())
        if not options["plan"]:
            run: AdoptionRun = Finish(decisions, output) if options["finish"] else Adoption(output)
            run.request = replace(run.request, retry_failed=options["retry_failed"])
            order.run(run, Session(output))
            return
        session = Session(output)
        with session.reading():
            survey = plan_of(output, decisions, session)
        self.stdout.write(report.as_json(survey) if options["format"] == "json" else report.as_text(survey))
        if survey.needs_decision:
            sys.exit(EXIT_CODE_UNDECIDED)
