"""A first deployment of more tables than the server has locks for in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rupaya.localdb import SUPERUSER, LocalPostgres
from tests.faults.migrator import applied, query
from tests.faults.servers import SETTINGS, server_root
from tests.migrator.releases import Release, migration

TABLES = 12
MIGRATIONS = 14


@pytest.fixture
def small_server() -> Iterator[LocalPostgres]:
    """It has room for some hundreds of locks, where one as it is installed has it for some thousands."""
    with server_root() as root:
        settings = SETTINGS | {"max_connections": "10", "max_locks_per_transaction": "10"}
        server = LocalPostgres(root / "data", root / "socket", settings)
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")


@pytest.mark.slow
def test_it_commits_as_often_as_it_must(small_server: LocalPostgres, tmp_path: Path) -> None:
    texts = {
        f"{number:04d}_tables": migration(
            "".join(
                f'migrations.CreateModel("T{number}_{n}", [("id", models.BigAutoField(primary_key=True)), '
                '("a", models.CharField(max_length=5, unique=True)), ("b", models.TextField(db_index=True))]),'
                for n in range(TABLES)
            ),
            f"{number - 1:04d}_tables" if number > 1 else "",
        )
        for number in range(1, MIGRATIONS + 1)
    }
    url = small_server.url("postgres", SUPERUSER)
    release = Release(tmp_path, "v1", texts)

    refused = release.run(url, MIGRATE_BATCH="all")
    left = query(url, "SELECT count(*) FROM pg_class WHERE relname LIKE 'shop_%'")
    ran = release.run(url)

    assert refused.returncode == 13, refused.stdout + refused.stderr
    assert "out of shared memory" in refused.stderr
    assert "Nothing of this batch remains applied." in refused.stderr
    assert left == [(0,)]
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert applied(url) == [f"shop.{name}" for name in texts]
    assert query(url, "SELECT count(DISTINCT xmin::text) BETWEEN 2 AND 6 FROM django_migrations") == [(True,)]
    assert query(url, "SELECT count(*) FROM migrator_attempts WHERE outcome = 'started'") == [(0,)]
