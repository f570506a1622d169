"""Who takes part, and how each is started: ours, stock Django, Knex, and the floors below which none can come."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from bench.measure import measure
from bench.server import Database, Server
from rupaya.localdb import OWNER, binary

PROJECT = Path(__file__).resolve().parent.parent
BENCH = PROJECT / "bench"
CACHE = PROJECT / ".data" / "bench" / "knex"
NPM_INSTALL_TIMEOUT_S = 300
KNEX_PARTS = 5  # the original's five migrations


class Unavailable(Exception):
    """A contestant cannot take part; the text says why."""


@dataclass(frozen=True)
class Contestant:
    """A migrator: its name in the tables, and the command that applies everything pending."""

    name: str
    command: tuple[str, ...]
    first_step: tuple[str, ...] = ()
    """Applies only the first migration of a fixture."""
    cwd: Path = PROJECT
    variables: dict[str, str] = field(default_factory=dict)

    def environment(self, database: Database) -> dict[str, str]:
        """The same few variables for everyone, so that nothing of the caller's shell slows one of them down."""
        return base_environment() | database.variables() | self.variables


def base_environment() -> dict[str, str]:
    """What every contestant gets: a path, a home, and the environment `test` (no DEBUG, and no TLS to a socket)."""
    kept = {key: value for key, value in os.environ.items() if key in ("HOME", "LANG")}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return kept | {"PATH": path, "RUPAYA_ENV": "test", "WEB_CONCURRENCY": "1", "NPM_CONFIG_UPDATE_NOTIFIER": "false"}


def ours(fixture: str = "") -> Contestant:
    """This project, or the migrator alone with a fixture app."""
    command = (sys.executable, "manage.py", "migrate")
    variables = {"DJANGO_SETTINGS_MODULE": "bench.fixtures.ours", "BENCH_FIXTURE": fixture} if fixture else {}
    return Contestant("ours", (*command, "--noinput"), (*command, fixture, "0001", "--noinput"), variables=variables)


def stock(fixture: str = "") -> Contestant:
    """The same apps without the migrator, under Django's own `migrate`."""
    command = (sys.executable, "bench/stock/manage.py", "migrate")
    variables = {"PYTHONPATH": str(PROJECT), "DJANGO_SETTINGS_MODULE": "bench.stock.settings"}
    if fixture:
        variables |= {"DJANGO_SETTINGS_MODULE": "bench.fixtures.stock", "BENCH_FIXTURE": fixture}
    return Contestant(
        "stock Django", (*command, "--noinput"), (*command, fixture, "0001", "--noinput"), variables=variables
    )


def knex(fixture: str = "") -> Contestant:
    """`knex migrate:latest`, over the same tables as ours or over a fixture's."""
    program = str(CACHE / "node_modules" / ".bin" / "knex")
    return Contestant(
        "knex migrate:latest",
        (program, "migrate:latest"),
        (program, "migrate:up"),
        cwd=CACHE,
        variables={"KNEX_MIGRATIONS": fixture} if fixture else {},
    )


def npm_run_migrate() -> Contestant:
    """What the original's entrypoint runs: Knex behind npm."""
    return Contestant("npm run migrate", ("npm", "run", "migrate"), cwd=CACHE)


def floors() -> list[Contestant]:
    """What nothing written in Python, and nothing that asks PostgreSQL from Python, can undercut."""
    query = "import psycopg2, os; c = psycopg2.connect(os.environ['DATABASE_URL']); c.cursor().execute('SELECT 1')"
    return [
        Contestant("floor: `python -c pass`", (sys.executable, "-c", "pass")),
        Contestant("floor: Python, psycopg2, one query", (sys.executable, "-c", query)),
    ]


class Lineup:
    """The contestants that this machine has, and why the others are not here."""

    def __init__(self, server: Server) -> None:
        self.missing: dict[str, str] = {}
        try:
            install_knex(server)
        except Unavailable as reason:
            self.missing["Knex"] = str(reason)

    def migrators(self, fixture: str = "") -> list[Contestant]:
        """Ours first, then those that it is compared with."""
        found = [ours(fixture), stock(fixture)]
        return found if self.missing else [*found, knex(fixture)]

    def migrators_of_the_service(self) -> list[Contestant]:
        """The same, and Knex once more in the way in which the original starts it."""
        found = self.migrators()
        return found if self.missing else [*found, npm_run_migrate()]


def install_knex(server: Server) -> None:
    """Lay out bench/knex with its packages and our schema, outside version control.

    Raises:
        Unavailable: if there is no npm, or it cannot install the packages.
    """
    if shutil.which("npm") is None or shutil.which("node") is None:
        raise Unavailable("npm or node is not installed")
    shutil.copytree(BENCH / "knex", CACHE, dirs_exist_ok=True)
    (CACHE / "schema.sql").write_text(schema_of_ours(server))
    npm = ("npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline")
    try:
        done = subprocess.run(
            npm, cwd=CACHE, capture_output=True, text=True, timeout=NPM_INSTALL_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"npm install did not end within {NPM_INSTALL_TIMEOUT_S} s") from None
    if done.returncode != 0:
        code = re.search(r"error code (\w+)", done.stderr)
        raise Unavailable(f"npm install failed ({code[1] if code else f'exit {done.returncode}'})")


def schema_of_ours(server: Server) -> str:
    """Our migrated database as SQL, rows of the first deploy included, cut into `KNEX_PARTS` parts for Knex to run."""
    with server.database() as database:
        migrated = measure(ours(), database)
        if migrated.status != 0:
            raise Unavailable(f"our own schema, which it needs, could not be made:\n{migrated.output}")
        dump = subprocess.run(
            [
                binary("pg_dump"), "--no-owner", "--no-privileges", "--rows-per-insert=1000",
                "--exclude-table=django_migrations", "--exclude-table=migrator_*",
                "--exclude-table=django_migrations_id_seq",
                f"--host={database.socket_dir}", f"--dbname={database.name}", f"--username={OWNER}",
            ],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    # What stands before the first entry empties the search path, in which Knex has to find its own tables.
    _preamble, *entries = re.split(r"^--\n-- (?=(?:Data for )?Name: )", dump, flags=re.MULTILINE)
    entries = [
        re.sub(r"^\\.*$", "", entry, flags=re.MULTILINE)  # psql's commands are not SQL
        for entry in entries
        if not entry.startswith("Name: migrator_")  # the ledger's functions, which no option leaves out
    ]
    size = -(-len(entries) // KNEX_PARTS)
    parts = [entries[start : start + size] for start in range(0, len(entries), size)]
    return "-- PART\n".join("".join(f"-- {entry}" for entry in part) for part in parts)
