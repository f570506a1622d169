"""The recipes of docs/writing-migrations.md on the service's own models: the gate lets them through there too."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rupaya.environment import BASE_DIR
from tests.processes import python

HEADER = """from django.db import migrations, models
from django_pg_migration_tools.operations import SaferAddFieldForeignKey, SaferAddIndexConcurrently

from rupaya.migrator.operations import Backfill


class Migration(migrations.Migration):
    atomic = {atomic}
    dependencies = [("transactions", "{after}")]
    operations = [{operations}]
"""
GUEST = """migrations.SeparateDatabaseAndState(state_operations=[
    migrations.CreateModel("Guest", [
        ("id", models.BigAutoField(primary_key=True)),
        ("budget", models.ForeignKey("transactions.Budget", models.CASCADE)),
        ("account", models.ForeignKey("transactions.Account", models.CASCADE)),
    ], options={"db_table": "budgets_guests"}),
    migrations.AlterField("Budget", "guests", models.ManyToManyField(
        "transactions.Account", related_name="+", through="transactions.Guest")),
])"""
RECIPES = {
    "add_a_column": "migrations.AddField('Transaction', 'label', models.TextField(null=True))",
    "with_a_default": "migrations.AddField('Transaction', 'is_split', models.BooleanField(default=False))",
    "fill_a_column": "Backfill('Transaction', set='label = lower(description)',"
    " where='description IS NOT NULL AND label IS NULL', elidable=True)",
    "make_it_not_null": "migrations.AlterField('Transaction', 'label', models.TextField())",
    "add_an_index": "SaferAddIndexConcurrently('Transaction', models.Index('label', name='idx_transactions_label'))",
    "an_indexed_column": "migrations.AddField('Budget', 'slug', models.SlugField(null=True, db_index=False))",
    "remove_an_index": "migrations.RemoveIndex('Transaction', 'idx_transactions_deleted')",
    "add_unique": "migrations.AddConstraint('Budget', models.UniqueConstraint(fields=['slug'],"
    " name='budgets_slug_unique'))",
    "add_a_foreign_key": "SaferAddFieldForeignKey('Budget', 'account',"
    " models.ForeignKey('transactions.Account', models.PROTECT, null=True))",
    "add_a_check": "migrations.AddConstraint('Transaction', models.CheckConstraint("
    "condition=models.Q(amount__lt=10_000_000), name='transactions_amount_check'))",
    "many_to_many": "migrations.AddField('Budget', 'guests', models.ManyToManyField("
    "'transactions.Account', related_name='+'))",
    "a_model_between": GUEST,
    "rename_a_column": "migrations.AlterField('Transaction', 'location', models.CharField(max_length=255, null=True,"
    " blank=True, db_column='location')), migrations.RenameField('Transaction', 'location', 'place')",
    "widen": "migrations.AlterField('Transaction', 'attachment_url', models.TextField(null=True, blank=True))",
    "drop_a_column": "migrations.RemoveField('Transaction', 'notes')",
    "rename_a_table": "migrations.RenameModel('RecurringTransaction', 'StandingOrder')",
    "drop_a_table": "migrations.DeleteModel('StandingOrder')",
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The service's apps with a migration a recipe, none of which is deployed."""
    for app in ("accounts", "transactions"):
        shutil.copytree(Path(BASE_DIR, app), tmp_path / app, ignore=shutil.ignore_patterns("__pycache__"))
    git = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.com"]
    for arguments in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "Release 1"], ["tag", "deployed"]):
        subprocess.run([*git, *arguments], cwd=tmp_path, check=True, capture_output=True)
    folder = tmp_path / "transactions" / "migrations"
    after = (folder / "max_migration.txt").read_text().strip()
    for number, (name, operations) in enumerate(RECIPES.items(), int(after[:4]) + 1):
        atomic = not re.search(r"Safer|Backfill", operations)
        (folder / f"{number:04}_{name}.py").write_text(HEADER.format(atomic=atomic, after=after, operations=operations))
        after = f"{number:04}_{name}"
    (folder / "max_migration.txt").write_text(f"{after}\n")
    return tmp_path


@pytest.mark.slow
def test_every_recipe_passes_on_the_services_own_tables(repository: Path, server_url: str) -> None:
    variables = {"RUPAYA_ENV": "test", "DATABASE_URL": server_url, "DJANGO_SETTINGS_MODULE": "rupaya.settings"}
    variables["PYTHONPATH"] = f"{repository}:{BASE_DIR}"
    completed = python("-m", "django", "lintmigrations", cwd=repository, **variables)

    assert completed.returncode == 0, completed.stderr
    assert f"Migrations are fine: {len(RECIPES)} migrations since deployed" in completed.stdout


def test_what_recipes_import_is_allowed_in_the_apps(repository: Path) -> None:
    importlinter = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    if importlinter is None:
        pytest.skip("import-linter is not installed: requirements/dev.txt")
    completed = subprocess.run(
        [importlinter, "--config", f"{BASE_DIR}/pyproject.toml", "--no-cache"],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": f"{repository}:{BASE_DIR}"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout
