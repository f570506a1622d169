"""From the entrypoint's start to the first 200 of readiness, with nothing to migrate."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from contextlib import ExitStack

from bench.contestants import PROJECT, Contestant, Lineup, ours, stock
from bench.measure import BenchFailed, in_turns, succeed
from bench.report import Reach, Section, as_ratio, in_ms, middle, ratio
from bench.server import Database, Server

TITLE = "Entrypoint to the first 200"
RUNS = 11
AT_MOST_OF_STOCK = 0.7
READY_TIMEOUT_S = 60.0
POLL_S = 0.005

OURS = Contestant("ours", ("./entrypoint.sh", "gunicorn", "rupaya.wsgi"))
STOCK = Contestant(
    "stock Django",
    ("./bench/stock/entrypoint.sh", "gunicorn", "rupaya.wsgi"),
    variables={"PYTHONPATH": str(PROJECT), "DJANGO_SETTINGS_MODULE": "bench.stock.settings"},
)


def run(lineup: Lineup, server: Server, runs: int) -> Section:
    """Start each again and again over a migrated database of its own."""
    contestants = [OURS, STOCK]
    with ExitStack() as stack:
        databases = {each.name: stack.enter_context(server.database()) for each in contestants}
        succeed(ours(), databases[OURS.name])
        succeed(stock(), databases[STOCK.name])

        def once(contestant: Contestant) -> float:
            return seconds_until_ready(contestant, databases[contestant.name])

        in_turns(f"{TITLE} (warming up)", contestants, 1, once)
        times = in_turns(TITLE, contestants, runs, once)
    part = ratio(times[OURS.name], times[STOCK.name])
    return Section(
        TITLE,
        "`entrypoint.sh gunicorn rupaya.wsgi`, one worker, until `/health/ready` answers 200, with nothing to migrate. "
        "Both serve the same application with the same gunicorn; the one difference is who migrates.",
        ["", "until ready", "ours ÷ it"],
        [
            [OURS.name, in_ms(middle(times[OURS.name])), ""],
            [STOCK.name, in_ms(middle(times[STOCK.name])), as_ratio(part)],
        ],
        reaches=[Reach("time until ready ÷ stock Django", part, AT_MOST_OF_STOCK)],
        notes=["Knex does not serve, so it has no part in this."],
        runs=runs,
    )


def seconds_until_ready(contestant: Contestant, database: Database) -> float:
    """Start the service, ask until it is ready, and kill it.

    Raises:
        BenchFailed: if it ends, or is not ready in time.
    """
    port = free_port()
    began = time.perf_counter()
    process = subprocess.Popen(
        contestant.command,
        cwd=contestant.cwd,
        env=contestant.environment(database) | {"PORT": str(port)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while time.perf_counter() - began < READY_TIMEOUT_S:
            if process.poll() is not None:
                raise BenchFailed(f"{contestant.name} ended with {process.returncode} instead of serving")
            if is_ready(port):
                return time.perf_counter() - began
            time.sleep(POLL_S)
        raise BenchFailed(f"{contestant.name} was not ready after {READY_TIMEOUT_S:g} s")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def is_ready(port: int) -> bool:
    """Whether readiness is answered with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def free_port() -> int:
    """A TCP port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
