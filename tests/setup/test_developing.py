"""docs/developing.md, done."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.server.service import copy_release, manage

APP = {
    "__init__.py": "",
    "migrations/__init__.py": "",
    "apps.py": 'from django.apps import AppConfig\n\n\nclass GoalsConfig(AppConfig):\n    name = "goals"\n',
    "models.py": 'from django.db import models\n\n\nclass Goal(models.Model):\n    """What somebody saves for."""\n\n'
    '    name = models.TextField(default="", db_default="")\n',
}


def add_migration(tree: Path, name: str, *, field: str, after: str) -> None:
    (tree / "accounts" / "migrations" / f"{name}.py").write_text(
        "from django.db import migrations, models\n\n\nclass Migration(migrations.Migration):\n"
        f'    dependencies = [("accounts", "{after}")]\n'
        f'    operations = [migrations.AddField("user", "{field}", models.TextField(default="", db_default=""))]\n'
    )


def test_a_new_app_gets_its_migration_and_the_file_beside_it(tmp_path: Path, migrated_url: str) -> None:
    tree = copy_release(tmp_path / "tree")
    for name, text in APP.items():
        (tree / "goals" / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / "goals" / name).write_text(text)
    apps = tree / "rupaya" / "installed_apps.py"
    apps.write_text(apps.read_text().replace('"transactions",\n', '"transactions",\n    "goals",\n'))

    made = manage(tree, "makemigrations", "goals", DATABASE_URL=migrated_url)

    assert made.returncode == 0, made.stderr
    assert (tree / "goals" / "migrations" / "max_migration.txt").read_text() == "0001_initial\n"
    migrated = manage(tree, "migrate", "--noinput", DATABASE_URL=migrated_url)
    assert "✓ goals.0001_initial" in migrated.stdout


def test_of_two_branches_one_is_put_behind_the_other(tmp_path: Path, migrated_url: str) -> None:
    tree = copy_release(tmp_path / "tree")
    folder = tree / "accounts" / "migrations"
    last = (folder / "max_migration.txt").read_text().strip()
    add_migration(tree, "0006_theirs", field="theirs", after=last)
    add_migration(tree, "0006_yours", field="yours", after=last)
    conflict = "<<<<<<< HEAD\n0006_theirs\n=======\n0006_yours\n>>>>>>> yours\n"
    (folder / "max_migration.txt").write_text(conflict)

    rebased = manage(tree, "rebase_migration", "accounts", DATABASE_URL=migrated_url)

    assert rebased.returncode == 0, rebased.stderr
    assert (folder / "max_migration.txt").read_text() == "0007_yours\n"
    assert "0006_theirs" in (folder / "0007_yours.py").read_text()
    assert manage(tree, "migrate", "--noinput", DATABASE_URL=migrated_url).returncode == 0


@pytest.mark.slow
def test_a_squashed_migration_is_noted_and_builds_the_same(
    tmp_path: Path, migrated_url: str, database_url: str
) -> None:
    tree = copy_release(tmp_path / "tree")
    folder = tree / "accounts" / "migrations"

    squashed = manage(tree, "squashmigrations", "accounts", "0003", "0004", "--noinput", DATABASE_URL=migrated_url)

    assert squashed.returncode == 0, squashed.stderr
    (path,) = folder.glob("0003*squashed*.py")
    path.write_text(path.read_text().replace("    replaces", '    phase = "expand"\n    replaces'))
    for url in (migrated_url, database_url):
        ran = manage(tree, "migrate", "--noinput", DATABASE_URL=url)
        assert ran.returncode == 0, ran.stderr
    dumped = [manage(tree, "schemasql", DATABASE_URL=url).stdout for url in (migrated_url, database_url)]
    assert dumped[0] == dumped[1]
    assert "CREATE TABLE users" in dumped[0]
