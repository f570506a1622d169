"""What `migrate` costs as a project grows: 50, 400 and 2,000 migrations over 20, 100 and 300 tables."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.contestants import PROJECT, Contestant, Lineup, ours, stock
from bench.measure import Cost, in_turns, succeed
from bench.report import Reach, Section, as_ratio, in_ms, middle, ratio
from bench.server import Database, Server

TITLE = "By the size of a project"
RUNS = 7
FIRST_DEPLOYS = 3
TABLES_OF_AN_APP = 20
MODULE = """from django.db import migrations, models

ID = ("id", models.BigAutoField(primary_key=True))


class Migration(migrations.Migration):
    dependencies = {dependencies}
    operations = [{operation}]
"""
ADDED = ("models.CharField(max_length=50, null=True)", "models.IntegerField(null=True)", "models.DateField(null=True)")


@dataclass(frozen=True)
class Size:
    """How many migrations over how many tables, besides this project's own."""

    migrations: int
    tables: int
    nothing: float
    """The part of stock Django's time that a start with nothing to do may take."""

    def __str__(self) -> str:
        return f"{self.migrations:,} migrations over {self.tables} tables"


SIZES = (Size(50, 20, 0.06), Size(400, 100, 0.06), Size(2000, 300, 0.04))
PENDING_AT_MOST = 1.0
FIRST_DEPLOY_AT_MOST = 1.1


class Project:
    """A copy of this project with more apps, whose migrations come about as they do: tables first, then columns."""

    def __init__(self, folder: Path, size: Size) -> None:
        self.folder = folder
        for name in ("rupaya", "accounts", "transactions", "bench/stock"):
            shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(PROJECT / "manage.py", folder)
        self.apps = [f"size_{number}" for number in range(-(-size.tables // TABLES_OF_AN_APP))]
        self.last = dict.fromkeys(self.apps, "")
        self.numbers = dict.fromkeys(self.apps, 0)
        for app in self.apps:
            (folder / app / "migrations").mkdir(parents=True)
            (folder / app / "__init__.py").touch()
            (folder / app / "migrations" / "__init__.py").touch()
        with (folder / "rupaya" / "installed_apps.py").open("a") as file:
            file.write(f"INSTALLED_APPS += {self.apps}\n")
        for number in range(size.tables):
            self._write(self.apps[number // TABLES_OF_AN_APP], _create(number))
        for number in range(size.migrations - size.tables):
            self.change(number % size.tables, number)

    def change(self, table: int, number: int) -> None:
        """Write one migration more, which adds a column."""
        field = ADDED[number % len(ADDED)]
        operation = f'migrations.AddField("t{table}", "c{number}", {field})'
        self._write(self.apps[table // TABLES_OF_AN_APP], operation)

    def _write(self, app: str, operation: str) -> None:
        self.numbers[app] += 1
        name = f"{self.numbers[app]:04}_step"
        dependencies = [(app, self.last[app])] if self.last[app] else []
        text = MODULE.format(dependencies=dependencies, operation=operation)
        (self.folder / app / "migrations" / f"{name}.py").write_text(text)
        self.last[app] = name

    def contestants(self) -> list[Contestant]:
        """Ours and stock Django, in this folder."""
        return [
            replace(one, cwd=self.folder, variables=one.variables | {"PYTHONPATH": str(self.folder)})
            for one in (ours(), stock())
        ]


def _create(number: int) -> str:
    fields = '[ID, ("name", models.CharField(max_length=50)), ("at", models.DateTimeField(null=True))'
    if number % TABLES_OF_AN_APP:
        fields += f', ("before", models.ForeignKey("t{number - 1}", models.CASCADE, null=True))'
    return f'migrations.CreateModel("T{number}", {fields}])'


def run(_lineup: Lineup, server: Server, runs: int) -> Section:
    """A first deploy, one migration more, and nothing to do, for each size."""
    rows: list[list[str]] = []
    reaches: list[Reach] = []
    for size in SIZES:
        with _project(size) as project:
            first, pending, nothing = _measure(size, project, server, runs)
        for what, costs, at_most in (
            ("nothing to do", nothing, size.nothing),
            ("one pending", pending, PENDING_AT_MOST),
            ("first deploy", first, FIRST_DEPLOY_AT_MOST),
        ):
            found = {name: [cost.wall_s for cost in some] for name, some in costs.items()}
            part = ratio(found["ours"], found["stock Django"])
            times = [in_ms(middle(found[name])) for name in ("ours", "stock Django")]
            rows.append([str(size), what, *times, as_ratio(part)])
            reaches.append(Reach(f"{size}: {what} ÷ stock Django", part, at_most))
    return Section(
        TITLE,
        "This project with so many migrations and tables more, in apps of twenty tables: columns added to tables, one "
        "after the other. Whole processes, as a container starts them.",
        ["", "", "ours", "stock Django", "ours ÷ it"],
        rows,
        reaches=reaches,
        notes=[f"First deploys: the median of {min(runs, FIRST_DEPLOYS)}."],
        runs=runs,
    )


@contextmanager
def _project(size: Size) -> Iterator[Project]:
    with tempfile.TemporaryDirectory(prefix="rupaya-scale-") as folder:
        yield Project(Path(folder), size)


def _measure(size: Size, project: Project, server: Server, runs: int) -> tuple[dict[str, list[Cost]], ...]:
    contestants = project.contestants()
    with ExitStack() as stack:
        databases: dict[str, Database] = {}

        def deployed(contestant: Contestant) -> Cost:
            kept = stack.enter_context(server.database())
            databases[contestant.name] = kept
            return succeed(contestant, kept)

        first = in_turns(f"{size}, first deploy", contestants, min(runs, FIRST_DEPLOYS), deployed)
        project.change(0, size.migrations)

        def one_more(contestant: Contestant) -> Cost:
            with server.database(template=databases[contestant.name].name) as database:
                return succeed(contestant, database)

        pending = in_turns(f"{size}, one pending", contestants, runs, one_more)
        in_turns("bringing it up", contestants, 1, lambda each: succeed(each, databases[each.name]))
        nothing = in_turns(
            f"{size}, nothing to do", contestants, runs, lambda each: succeed(each, databases[each.name])
        )
    return first, pending, nothing
