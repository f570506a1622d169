"""What the history says and the ledger does not bear out is named wherever somebody looks, and goes no further."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.migrator import query
from tests.migrator.releases import Deployed, Release, migration
from tests.migrator.test_atomicity import FIRST, sql

READINESS = """
import django; django.setup()
from django.db import connection
from rupaya.health.schema import read_schema_state
connection.ensure_connection()
state = read_schema_state(connection.connection)
print(f"{state.contradicted=} {state.unattested=} {state.breaking=} reason: {state.unready_reason}")
"""
RECORD = "INSERT INTO django_migrations (app, name, applied) VALUES ('shop', %s, now())"
ADD = migration('migrations.AddField("item", "size", models.IntegerField(null=True))', "0001_initial")


@pytest.fixture
def database_url(deployed: Deployed, release: Release) -> str:
    """The database of a release that is deployed."""
    return deployed(release)


def readiness(release: Release, url: str) -> str:
    return release.python(url, READINESS)


def test_what_is_recorded_although_it_failed_goes_nowhere_until_somebody_has_looked(
    release: Release, database_url: str
) -> None:
    release.write("0002_fails", sql("SELECT 1 / 0"))
    assert release.run(database_url).returncode == 13
    query(database_url, RECORD, "0002_fails")

    refused = release.run(database_url)
    ready = readiness(release, database_url)
    accepted = release.run(database_url, "migrate", "--accept-edited")

    assert refused.returncode == 14, refused.stdout + refused.stderr
    assert "shop.0002_fails (shop.0002_fails failed: " in refused.stderr
    assert "--accept-edited" in refused.stderr
    assert "contradicted=1" in ready
    assert "1 migration recorded as applied failed at the last attempt" in ready
    assert accepted.returncode == 0, accepted.stdout + accepted.stderr
    assert release.run(database_url).returncode == 0
    assert "contradicted=0 state.unattested=0 state.breaking=0 reason: \n" in readiness(release, database_url)
    assert release.run(database_url, "showmigrations", "--audit", "--check").returncode == 0


def test_what_somebody_else_went_on_with_contradicts_nothing(release: Release, database_url: str) -> None:
    release.write("0002_busy", sql("DO $$ BEGIN RAISE 'full' USING ERRCODE = 'out_of_memory'; END $$"))
    assert release.run(database_url).returncode == 13
    query(database_url, RECORD, "0002_busy")

    ran = release.run(database_url)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "by no attempt of the migrator: shop.0002_busy" in ran.stdout


def test_what_nobody_keeps_a_record_of_is_named_and_stops_older_releases_alone(
    release: Release, database_url: str, tmp_path: Path
) -> None:
    newer = Release(tmp_path, "v2", FIRST | {"0002_size": ADD})
    query(database_url, "ALTER TABLE shop_item ADD size integer")
    query(database_url, RECORD, "0002_size")

    older = release.run(database_url)
    of_older = readiness(release, database_url)
    started = newer.run(database_url)
    of_newer = readiness(newer, database_url)
    audited = newer.run(database_url, "showmigrations", "--audit", "--check")

    assert older.returncode == 14, older.stdout + older.stderr
    assert "shop.0002_size" in older.stderr
    assert "breaking=1" in of_older
    assert started.returncode == 0, started.stdout + started.stderr
    assert "by no attempt of the migrator: shop.0002_size" in started.stdout
    assert "unattested=1 state.breaking=0 reason: \n" in of_newer
    assert audited.returncode == 1
    assert "shop.0002_size is unattested" in audited.stderr

    assert newer.run(database_url, "migrate", "--accept-edited").returncode == 0
    assert "by no attempt" not in newer.run(database_url).stdout
    assert "breaking=0" in readiness(release, database_url)


def test_what_was_there_before_the_ledger_needs_no_attempt(release: Release, database_url: str) -> None:
    query(database_url, "UPDATE django_migrations SET id = 100 WHERE name = '0001_initial'")
    query(database_url, "INSERT INTO django_migrations (id, app, name, applied) VALUES (9, 'shop', '0000', now())")

    assert "state.unattested=0 state.breaking=0" in readiness(release, database_url)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (("shop", "0002"), "Done by this run: shop.0002_size."),
        (("shop",), "All migrations are applied."),
    ],
)
def test_what_a_handler_that_fails_leaves_is_asked(
    release: Release, database_url: str, target: tuple[str, ...], said: str
) -> None:
    release.write("0002_size", ADD)
    release.write("0003_more", ADD.replace("size", "more").replace("0001_initial", "0002_size"))
    (release.folder / "shop" / "models.py").touch()  # Django sends its signals for apps with models alone
    (release.folder / "shop" / "management").mkdir()
    (release.folder / "shop" / "management" / "__init__.py").write_text(
        "from django.db.models.signals import post_migrate\n\n\ndef fail(**_):\n    raise ValueError('no')\n\n\n"
        "post_migrate.connect(fail)\n"
    )

    failed = release.run(database_url, "migrate", *target)

    assert failed.returncode == 13, failed.stdout + failed.stderr
    assert said in failed.stderr


def test_what_nobody_asked_for_is_not_said_to_be_applied(release: Release, database_url: str) -> None:
    release.write("0002_size", ADD)

    ran = release.run(database_url, "migrate", "shop", "0001")

    assert "Nothing to migrate: 1 migration is applied, and 1 is pending but not asked for" in ran.stdout
