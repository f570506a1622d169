"""A migrator is killed inside a statement of twenty seconds: how long until the next one is at work."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass

from bench.contestants import Contestant, Lineup
from bench.measure import BenchFailed, in_turns, start, succeed
from bench.report import Reach, Section, as_ratio, in_s, middle, ratio
from bench.server import Database, Server

TITLE = "Recovery after SIGKILL"
RUNS = 3
AT_MOST_S = 2.0
KILLED_AFTER_S = 1.0
GIVE_UP_S = 40.0
CONNECTED_TIMEOUT_S = 20.0
REPLACED_AFTER_S = 1.0
POLL_S = 0.01
# Time for a waiter that has connected to come to where it waits.
SETTLING_S = 1.0


@dataclass(frozen=True)
class Situation:
    """What the killed one was doing, and where its successor was at that moment."""

    name: str
    fixture: str
    successor_waits: bool


@dataclass(frozen=True)
class Recovery:
    """How it went on."""

    seconds: float | None
    """From the kill until another process was inside the same statement; None if none came."""
    failed: int
    """Deploys that failed meanwhile."""
    both_at_once: bool
    """Whether the dead one's statement was still running then."""


SITUATIONS = (
    Situation("in a transaction; another is waiting", "long_atomic", True),
    Situation("in a transaction; the next starts after the kill", "long_atomic", False),
    Situation("outside a transaction; the next starts after the kill", "long_nonatomic", False),
)


def run(lineup: Lineup, server: Server, runs: int) -> Section:
    """Each situation, each contestant."""
    rows: list[list[str]] = []
    reaches: list[Reach] = []
    for situation in SITUATIONS:

        def once(contestant: Contestant, situation: Situation = situation) -> Recovery:
            with server.database() as database:
                succeed(contestant, database, contestant.first_step)
                return kill_and_recover(contestant, database, situation)

        found = in_turns(f"{TITLE}: {situation.name}", lineup.migrators(situation.fixture), runs, once)
        rows += [_row(situation, name, found) for name in found]
        ours = [one.seconds if one.seconds is not None else GIVE_UP_S for one in found["ours"]]
        reaches.append(Reach(f"killed {situation.name}: slowest of ours", max(ours), AT_MOST_S, " s"))
    return Section(
        TITLE,
        "A migrator is killed one second into a statement of 20 s. Its server process does not know. Counted are the "
        "seconds from the kill until another migrator is inside the same statement; one that fails is started again "
        f"after {REPLACED_AFTER_S:g} s, for {GIVE_UP_S:g} s at most. Two at once means that the dead one's statement "
        "was still running when the next began it: its seconds are then no merit, and not compared.",
        ["killed", "", "the next is at work after", "ours ÷ it", "deploys that failed", "two at once"],
        rows,
        reaches=reaches,
        runs=runs,
    )


def kill_and_recover(contestant: Contestant, database: Database, situation: Situation) -> Recovery:
    """Kill a migrator in the middle of its long statement and watch for its successor.

    Raises:
        BenchFailed: if the first one never came to that statement.
    """
    processes = [start(contestant, database)]
    try:
        deadline = time.monotonic() + CONNECTED_TIMEOUT_S
        while not (dead := _sleeping(database)):
            if time.monotonic() > deadline or processes[0].poll() is not None:
                raise BenchFailed(f"{contestant.name} never came to the long statement of {situation.fixture}")
            time.sleep(POLL_S)
        time.sleep(KILLED_AFTER_S)
        if situation.successor_waits:
            others = _sessions(database)
            processes.append(start(contestant, database))
            while _sessions(database) <= others and time.monotonic() < deadline:
                time.sleep(POLL_S)
            time.sleep(SETTLING_S)
        processes[0].kill()
        killed = time.monotonic()
        processes[0].wait()
        if not situation.successor_waits:
            processes.append(start(contestant, database))
        failed = 0
        while time.monotonic() - killed < GIVE_UP_S:
            sleeping = _sleeping(database)
            if sleeping - dead:
                return Recovery(time.monotonic() - killed, failed, bool(sleeping & dead))
            if processes[-1].poll() is not None:
                failed += 1
                time.sleep(REPLACED_AFTER_S)
                processes.append(start(contestant, database))
            time.sleep(POLL_S)
        return Recovery(None, failed, False)
    finally:
        _kill(processes)


def _sleeping(database: Database) -> set[int]:
    rows = database.query(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    )
    return {pid for (pid,) in rows}


def _sessions(database: Database) -> int:
    rows = database.query(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    return int(rows[0][0])


def _kill(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()


def _row(situation: Situation, name: str, found: dict[str, list[Recovery]]) -> list[str]:
    recoveries = found[name]
    seconds = _seconds(recoveries)
    if len(seconds) < len(recoveries):
        when = f"never (within {GIVE_UP_S:g} s) in {len(recoveries) - len(seconds)} of {len(recoveries)}"
    else:
        when = in_s(middle(seconds))
    ours = _seconds(found["ours"])
    both_at_once = any(one.both_at_once for one in recoveries)
    return [
        situation.name,
        name,
        when,
        "" if name == "ours" or not ours else as_ratio(None if both_at_once else ratio(ours, seconds)),
        f"{middle([one.failed for one in recoveries]):.0f}",
        "yes" if both_at_once else "no",
    ]


def _seconds(recoveries: list[Recovery]) -> list[float]:
    return [one.seconds for one in recoveries if one.seconds is not None]
