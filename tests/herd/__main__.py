"""`make herd`: STARTS tasks start within a minute, on a server with thirty connections of which traffic holds twenty.

The processes are real: `manage.py migrate` of the service, in production. One machine cannot be a thousand, so later
ones start when earlier ones have ended: AT_ONCE says how many there may be.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2

from rupaya.localdb import LocalPostgres
from tests.server.releases import ADD_NICKNAME, PRODUCTION
from tests.server.service import copy_release

PROJECT = Path(__file__).resolve().parents[2]
CONNECTIONS = 30
TRAFFIC = 20
WITHIN_S = 60.0
POLL_S = 0.01


@dataclass
class Herd:
    """Many starts: how they ended, and when."""

    folder: Path
    codes: Counter[int] = field(default_factory=Counter)
    took_s: float = 0.0
    slowest_s: float = 0.0
    most_at_once: int = 0
    failed: list[str] = field(default_factory=list)

    def start(self, tree: Path, url: str, starts: int, at_once: int, over_s: float = WITHIN_S) -> None:
        """Start them evenly over a time, as far as AT_ONCE allows, and wait for all."""
        env = os.environ | PRODUCTION | {"DATABASE_URL": url, "DB_SSL": "false"}
        running: dict[subprocess.Popen[bytes], tuple[float, Path]] = {}
        try:
            self._run(tree, env, running, starts, at_once, over_s)
        finally:
            for process in running:
                process.kill()

    def _run(
        self,
        tree: Path,
        env: dict[str, str],
        running: dict[subprocess.Popen[bytes], tuple[float, Path]],
        starts: int,
        at_once: int,
        over_s: float,
    ) -> None:
        began = time.monotonic()
        started = 0
        while started < starts or running:
            now = time.monotonic()
            while started < starts and len(running) < at_once and now - began >= over_s * started / starts:
                output = self.folder / f"{started}.log"
                with output.open("wb") as file:
                    process = subprocess.Popen(
                        [sys.executable, "manage.py", "migrate", "--noinput"],
                        cwd=tree, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
                    )  # fmt: skip
                running[process] = (now, output)
                started += 1
            self.most_at_once = max(self.most_at_once, len(running))
            for process in [process for process in running if process.poll() is not None]:
                since, output = running.pop(process)
                self.codes[process.returncode] += 1
                self.slowest_s = max(self.slowest_s, time.monotonic() - since)
                if process.returncode:
                    self.failed.append(output.read_text())
            time.sleep(POLL_S)
        self.took_s = time.monotonic() - began

    def __str__(self) -> str:
        ends = ", ".join(f"{number} ended {code}" for code, number in sorted(self.codes.items()))
        return (
            f"{ends}; all in {self.took_s:.0f} s, the slowest in {self.slowest_s:.1f} s, at most {self.most_at_once} "
            "at once"
        )


@contextmanager
def small_server(root: Path) -> Iterator[LocalPostgres]:
    """A server that allows thirty connections in all, started; stopped afterwards."""
    settings = {"fsync": "off", "max_connections": str(CONNECTIONS), "superuser_reserved_connections": "0"}
    server = LocalPostgres(root / "data", root / "socket", settings)
    server.start()
    try:
        yield server
    finally:
        server.stop("immediate")


def played(name: str, server: LocalPostgres, tree: Path, folder: Path, starts: int, at_once: int) -> Herd:
    """One herd, with traffic beside it."""
    folder.mkdir()
    herd = Herd(folder)
    with ExitStack() as traffic:
        for _ in range(TRAFFIC):
            traffic.enter_context(closing(psycopg2.connect(server.url("postgres", "postgres"))))
        herd.start(tree, server.url(), starts, at_once)
    print(f"{name}: {herd}", flush=True)
    for output in herd.failed[:3]:
        print(output)
    return herd


def applied_once(server: LocalPostgres) -> bool:
    """Whether each migration is in the history once, and in the ledger once as a success."""
    history, distinct, succeeded = server.psql(
        "SELECT count(*), count(DISTINCT (app, name)), (SELECT count(*) FROM migrator_attempts "
        "WHERE outcome = 'succeeded') FROM django_migrations",
        database="rupaya",
    ).split("|")
    return history == distinct == succeeded


def main() -> int:
    """Both herds, and what one start and as many starts without work take; 1 if any start failed."""
    starts = int(os.environ.get("STARTS") or 1000)
    at_once = int(os.environ.get("AT_ONCE") or 100)
    root = Path(tempfile.mkdtemp(prefix="rupaya-herd-", dir="/tmp"))
    root.chmod(0o755)
    try:
        newer = copy_release(root / "newer")
        (newer / "accounts" / "migrations" / "0100_add_nickname_to_users.py").write_text(ADD_NICKNAME)
        with small_server(root / "alone") as server:
            one = played("one start, empty database", server, PROJECT, root / "a", 1, 1)
            one_pending = played("one start, one migration pending", server, newer, root / "b", 1, 1)
            idle = played("nothing to do", server, newer, root / "c", starts, at_once)
        with small_server(root / "herd") as server:
            empty = played("empty database", server, PROJECT, root / "d", starts, at_once)
            whole = applied_once(server)
            pending = played("one migration pending", server, newer, root / "e", starts, at_once)
            whole = whole and applied_once(server)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    failed = sum(
        number for herd in (one, one_pending, idle, empty, pending) for code, number in herd.codes.items() if code
    )
    slow = [
        name
        for name, herd, alone in (("empty", empty, one), ("pending", pending, one_pending))
        if herd.took_s > 2 * alone.took_s + idle.took_s
    ]
    print(
        f"{failed} failed; {'each migration once' if whole else 'NOT each migration once'}"
        + "".join(f"; {name}: more than twice one start and the starts without work" for name in slow)
    )
    return 1 if failed or not whole or slow else 0


if __name__ == "__main__":
    sys.exit(main())
