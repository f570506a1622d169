"""`make chaos`: runs of the migrator that are killed, frozen, cut off and meddled with at random; what is said is so.

ROUNDS rounds; round n of SEED is the same every time, but for the moments, which are the machine's.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from rupaya.localdb import LocalPostgres
from tests.chaos import bodies
from tests.chaos.proxy import Proxy
from tests.chaos.round import Failed, Round, Worker
from tests.chaos.server import SETTINGS, Database, write_release
from tests.chaos.starter import Starter

WORKERS = 2


def work(number: int, seeds: list[int], results: multiprocessing.Queue[tuple[int, str, Counter[str]]]) -> None:
    """Play some rounds on a server of this worker's own."""
    root = Path(tempfile.mkdtemp(prefix="rupaya-chaos-", dir="/tmp"))
    root.chmod(0o755)
    starter = Starter()
    server = LocalPostgres(root / "data", root / "socket", SETTINGS)
    try:
        server.start()
        proxy = Proxy(root / "socket" / ".s.PGSQL.5432")
        files = root / "rounds"
        files.mkdir()
        worker = Worker(number, f"template_{number}", files, starter, proxy, server)
        make_base(worker, server)
        for seed in seeds:
            results.put(play(seed, worker))
        proxy.close()
    finally:
        starter.close()
        server.stop("immediate")
        shutil.rmtree(root, ignore_errors=True)


def make_base(worker: Worker, server: LocalPostgres) -> None:
    """The template: the base release, applied."""
    Database(server, "postgres").ask(f'CREATE DATABASE "{worker.template}"')
    base = Round(0, worker)
    base.migrations = []
    base.database = Database(server, worker.template)
    write_release(base.folder, [], bodies.BASE_TEXT)
    made = base._finish("the base", RELEASE="v1")
    if made.status:
        raise SystemExit(f"The base cannot be made:\n{made.output}")


def play(seed: int, worker: Worker) -> tuple[int, str, Counter[str]]:
    """One round: its seed, what is wrong and the whole story if anything is, and what was tried."""
    played = Round(seed, worker)
    logs = ""
    try:
        try:
            played.run_whole()
        except Failed as failed:
            logs = f"{failed}\n{played.story()}\n{played.logs}"
    except Exception as error:
        logs = f"the harness failed: {error!r}\n{played.story()}\n{played.logs}"
    tried = Counter(f"fault {name}" for name, _lines, _after_s in played.planned)
    tried.update(f"body {each.kind.name}" for each in played.migrations)
    tried.update(f"ended {process.status}" for process in played.processes)
    tried["faults in time"] += played.befell
    return seed, logs, tried


def main() -> int:
    """Play the rounds; 1 if anything was wrong in any."""
    rounds = int(os.environ.get("ROUNDS") or 30)
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
    seeds = [int(text) for text in sys.argv[1:]] or [seed * 100_000 + number for number in range(rounds)]
    print(f"{len(seeds)} rounds of seed {seed}", flush=True)
    began = time.monotonic()
    results: multiprocessing.Queue[tuple[int, str, Counter[str]]] = multiprocessing.Queue()
    workers = [
        multiprocessing.Process(target=work, args=(number, seeds[number::WORKERS], results))
        for number in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    tried: Counter[str] = Counter()
    wrong = []
    for number in range(1, len(seeds) + 1):
        played, problem, of_round = results.get()
        tried += of_round
        if problem:
            wrong.append(played)
            print(f"\n==== round {played} is wrong: {problem}", flush=True)
        if number % 25 == 0:
            print(f"{number} rounds, {len(wrong)} wrong, {time.monotonic() - began:.0f} s", flush=True)
    for worker in workers:
        worker.join()
    for what, times in sorted(tried.items()):
        print(f"  {what}: {times}")
    print(f"{len(seeds)} rounds in {time.monotonic() - began:.0f} s, {len(wrong)} wrong: {wrong}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
