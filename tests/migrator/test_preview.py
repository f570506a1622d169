"""`migrate --dry-run`: what a deploy would do, and no change whatever."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg2
import pytest

from tests.faults.migrator import invalid_indexes, query
from tests.migrator.releases import CREATE, Release, migration

V1 = {"0001_initial": migration(CREATE)}
ADD = migration('migrations.AddField("item", "size", models.IntegerField(null=True))', "0001_initial")
INDEX = """
from django.db import migrations, models
from django_pg_migration_tools.operations import SaferAddIndexConcurrently


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("shop", "0002_add_size")]
    operations = [SaferAddIndexConcurrently("item", models.Index(fields=["name"], name="item_name"))]
"""
DROP = migration('migrations.RemoveField("item", "colour")', "0003_index_name")


@pytest.fixture
def release(database_url: str, tmp_path: Path) -> Release:
    """A release with three pending migrations, the last of them held, on a database that has its first."""
    assert Release(tmp_path, "v1", V1).run(database_url).returncode == 0
    return Release(tmp_path, "v2", V1 | {"0002_add_size": ADD, "0003_index_name": INDEX, "0004_drop_colour": DROP})


def state(url: str) -> list[tuple[object, ...]]:
    return query(
        url,
        "SELECT (SELECT count(*) FROM django_migrations), (SELECT count(*) FROM migrator_runs), "
        "(SELECT string_agg(attname, ',') FROM pg_attribute WHERE attrelid = 'shop_item'::regclass AND attnum > 0), "
        "(SELECT count(*) FROM pg_class)",
    )


def test_it_shows_phases_sql_and_tables_and_changes_nothing(database_url: str, release: Release) -> None:
    before = state(database_url)
    reader = psycopg2.connect(database_url)
    reader.cursor().execute("SELECT * FROM shop_item")

    shown = release.run(database_url, "migrate", "--dry-run")

    assert shown.returncode == 0, shown.stderr
    assert "shop.0002_add_size (apply, expand, one transaction)" in shown.stdout
    assert 'ALTER TABLE "shop_item" ADD COLUMN "size" integer NULL;' in shown.stdout
    assert "shop.0003_index_name (apply, expand, not atomic)" in shown.stdout
    assert "table shop_item: never analysed" in shown.stdout
    assert "1 transaction open on it, the oldest" in shown.stdout
    assert "- shop.0004_drop_colour (Remove field colour from item): column shop_item.colour" in shown.stdout
    assert shown.stdout.rstrip().endswith("Nothing was changed.")
    reader.close()
    assert state(database_url) == before


def test_machines_get_json(database_url: str, release: Release) -> None:
    found = json.loads(release.run(database_url, "migrate", "--dry-run", "--format", "json").stdout)

    assert [(step["migration"], step["phase"]) for step in found["steps"]] == [
        ("shop.0002_add_size", "expand"),
        ("shop.0003_index_name", "expand"),
        ("shop.0004_drop_colour", "contract"),
    ]
    assert found["owed"] == ["shop.0004_drop_colour (Remove field colour from item): column shop_item.colour"]


def test_a_pull_request_gets_markdown(database_url: str, release: Release) -> None:
    shown = release.run(database_url, "migrate", "--dry-run", "--format", "markdown").stdout

    assert "### shop.0002_add_size" in shown
    assert "```sql" in shown


def test_an_invalid_index_is_not_dropped_by_looking(database_url: str, release: Release) -> None:
    query(database_url, "INSERT INTO shop_item (name) VALUES ('a'), ('a')")
    with pytest.raises(psycopg2.errors.UniqueViolation):
        query(database_url, "CREATE UNIQUE INDEX CONCURRENTLY item_name ON shop_item (name)")
    assert invalid_indexes(database_url) == ["item_name"]

    assert release.run(database_url, "migrate", "--dry-run").returncode == 0

    assert invalid_indexes(database_url) == ["item_name"]


ACTS_WHEN_LOOKED_AT = """
from django.db import migrations


class Nosy(migrations.RunSQL):
    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        with schema_editor.connection.cursor() as cursor:
            cursor.execute("INSERT INTO shop_item (name) VALUES ('nosy')")


class Migration(migrations.Migration):
    phase = "expand"
    dependencies = [("shop", "0001_initial")]
    operations = [Nosy("SELECT 1")]
"""


def test_an_operation_that_acts_when_looked_at_is_refused_by_the_server(database_url: str, release: Release) -> None:
    nosy = Release(release.folder.parent, "v3", V1 | {"0002_nosy": ACTS_WHEN_LOOKED_AT})

    shown = nosy.run(database_url, "migrate", "--dry-run")

    assert shown.returncode == 0
    assert "see 'migrate --rehearse'" in shown.stdout
    assert query(database_url, "SELECT count(*) FROM shop_item") == [(0,)]
