"""`manage.py lintmigrations`: refuse unsafe migrations among those that the deployed release does not have."""

from __future__ import annotations

import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.migration import Migration

from rupaya.migrator.errors import counted
from rupaya.migrator.plan.plan import history_explained

TAG = "deployed"
NOTHING_DEPLOYED = "none"


class Command(BaseCommand):
    """Compare with a git ref, try what is new, and report each rule that is broken."""

    help = (
        "Tries the migrations that the deployed release does not have in a scratch database with made-up rows, and "
        "refuses what would stop traffic or break the code that is running; and checks their names and order. "
        "It needs a server on which it may create a database; nothing else there is read or changed."
    )
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        """``--base``, and what to write."""
        parser.add_argument(
            "--base",
            default=TAG,
            metavar="REF",
            help=f"The git ref of the release that runs in production; default: the tag '{TAG}', which a deployment "
            f"moves. '{NOTHING_DEPLOYED}': nothing has been deployed yet.",
        )

        parser.add_argument(
            "--write-installed",
            action="store_true",
            help="Write down the last migrations of installed packages, and do nothing else. What the deployed "
            "release's file does not have is tried like the project's own.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Print what is wrong and fail, or say what was looked at."""
        try:
            from rupaya.migrator.analysis.gate import declared, gate, installed
            from rupaya.migrator.analysis.gate.findings import Finding
        except ImportError as error:
            raise CommandError(
                f"{error}. lintmigrations needs django-linear-migrations: requirements/test.txt."
            ) from None

        root = Path(_git("rev-parse", "--show-toplevel") or "")
        if not root.is_absolute():
            raise CommandError("This folder is in no git repository, so there is no release to compare with.")
        configs = declared.project_apps(root)
        labels = {config.label for config in configs}
        with history_explained():
            loader = MigrationLoader(None, ignore_no_migrations=True)
        file, text = root / installed.FILE, installed.written(loader, labels)
        if options["write_installed"]:
            file.write_text(text)
            return
        base = options["base"]
        commit = _git("rev-parse", "--verify", "--quiet", f"{base}^{{commit}}")
        if base == NOTHING_DEPLOYED:
            if _git("rev-parse", "--verify", "--quiet", f"refs/tags/{TAG}"):
                raise CommandError(
                    f"--base {NOTHING_DEPLOYED} says that nothing has been deployed, but there is a tag '{TAG}'. "
                    f"Compare with it: --base {TAG}, which `make lint` passes when DEPLOYED={TAG}."
                )
            deployed_files = set()
        elif commit:
            names = _git("ls-tree", "-r", "--name-only", "-z", "--full-tree", commit) or ""
            deployed_files = {(root / name).resolve() for name in names.split("\0")}
        else:
            raise CommandError(
                f"There is no git ref '{base}' here, so it is unknown which migrations are deployed.\n"
                f"Fetch it (git fetch --tags), name another (--base REF), or set it to the commit that runs in "
                f"production (git tag --force {TAG} COMMIT && git push --force origin {TAG}).\n"
                f"If nothing has been deployed yet, say so: --base {NOTHING_DEPLOYED}."
            )

        new = declared.undeployed(loader, labels, deployed_files)
        findings = declared.check_linear(configs) + declared.check_names(new)
        if file.exists() and file.read_text() != text:
            reason = "It does not list which migrations of packages are installed."
            findings.append(Finding(installed.FILE, "installed-migrations", reason))
        foreign = self._brought(loader, labels, commit) if commit else []
        new = declared.in_order(loader, [*new, *foreign])
        if base == NOTHING_DEPLOYED:
            subject = (
                f"{counted(len(new), 'migration')}, none of them deployed yet: every table is new and without traffic, "
                "so their names and their order were checked, and they were not tried"
            )
        elif not new:
            subject = f"no migrations since {base} ({commit[:12] if commit else ''})"
        else:
            subject = f"{counted(len(new), 'migration')} since {base} ({commit[:12] if commit else ''})"
            verdict = gate.inspect(
                connection, loader, new, {(migration.app_label, migration.name) for migration in foreign}
            )
            findings += verdict.findings
            for line in verdict.excuses + verdict.notes:
                self.stdout.write(line)
        if findings:
            for finding in findings:
                self.stderr.write(str(finding))
            raise CommandError(
                f"{counted(len(findings), 'finding')} in {subject}. docs/writing-migrations.md has the safe ways."
            )
        self.stdout.write(f"Migrations are fine: {subject}.")

    def _brought(self, loader: MigrationLoader, labels: Collection[str], commit: str) -> list[Migration]:
        from rupaya.migrator.analysis.gate import installed

        deployed = _git("show", f"{commit}:{installed.FILE}")
        if deployed is None:
            self.stdout.write(
                f"The deployed release has no {installed.FILE}: what installed packages brought since was not tried."
            )
            return []
        brought = installed.brought(loader, labels, deployed)
        for note in brought.notes:
            self.stdout.write(note)
        return brought.migrations


def _git(*arguments: str) -> str | None:
    """What git prints, or None if it fails."""
    completed = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return completed.stdout.strip("\n") if completed.returncode == 0 else None
