"""`make mutation-test`: does anybody notice when the migrator's code is changed in a small way?

A sample of SAMPLE mutants of the rooms below, by SEED; each is tried with some of the tests that run its line, until
one fails. Which test runs which line is measured first, in every process that a test starts; MAP=file keeps that. What
the tests do not notice, the type checker may, which nothing gets past into a release: those are counted apart.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import suppress
from itertools import accumulate, count
from pathlib import Path

import coverage

from rupaya.localdb import SUPERUSER, LocalPostgres
from tests.mutation.mutants import Candidate, Mutant, candidates

PROJECT = Path(__file__).resolve().parents[2]
ROOMS = tuple((os.environ.get("ROOMS") or "run plan session ledger").split())
TESTS = tuple((os.environ.get("TESTS") or "").split()) or (
    "tests/migrator", "--ignore=tests/migrator/authoring", "--ignore=tests/migrator/gate",
    "tests/faults", "--ignore=tests/faults/test_simultaneous.py", "tests/test_early_exit.py",
    "tests/story/test_trace.py",
)  # fmt: skip
COPIED = ("rupaya", "accounts", "transactions", "tests", "bench", "deploy", "docs", "infra", "manage.py",
          "pyproject.toml", "entrypoint.sh", "gunicorn.conf.py", "schema.sql", "README.md", "CHANGELOG.md")  # fmt: skip
WORKERS = 2
REACH = 0.85
# Tests that a mutant is tried with: some that are about its module, as many as take so long, and so many quick ones; if
# it survives them, as many others as take so long.
SPECIFIC, SPECIFIC_S, QUICK_S, OTHERS_S = 12, 20.0, 6.0, 60.0
HANGS_S = 180
FAILED_AT_MOST = 5
SERVER = {"fsync": "off", "max_connections": "100", "shared_buffers": "64MB"}

Map = dict[str, dict[str, list[str]]]
Job = tuple[Mutant, tuple[list[str], list[str]]]
TESTED, TYPED, SURVIVED = "tests", "types", ""
"""By what a mutant was caught."""


def copy_project(to: Path) -> Path:
    """The project's files, whose mutants are no danger to anybody."""
    to.mkdir()
    for name in COPIED:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy2(source, to / name)
    return to


def run_tests(
    tree: Path,
    url: str,
    tests: list[str],
    *options: str,
    timeout_s: float,
    said: int = subprocess.DEVNULL,
    **variables: str,
) -> int:
    """pytest in a copy, which writes to the file `said`; its exit status, or 1 if it hangs."""
    env = os.environ | {"DATABASE_URL": url, "RUPAYA_ENV": "test", "PYTHONDONTWRITEBYTECODE": "1"} | variables
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "--no-cov", "-q", "-p", "no:cacheprovider", *options, *tests],
        cwd=tree, env=env, stdout=said, stderr=said, start_new_session=True,
    )  # fmt: skip
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):  # it may just have ended
            os.killpg(process.pid, 9)
        process.wait()
        return 1


def measured(root: Path, url: str) -> tuple[Map, dict[str, float]]:
    """Which tests run which line of the rooms, and how long each test takes."""
    tree = copy_project(root / "measured")
    config = root / "coveragerc"
    config.write_text(
        "[run]\ncontext = ${COVERAGE_TEST-none}\nparallel = true\nsigterm = true\npatch = _exit\n"
        f"data_file = {root}/coverage\nsource = {tree}/rupaya/migrator\n"
    )
    durations = root / "durations"
    said = root / "said"
    with said.open("w") as output:
        status = run_tests(
            tree, url, list(TESTS), "-p", "tests.mutation.contexts", "-n", str(WORKERS),
            timeout_s=3600, said=output.fileno(),
            COVERAGE_PROCESS_START=str(config), COVERAGE_DURATIONS=str(durations),
        )  # fmt: skip
    noted = [json.loads(line) for line in durations.read_text().splitlines()]
    failed = {test for test, took_s in noted if took_s is None}
    if status not in (0, 1) or len(failed) > FAILED_AT_MOST:
        end = "\n".join(said.read_text().splitlines()[-40:])
        raise SystemExit(f"The tests fail without any mutant: exit status {status}.\n{end}")
    for test in sorted(failed):
        print(f"fails without any mutant, and is left out: {test}", flush=True)
    data = coverage.Coverage(data_file=str(root / "coverage"), config_file=False)
    data.combine()
    lines: Map = {}
    found = data.get_data()
    for path in found.measured_files():
        name = str(Path(path).relative_to(tree))
        if any(name.startswith(f"rupaya/migrator/{room}/") for room in ROOMS):
            lines[name] = {
                str(line): sorted({test for test in map(_test_of, contexts) if "::" in test} - failed)
                for line, contexts in found.contexts_by_lineno(path).items()
            }
    return lines, dict(noted)


def _test_of(context: str) -> str:
    """A process that a test started has one context, the test's own process one beside the one that it began with."""
    return context.rpartition("|")[2]


def chosen_tests(line: int, module: dict[str, list[str]], took_s: dict[str, float]) -> tuple[list[str], list[str]]:
    """Some of the tests that run a line, and those for what survives them.

    First those that run much of its module that few others run, and quick ones.
    """
    about: dict[str, float] = defaultdict(float)
    for contexts in module.values():
        for test in contexts:
            about[test] += 1 / len(contexts)
    here = module.get(str(line), [])

    def seconds(test: str) -> float:
        return took_s.get(test, 9.0)

    def within(tests: list[str], at_most_s: float) -> list[str]:
        so_far_s = accumulate(map(seconds, tests))
        return [test for test, s in zip(tests, so_far_s, strict=True) if s <= at_most_s]

    specific = sorted(here, key=lambda test: -about[test])[:SPECIFIC]
    first = {*within(sorted(specific, key=seconds), SPECIFIC_S), *within(sorted(here, key=seconds), QUICK_S)}
    others = sorted(set(here) - first, key=lambda test: -about[test] / max(seconds(test), 0.3))
    return sorted(first, key=seconds), sorted(within(others, OTHERS_S), key=seconds)


def has_types_that_fit(tree: Path) -> bool:
    """Whether `make lint`'s type checker has nothing to say of a copy."""
    return not subprocess.run([os.environ["MYPY"]], cwd=tree, stdout=subprocess.DEVNULL, check=False).returncode


def work(
    number: int,
    root: Path,
    url: str,
    jobs: list[Job],
    results: multiprocessing.Queue[tuple[Mutant, str]],
) -> None:
    """Try some mutants in a copy of this worker's own."""
    tree = copy_project(root / f"worker_{number}")
    assert has_types_that_fit(tree), "the type checker complains without any mutant"
    moments = count(int(time.time()))

    def write(path: Path, text: str) -> None:
        """At a second of its own: by that, and by its size, the type checker knows a file that has changed."""
        path.write_text(text)
        os.utime(path, (moment := next(moments), moment))

    for mutant, (first, others) in jobs:
        path = tree / mutant.path
        original = path.read_text()
        write(path, mutant.text)
        try:
            if any(run_tests(tree, url, tests, "-x", timeout_s=HANGS_S) for tests in (first, others) if tests):
                results.put((mutant, TESTED))
            else:
                results.put((mutant, SURVIVED if has_types_that_fit(tree) else TYPED))
        finally:
            write(path, original)


def main() -> int:
    """Measure, choose, try, and tell who survived; 1 if too many did."""
    size = int(os.environ.get("SAMPLE") or 300)
    seed = int(os.environ.get("SEED") or 1)
    at_most_s = float(os.environ.get("AT_MOST_S") or "inf")
    began = time.monotonic()
    root = Path(tempfile.mkdtemp(prefix="rupaya-mutation-", dir="/tmp"))
    root.chmod(0o755)
    server = LocalPostgres(root / "data", root / "socket", SERVER)
    try:
        server.start()
        url = server.url(user=SUPERUSER, database="postgres")
        kept = Path(os.environ["MAP"]) if os.environ.get("MAP") else None
        if kept is not None and kept.exists():
            lines, took_s = json.loads(kept.read_text())
        else:
            lines, took_s = measured(root, url)
            if kept is not None:
                kept.write_text(json.dumps([lines, took_s]))
        print(f"measured in {time.monotonic() - began:.0f} s", flush=True)
        every = [mutant for room in ROOMS for mutant in of_room(room)]
        sample = [each.made() for each in random.Random(seed).sample(every, min(size, len(every)))]
        jobs = [(mutant, chosen_tests(mutant.line, lines.get(mutant.path, {}), took_s)) for mutant in sample]
        print(f"{len(every)} mutants, of which {len(sample)} are tried", flush=True)
        return tell(jobs, root, url, began + at_most_s)
    finally:
        server.stop("immediate")
        shutil.rmtree(root, ignore_errors=True)


def of_room(room: str) -> list[Candidate]:
    """All mutants of a room."""
    found: list[Candidate] = []
    for path in sorted((PROJECT / "rupaya" / "migrator" / room).glob("*.py")):
        name = str(path.relative_to(PROJECT))
        found += candidates(name, path.read_text())
    return found


def tell(jobs: list[Job], root: Path, url: str, until: float) -> int:
    """Try them, and say who survived."""
    results: multiprocessing.Queue[tuple[Mutant, str]] = multiprocessing.Queue()
    survivors: list[tuple[Mutant, str]] = []
    workers = [
        multiprocessing.Process(target=work, args=(number, root, url, jobs[number::WORKERS], results))
        for number in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    caught: dict[str, Counter[str]] = {TESTED: Counter(), TYPED: Counter()}
    lost: Counter[str] = Counter()
    number_of = {str(mutant): len(first) + len(others) for mutant, (first, others) in jobs}
    for number in range(1, len(jobs) + 1):
        mutant, by = results.get()
        caught.get(by, lost)[mutant.path.split("/")[2]] += 1
        if by == SURVIVED:
            tests = number_of[str(mutant)]
            survivors.append((mutant, f"{tests} tests did not notice" if tests else "no test runs it"))
            print(f"survives: {mutant}", flush=True)
        if number % 20 == 0:
            print(f"{number} tried, {_of(caught[TESTED], caught[TYPED], lost)}", flush=True)
        if time.monotonic() > until:
            print(f"out of time after {number}")
            break
    for worker in workers:
        worker.terminate()
        worker.join()
    for mutant, why in survivors:
        print(f"  {mutant} ({why})")
    for room in ROOMS:
        print(f"{room}: {_of(*(Counter({room: each[room]}) for each in (caught[TESTED], caught[TYPED], lost)))}")
    print(_of(caught[TESTED], caught[TYPED], lost))
    noticed = caught[TESTED].total() + caught[TYPED].total()
    return 0 if noticed >= REACH * (noticed + lost.total()) else 1


def _of(tested: Counter[str], typed: Counter[str], lost: Counter[str]) -> str:
    by_tests, by_types = tested.total(), typed.total()
    of = max(1, by_tests + by_types + lost.total())
    return (
        f"{by_tests + by_types} of {of} caught, {100 * (by_tests + by_types) / of:.0f} %: "
        f"{by_tests} by tests, {100 * by_tests / of:.0f} %, and {by_types} more by the type checker"
    )


if __name__ == "__main__":
    sys.exit(main())
