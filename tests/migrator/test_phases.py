"""Expand and contract, deployed: what is owed, when it is paid, and what an older release does about a newer schema."""

from __future__ import annotations

from pathlib import Path

import psycopg2

from tests.faults.migrator import applied, query
from tests.migrator.releases import CREATE, Deployed, Release, migration

FIRST = {"0001_initial": migration(CREATE)}
ADD = {
    "0002_add_size": migration('migrations.AddField("item", "size", models.IntegerField(null=True))', "0001_initial")
}
REMOVE = {"0003_drop_colour": migration('migrations.RemoveField("item", "colour")', "0002_add_size")}
NEEDS_REMOVAL = {
    "0004_add_weight": migration(
        'migrations.AddField("item", "weight", models.IntegerField(null=True))', "0003_drop_colour"
    )
}


def columns(url: str) -> set[str]:
    rows = query(url, "SELECT attname FROM pg_attribute WHERE attrelid = 'shop_item'::regclass AND attnum > 0")
    return {name for (name,) in rows if not name.startswith(("....", "migrator_attic_"))}


def test_what_old_code_would_not_survive_is_owed_until_it_is_asked_for(deployed: Deployed, tmp_path: Path) -> None:
    database_url = deployed(Release(tmp_path, "v1", FIRST))
    release = Release(tmp_path, "v2", FIRST | ADD | REMOVE)

    rolled_out = release.run(database_url)
    assert rolled_out.returncode == 0, rolled_out.stderr
    assert "✓ shop.0002_add_size" in rolled_out.stdout
    assert "✓ shop.0003_drop_colour" in rolled_out.stdout
    owed = "Owed until 'manage.py migrate --contract', once no older release runs: shop.0003_drop_colour"
    assert owed in rolled_out.stdout
    assert "colour" in columns(database_url)
    again = release.run(database_url)
    assert again.returncode == 0  # what is owed is nothing to do
    assert "Nothing to migrate: all 3 migrations are applied" in again.stdout
    assert owed in again.stdout
    audited = release.run(database_url, "showmigrations", "--audit", "--check")
    assert audited.returncode == 0, audited.stdout + audited.stderr
    assert "Owed since release v2" in audited.stdout
    differing = release.run(database_url, "schemadiff")
    assert differing.returncode == 0, differing.stdout + differing.stderr

    paid = release.run(database_url, "migrate", "--contract")
    assert paid.returncode == 0, paid.stderr
    assert "✓ paid shop.0003_drop_colour" in paid.stdout
    assert "First start" not in paid.stdout
    assert columns(database_url) == {"id", "name", "size"}
    assert release.run(database_url, "schemadiff").returncode == 0


def test_what_new_code_needs_is_there_although_the_same_migration_removes_something(
    deployed: Deployed, tmp_path: Path
) -> None:
    """The everyday migration: a field added and another removed, from one `makemigrations`."""
    both = migration(
        'migrations.AddField("item", "motto", models.TextField(null=True)), migrations.RemoveField("item", "colour")',
        "0001_initial",
        header='phase = "contract"',
    )
    database_url = deployed(Release(tmp_path, "v1", FIRST))

    assert Release(tmp_path, "v2", FIRST | {"0002_motto": both}).run(database_url).returncode == 0

    assert {"motto", "colour"} <= columns(database_url)
    assert applied(database_url) == ["shop.0001_initial", "shop.0002_motto"]


RENAME = {"0002_rename": migration('migrations.RenameField("item", "colour", "hue")', "0001_initial")}


def test_a_rename_is_refused_before_anything_runs_with_the_way_to_write_it(deployed: Deployed, tmp_path: Path) -> None:
    database_url = deployed(Release(tmp_path, "v1", FIRST))

    refused = Release(tmp_path, "v2", FIRST | RENAME).run(database_url)

    assert refused.returncode == 14, refused.stdout + refused.stderr
    assert 'db_column="colour"' in refused.stderr
    assert applied(database_url) == ["shop.0001_initial"]


def test_debts_are_not_paid_while_an_older_release_is_connected(deployed: Deployed, tmp_path: Path) -> None:
    database_url = deployed(Release(tmp_path, "v1", FIRST))
    newer = Release(tmp_path, "v2", FIRST | ADD | REMOVE)
    assert newer.run(database_url).returncode == 0
    older = psycopg2.connect(database_url, application_name="release v1")
    try:
        refused = newer.run(database_url, "migrate", "--contract")
    finally:
        older.close()

    assert refused.returncode == 14, refused.stdout
    assert "of release v1" in refused.stderr
    assert "colour" in columns(database_url)
    assert newer.run(database_url, "migrate", "--contract").returncode == 0


def test_an_empty_history_holds_nothing(deployed: Deployed, tmp_path: Path) -> None:
    database_url = deployed(Release(tmp_path, "v2", FIRST | ADD | REMOVE))

    assert applied(database_url) == ["shop.0001_initial", "shop.0002_add_size", "shop.0003_drop_colour"]


def test_outside_production_nothing_is_held(deployed: Deployed, tmp_path: Path) -> None:
    database_url = deployed(Release(tmp_path, "v1", FIRST))

    assert Release(tmp_path, "v2", FIRST | ADD | REMOVE).run(database_url, MIGRATE_PHASE="all").returncode == 0
    assert len(applied(database_url)) == 3


def test_a_rollback_pays_nothing_wherever_it_runs(deployed: Deployed, tmp_path: Path) -> None:
    database_url = deployed(Release(tmp_path, "v1", FIRST))
    newer = Release(tmp_path, "v2", FIRST | ADD | REMOVE)
    assert newer.run(database_url).returncode == 0

    ran = newer.run(database_url, "rollback", MIGRATE_PHASE="all")

    assert ran.returncode == 0, ran.stderr
    assert "paid" not in ran.stdout
    assert columns(database_url) == {"id", "name", "colour"}


def test_the_next_release_is_not_blocked_by_what_is_owed(database_url: str, tmp_path: Path) -> None:
    for number, texts in enumerate((FIRST, FIRST | ADD | REMOVE, FIRST | ADD | REMOVE | NEEDS_REMOVAL)):
        ran = Release(tmp_path, f"v{number}", texts).run(database_url)
        assert ran.returncode == 0, ran.stderr

    assert "colour" in columns(database_url)
    assert "weight" in columns(database_url)


def test_an_older_release_starts_on_an_expanded_schema_and_refuses_a_contracted_one(
    deployed: Deployed, tmp_path: Path
) -> None:
    older = Release(tmp_path, "v1", FIRST)
    newer = Release(tmp_path, "v2", FIRST | ADD | REMOVE)
    database_url = deployed(older)
    assert newer.run(database_url).returncode == 0

    started = older.run(database_url)
    assert started.returncode == 0
    assert "ahead of this release by 2 migrations: shop.0002_add_size, shop.0003_drop_colour" in started.stdout

    assert newer.run(database_url, "migrate", "--contract").returncode == 0
    refused = older.run(database_url)
    assert refused.returncode == 14
    assert "older than a breaking migration: shop.0003_drop_colour (release v2)" in refused.stderr
