"""What a migration owes cannot always be foreseen: it is carried out all the same, and its failure is its own."""

from __future__ import annotations

import pytest

from tests.faults.migrator import query
from tests.migrator.releases import Deployed, Release, migration

ASKS = """
from django.db import connection

def ask():
    with connection.cursor() as cursor:
        cursor.execute({sql!r})
        return cursor.fetchone()[0]

"""
KIND = """
    migrations.CreateModel("Kind", [("id", models.BigAutoField(primary_key=True)), ("name", models.TextField())]),
    migrations.RunSQL("INSERT INTO shop_kind (name) VALUES ('plain')", ""),
"""
ADD = "migrations.AddField('Item', 'kind', models.IntegerField(default=ask))"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT min(id) FROM shop_kind",
        "INSERT INTO shop_kind (id, name) VALUES (7, 'made') ON CONFLICT (id) DO UPDATE SET name = 'met' RETURNING id",
    ],
)
def test_a_default_may_need_what_the_migration_before_makes(deployed: Deployed, release: Release, sql: str) -> None:
    url = deployed(release)
    query(url, "INSERT INTO shop_item (name) VALUES ('a')")
    release.write("0002_kind", migration(KIND, "0001_initial", header="phase = 'expand'"))
    text = migration(ADD, "0002_kind")
    release.write("0003_kinds", text.replace("\n\nclass", ASKS.format(sql=sql) + "\n\nclass", 1))

    ran = release.run(url)

    assert ran.returncode == 0, ran.stderr
    assert "What shop.0003_kinds and those after it would owe cannot be foreseen: ProgrammingError" in ran.stdout
    assert query(url, "SELECT kind FROM shop_item") in ([(1,)], [(7,)])


def test_what_a_default_writes_is_not_written_before_its_migration_runs(deployed: Deployed, release: Release) -> None:
    sql = "INSERT INTO shop_item (name) VALUES ('made') RETURNING id"
    url = deployed(release)
    release.write(
        "0002_kind", migration(ADD, "0001_initial").replace("\n\nclass", ASKS.format(sql=sql) + "\n\nclass", 1)
    )

    looked = release.run(url, "migrate", "--dry-run")
    assert looked.returncode == 0, looked.stderr
    release.write("0003_broken", migration("migrations.RunSQL('nonsense')", "0002_kind", header="phase = 'expand'"))
    ran = release.run(url, MIGRATE_BATCH="all")

    assert ran.returncode == 13
    assert query(url, "SELECT count(*) FROM shop_item") == [(0,)]


@pytest.mark.parametrize(
    "operation",
    [
        "migrations.AddField('Item', 'size', models.IntegerField(default='many'))",
        "migrations.AddField('Item', 'size', models.IntegerField(default=lambda: 1 // 0))",
        "migrations.AddIndex('Item', models.Index(fields=['missing'], name='by_missing'))",
        "migrations.AddConstraint('Item', models.CheckConstraint(condition=models.Q(missing=1), name='rule'))",
        "migrations.AlterField('Item', 'name', models.CharField(max_length=50, db_comment='100% of it'))",
    ],
)
def test_a_migration_that_is_wrong_fails_by_its_name(deployed: Deployed, release: Release, operation: str) -> None:
    url = deployed(release)
    release.write("0002_wrong", migration(operation, "0001_initial"))

    first, second = release.run(url), release.run(url)

    assert first.returncode == 13
    assert "MigrationFailed: shop.0002_wrong failed: " in first.stderr
    assert "The statement:" not in first.stderr
    assert "Its transaction was rolled back whole." in first.stderr
    assert second.returncode == 15
