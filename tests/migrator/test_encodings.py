"""A database in an older encoding takes a release whose name it has no characters for."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from tests.conftest import with_server
from tests.faults.migrator import query
from tests.migrator.releases import CREATE, Release, migration


def test_a_release_whose_name_the_database_cannot_hold_is_migrated(database_url: str, tmp_path: Path) -> None:
    parts = urlsplit(database_url)
    name = parts.path[1:] + "_latin"
    url = urlunsplit(parts._replace(path=f"/{name}"))
    with_server(
        database_url, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    try:
        release = Release(tmp_path, "v1", {"0001_initial": migration(CREATE)})

        ran = release.run(url, RELEASE="v–1 ✓")

        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert query(url, "SELECT DISTINCT release FROM migrator_runs") == [(r"v\u20131 \u2713",)]
    finally:
        with_server(database_url, f"DROP DATABASE {name} WITH (FORCE)")
