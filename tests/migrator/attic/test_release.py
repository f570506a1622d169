"""A release that drops a column, its contract, regret, and the way back, by the commands that people run."""

from __future__ import annotations

from tests.faults.migrator import Migrator, migrate, query

EXPAND = {"apps": "recipes", "MIGRATE_PHASE": "expand"}


def ran(migrator: Migrator) -> str:
    assert migrator.process.returncode == 0, migrator.output
    return migrator.output


def test_dropped_paid_regretted_and_rolled_back_nothing_is_lost(database_url: str) -> None:
    ran(migrate(database_url, "migrate", "recipes", "0001", **EXPAND))
    query(
        database_url,
        "INSERT INTO payments (id, description, amount, status, reference, note) "
        "SELECT n, 'd', n, 's', n, 'note ' || n FROM generate_series(1, 20000) n",
    )
    ran(migrate(database_url, "migrate", "recipes", "0013", **EXPAND))
    ran(migrate(database_url, "migrate", "--contract", "recipes", "0013", **EXPAND))
    assert "Owed until" in ran(migrate(database_url, "migrate", **EXPAND))
    waiting = ran(migrate(database_url, "migrate", "--contract", **EXPAND, MIGRATE_CONTRACT_AFTER_H="24"))
    assert "and after" in waiting
    assert query(database_url, "SELECT count(note) FROM payments") == [(20_000,)]

    assert "paid recipes.0014_drop_note" in ran(migrate(database_url, "migrate", "--contract", **EXPAND))
    assert "payments.note" in ran(migrate(database_url, "attic", **EXPAND))
    plan = ran(migrate(database_url, "rollback", "--plan", **EXPAND))
    assert "payments.note comes back with the values of 20000 rows" in plan

    ran(migrate(database_url, "rollback", **EXPAND))

    assert query(database_url, "SELECT count(*) FROM payments WHERE note = 'note ' || id") == [(20_000,)]
    left = ran(migrate(database_url, "attic", **EXPAND))
    assert "payments.note" not in left
    assert "payments_guests" in left  # a table that the same batch had made

    again = ran(migrate(database_url, "migrate", **EXPAND))
    assert "payments_guests came back from the attic" in again
    assert "the same as" in ran(migrate(database_url, "schemadiff", "--against", "snapshot", **EXPAND))
