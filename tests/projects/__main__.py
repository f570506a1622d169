"""`make projects-test`: each project from nothing, over what stock Django made, again, audited and linted."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from difflib import unified_diff
from pathlib import Path

from rupaya.localdb import LocalPostgres, binary

ROOT = Path(__file__).parents[2]
PROJECTS = ("oscar", "wagtail", "cms", *(["healthchecks"] if os.environ.get("HEALTHCHECKS") else []))
"""The packages, and Healthchecks, which is in no index, if HEALTHCHECKS names the folder of its source."""
CONTRACT = Path(__file__).parent / "contract"
"""What breaks code of the release before, by project; read by people when a version's migrations were new."""
# As often as it takes: a machine's noise must not decide.
FIRST_DEPLOYS = 3


class Failed(Exception):
    """A sentence of what is not as it should be."""


def django(
    socket: str, project: str, name: str, *arguments: str, ours: bool
) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run a management command of the project; its end, and how many seconds it took."""
    env = os.environ | {
        "PROJECT": project,
        "NAME": name,
        "PGSOCKET": socket,
        "OURS": "1" if ours else "",
        "DJANGO_SETTINGS_MODULE": "tests.projects.settings",
        "PYTHONWARNINGS": "ignore",
    }
    began = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-m", "django", *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    return ran, time.monotonic() - began


def done(socket: str, project: str, name: str, *arguments: str, ours: bool = True) -> tuple[str, float]:
    """Run a command that must succeed; what it said, and the seconds.

    Raises:
        Failed: with all that it said.
    """
    ran, took_s = django(socket, project, name, *arguments, ours=ours)
    said = ran.stdout + ran.stderr
    if ran.returncode:
        raise Failed(f"{' '.join(arguments)} ended with {ran.returncode}:\n{said[-3000:]}")
    return said, took_s


def schema(socket: str, name: str) -> str:
    """What `pg_dump --schema-only` says of a database, the migrator's own tables left out."""
    dumped = subprocess.run(
        [binary("pg_dump"), "-h", socket, "-U", "postgres", "--schema-only", "--no-owner", name],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    pieces = re.split(r"(?m)^--\n(?=-- Name: )", dumped)
    kept = "".join(piece for piece in pieces if "migrator_" not in piece.split("\n", 1)[0])
    # What pg_dump says between the objects belongs to whichever comes next.
    return re.sub(r"(?m)^(?:\\(?:un)?restrict .*|SET .*|--.*|)\n", "", kept)


def try_project(server: LocalPostgres, project: str) -> str:
    """All that is asked of one project; its line for people.

    Raises:
        Failed: for the first thing that is not so.
    """
    socket = str(server.socket_dir)
    stock_s, ours_s = [], []
    for number in range(FIRST_DEPLOYS):
        for name in (f"{project}_stock{number}", f"{project}_ours{number}"):
            server.psql(f'CREATE DATABASE "{name}"')
        stock_s.append(done(socket, project, f"{project}_stock{number}", "migrate", ours=False)[1])
        ours_s.append(done(socket, project, f"{project}_ours{number}", "migrate")[1])
    stock, ours = f"{project}_stock0", f"{project}_ours0"
    contract = server.psql("SELECT app || '.' || name FROM migrator_attempts WHERE phase = 'contract' ORDER BY 1", ours)
    _compare("other migrations than before are contract", (CONTRACT / f"{project}.txt").read_text(), contract)
    wanted = schema(socket, stock)
    _compare("the schema from nothing is not stock's", wanted, schema(socket, ours))
    done(socket, project, stock, "migrate")
    _compare("a run over what stock Django had migrated changed the schema", wanted, schema(socket, stock))
    for name in (ours, stock):
        again, _s = done(socket, project, name, "migrate")
        if "Nothing to migrate" not in again:
            raise Failed(f"the second start of {name} found something to do:\n{again}")
        done(socket, project, name, "showmigrations", "--audit", "--check")
    _again, again_s = done(socket, project, ours, "migrate")
    _stock, stock_again_s = done(socket, project, f"{project}_stock{FIRST_DEPLOYS - 1}", "migrate", ours=False)
    linted, _s = django(socket, project, ours, "lintmigrations", ours=True)
    if linted.returncode not in (0, 1) or "Traceback" in linted.stderr:
        raise Failed(f"lintmigrations ended with {linted.returncode}:\n{linted.stderr[-3000:]}")
    ratio = min(ours_s) / min(stock_s)
    return (
        f"{project}: first deploy {min(ours_s):.1f} s, stock {min(stock_s):.1f} s ({ratio:.2f}); "
        f"second start {again_s:.2f} s, stock {stock_again_s:.2f} s ({again_s / stock_again_s:.2f})"
    )


def _compare(sentence: str, wanted: str, found: str) -> None:
    different = list(unified_diff(wanted.splitlines(), found.splitlines(), "stock", "ours", lineterm="", n=1))
    if different:
        raise Failed("\n".join([sentence, *different[:40]]))


def main(wanted: list[str]) -> int:
    """Try the projects; 1 if something of any is not so."""
    folder = Path(tempfile.mkdtemp(prefix="rupaya-projects-"))
    folder.chmod(0o755)  # the server does not run as root
    server = LocalPostgres(folder / "data", folder / "socket", {"fsync": "off", "max_connections": "50"})
    server.start()
    failed = 0
    try:
        for project in wanted or PROJECTS:
            try:
                print(try_project(server, project), flush=True)
            except Failed as failure:
                failed += 1
                print(f"{project}: FAILED: {failure}", flush=True)
    finally:
        server.stop()
        shutil.rmtree(folder)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
