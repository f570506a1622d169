"""One round: a release, its migrator, what befalls it, and what must be so afterwards."""

from __future__ import annotations

import os
import random
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import bodies, faults, judge
from tests.chaos.bodies import Written
from tests.chaos.proxy import Proxy
from tests.chaos.server import Database, copy, drop, write_release
from tests.chaos.starter import PROJECT, Process, Starter
from tests.patience import HANGING_S
from tests.processes import inherited

POLL_S = 0.005
LEFT_BEHIND_S = 20.0
RECOVERIES = 6
HALF_WAY = "half-way, and it is not atomic"
CONTRADICTED = re.compile(r"records as applied what failed at its last attempt: shop\.(\w+)")


class Failed(AssertionError):
    """Something that must be so is not."""


@dataclass
class Worker:
    """What rounds have in common: a server, a proxy before it, and a starter."""

    number: int
    template: str
    root: Path
    starter: Starter
    proxy: Proxy
    server: object


@dataclass
class Round:
    """One round, whole by its seed."""

    seed: int
    worker: Worker
    chance: random.Random = field(init=False)
    migrations: list[Written] = field(init=False)
    planned: list[tuple[str, int, float]] = field(init=False)
    processes: list[Process] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    logs: str = ""
    befell: int = 0
    """How many faults met a process that was still there."""
    _later: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.migrations = bodies.chosen(self.chance)
        self.planned = faults.chosen(self.chance)
        self.mode = self.chance.choice(("auto", "auto", "each", "all"))
        if not all(each.kind.atomic for each in self.migrations) and self.mode == "all":
            self.mode = "auto"
        self.phase = self.chance.choice(("expand", "all"))
        self.folder = Path(tempfile.mkdtemp(dir=self.worker.root))
        self.proxy = self.worker.proxy

    def run_whole(self) -> None:
        """Play it, and clear up.

        Raises:
            Failed: if anything is not as it must be.
        """
        name = f"round_{self.worker.number}_{self.seed}"
        self.database: Database = copy(self.worker.server, self.worker.template, name)  # type: ignore[arg-type]
        try:
            write_release(self.folder, self.migrations, bodies.BASE_TEXT)
            before = judge.look(self.database, self.migrations)
            self._fault()
            after = judge.look(self.database, self.migrations)
            self._tell(after)
            problems = [
                *self._disagreements(after),
                *(
                    f"{process.what}: {problem}"
                    for process in self.processes
                    for problem in judge.untruths(
                        process, before, after, was_alone=len(self.processes) == 1, was_signalled=True
                    )
                ),
            ]
            if not problems:
                problems = list(self._recover())
            if problems:
                raise Failed("; ".join(problems))
        finally:
            self._end_all()
            self.logs = "\n".join(
                f"---- {each.what}, status {each.status}\n{each.output if each.path.exists() else ''}"
                for each in self.processes
            )
            self.proxy.heal()
            drop(self.worker.server, name)  # type: ignore[arg-type]
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def first(self) -> Process:
        """The migrator that faults are meant for."""
        return self.processes[0]

    @property
    def _is_stock_about(self) -> bool:
        return any(name == "stock" for name, _lines, _after_s in self.planned)

    def _disagreements(self, after: judge.Found) -> Iterator[str]:
        said = "".join(process.output for process in self.processes if process.path.exists())
        return judge.disagreements(after, self.migrations, by_stock=self._is_stock_about, said=said)

    def start(self, what: str, *arguments: str, **variables: str) -> Process:
        """Start a command of the release."""
        env = (
            inherited()
            | {
                "DATABASE_URL": f"postgresql://postgres@127.0.0.1:{self.proxy.port}/{self.database.name}",
                "DB_SSL": "false",
                "RUPAYA_ENV": "test",
                "RUPAYA_FIXTURE_APPS": "shop",
                "DJANGO_SETTINGS_MODULE": "chaos_settings",
                "PYTHONPATH": f"{self.folder}{os.pathsep}{PROJECT}",
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONUNBUFFERED": "1",
                "RELEASE": "v2",
                "MIGRATE_PHASE": self.phase,
                "MIGRATE_BATCH": self.mode,
                "MIGRATE_ON_EDITED": "error",
                "MIGRATE_LOCK_TIMEOUT_MS": "300",
                "MIGRATE_RETRIES": "8",
                "MIGRATE_DB_WAIT_S": "30",
                "MIGRATE_LOCK_WAIT_S": "60",
                "MIGRATE_DEADLINE_S": "60",
            }
            | variables
        )
        output = self.folder / f"{len(self.processes)}.log"
        process = self.worker.starter.start(list(arguments or ("migrate", "--noinput")), env, output, what)
        self.processes.append(process)
        return process

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        """Do something after a while, or at the end of the faults."""
        self._later.append((time.monotonic() + seconds, what))

    def _fault(self) -> None:
        self.start("the first")
        planned = [(name, lines, after_s, 0.0) for name, lines, after_s in self.planned]
        deadline = time.monotonic() + HANGING_S
        while any(process.status is None for process in self.processes):
            self._poll()
            lines_now = self.first.output.count("\n") if planned and self.first.path.exists() else 0
            for each in list(planned):
                name, lines, after_s, at = each
                if lines_now < lines and self.first.status is None:
                    continue
                planned.remove(each)
                if not at:
                    planned.append((name, lines, after_s, time.monotonic() + after_s))
                elif time.monotonic() < at:
                    planned.append(each)
                else:
                    self._befall(name)
            if time.monotonic() > deadline:
                raise Failed("it hangs")
            time.sleep(POLL_S)
        for _at, what in self._later:
            what()
        self._later.clear()
        self.proxy.heal()
        self._wait_for_leftovers()

    def _befall(self, name: str) -> None:
        self.befell += self.first.status is None
        self.log.append(f"{name} after {self.first.output.count(chr(10))} lines, status {self.first.status}")
        faults.FAULTS[name][1](self)

    def _poll(self) -> None:
        self.worker.starter.poll()
        now = time.monotonic()
        for each in [each for each in self._later if each[0] <= now]:
            self._later.remove(each)
            each[1]()

    def _wait_for_leftovers(self) -> None:
        """The server notices within a second or so that a client has gone."""
        deadline = time.monotonic() + LEFT_BEHIND_S
        while left := self.database.ask(
            "SELECT pid, state, query FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name LIKE 'migrate%%' AND pid <> pg_backend_pid()"
        ):
            if time.monotonic() > deadline:
                raise Failed(f"sessions are left behind: {left}")
            time.sleep(0.05)

    def _finish(self, what: str, *arguments: str, **variables: str) -> Process:
        process = self.start(what, *arguments, **variables)
        deadline = time.monotonic() + HANGING_S
        while process.status is None:
            self._poll()
            if time.monotonic() > deadline:
                raise Failed(f"{what} hangs")
            time.sleep(POLL_S)
        return process

    def _recover(self) -> list[str]:
        """Start again as an orchestrator does, until everything is applied."""
        fixed = False
        may_be_half_way = [each for each in self.migrations if not each.kind.repeatable]
        for number in range(1, RECOVERIES):
            before = judge.look(self.database, self.migrations)
            process = self._finish(f"recovery {number}")
            after = judge.look(self.database, self.migrations)
            problems = [
                *self._disagreements(after),
                *judge.untruths(process, before, after, was_alone=True),
            ]
            if problems:
                return [f"recovery {number}: {problem}" for problem in problems]
            if process.status == 0:
                return self._at_the_end()
            failing = [each for each in self.migrations if each.kind.fails]
            half_way = [each for each in may_be_half_way if f"{each.name} " in process.output]
            if process.status == 14 and HALF_WAY in process.output and half_way:
                each = half_way[0]
                if after.parts[each.name] == 1:
                    settled = self._finish("fake", "migrate", "--fake", "shop", each.name)
                else:
                    settled = self._finish("retry", "migrate", "--retry-failed", "shop", each.name)
                if settled.status not in (0, 13):
                    return [f"what the message says to do ends with {settled.status}"]
            elif process.status == 14 and self._is_stock_about and (found := CONTRADICTED.search(process.output)):
                self._settle(found[1], after)
            elif process.status in (13, 15) and failing and not fixed and failing[0].name in process.output:
                if process.status == 15 or number > 1:
                    fixed = True
                    self._fix(failing[0])
            else:
                return [f"recovery {number} ends with {process.status}"]
        return ["it does not recover"]

    def _settle(self, name: str, after: judge.Found) -> None:
        """What the message says to do: stock Django has recorded what failed here."""
        if after.parts[name] == 1 or after.history[-1] != name:
            self._finish("accept", "migrate", "--accept-edited")
        else:
            self.database.ask("DELETE FROM django_migrations WHERE app = 'shop' AND name = %s RETURNING name", [name])

    def _fix(self, failing: Written) -> None:
        package = self.folder / "shop" / "migrations"
        position = self.migrations.index(failing)
        after = self.migrations[position - 1].name if position else bodies.BASE
        (package / f"{failing.name}.py").write_text(Written(bodies.FIXED, failing.place).text(after))
        self.migrations[position] = Fixed(bodies.FIXED, failing.place, failing.name)

    def _at_the_end(self) -> list[str]:
        found = judge.look(self.database, self.migrations)
        problems = [f"{each.name} is not applied" for each in self.migrations if each.name not in found.history]
        problems += judge.of_the_ledger(self.database, found, self.migrations, by_stock=self._is_stock_about)
        if self.chance.random() < 0.2:
            audited = self._finish("audit", "showmigrations", "--audit", "--check")
            if audited.status and not self._is_stock_about:
                problems.append(f"the audit ends with {audited.status}")
        return problems

    def _tell(self, after: judge.Found) -> None:
        self.log.append(f"history {after.history}, parts {after.parts}")

    def _end_all(self) -> None:
        for process in self.processes:
            process.kill(18)
            process.kill(9)
        deadline = time.monotonic() + HANGING_S
        while any(process.status is None for process in self.processes) and time.monotonic() < deadline:
            self._poll()
            time.sleep(POLL_S)

    def story(self) -> str:
        """Everything that is known of it."""
        lines = [
            f"seed {self.seed}: MIGRATE_BATCH={self.mode} MIGRATE_PHASE={self.phase}",
            *(f"  migration {each.name}" for each in self.migrations),
            *(f"  planned {name} after {lines} lines and {after_s:.3f} s" for name, lines, after_s in self.planned),
            *(f"  {line}" for line in self.log),
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class Fixed(Written):
    """A migration that was corrected in its old file."""

    old_name: str = ""

    @property
    def name(self) -> str:
        return self.old_name
