"""What a migration or a handler leaves open nobody would commit: it fails, and nothing claims success."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.migrator import applied, query
from tests.migrator.releases import Deployed, Release
from tests.migrator.test_django_habits import RELEASE, Foreign, foreign, tables

__all__ = ["foreign"]

PYTHON = """
from django.db import connection, migrations, transaction

def change(apps, schema_editor):
    {body}
    schema_editor.execute("CREATE TABLE kept (id integer)")
    {then}

class Migration(migrations.Migration):
    atomic, idempotent, phase = {atomic}, {idempotent}, "expand"
    dependencies = [("shop", "0001_initial")]
    operations = [migrations.RunPython(change, migrations.RunPython.noop)]
"""
LEFT_OPEN = {
    "autocommit off": ("transaction.set_autocommit(False)", "pass", False),
    "autocommit off after a commit": ("transaction.set_autocommit(False)", "transaction.commit()", False),
    "a block entered": ("transaction.atomic().__enter__()", "pass", False),
    "a block entered in the migration's own": ("transaction.atomic().__enter__()", "pass", True),
}


@pytest.mark.parametrize(("body", "then", "atomic"), LEFT_OPEN.values(), ids=LEFT_OPEN.keys())
def test_a_migration_that_leaves_a_transaction_open_fails_and_is_not_recorded(
    deployed: Deployed, release: Release, body: str, then: str, atomic: bool
) -> None:
    url = deployed(release)
    release.write("0002_open", PYTHON.format(body=body, then=then, atomic=atomic, idempotent=False))

    failed = release.run(url)

    assert failed.returncode == 13, failed.stdout + failed.stderr
    assert "shop.0002_open failed: it left a transaction open" in failed.stderr
    told = "It is not atomic: what it had committed before stays. The next run will stop and ask." in failed.stderr
    assert told == (not atomic)
    assert applied(url) == ["shop.0001_initial"]
    assert query(url, "SELECT outcome FROM migrator_attempts WHERE name = '0002_open'") == [("failed",)]
    assert query(url, "SELECT to_regclass('kept') IS NOT NULL") == [("commit" in then,)]


def test_one_that_may_run_again_is_not_asked_about(deployed: Deployed, release: Release) -> None:
    url = deployed(release)
    body = {"body": "transaction.set_autocommit(False)", "then": "pass", "atomic": False, "idempotent": True}
    release.write("0002_open", PYTHON.format(**body))

    failed = release.run(url)

    assert failed.returncode == 13, failed.stdout + failed.stderr
    assert "what it had committed before stays." in failed.stderr
    assert "stop and ask" not in failed.stderr


HANDLER = """
from django.apps import AppConfig
from django.db import connection, transaction
from django.db.models.signals import {signal}

def handler(**kwargs):
    {body}

class BlogConfig(AppConfig):
    name = "blog"
    def ready(self):
        {signal}.connect(handler, sender=self)
"""


def blog(foreign: Foreign, signal: str, body: str) -> None:
    package: Path = foreign.app("blog", "blog.apps.BlogConfig")
    (package / "apps.py").write_text(HANDLER.format(signal=signal, body=body))


@pytest.mark.parametrize("signal", ["pre_migrate", "post_migrate"])
@pytest.mark.parametrize("body", ["transaction.set_autocommit(False)", "connection.cursor().execute('BEGIN')"])
def test_a_handler_that_leaves_a_transaction_open_fails(foreign: Foreign, signal: str, body: str) -> None:
    blog(foreign, signal, body)

    failed = foreign.manage("migrate", extra=RELEASE)

    assert failed.returncode == 13, failed.stdout + failed.stderr
    assert f"A handler of {signal} failed: it left a transaction open" in failed.stderr
    assert ("blog_thing" in tables(foreign.url)) == (signal == "post_migrate")


def test_settings_that_a_handler_leaves_govern_no_migration(foreign: Foreign) -> None:
    blog(foreign, "pre_migrate", "connection.cursor().execute('SET search_path = pg_catalog')")

    ran = foreign.manage("migrate", extra=RELEASE)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "A handler of pre_migrate changed settings of the session and left them: search_path" in ran.stdout
    assert "blog_thing" in tables(foreign.url)


def test_a_handler_may_close_the_connection(foreign: Foreign) -> None:
    blog(foreign, "pre_migrate", "connection.close()")

    ran = foreign.manage("migrate", extra=RELEASE)

    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize(
    "setting",
    [
        'DATABASES["default"]["AUTOCOMMIT"] = False',
        'from psycopg2 import extensions\nDATABASES["default"]["OPTIONS"] = {"isolation_level": '
        "extensions.ISOLATION_LEVEL_SERIALIZABLE}",
    ],
)
def test_how_the_project_has_its_transactions_is_no_matter(foreign: Foreign, setting: str) -> None:
    foreign.app("blog")

    ran = foreign.manage("migrate", extra=f"{RELEASE}\n{setting}")

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "blog_thing" in tables(foreign.url)
    assert query(foreign.url, "SELECT DISTINCT outcome FROM migrator_attempts") == [("succeeded",)]
