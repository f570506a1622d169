"""One whole process measured from outside, and many of them in turns."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from tqdm import tqdm

from bench.server import Database

LAUNCHER = Path(__file__).with_name("launcher.py")
TIMEOUT_S = 120.0

Result = TypeVar("Result")


class BenchFailed(Exception):
    """A contestant did not do what was to be measured, so there is nothing to measure; the text holds its output."""


class Startable(Protocol):
    """What can be started on a database."""

    @property
    def name(self) -> str: ...
    @property
    def command(self) -> tuple[str, ...]: ...
    @property
    def cwd(self) -> Path: ...
    def environment(self, database: Database) -> dict[str, str]: ...


Contestant = TypeVar("Contestant", bound=Startable)


@dataclass(frozen=True)
class Cost:
    """What one run took; CPU of the client's processes, not of the server."""

    status: int
    wall_s: float
    cpu_s: float
    peak_bytes: int
    output: str


def measure(
    contestant: Startable, database: Database, command: Sequence[str] = (), timeout_s: float = TIMEOUT_S
) -> Cost:
    """Run a contestant's command, or another one in its place, to the end."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", LAUNCHER, *(command or contestant.command)],
        cwd=contestant.cwd,
        env=contestant.environment(database),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        figures, output = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        _, output = process.communicate()
        raise BenchFailed(f"{contestant.name} did not end within {timeout_s:g} s:\n{output}") from None
    status, wall_s, cpu_s, peak_kb = figures.split()
    return Cost(int(status), float(wall_s), float(cpu_s), int(peak_kb) * 1024, output)


def succeed(
    contestant: Startable, database: Database, command: Sequence[str] = (), timeout_s: float = TIMEOUT_S
) -> Cost:
    """The same, for what must not fail.

    Raises:
        BenchFailed: if it did.
    """
    cost = measure(contestant, database, command, timeout_s)
    if cost.status != 0:
        raise BenchFailed(f"{contestant.name} ended with {cost.status}:\n{cost.output}")
    return cost


def start(contestant: Startable, database: Database) -> subprocess.Popen[bytes]:
    """Start a contestant and leave it running, its output discarded."""
    return subprocess.Popen(
        contestant.command,
        cwd=contestant.cwd,
        env=contestant.environment(database),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def in_turns(
    what: str, contestants: Sequence[Contestant], runs: int, once: Callable[[Contestant], Result]
) -> dict[str, list[Result]]:
    """Measure each contestant once, then each again, so that a noisy minute falls on all of them alike."""
    results: dict[str, list[Result]] = {contestant.name: [] for contestant in contestants}
    with tqdm(total=runs * len(contestants), desc=what, unit="run", leave=False) as progress:
        for _ in range(runs):
            for contestant in contestants:
                progress.set_postfix_str(contestant.name)
                results[contestant.name].append(once(contestant))
                progress.update()
    return results
