"""Probes under load: how many a second, how late the slowest hundredth, and what they cost the database."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass

from bench.contestants import PROJECT, Contestant, Lineup, ours
from bench.measure import BenchFailed, in_turns, succeed
from bench.report import Reach, Section, middle
from bench.server import Database, Server
from bench.serving import READY_TIMEOUT_S, free_port, is_ready

TITLE = "Probes under load"
RUNS = 3
AT_MOST_OF_OURS = 1 / 8
SECONDS = 5
CONNECTIONS = 8
LOOK_EVERY_S = 0.25

SERVICE = Contestant(
    "ours",
    ("./entrypoint.sh", "gunicorn", "rupaya.wsgi"),
    variables={
        "PYTHONPATH": str(PROJECT),
        "DJANGO_SETTINGS_MODULE": "bench.fixtures.probes",
        # At this rate a worker would be replaced every five seconds, and not every few days.
        "GUNICORN_CMD_ARGS": "--max-requests=0",
    },
)


@dataclass(frozen=True)
class Target:
    """An address that probes may be sent to."""

    name: str
    path: str


LIVE = Target("`/health/live`", "/health/live")
READY = Target("`/health/ready`", "/health/ready")
LIBRARY = Target("django-health-check's own view, its database check", "/library/?format=json")


@dataclass(frozen=True)
class Load:
    """What wrk found, and how many connections to the database were seen to come meanwhile."""

    requests_per_s: float
    p99_ms: float
    failed: int
    new_connections: int


def run(_lineup: Lineup, server: Server, runs: int) -> Section:
    """One server, one worker; wrk asks each address in turn."""
    targets = [LIVE, READY, LIBRARY]
    with server.database() as database:
        succeed(ours(), database)
        port = free_port()
        process = subprocess.Popen(
            SERVICE.command,
            cwd=SERVICE.cwd,
            env=SERVICE.environment(database) | {"PORT": str(port)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            _wait_until_ready(process, port)
            in_turns(f"{TITLE} (warming up)", targets, 1, lambda target: _load(database, port, target, seconds=1))
            loads = in_turns(TITLE, targets, runs, lambda target: _load(database, port, target))
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    rates = {name: middle([load.requests_per_s for load in found]) for name, found in loads.items()}
    rows = [
        [
            name,
            f"{rates[name]:,.0f}",
            f"{middle([load.p99_ms for load in found]):.1f} ms",
            f"{middle([float(load.new_connections) for load in found]):.0f}",
            f"{sum(load.failed for load in found)}",
        ]
        for name, found in loads.items()
    ]
    return Section(
        TITLE,
        f"One worker with four threads; wrk with {CONNECTIONS} connections for {SECONDS} s, each address in turn, on "
        "one server. Ours reads the sampler's last answer; the library asks the database at each request.",
        ["", "requests a second", "p99", "database connections that came", "not answered 200"],
        rows,
        reaches=[
            Reach("requests a second, the library's view ÷ `/health/ready`", rates[LIBRARY.name] / rates[READY.name],
                  AT_MOST_OF_OURS),
            Reach("database connections that came while `/health/ready` is asked",
                  float(max(load.new_connections for load in loads[READY.name])), 0),
        ],
        runs=runs,
    )  # fmt: skip


def _load(database: Database, port: int, target: Target, seconds: int = SECONDS) -> Load:
    wrk = subprocess.Popen(
        ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", f"http://127.0.0.1:{port}{target.path}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    known, seen = _sessions(database), set[int]()
    while wrk.poll() is None:
        seen |= _sessions(database)
        time.sleep(LOOK_EVERY_S)
    output = wrk.communicate()[0]
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)\b", output)
    if not rate or not p99:
        raise BenchFailed(f"wrk failed: {output}")
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    return Load(
        requests_per_s=float(rate[1]),
        p99_ms=float(p99[1]) * {"us": 0.001, "ms": 1, "s": 1000}[p99[2]],
        failed=int(failed[1]) if failed else 0,
        new_connections=len(seen - known),
    )


def _sessions(database: Database) -> set[int]:
    """The backends that serve this database now, but for the one that is asked."""
    rows = database.query(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    return {int(pid) for (pid,) in rows}


def _wait_until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not is_ready(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchFailed("the service did not become ready")
        time.sleep(0.05)
