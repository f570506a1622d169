"""`make gate-test`: every case of `cases.py`; which unsafe ones the gate missed, and which safe ones it refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rupaya.localdb import SUPERUSER, LocalPostgres
from tests.migrator.gate.cases import CASES, Case

WORKERS = 2
ALLOWED = 0.02
PROJECT = Path(__file__).resolve().parents[3]


def start(names: Sequence[str], url: str) -> subprocess.Popen[str]:
    """Try these cases in a process of their own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.migrator.gate.bench", *names],
        cwd=PROJECT,
        env={**os.environ, "DATABASE_URL": url, "RUPAYA_ENV": "test", "LOG_LEVEL": "ERROR"},
        stdout=subprocess.PIPE,
        text=True,
    )


def judged(process: subprocess.Popen[str]) -> dict[str, dict[str, list[str]]]:
    """What the process says of its cases, by their names; it fails if it could not try one."""
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"The cases could not be tried: exit status {process.returncode}.")
    return {result["name"]: result for result in map(json.loads, output.splitlines())}


def main(wanted: Sequence[str]) -> int:
    """Try the cases whose names begin so, or all; 1 if too many of them are judged wrongly."""
    cases = [case for case in CASES if not wanted or case.name.startswith(tuple(wanted))]
    began = time.monotonic()
    root = Path(tempfile.mkdtemp(prefix="rupaya-gate-", dir="/tmp"))
    root.chmod(0o755)  # the server runs as somebody else when this is root
    server = LocalPostgres(root / "data", root / "socket", {"fsync": "off"})
    try:
        server.start()
        url = server.url(user=SUPERUSER, database="postgres")
        processes = [start([case.name for case in cases[place::WORKERS]], url) for place in range(WORKERS)]
        results = {name: result for process in processes for name, result in judged(process).items()}
    finally:
        server.stop("immediate")
        shutil.rmtree(root, ignore_errors=True)
    if wanted:
        for result in results.values():
            print(result["name"], *result["told"], *result["excuses"], *result["notes"], sep="\n  ")
    return report(cases, results, time.monotonic() - began)


def report(cases: Sequence[Case], results: dict[str, dict[str, list[str]]], took_s: float) -> int:
    """Print what was missed and what was refused."""
    unsafe = [case for case in cases if case.rules]
    safe = [case for case in cases if not case.rules]
    missed = [case for case in unsafe if not results[case.name]["rules"]]
    refused = [case for case in safe if results[case.name]["rules"]]
    otherwise = [
        case for case in unsafe if case not in missed and not set(case.rules) & set(results[case.name]["rules"])
    ]
    for case in missed:
        print(f"missed: {case.name} ({', '.join(case.rules)})")
    for case in refused:
        print(f"refused: {case.name}", *results[case.name]["told"], sep="\n  ")
    for case in otherwise:
        print(
            f"for another reason: {case.name}, {', '.join(results[case.name]['rules'])} and not {', '.join(case.rules)}"
        )
    print(
        f"{len(cases)} changes in {took_s:.0f} s. "
        f"Of {len(unsafe)} unsafe ones {len(missed)} missed; of {len(safe)} safe ones {len(refused)} refused."
    )
    too_many = len(missed) > ALLOWED * len(unsafe) or len(refused) > ALLOWED * len(safe) or otherwise
    return 1 if too_many else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
