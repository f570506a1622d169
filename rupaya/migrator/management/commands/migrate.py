"""`manage.py migrate`: Django's command, safe to run unattended. It parses and prints; `run.order` has the flow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from django.apps import apps
from django.core.management.base import CommandError, CommandParser, no_translations
from django.core.management.commands import migrate
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.recorder import MigrationRecorder

from rupaya.migrator.debts.debtstore import DebtStore
from rupaya.migrator.django import DjangoMigrate
from rupaya.migrator.exitcodes import EXIT_CODES
from rupaya.migrator.management.logged import LoggedCommand
from rupaya.migrator.output import Output, logs_json
from rupaya.migrator.run import order
from rupaya.migrator.run.batch import BatchExecutor
from rupaya.migrator.run.context import RunContext
from rupaya.migrator.run.garbage import seldom_searched, skip_last_search
from rupaya.migrator.run.procedure import Procedure, Request
from rupaya.migrator.run.signals import Signals
from rupaya.migrator.session.database import refuse_other_driver
from rupaya.migrator.session.session import Session


class Command(LoggedCommand, migrate.Command):
    """Every option of Django's command keeps its name and meaning; ours come on top."""

    help = (
        "Brings the database to the schema that this code needs: one migrator at a time, with lock timeouts and "
        "retries, each migration recorded exactly once. Exit codes: "
        + " ".join(f"{code}: {exit_code.meaning}" for code, exit_code in EXIT_CODES.items())
    )

    ours: frozenset[str] = frozenset()

    def add_arguments(self, parser: CommandParser) -> None:
        """Django's arguments and our own; `Request` has a field of the same name for what a run must know of ours."""
        super().add_arguments(parser)
        ours = parser.add_argument_group("safe migrations")
        ours.add_argument(
            "--retry-failed",
            action="store_true",
            help="Retry a migration whose last failure looked permanent.",
        )
        ours.add_argument(
            "--contract",
            action="store_true",
            help="Apply the contract migrations too, which would break an older release that is still running.",
        )
        ours.add_argument(
            "--in-use-anyway",
            metavar="REASON",
            default="",
            help="With --contract: also pay what is still used, or may be. The reason is kept in the ledger.",
        )
        ours.add_argument(
            "--dry-run",
            action="store_true",
            help="Show what would be done: phases, SQL where it can be known, the tables with their size and the "
            "transactions open on them now, and live rows that are in the way. Changes nothing.",
        )
        ours.add_argument(
            "--rehearse",
            action="store_true",
            help="Try the pending migrations in a scratch database on the same server, statement by statement, and "
            "report locks, rewrites and scans, and live rows that are in the way; then reverse and apply them again. "
            "Changes nothing.",
        )
        ours.add_argument(
            "--rows",
            metavar="N",
            type=int,
            default=0,
            help="With --rehearse: fill the tables with N made-up rows too, and with a tenth of that, time each "
            "statement, and estimate how long it takes on the live table.",
        )
        ours.add_argument(
            "--format",
            choices=("text", "json", "markdown"),
            default="text",
            help="How --dry-run and --rehearse report: for a terminal, a machine, or a pull request.",
        )
        ours.add_argument(
            "--accept-edited",
            action="store_true",
            help="Record that applied migrations which were edited since, or which the ledger does not know to have "
            "succeeded, are in the database as they are now.",
        )
        self.ours = frozenset(action.dest for action in ours._group_actions)

    def of_django(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options without our own, as Django's command takes them."""
        return {name: value for name, value in options.items() if name not in self.ours}

    def run_from_argv(self, argv: list[str]) -> None:
        """Run the command as the process it is."""
        try:
            super().run_from_argv(argv)
        finally:
            skip_last_search()

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run the command; while it does, Python seldom looks for garbage."""
        with seldom_searched():
            return super().execute(*args, **options)

    @no_translations
    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate; or leave it to Django's command, where the database or the caller is not one to take a lock for."""
        connection = connections[options["database"]]
        if connection.vendor != "postgresql" or _is_inside_a_transaction(connection):
            # Stock Django's habits: the same connection, nothing closed, nothing locked.
            super().handle(*args, **options)
            return
        refuse_other_driver(connection)
        _refuse_rows(options)
        if (context := order.joined(connection.alias)) is not None:
            self._join(context, options)
            return
        self.verbosity = options["verbosity"]
        output = Output(self.stdout, self.style, verbosity=options["verbosity"], as_json=logs_json())
        session = Session(output, alias=options["database"])
        procedure = Procedure(
            Request.of(options),
            DjangoMigrate(self, self.of_django(options)),
        )
        if options["dry_run"]:
            self._preview(procedure, session, options["format"])
        elif options["rehearse"]:
            self._rehearse(procedure, session, options["format"], options["rows"])
        elif options["plan"] or options["check_unapplied"]:
            self._leave_to_django(session.reading(), options)
        elif options["prune"]:
            with order.alone("migrate --prune", session):
                if _is_gone(options["app_label"], session):
                    self._forget(options["app_label"], session)
                else:
                    super().handle(**options)
        else:
            order.run(procedure, session)

    def _forget(self, app_label: str, session: Session) -> None:
        """Delete the history of an app that is not installed any more, which Django's own --prune cannot name."""
        recorder = MigrationRecorder(session.connection)
        for app, name in sorted(recorder.applied_migrations()):
            if app == app_label:
                recorder.record_unapplied(app, name)
                session.output.say(f"✓ pruned {app}.{name}", success=True)

    def _leave_to_django(self, prepared: AbstractContextManager[None], options: dict[str, Any]) -> None:
        with prepared:
            super().handle(**options)

    def _join(self, context: RunContext, options: dict[str, Any]) -> None:
        """A receiver or a migration of a run has called `migrate`: it is part of that run, and has its lock already."""
        procedure = Procedure(Request(), DjangoMigrate(self, self.of_django(options)))
        if options["plan"] or options["check_unapplied"] or options["prune"]:
            super().handle(**options)
            return
        from rupaya.migrator.plan.plan import read_plan

        plan = read_plan(procedure.django.plan())
        executor = BatchExecutor(plan, context)
        signals = Signals(context, plan)
        with context.output.speaking_for(self):
            procedure.django.run(executor, signals.send_pre_migrate, signals.send_post_migrate)

    def _preview(self, procedure: Procedure, session: Session, style: str) -> None:
        from rupaya.migrator.analysis.preview import as_text, preview
        from rupaya.migrator.run.rowsahead import look_at

        with session.reading():
            plan = procedure.read_plan(session)
            owed = procedure.foresee(session, plan).owed
            rows = look_at(session.connection, plan, owed, session.conf.look_s)
            found = preview(session.connection, plan, owed, rows)
        self.stdout.write(
            json.dumps(found.as_dict(), indent=2) if style == "json" else as_text(found, markdown=style == "markdown")
        )

    def _rehearse(self, procedure: Procedure, session: Session, style: str, rows: int) -> None:
        from rupaya.migrator.analysis import report
        from rupaya.migrator.analysis.presuming import presumed_by
        from rupaya.migrator.analysis.rehearsal import rehearse
        from rupaya.migrator.analysis.timing import measure
        from rupaya.migrator.run.rowsahead import look_at

        with session.reading():
            plan = procedure.read_plan(session)
            alike: dict[str, Any] = {
                "owed": DebtStore(session.connection).due(plan.status.pending),
                "by_halves": procedure.runs_by_halves(session, plan),
                "pays_first": procedure.request.contract,
            }
            rehearsal = rehearse(session.connection, plan, set(plan.history), **alike)
            if rehearsal.failure is None:
                rehearsal.rows = look_at(
                    session.connection,
                    plan,
                    procedure.foresee(session, plan).owed,
                    session.conf.look_s,
                    found_by_trying=lambda forwards: presumed_by(session.connection, set(plan.history), forwards),
                )
                if rows:
                    measure(session.connection, plan, set(plan.history), rehearsal, rows=rows, **alike)
        write = {"text": report.as_text, "json": report.as_json, "markdown": report.as_markdown}[style]
        self.stdout.write(write(rehearsal))
        if rehearsal.failure:
            raise rehearsal.failure


def _refuse_rows(options: dict[str, Any]) -> None:
    """A number of rows that nobody would use, or that nobody can fill a table with in reasonable time."""
    if not (rows := options["rows"]):
        return
    from rupaya.migrator.analysis.timing import LEAST_ROWS, MOST_ROWS

    if not options["rehearse"]:
        raise CommandError("--rows says how many rows a rehearsal makes up. Give --rehearse with it.")
    if not LEAST_ROWS <= rows <= MOST_ROWS:
        raise CommandError(f"--rows must be from {LEAST_ROWS:,} to {MOST_ROWS:,}: with fewer, the times mean nothing.")


def _is_gone(app_label: str | None, session: Session) -> bool:
    """Whether the history has an app that this release does not install."""
    if not app_label or any(config.label == app_label for config in apps.get_app_configs()):
        return False
    return any(app == app_label for app, _name in MigrationRecorder(session.connection).applied_migrations())


def _is_inside_a_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Whether the caller has one open, which is the caller's to end: a test case, or `atomic()` around the call."""
    return connection.in_atomic_block or (connection.connection is not None and not connection.autocommit)
