"""Small releases for the tests of history: a project with one app, `shop`, whose migrations a test writes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.processes import PROJECT
from tests.warm import python

SETTINGS = """
from tests.migrator.fixtures.small import *

INSTALLED_APPS = ["rupaya.migrator", "shop"]
"""

CREATE = """
        migrations.CreateModel("Item", [
            ("id", models.BigAutoField(primary_key=True)),
            ("name", models.CharField(max_length=50)),
            ("colour", models.CharField(max_length=20, null=True)),
        ]),
"""


def migration(operations: str, after: str = "", header: str = "") -> str:
    """The text of a migration of the app shop, indented as its class wants it."""
    dependencies = f'[("shop", "{after}")]' if after else "[]"
    return (
        "from django.db import migrations, models\n\n\nclass Migration(migrations.Migration):\n"
        f"    {header or 'initial = ' + str(not after)}\n"
        f"    dependencies = {dependencies}\n"
        f"    operations = [{operations}]\n"
    )


Deployed = Callable[["Release"], str]
"""The fixture `deployed`: a new database that this release has migrated."""


class Release:
    """A release of the project `shop`, with the migrations it was given by name."""

    def __init__(self, folder: Path, name: str, migrations: dict[str, str]) -> None:
        self.name = name
        self.folder = folder / name
        self.migrations_folder = self.folder / "shop" / "migrations"
        self.migrations_folder.mkdir(parents=True)
        (self.folder / "release_settings.py").write_text(SETTINGS)
        (self.folder / "shop" / "__init__.py").touch()
        (self.migrations_folder / "__init__.py").touch()
        for migration_name, text in migrations.items():
            self.write(migration_name, text)

    def write(self, migration_name: str, text: str) -> None:
        """Write, or edit, a migration."""
        (self.migrations_folder / f"{migration_name}.py").write_text(text)

    def run(self, url: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a management command of this release; without arguments, `migrate`."""
        return self.run_python(url, "-m", "django", *(arguments or ("migrate", "--noinput")), **variables)

    def killed(self, url: str, after: int, told: Path) -> subprocess.CompletedProcess[str]:
        """Run `migrate`, and kill it after so many steps, which it writes into a file; see tests/migrator/killed.py."""
        return self.run_python(url, "-m", "tests.migrator.killed", str(after), str(told), "migrate", "--noinput")

    def python(self, url: str, code: str) -> str:
        """Run some Python in this release, and return what it prints."""
        ran = self.run_python(url, "-c", code)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def run_python(self, url: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run Python as this release does, with any arguments of its own."""
        return python(*arguments, **(self.environment(url) | variables))

    def environment(self, url: str) -> dict[str, str]:
        """The variables that it is run with."""
        return {
            "DATABASE_URL": url,
            "RUPAYA_ENV": "test",
            "RUPAYA_FIXTURE_APPS": "shop",
            "RELEASE": self.name,
            "DJANGO_SETTINGS_MODULE": "release_settings",
            "PYTHONPATH": f"{self.folder}:{PROJECT}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "MIGRATE_PHASE": "expand",
            "MIGRATE_ON_EDITED": "error",
        }
