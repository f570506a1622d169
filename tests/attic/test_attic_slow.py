"""A million rows, and SIGKILL at every step: what was put away comes back, at a cost that rows do not set."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.faults.migrator import query
from tests.migrator.releases import Release
from tests.migrator.test_attic import ROWS, V1, V2, contents, fill, schema, traffic

pytestmark = pytest.mark.attic

MANY = 1_000_000
STEP = 6
"""Every so many-th statement is one to be killed after: each costs two processes."""


@pytest.fixture
def v1(tmp_path: Path) -> Release:
    return Release(tmp_path, "v1", V1)


@pytest.fixture
def v2(tmp_path: Path) -> Release:
    return Release(tmp_path, "v2", V2)


def killed_after(release: Release, url: str, number: int, *command: str) -> bool:
    """Run a command that is killed after a statement; False if it came to its end first."""
    ended = release.run_python(url, "-m", "tests.attic.killed", str(number), *command)
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    return ended.returncode != 0


def test_a_million_rows_are_put_away_and_brought_back_under_traffic(
    database_url: str, v1: Release, v2: Release, capsys: pytest.CaptureFixture[str]
) -> None:
    url = database_url
    assert v1.run(url).returncode == 0
    fill(url, MANY)
    before, drawn = contents(url), schema(v1, url)
    assert v2.run(url).returncode == 0
    read, write = "SELECT id, name FROM shop_item LIMIT 5", "INSERT INTO shop_item (name, maker_id) VALUES ('t', 1)"
    with traffic(url, [read, write]) as paying:
        assert v2.run(url, "migrate", "--contract").returncode == 0
    with traffic(url, [read]) as coming_back:
        assert v2.run(url, "rollback").returncode == 0
    with capsys.disabled():
        print(f"\nslowest while paying: {max(paying):.3f} s; while coming back: {max(coming_back):.3f} s")

    assert max(paying) < 1.5
    assert max(coming_back) < 1.5
    written = query(url, "SELECT count(*), count(*) FILTER (WHERE colour = 'white') FROM shop_item WHERE name = 't'")
    assert written[0][0] == written[0][1] > 0
    query(url, f"DELETE FROM shop_item WHERE id > {MANY}")
    assert contents(url) == before
    assert schema(v1, url) == drawn
    assert v1.run(url).returncode == 0


@pytest.mark.parametrize("command", [("migrate", "--contract"), ("rollback",)], ids=["paying", "coming back"])
def test_killed_at_any_statement_nothing_is_lost(
    database_url: str, v1: Release, v2: Release, command: tuple[str, ...]
) -> None:
    url = database_url
    assert v1.run(url).returncode == 0
    fill(url, ROWS)
    before, drawn = contents(url), schema(v1, url)
    assert v2.run(url).returncode == 0
    if command == ("rollback",):
        assert v2.run(url, "migrate", "--contract").returncode == 0
    number = 1
    while killed_after(v2, url, number, *command):
        number += STEP
        if command == ("rollback",) and query(url, "SELECT count(*) FROM django_migrations WHERE app = 'shop'") == [
            (1,)
        ]:
            # It came back whole; what is left is made sure of by whoever comes next.
            assert v2.run(url).returncode == 0
            assert query(url, "SELECT count(*) FROM pg_constraint WHERE NOT convalidated") == [(0,)]
            assert v2.run(url, "migrate", "--contract").returncode == 0
    assert number > STEP
    if command != ("rollback",):
        assert v2.run(url, "rollback").returncode == 0

    assert contents(url) == before
    assert schema(v1, url) == drawn
    assert v1.run(url).returncode == 0
