"""A project of two apps, `shop` and `crates`, whose models a test changes: a git repository, a commit is deployed."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import psycopg2

from tests.processes import PROJECT, python

MANAGE = str(PROJECT / "manage.py")

SETTINGS = """
from tests.migrator.fixtures.small import *

INSTALLED_APPS = ["rupaya.migrator", "django.contrib.contenttypes", "shop", "crates", "django_linear_migrations"]
MIGRATION_MODULES = {}
"""

HEADER = """import random
import uuid
from datetime import date

from django.contrib.postgres.constraints import ExclusionConstraint
from django.db import models
from django.db.models import functions
from django.utils import timezone
"""

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


class Part(models.Model):
    id = models.AutoField(primary_key=True)
    code = models.CharField(max_length=40, unique=True)
    kind = models.CharField(max_length=20, db_index=True)
    serial = models.CharField(max_length=40)
    shelf = models.CharField(max_length=40)
    place = models.IntegerField(default=0)
    weight = models.PositiveIntegerField(default=0)
    maker = models.ForeignKey(Maker, models.CASCADE, null=True)
    tag = models.CharField(max_length=40)
    lot = models.CharField(max_length=40)
    mark = models.CharField(max_length=40)

    class Meta:
        unique_together = [('shelf', 'place')]
        indexes = [models.Index(fields=['lot', 'kind'], name='by_lot')]
        constraints = [
            models.UniqueConstraint(fields=['serial'], name='one_serial'),
            models.CheckConstraint(condition=models.Q(place__gte=0), name='place_rule'),
        ]
"""
"""The models of the deployed release. Parts have what can be removed, a small key, and columns whose values differ."""

CRATES = """
class Crate(models.Model):
    label = models.CharField(max_length=50)
    item = models.ForeignKey('shop.Item', models.CASCADE, null=True)
    part = models.ForeignKey('shop.Part', models.CASCADE, null=True)
    lid = models.OneToOneField('shop.Part', models.CASCADE, null=True, related_name='+')
"""
"""Those of the other app."""


@dataclass
class Project:
    """The project in a folder, and a database server."""

    folder: Path
    url: str

    @classmethod
    def make(cls, folder: Path, url: str, models: str = MODELS, crates: str = CRATES) -> Project:
        """One whose first migration, of these models, is deployed."""
        project = cls(folder, url)
        for app in ("shop", "crates"):
            (folder / app / "migrations").mkdir(parents=True)
            for name in ("__init__.py", "migrations/__init__.py", "migrations/max_migration.txt"):
                (folder / app / name).touch()
        (folder / "project_settings.py").write_text(SETTINGS)
        (folder / "pyproject.toml").write_text(f'[tool.ruff]\nextend = "{PROJECT / "pyproject.toml"}"\n')
        project.write_models(models)
        project.write_models(crates, "crates")
        project.succeed("makemigrations")
        project.git("init", "--quiet")
        project.deploy()
        return project

    @property
    def migrations(self) -> Path:
        """Where they are."""
        return self.folder / "shop" / "migrations"

    def write_models(self, models: str, app: str = "shop") -> None:
        """Write the app's `models.py`."""
        (self.folder / app / "models.py").write_text(HEADER + models)

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
            "RUPAYA_FIXTURE_APPS": "shop,crates",
            "PYTHONPATH": f"{self.folder}:{PROJECT}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "MIGRATE_PHASE": "expand",  # as in production: by halves
            **variables,
        }
        return python("-m", "django", *arguments, cwd=self.folder, answer=answer, **environ)

    @staticmethod
    def execute(url: str, *statements: str) -> None:
        """Send statements, each a transaction."""
        connection = psycopg2.connect(url)
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
        connection.close()

    def succeed(self, *arguments: str, url: str = "", **variables: str) -> str:
        """Run one that has to succeed; returns what it prints."""
        ran = self.manage(*arguments, url=url, **variables)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def written(self, app: str = "shop") -> dict[str, str]:
        """The texts of the app's migrations that are not deployed, by name."""
        listed = subprocess.run(
            ["git", "ls-files", "--others", "--exclude-standard", f"{app}/migrations"],
            cwd=self.folder,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
        return {Path(name).stem: (self.folder / name).read_text() for name in sorted(listed) if name.endswith(".py")}
