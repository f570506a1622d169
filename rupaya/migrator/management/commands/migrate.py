"""`manage.py migrate`: Django's command, safe to run unattended. It parses and prints; the runner decides."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser, no_translations
from django.core.management.commands import migrate
from django.db import DEFAULT_DB_ALIAS

from rupaya.migrator.output import JsonStream, Output
from rupaya.migrator.run.runner import Request, Runner, require_configuration


class Command(migrate.Command):
    """Every option of Django's command keeps its name and meaning; ours come on top."""

    help = (
        "Brings the database to the schema that this code needs: one migrator at a time, with lock timeouts and "
        "retries, each migration recorded exactly once. Exit codes: 0 done, 10 database unreachable, 11 another "
        "migrator held the lock, 12 a table stayed locked, 13 a migration failed, 14 history refused, 15 failed "
        "before in the same way, 16 environment unfit, 143 terminated."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Django's arguments and our own."""
        super().add_arguments(parser)
        parser.add_argument(
            "--retry-failed",
            action="store_true",
            help="Try a migration again that failed before in a way that trying again does not usually mend.",
        )
        parser.add_argument(
            "--contract",
            action="store_true",
            help="Apply the contract migrations too, which would break an older release that is still running.",
        )
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="Show what would be done: phases, SQL where it can be known, and the tables with their size and the "
            "transactions open on them now. Changes nothing.",
        )
        parser.add_argument(
            "--rehearse",
            action="store_true",
            help="Try the pending migrations in a scratch database on the same server, statement by statement, and "
            "report locks, rewrites and scans; then reverse and apply them again. Changes nothing.",
        )
        parser.add_argument(
            "--format",
            choices=("text", "json", "markdown"),
            default="text",
            help="How --dry-run and --rehearse report: for a terminal, a machine, or a pull request.",
        )
        parser.add_argument(
            "--accept-edited",
            action="store_true",
            help="Record that applied migrations which were edited since are in the database as they are now.",
        )

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run the command, its errors in the format of the log; nonsense in MIGRATE_* has an exit code of its own."""
        if getattr(settings, "LOG_FORMAT", "text") == "json":
            self.stderr = JsonStream(options.get("stderr") or sys.stderr)
            options["stderr"] = None
        require_configuration()
        return super().execute(*args, **options)

    @no_translations
    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate, or hand `--plan`, `--check` and `--prune` to Django's command."""
        if options["database"] != DEFAULT_DB_ALIAS:
            raise CommandError(
                f"Only the database '{DEFAULT_DB_ALIAS}' is migrated, not '{options['database']}': "
                "the lock and the record of migrations are kept for one database."
            )
        self.verbosity = options["verbosity"]
        output = Output(
            self.stdout,
            self.style,
            verbosity=options["verbosity"],
            as_json=getattr(settings, "LOG_FORMAT", "text") == "json",
        )
        request = Request(
            app_label=options["app_label"],
            migration_name=options["migration_name"],
            fake=options["fake"],
            fake_initial=options["fake_initial"],
            retry_failed=options["retry_failed"],
            contract=options["contract"],
            accept_edited=options["accept_edited"],
            interactive=options["interactive"],
            run_syncdb=options["run_syncdb"],
            command="migrate --prune" if options["prune"] else "migrate",
        )
        runner = Runner(request, output, self.sync_apps)
        if options["plan"] or options["check_unapplied"]:
            with runner.reading():
                super().handle(*args, **options)
        elif options["dry_run"]:
            self._preview(runner, options["format"])
        elif options["rehearse"]:
            self._rehearse(runner, options["format"])
        elif options["prune"]:
            with runner.writing():
                super().handle(*args, **options)
        else:
            runner.run()

    def _preview(self, runner: Runner, style: str) -> None:
        from rupaya.migrator.analysis.preview import as_text, preview

        with runner.reading():
            plan, _history = runner.plan_and_history()
            found = preview(runner.connection, plan)
        self.stdout.write(
            json.dumps(found.as_dict(), indent=2) if style == "json" else as_text(found, markdown=style == "markdown")
        )

    def _rehearse(self, runner: Runner, style: str) -> None:
        from rupaya.migrator.analysis import report
        from rupaya.migrator.analysis.rehearsal import rehearse

        with runner.reading():
            plan, history = runner.plan_and_history()
            rehearsal = rehearse(runner.connection, plan, history)
        write = {"text": report.as_text, "json": report.as_json, "markdown": report.as_markdown}[style]
        self.stdout.write(write(rehearsal))
        if rehearsal.failure:
            raise rehearsal.failure
