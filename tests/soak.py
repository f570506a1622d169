"""``python -m tests.soak [SECONDS]``: load on the real stack for minutes, its database restarted in the middle.

All the while slow clients hold connections, and readiness must answer within a second whatever happens.
Errors may come only while the database is away; then all must be well again by itself, in the same processes, whose
memory must not have grown.
"""

from __future__ import annotations

import http.client
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from rupaya.localdb import SUPERUSER, LocalPostgres
from tests.plugin import SERVER_SETTINGS
from tests.server.service import Service
from tests.server.slow import slow_clients
from tests.server.test_health import session_cookie

DEFAULT_S = 300.0
DOWN_PART = 0.05
# How long after the server is back an error may still come: a sample, and a connection that has to be made anew.
RECOVERY_S = 5.0
ASK_EVERY_S = 0.05
LOOK_EVERY_S = 1.0
# From the time before the outage to the end. At first a worker's memory grows in any case: what it shares with the
# master is copied when it is first touched.
GROWTH_MAX = 0.05
LOAD_CONNECTIONS = 4
SLOW_CLIENTS = 40
SLOW_KINDS = ["heads", "bodies", "silence", "closers"]  # who reads no answers holds threads, so people would wait
READY_MAX_S = 1.0


@dataclass(frozen=True)
class Answer:
    """What one address answered, and when (by `time.monotonic`); 0 is no answer."""

    path: str
    began: float
    ended: float
    status: int


class Visitor(threading.Thread):
    """Asks for one address again and again, as a load balancer or a person would."""

    def __init__(self, port: int, path: str, cookie: str, finished: threading.Event) -> None:
        super().__init__(daemon=True)
        self.port, self.path, self.cookie, self.finished = port, path, cookie, finished
        self.answers: list[Answer] = []

    def run(self) -> None:
        while not self.finished.is_set():
            began = time.monotonic()
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            try:
                connection.request("GET", self.path, headers={"Cookie": self.cookie})
                response = connection.getresponse()
                response.read()
                status = response.status
            except (OSError, http.client.HTTPException):
                status = 0
            finally:
                connection.close()
            self.answers.append(Answer(self.path, began, time.monotonic(), status))
            self.finished.wait(ASK_EVERY_S)


def memory_mb(process: psutil.Process) -> tuple[float, frozenset[int]]:
    """The memory (what is shared counted once) of the server's processes, and their ids."""
    family = [process, *process.children(recursive=True)]
    return sum(each.memory_full_info().pss for each in family) / 1e6, frozenset(each.pid for each in family)


def soak(seconds: float, postgres: LocalPostgres) -> list[str]:
    """Run it, print the figures, and return what is wrong."""
    url = postgres.url("soak", user=SUPERUSER)
    # No recycling of workers: it would hide what they keep.
    with Service(
        DATABASE_URL=url, WEB_CONCURRENCY="2", GUNICORN_CMD_ARGS="--max-requests=0", LOG_LEVEL="CRITICAL"
    ) as service:
        service.wait_until_ready()
        cookie = session_cookie(url)
        finished = threading.Event()
        slow = slow_clients(service.port, SLOW_KINDS, SLOW_CLIENTS, finished)
        visitors = [
            Visitor(service.port, path, cookie, finished) for path in ("/health/live", "/health/ready", "/admin/")
        ]
        load = None
        if shutil.which("wrk"):
            load = subprocess.Popen(
                [
                    "wrk",
                    "-t1",
                    f"-c{LOAD_CONNECTIONS}",
                    f"-d{seconds:.0f}s",
                    f"http://127.0.0.1:{service.port}/health/ready",
                ],
                stdout=subprocess.PIPE,
                text=True,
            )
        process = psutil.Process(service.process.pid)
        began = time.monotonic()
        for visitor in visitors:
            visitor.start()
        memory: list[tuple[float, float]] = []
        families: set[frozenset[int]] = set()
        down_at = up_at = 0.0
        while (now := time.monotonic()) < began + seconds:
            if not down_at and now - began > seconds / 2:
                down_at = now
                postgres.stop("immediate")
                time.sleep(max(2.0, seconds * DOWN_PART))
                postgres.start()
                up_at = time.monotonic()
            used_mb, family = memory_mb(process)
            memory.append((now - began, used_mb))
            families.add(family)
            time.sleep(LOOK_EVERY_S)
        finished.set()
        for visitor in visitors:
            visitor.join(30)
        for client in slow:
            client.join(10)
        rate = load.communicate(timeout=60)[0] if load else "wrk is not installed; only three visitors\n"
        logged = "\n".join(line for line in service.output.splitlines() if "gunicorn.access" not in line)
    answers = [answer for visitor in visitors for answer in visitor.answers]
    bad = [answer for answer in answers if answer.status != 200]
    outside = [answer for answer in bad if answer.ended < down_at or answer.began > up_at + RECOVERY_S]
    early = statistics.median(used for at, used in memory if seconds * 0.3 <= at <= seconds * 0.5)
    late = statistics.median(used for at, used in memory if at >= seconds * 0.8)
    last_bad = max((answer.began for answer in bad if answer.began > down_at), default=down_at)
    live = [answer.ended - answer.began for answer in answers if answer.path == "/health/live"]
    ready = [answer.ended - answer.began for answer in answers if answer.path == "/health/ready"]
    print(rate)
    print(
        f"{seconds:.0f} s, {len(answers)} visits besides; the database was away for {up_at - down_at:.1f} s.\n"
        f"Not answered 200: {len(bad)}, of which beside the outage {len(outside)}; "
        f"the last began {last_bad - up_at:+.1f} s from its end.\n"
        f"Slowest, beside {SLOW_CLIENTS} slow ones: /health/live {max(live):.2f} s, /health/ready {max(ready):.2f} s.\n"
        f"Memory: {early:.1f} MB before the outage, {late:.1f} MB at the end."
    )
    steps = [round(used) for _at, used in memory[:: max(1, len(memory) // 12)]]
    print("Memory through time, in MB:", *steps)
    wrong = [f"{answer.path} answered {answer.status} at {answer.began - began:.1f} s" for answer in outside[:10]]
    if max(ready) > READY_MAX_S:
        wrong.append(f"/health/ready took {max(ready):.2f} s")
    if not bad:
        wrong.append("nothing failed although the database was away")
    if len(families) != 1:
        wrong.append("a process of the server was replaced")
    if late > early * (1 + GROWTH_MAX):
        wrong.append(f"memory grew by {late / early - 1:.0%}")
    if any(answer.path == "/health/live" for answer in bad):
        wrong.append("liveness failed with the database")
    return wrong + ([f"logged:\n{logged[-2000:]}"] if wrong else [])


def main() -> int:
    """Soak a server of its own."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_S
    root = Path(tempfile.mkdtemp(prefix="rupaya-soak-", dir="/tmp"))
    root.chmod(0o755)
    postgres = LocalPostgres(root / "data", root / "socket", SERVER_SETTINGS | {"fsync": "on"})
    postgres.start()
    try:
        postgres.psql("CREATE DATABASE soak")
        wrong = soak(seconds, postgres)
    finally:
        postgres.stop("immediate")
        shutil.rmtree(root, ignore_errors=True)
    print("\n".join(wrong) or "All was well.")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
