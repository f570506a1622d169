"""A project of one app, `shop`, whose models a test changes: a git repository, of which one commit is deployed."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.processes import PROJECT, python

MANAGE = str(PROJECT / "manage.py")

SETTINGS = """
from tests.migrator.fixtures.small import *

INSTALLED_APPS = ["rupaya.migrator", "django.contrib.contenttypes", "shop", "django_linear_migrations"]
MIGRATION_MODULES = {}
"""

HEADER = "import uuid\n\nfrom django.db import models\nfrom django.utils import timezone\n"

MODELS = """
class Maker(models.Model):
    name = models.CharField(max_length=50, unique=True)
    city = models.CharField(max_length=25, null=True, db_default='here')


class Item(models.Model):
    name = models.CharField(max_length=50)
    colour = models.CharField(max_length=20, null=True)
    amount = models.IntegerField(default=0)
    maker = models.ForeignKey(Maker, models.CASCADE)
    price = models.DecimalField(max_digits=8, decimal_places=2, null=True, db_index=True)
    note = models.TextField(null=True)
    address = models.CharField(max_length=39, null=True)
"""
"""The models of the deployed release."""


@dataclass
class Project:
    """The project in a folder, and a database server."""

    folder: Path
    url: str

    @classmethod
    def make(cls, folder: Path, url: str, models: str = MODELS) -> Project:
        """One whose first migration, of these models, is deployed."""
        project = cls(folder, url)
        migrations = folder / "shop" / "migrations"
        migrations.mkdir(parents=True)
        (folder / "shop" / "__init__.py").touch()
        (migrations / "__init__.py").touch()
        (migrations / "max_migration.txt").touch()
        (folder / "project_settings.py").write_text(SETTINGS)
        (folder / "pyproject.toml").write_text(f'[tool.ruff]\nextend = "{PROJECT / "pyproject.toml"}"\n')
        project.write_models(models)
        project.succeed("makemigrations", "shop")
        project.git("init", "--quiet")
        project.deploy()
        return project

    @property
    def migrations(self) -> Path:
        """Where they are."""
        return self.folder / "shop" / "migrations"

    def write_models(self, models: str) -> None:
        """Write `models.py`."""
        (self.folder / "shop" / "models.py").write_text(HEADER + models)

    def deploy(self) -> None:
        """Commit all, and say that it is what runs in production."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message=Release")
        self.git("tag", "--force", "deployed")

    def git(self, *arguments: str) -> None:
        """Run git."""
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
        subprocess.run(["git", *identity, *arguments], cwd=self.folder, check=True, capture_output=True)

    def manage(
        self, *arguments: str, url: str = "", answer: str = "", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a management command, without a terminal; `answer`: what is typed all the same."""
        environ = {
            "RUPAYA_ENV": "test",
            "DATABASE_URL": url or self.url,
            "DJANGO_SETTINGS_MODULE": "project_settings",
            "RUPAYA_FIXTURE_APPS": "shop",
            "PYTHONPATH": f"{self.folder}:{PROJECT}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "MIGRATE_PHASE": "expand",  # as in production: by halves
            **variables,
        }
        return python("-m", "django", *arguments, cwd=self.folder, answer=answer, **environ)

    def succeed(self, *arguments: str, url: str = "", **variables: str) -> str:
        """Run one that has to succeed; returns what it prints."""
        ran = self.manage(*arguments, url=url, **variables)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def written(self) -> dict[str, str]:
        """The texts of the migrations that are not deployed, by name."""
        listed = subprocess.run(
            ["git", "ls-files", "--others", "--exclude-standard", "shop/migrations"],
            cwd=self.folder,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
        return {Path(name).stem: (self.folder / name).read_text() for name in sorted(listed) if name.endswith(".py")}
