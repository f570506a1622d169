"""A PostgreSQL with contrib's `pg_stat_statements`, which the embedded one lacks: the system's, started for a test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rupaya import localdb
from rupaya.localdb import SUPERUSER, LocalPostgres
from tests.faults.migrator import query

SETTINGS = {"fsync": "off", "shared_preload_libraries": "pg_stat_statements", "wal_level": "logical"}
INSTALLED = sorted(Path("/usr/lib/postgresql").glob("*/lib/pg_stat_statements.so"))


@contextmanager
def statistics_server(tables: str = "") -> Iterator[LocalPostgres]:
    """The server with these tables, which belong to no superuser; the test is skipped where there is none."""
    if not INSTALLED:
        pytest.skip("no PostgreSQL with pg_stat_statements is installed (Debian: postgresql, with contrib)")
    programs = INSTALLED[-1].parents[1] / "bin"
    root = Path(tempfile.mkdtemp(prefix="rupaya-statistics-"))
    root.chmod(0o755)
    patch = pytest.MonkeyPatch()
    patch.setattr(localdb, "binary", lambda name: programs / name)
    server = LocalPostgres(root / "data", root / "socket", SETTINGS)
    try:
        server.start()
        server.psql("CREATE EXTENSION pg_stat_statements", database=localdb.DATABASE)
        server.psql(f"GRANT pg_read_all_stats TO {localdb.OWNER}")
        server.psql(f"GRANT CREATE ON SCHEMA public TO {localdb.OWNER}", database=localdb.DATABASE, user=SUPERUSER)
        if tables:
            query(server.url(), tables)
        yield server
    finally:
        server.stop("immediate")
        patch.undo()
        shutil.rmtree(root, ignore_errors=True)
