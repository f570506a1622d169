"""What a changed lock file brings is tried in the pull request, by what the deployed release wrote down."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from django.db import migrations

from rupaya.migrator.analysis.gate.findings import Finding, excused
from rupaya.migrator.analysis.gate.installed import FILE
from tests.processes import PROJECT, python

SETTINGS = """
from rupaya.settings import *

INSTALLED_APPS = ["rupaya.migrator", "shop", "pack"]
AUTH_USER_MODEL = "auth.User"
ROOT_URLCONF = None
"""
CREATE = """migrations.CreateModel("{}", [
    ("id", models.BigAutoField(primary_key=True)), ("word", models.CharField(max_length=9))])"""
INDEX = 'migrations.AddIndex("Thing", models.Index(fields=["word"], name="thing_word"))'
FLAG = 'migrations.AddField("Thing", "flag", models.BooleanField(default=False))'


class Repository:
    """A project with an app `shop`, and a package `pack` beside it that an environment has installed."""

    def __init__(self, path: Path, url: str) -> None:
        self.path, self.url = path, url
        self.package = path / "site-packages" / "pack"
        for folder, model in ((path / "shop", "Item"), (self.package, "Thing")):
            (folder / "migrations").mkdir(parents=True)
            (folder / "__init__.py").touch()
            (folder / "migrations" / "__init__.py").touch()
            self.write(folder, "0001_initial", CREATE.format(model))
        (path / "shop" / "migrations" / "max_migration.txt").write_text("0001_initial\n")
        (path / "of_project.py").write_text(SETTINGS)
        (path / ".gitignore").write_text("site-packages\n")
        self.git("init", "--quiet")

    def git(self, *arguments: str) -> None:
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
        subprocess.run(["git", *identity, *arguments], cwd=self.path, check=True, capture_output=True)

    def deploy(self) -> None:
        self.git("add", ".")
        self.git("commit", "--quiet", "-m", "Release")
        self.git("tag", "--force", "deployed")

    def write(self, folder: Path, name: str, operations: str, after: str = "") -> None:
        dependencies = f'[("{folder.name}", "{after}")]' if after else "[]"
        (folder / "migrations" / f"{name}.py").write_text(
            "from django.db import migrations, models\n\n\nclass Migration(migrations.Migration):\n"
            f"    dependencies = {dependencies}\n    operations = [{operations}]\n"
        )

    def lint(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environ = {
            "RUPAYA_ENV": "test",
            "DATABASE_URL": self.url,
            "DJANGO_SETTINGS_MODULE": "of_project",
            "PYTHONPATH": f"{self.path}:{self.package.parent}:{PROJECT}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return python("-m", "django", "lintmigrations", *arguments, cwd=self.path, **environ)


@pytest.fixture
def repository(tmp_path: Path, server_url: str) -> Repository:
    """One whose deployed release has written down that the package ends with 0001."""
    made = Repository(tmp_path, server_url)
    assert made.lint("--write-installed").returncode == 0
    assert (tmp_path / FILE).read_text().splitlines()[1:] == ["pack 0001_initial"]
    made.deploy()
    return made


def test_what_a_package_brings_is_tried_like_the_projects_own(repository: Repository) -> None:
    repository.write(repository.package, "0002_thing_flag_and_more", FLAG, "0001_initial")
    repository.write(repository.package, "0003_thing_word", INDEX, "0002_thing_flag_and_more")

    linted = repository.lint()

    assert linted.returncode == 1
    assert "pack.0003_thing_word: scan: It reads all 12,000 made-up rows of pack_thing" in linted.stderr
    assert f"{FILE}: installed-migrations: " in linted.stderr
    assert (
        "2 findings in 2 migrations since deployed" in linted.stderr
    )  # the name of 0002 is not the project's to choose


def test_what_is_written_down_is_not_tried_again(repository: Repository) -> None:
    repository.write(repository.package, "0002_thing_word", INDEX, "0001_initial")
    assert repository.lint("--write-installed").returncode == 0
    repository.deploy()

    linted = repository.lint()

    assert linted.returncode == 0, linted.stderr
    assert "no migrations since deployed" in linted.stdout


def test_a_release_that_wrote_nothing_down_is_said(repository: Repository) -> None:
    (repository.path / FILE).unlink()
    repository.deploy()
    repository.write(repository.package, "0002_thing_word", INDEX, "0001_initial")

    linted = repository.lint()

    assert linted.returncode == 0, linted.stderr
    assert f"The deployed release has no {FILE}" in linted.stdout


def test_a_packages_finding_is_excused_in_the_settings(settings: pytest.FixtureRequest) -> None:
    settings.EXCUSED_MIGRATION_FINDINGS = {"pack.0002_thing": {"scan": "a hundred things"}}  # type: ignore[attr-defined]
    migration = migrations.Migration("0002_thing", "pack")

    left, told = excused(migration, [Finding("pack.0002_thing", "scan", "It reads all.")])

    assert left == []
    assert told == ["pack.0002_thing: scan is excused: a hundred things (It reads all.)"]
