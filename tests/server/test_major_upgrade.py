"""A new major version of PostgreSQL under a database with people in it: from Debian's 15 to the embedded 18.

RDS upgrades by pg_upgrade; people who move a database by hand dump and restore it. Neither may look like a change.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench import people
from rupaya.localdb import SUPERUSER, LocalPostgres, binary
from tests.patience import HANGING_S
from tests.processes import python

pytestmark = pytest.mark.slow

PROGRAMS = Path("/usr/lib/postgresql/15/bin")
PEOPLE = 300


class Older(LocalPostgres):
    """Debian's PostgreSQL 15, with checksums as RDS has them and 18 makes them."""

    def program(self, name: str) -> Path:
        return PROGRAMS / name

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return super()._run(program, *arguments, *(["--data-checksums"] if program == "initdb" else []))


def minor_release(postgres: Path) -> int:
    """The 20 of ``postgres (PostgreSQL) 15.20 (Debian …)``."""
    return int(subprocess.check_output([postgres, "--version"]).split()[2].split(b".")[1])


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path, for sockets live there, which the servers' account may enter."""
    path = Path(tempfile.mkdtemp(prefix="rupaya-15-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def older(folder: Path) -> Iterator[Older]:
    """The database as the last release left it on 15, in use."""
    if not (PROGRAMS / "postgres").exists():
        pytest.skip(f"there is no PostgreSQL 15 in {PROGRAMS}: apt-get install postgresql-15")
    before, after = minor_release(PROGRAMS / "postgres"), minor_release(binary("postgres"))
    if before - 14 > after:  # 15.14 and 18.0 are of one day, and both have had a release a quarter since
        pytest.skip(f"PostgreSQL 15.{before} is newer than 18.{after}, which may not read what it dumps")
    server = Older(folder / "15", folder / "s15", {"fsync": "off"})
    server.start()
    try:
        assert python("manage.py", "migrate", "--noinput", **at(server)).returncode == 0
        people.load(server.url(), PEOPLE)
        yield server
    finally:
        server.stop("immediate")


@pytest.fixture
def newer(folder: Path) -> Iterator[LocalPostgres]:
    server = LocalPostgres(folder / "18", folder / "s18", {"fsync": "off"})
    try:
        yield server
    finally:
        server.stop("immediate")


def at(server: LocalPostgres) -> dict[str, str]:
    return {"RUPAYA_ENV": "test", "DATABASE_URL": server.url()}


def rows(server: LocalPostgres) -> str:
    """How many rows each table has, and what all of them say."""
    names = server.psql(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace", "rupaya"
    )
    counts = (
        f"SELECT '{name}', count(*), md5(string_agg(t::text, ';' ORDER BY t::text COLLATE \"C\")) FROM {name} t"
        for name in sorted(names.splitlines())
    )
    return server.psql(" UNION ALL ".join(counts) + " ORDER BY 1", "rupaya")


def dumped(older: Older, newer: LocalPostgres) -> None:
    """Into an empty database of the same owner's, by the newer programs, as PostgreSQL advises."""
    newer.start()
    dump = subprocess.run(
        [binary("pg_dump"), "--format=custom", "--dbname", older.url(user=SUPERUSER)],
        capture_output=True,
        timeout=HANGING_S,
        check=True,
    ).stdout
    restore = [binary("pg_restore"), "--exit-on-error", "--dbname", newer.url(user=SUPERUSER)]
    subprocess.run(restore, input=dump, timeout=HANGING_S, check=True)


def upgraded(older: Older, newer: LocalPostgres) -> None:
    """In its place, with the files that are there."""
    older.stop()
    newer._initialise()  # without the role and the database, which come with the files
    account = newer._account
    identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}
    command = [
        binary("pg_upgrade"),
        *("--old-bindir", PROGRAMS, "--new-bindir", binary("postgres").parent),
        *("--old-datadir", older.data_dir, "--new-datadir", newer.data_dir),
        *("--username", SUPERUSER, "--socketdir", newer.data_dir.parent / "s15"),
    ]
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    completed = subprocess.run(
        command, cwd=newer.data_dir, env=environment, text=True, capture_output=True, timeout=HANGING_S, check=False,
        **identity,
    )  # fmt: skip
    assert completed.returncode == 0, completed.stdout + completed.stderr
    newer.start()


@pytest.mark.parametrize("way", [dumped, upgraded])
def test_a_new_major_version_is_no_change_of_the_schema(
    older: Older, newer: LocalPostgres, way: Callable[[Older, LocalPostgres], None]
) -> None:
    before = rows(older)

    way(older, newer)

    assert newer.psql("SHOW server_version_num").startswith("18")
    assert rows(newer) == before
    migrated = python("manage.py", "migrate", "--noinput", **at(newer))
    assert migrated.returncode == 0, migrated.stderr
    assert "Nothing to migrate" in migrated.stdout
    compared = python("manage.py", "schemadiff", **at(newer))
    assert compared.returncode == 0, compared.stdout + compared.stderr
    assert "It was taken on PostgreSQL 15" in compared.stdout + compared.stderr
    audited = python("manage.py", "showmigrations", "--audit", "--check", **at(newer))
    assert audited.returncode == 0, audited.stdout + audited.stderr
    # It is not blind: what somebody changes afterwards is still seen.
    newer.psql("ALTER TABLE transactions ADD COLUMN by_hand text", "rupaya")
    changed = python("manage.py", "schemadiff", **at(newer))
    assert changed.returncode == 1
    assert "by_hand" in changed.stdout + changed.stderr
