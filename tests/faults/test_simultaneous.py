"""Twenty migrators at once: none fails, none does another's work again, and nothing is left half-built."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.faults.migrator import Migrator, applied, invalid_indexes, migrate, query
from tests.faults.test_exit_codes import ended
from tests.faults.test_kills import ALL

MIGRATORS = 20
ROUNDS = int(os.environ.get("RUPAYA_FAULT_ROUNDS", "1"))


def start_all(url: str, **options: Any) -> list[str]:
    """Start them, wait for all, and return what they said; every one has succeeded."""
    migrators = [Migrator(url, **options) for _ in range(MIGRATORS)]
    ends = [ended(migrator) for migrator in migrators]
    failed = [output for status, output in ends if status != 0]
    assert not failed, f"{len(failed)} of {MIGRATORS} failed; the first:\n{failed[0]}"
    return [output for _status, output in ends]


def assert_exactly_once(url: str, outputs: list[str]) -> None:
    """Each migration is in the history once, in the ledger once as a success, and was said to be done once."""
    history = applied(url)
    assert len(history) == len(set(history))
    succeeded = [
        name
        for (name,) in query(
            url, "SELECT app || '.' || name FROM migrator_attempts WHERE outcome = 'succeeded' ORDER BY attempt_id"
        )
    ]
    assert succeeded == history
    assert query(url, "SELECT count(*) FROM migrator_attempts WHERE outcome <> 'succeeded'") == [(0,)]
    assert query(url, "SELECT outcome, count(*) FROM migrator_runs WHERE outcome <> 'succeeded' GROUP BY 1") == []
    assert invalid_indexes(url) == []
    for name in history:
        assert sum(f"✓ {name} " in output for output in outputs) <= 1
    assert query(
        url,
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database ="
        " (SELECT oid FROM pg_database WHERE datname = current_database())",
    ) == [(0,)]


@pytest.mark.parametrize("_round", range(ROUNDS))
def test_on_an_empty_database_all_succeed_and_each_migration_runs_once(database_url: str, _round: int) -> None:
    outputs = start_all(database_url)

    assert_exactly_once(database_url, outputs)
    assert sum("Batch 1 run" in output for output in outputs) == 1
    assert "Nothing to migrate" in migrate(database_url).output


@pytest.mark.slow
@pytest.mark.parametrize("_round", range(ROUNDS))
def test_data_is_migrated_once_and_a_concurrent_index_is_whole(database_url: str, _round: int) -> None:
    assert migrate(database_url, "migrate", "points", "0002", apps="points").process.returncode == 0

    outputs = start_all(database_url, apps="points")

    assert applied(database_url) == ALL
    assert_exactly_once(database_url, outputs)
    assert sum("Batch 2 run: 4 migrations" in output for output in outputs) == 1
    assert query(
        database_url,
        "SELECT count(*), sum(doubled) = 2 * sum(total), bool_and(done), bool_and(filled = total) FROM points_order",
    ) == [(3000, True, True, True)]
    assert query(database_url, "SELECT count(*) FROM points_post_migrate") == [(2,)]
