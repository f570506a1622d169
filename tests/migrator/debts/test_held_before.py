"""A database in which the release before debts has held migrations back is taken over by today's code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from tests.faults.migrator import applied, query
from tests.migrator.releases import CREATE, Release, migration

LEFT = Path(__file__).parents[1] / "fixtures" / "held_rule.sql"
V2 = {
    "0001_initial": migration(CREATE),
    "0002_size": migration('migrations.AddField("item", "size", models.IntegerField(null=True))', "0001_initial"),
    "0003_motto": migration(
        'migrations.AddField("item", "motto", models.TextField(null=True)), migrations.RemoveField("item", "colour")',
        "0002_size",
        'phase = "contract"',
    ),
    "0004_tidy": migration(
        'migrations.RunSQL("UPDATE shop_item SET name = upper(name)", migrations.RunSQL.noop)',
        "0003_motto",
        'phase = "contract"',
    ),
}
V3 = V2 | {
    "0005_weight": migration('migrations.AddField("item", "weight", models.IntegerField(default=1))', "0004_tidy")
}
OLD_STATEMENT = "INSERT INTO shop_item (name, colour) VALUES ('jug', 'blue')"


@pytest.fixture
def left(database_url: str) -> str:
    """The address of what the held rule left: two rows, and a release that counts as settled without 0003 and 0004."""
    connection = psycopg2.connect(database_url)
    with connection, connection.cursor() as cursor:
        cursor.execute(LEFT.read_text())
    connection.close()
    assert query(database_url, "SELECT held FROM migrator_settled_releases ORDER BY run_id DESC LIMIT 1") == [
        (["shop.0003_motto", "shop.0004_tidy"],)
    ]
    return database_url


@pytest.mark.parametrize("migrations", [V2, V3], ids=["the same release again", "the next one"])
def test_what_was_held_is_carried_out_by_halves_and_paid(left: str, migrations: dict[str, str], tmp_path: Path) -> None:
    release = Release(tmp_path, "v3", migrations)

    done = release.run(left)

    assert done.returncode == 0, done.stdout + done.stderr
    assert applied(left) == [f"shop.{name}" for name in sorted(migrations)]
    query(left, OLD_STATEMENT)
    assert query(left, "SELECT count(motto), count(colour) FROM shop_item") == [(0, 2)]
    owed = query(left, "SELECT migration, kind FROM migrator_debts WHERE state = 'owed' ORDER BY debt_id")
    assert owed[:2] == [("0003_motto", "column"), ("0004_tidy", "operation")]
    again = release.run(left)
    assert (again.returncode, "Nothing to migrate" in again.stdout) == (0, True)

    paid = release.run(left, "migrate", "--contract")

    assert paid.returncode == 0, paid.stderr
    assert query(left, "SELECT count(*) FROM migrator_debts WHERE state = 'owed'") == [(0,)]
    assert query(left, "SELECT name FROM shop_item ORDER BY id") == [("CUP",), ("POT",), ("JUG",)]
    assert query(left, "SELECT to_jsonb(i) ? 'colour' FROM shop_item i LIMIT 1") == [(False,)]
    audit = release.run(left, "showmigrations", "--audit", "--check")
    assert audit.returncode == 0, audit.stdout + audit.stderr


def test_held_and_settled_is_not_taken_for_settled_by_the_early_exit(left: str, tmp_path: Path) -> None:
    """Its files are just those that the held rule had settled."""
    release = Release(tmp_path, "v2", V2)

    assert release.run(left).returncode == 0

    assert applied(left) == [f"shop.{name}" for name in sorted(V2)]


def test_what_was_held_can_be_unapplied_before_it_is_paid(left: str, tmp_path: Path) -> None:
    release = Release(tmp_path, "v3", V2)
    assert release.run(left).returncode == 0

    assert release.run(left, "rollback").returncode == 0

    assert applied(left) == ["shop.0001_initial", "shop.0002_size"]
    query(left, OLD_STATEMENT)
    assert query(left, "SELECT count(*) FROM migrator_debts WHERE state = 'owed'") == [(0,)]


def test_what_is_unapplied_by_fake_owes_nothing_any_more(left: str, tmp_path: Path) -> None:
    release = Release(tmp_path, "v3", V2)
    assert release.run(left).returncode == 0

    assert release.run(left, "migrate", "--fake", "shop", "0002").returncode == 0

    assert applied(left) == ["shop.0001_initial", "shop.0002_size"]
    states = query(left, "SELECT kind, state FROM migrator_debts ORDER BY debt_id")
    assert states == [("column", "cancelled"), ("operation", "cancelled")]
    assert query(left, "SELECT to_jsonb(i) ? 'colour' FROM shop_item i LIMIT 1") == [(True,)]


def test_paying_is_rehearsed_before_and_after_the_migration_is_applied(left: str, tmp_path: Path) -> None:
    release = Release(tmp_path, "v3", V2)

    ahead = rehearsed(release, left)
    assert release.run(left).returncode == 0
    owed = rehearsed(release, left)

    assert [step["migration"] for step in ahead["steps"]] == ["shop.0003_motto", "shop.0004_tidy"]
    assert owed["steps"] == []
    for rehearsal in (ahead, owed):
        drop, tidy = rehearsal["paid"]
        assert drop["migration"] == "shop.0003_motto (Remove field colour from item): column shop_item.colour"
        assert {"shop_item": "AccessExclusive"} in [statement["locks"] for statement in drop["statements"]]
        assert [statement["sql"] for statement in tidy["statements"]] == ["UPDATE shop_item SET name = upper(name)"]
        assert any("shop_item.colour" in change for change in rehearsal["changes_by_paying"])
        assert rehearsal["left_behind"] == rehearsal["differs_again"] == []
    text = release.run(left, "migrate", "--rehearse").stdout
    assert text.startswith("Rehearsed 2 payments in a scratch database")
    assert query(left, "SELECT count(*) FROM migrator_debts WHERE state = 'owed'") == [(2,)]


def rehearsed(release: Release, url: str) -> dict[str, Any]:
    done = release.run(url, "migrate", "--rehearse", "--format", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return found
