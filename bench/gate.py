"""What the gate takes for a pull request of twenty migrations, on rows, as `make lint` runs it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.contestants import PROJECT, Lineup, base_environment
from bench.measure import in_turns, succeed
from bench.report import Reach, Section, in_mb, in_ms, in_s, middle
from bench.server import Database, Server

TITLE = "The gate"
RUNS = 3
AT_MOST_S = 120
COPIED = ("rupaya", "accounts", "transactions", "docs", "manage.py", "pyproject.toml", "installed_migrations.txt")
MODULE = """import uuid

from django.db import migrations, models
from django_pg_migration_tools import operations as safer

from rupaya.migrator.operations import AddIndexConcurrently, Backfill


def seed(apps, schema_editor):
    apps.get_model("transactions", "Category").objects.filter(pk=uuid.UUID(int=1)).update(icon="none")


class Migration(migrations.Migration):
    {header}
    dependencies = {dependencies}
    operations = [{operations}]
"""
ALONE = "atomic = False"
CHANGES: dict[str, list[tuple[str, str]]] = {
    "accounts": [
        ('migrations.AddField("User", "motto", models.TextField(null=True))', ""),
        ('migrations.AddField("User", "is_early", models.BooleanField(default=False))', ""),
        ('AddIndexConcurrently("User", models.Index(fields=["motto"], name="idx_users_motto"))', ALONE),
        ("""Backfill("User", set="motto = ''", where="motto IS NULL")""", ALONE),
        ('migrations.AlterField("User", "motto", models.TextField(default=""))', ""),
        ('migrations.AddField("Device", "label", models.CharField(max_length=50, db_default=""))', ""),
        ('migrations.AlterField("Device", "label", models.CharField(max_length=80, db_default=""))', ""),
        (
            'migrations.CreateModel("Badge", [("id", models.BigAutoField(primary_key=True)),'
            ' ("user", models.ForeignKey("accounts.user", models.CASCADE)), ("name", models.TextField())])',
            "",
        ),
        (
            'safer.SaferAddFieldForeignKey("Device", "badge",'
            ' models.ForeignKey("accounts.badge", models.CASCADE, null=True))',
            ALONE,
        ),
        ('migrations.RemoveField("Device", "label")', ""),
    ],
    "transactions": [
        ('migrations.AddField("Transaction", "place", models.CharField(max_length=90, null=True))', ""),
        ('migrations.AddField("Transaction", "is_split", models.BooleanField(db_default=False))', ""),
        ('AddIndexConcurrently("Transaction", models.Index(fields=["place"], name="idx_transactions_place"))', ALONE),
        (
            'migrations.AddConstraint("Transaction", models.CheckConstraint('
            'condition=~models.Q(place=""), name="transactions_place_check"))',
            "",
        ),
        ('migrations.AlterField("Transaction", "place", models.TextField(null=True))', ""),
        ("""Backfill("Transaction", set="place = 'home'", where="place IS NULL")""", ALONE),
        ("migrations.RunPython(seed, migrations.RunPython.noop)", 'phase = "expand"'),
        ('migrations.AddField("Budget", "colour", models.CharField(max_length=7, default="#ffffff"))', ""),
        (
            'migrations.AddConstraint("Budget", models.UniqueConstraint('
            'fields=["user", "name", "colour"], name="budgets_colour_unique"))',
            "",
        ),
        ('migrations.AddField("Account", "labels", models.ManyToManyField("transactions.category"))', ""),
    ],
}
"""What a busy month may bring: columns, indexes, rules, rows, a table, a reference, and what is taken away."""

PROSE = """\
`lintmigrations` as `make lint` starts it, with a server of its own, for a pull request that brings this project twenty
migrations: columns, concurrent indexes, constraints, backfills, Python, a table, a reference, a removal. Each is tried
on empty tables and on up to 12,000 made-up rows in each table that it touches, by halves and then paid, with the
deployed models' statements before and after what is somebody's own."""


@dataclass(frozen=True)
class Gate:
    """`lintmigrations` in a folder, beside a server of its own, as `make lint` starts it."""

    cwd: Path
    base: str
    name: str = "lintmigrations"

    @property
    def command(self) -> tuple[str, ...]:
        """As the Makefile has it."""
        gate = (sys.executable, "manage.py", "lintmigrations", "--base", self.base)
        return (sys.executable, "-m", "rupaya.scratchdb", "--superuser", *gate)

    def environment(self, _database: Database) -> dict[str, str]:
        """Without an address: it starts a server for itself."""
        return base_environment() | {"PYTHONPATH": str(self.cwd)}


@contextmanager
def _repository() -> Iterator[Path]:
    """A copy of this project, deployed, with the migrations beside it that are not."""
    folder = Path(tempfile.mkdtemp(prefix="rupaya-bench-gate-"))
    try:
        for name in COPIED:
            copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy
            copy(PROJECT / name, folder / name)
        _git(folder, "init", "--quiet")
        _git(folder, "add", "--all")
        _git(folder, "commit", "--quiet", "--message=Deployed")
        _git(folder, "tag", "deployed")
        for app, changes in CHANGES.items():
            _write(folder / app / "migrations", app, changes)
        yield folder
    finally:
        shutil.rmtree(folder)


def _git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=Bench", "-c", "user.email=bench@example.com")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def _write(folder: Path, app: str, changes: list[tuple[str, str]]) -> None:
    last = (folder / "max_migration.txt").read_text().strip()
    for number, (operations, header) in enumerate(changes, int(last.split("_", 1)[0]) + 1):
        name = f"{number:04}_change_{number}"
        text = MODULE.format(header=header or "pass", dependencies=[(app, last)], operations=operations)
        (folder / f"{name}.py").write_text(text)
        last = name
    (folder / "max_migration.txt").write_text(last + "\n")


def run(_lineup: Lineup, server: Server, runs: int) -> Section:
    """Lint these twenty."""
    with _repository() as folder, server.database() as database:
        twenty = Gate(folder, "deployed")
        costs = in_turns(TITLE, [twenty], runs, lambda gate: succeed(gate, database))[twenty.name]
    wall_s = middle([cost.wall_s for cost in costs])
    rows = [
        [
            f"{sum(map(len, CHANGES.values()))} migrations",
            in_s(wall_s),
            in_ms(middle([cost.cpu_s for cost in costs])),
            in_mb(middle([cost.peak_bytes for cost in costs])),
        ]
    ]
    return Section(
        TITLE,
        PROSE,
        ["", "wall", "CPU", "largest process"],
        rows,
        reaches=[Reach("wall time", wall_s, AT_MOST_S, " s")],
        runs=runs,
    )
