"""Twenty tasks that start at once: who fails, and how long until all of them are through."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.contestants import Contestant, Lineup
from bench.measure import in_turns, start, succeed
from bench.report import Reach, Section, as_ratio, in_s, middle, ratio
from bench.server import Database, Server

TITLE = "Twenty at once"
RUNS = 5
TASKS = 20
GIVE_UP_S = 60.0
# An orchestrator replaces a failed task; it is never quicker than this.
REPLACED_AFTER_S = 1.0
POLL_S = 0.005


@dataclass
class Start:
    """How one start of twenty went."""

    failed: int = 0
    """Tasks whose first process failed."""
    replaced: int = 0
    """Processes that failed, replacements included."""
    seconds: float | None = None
    """Until every task had a process that succeeded; None if that did not come."""
    statuses: Counter[int] = field(default_factory=Counter)
    runs_of_data: int | None = None
    """How many processes ran the slow data migration."""


def run(lineup: Lineup, server: Server, runs: int) -> Section:
    """On an empty database, and with a slow non-transactional migration pending."""

    def on_empty(contestant: Contestant) -> Start:
        with server.database() as database:
            return start_all(contestant, database)

    def with_slow_data(contestant: Contestant) -> Start:
        with server.database() as database:
            succeed(contestant, database, contestant.first_step)
            outcome = start_all(contestant, database)
            outcome.runs_of_data = database.query("SELECT count(*) FROM slow_run")[0][0]
            return outcome

    empty = in_turns(f"{TITLE}, empty database", lineup.migrators(), runs, on_empty)
    slow = in_turns(f"{TITLE}, slow data migration", lineup.migrators("slow"), runs, with_slow_data)
    rows = [*_rows("empty database", empty, runs), *_rows("5 s data migration pending", slow, runs)]
    return Section(
        TITLE,
        f"{TASKS} processes start together; one that fails is started again after {REPLACED_AFTER_S:g} s, as an "
        f"orchestrator would, until every task is through or {GIVE_UP_S:g} s have passed. First on an empty database, "
        "then with a migration pending that works on data for 5 s outside a transaction and must run once.",
        ["", "", "failed at first", "failures in all", "ran the data migration", "all through", "ours ÷ it"],
        rows,
        reaches=[
            Reach("tasks that failed", float(sum(one.failed for one in [*empty["ours"], *slow["ours"]])), 0),
            Reach("data migration run, times", float(max(one.runs_of_data or 0 for one in slow["ours"])), 1),
            Reach("empty database: all through ÷ stock Django", _part(empty, "stock Django"), 1),
            Reach("data migration: all through ÷ stock Django", _part(slow, "stock Django"), 1),
        ],
        runs=runs,
    )


def start_all(contestant: Contestant, database: Database) -> Start:
    """Start all tasks at once and replace the failed, until all are through."""
    outcome = Start()
    began = time.perf_counter()
    running = [start(contestant, database) for _ in range(TASKS)]
    first_ones = set(running)
    due: list[float] = []
    try:
        while running or due:
            now = time.perf_counter()
            if now - began > GIVE_UP_S:
                return outcome
            for process in [process for process in running if process.poll() is not None]:
                running.remove(process)
                if process.returncode != 0:
                    outcome.replaced += 1
                    outcome.failed += process in first_ones
                    outcome.statuses[process.returncode] += 1
                    due.append(now + REPLACED_AFTER_S)
            ready = [moment for moment in due if moment <= now]
            due = [moment for moment in due if moment > now]
            running += [start(contestant, database) for _ in ready]
            time.sleep(POLL_S)
        outcome.seconds = time.perf_counter() - began
        return outcome
    finally:
        _kill(running)


def _kill(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.kill()
    for process in processes:
        process.wait()


def _rows(situation: str, outcomes: dict[str, list[Start]], runs: int) -> list[list[str]]:
    rows = []
    for name, starts in outcomes.items():
        through = [one.seconds for one in starts if one.seconds is not None]
        stuck = len(starts) - len(through)
        when = in_s(middle(through)) if through else ""
        if stuck:
            when = f"{when}; never in {stuck} of {runs}".removeprefix("; ")
        times = sorted({one.runs_of_data for one in starts if one.runs_of_data is not None})
        rows.append(
            [
                situation,
                name,
                f"{sum(one.failed for one in starts)} of {TASKS * runs}" + _statuses(name, starts),
                str(sum(one.replaced for one in starts)),
                _times(times),
                when,
                "" if name == "ours" else as_ratio(_part(outcomes, name)),
            ]
        )
    return rows


def _statuses(name: str, starts: Sequence[Start]) -> str:
    """Our own exit codes say what went wrong; the others' say nothing."""
    total = sum((one.statuses for one in starts), Counter[int]())
    return f" (exit {', '.join(map(str, sorted(total)))})" if name == "ours" and total else ""


def _times(times: Sequence[int]) -> str:
    if not times:
        return ""
    low, high = times[0], times[-1]
    return ("once" if high == 1 else f"{high} times") if low == high else f"{low} to {high} times"


def _part(outcomes: dict[str, list[Start]], name: str) -> float | None:
    ours, theirs = _seconds(outcomes, "ours"), _seconds(outcomes, name)
    return ratio(ours, theirs) if ours else None


def _seconds(outcomes: dict[str, list[Start]], name: str) -> list[float]:
    return [one.seconds for one in outcomes.get(name, []) if one.seconds is not None]
