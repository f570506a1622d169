"""Releases made from this code: an image's files in a folder, with one migration more; fixtures for any test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.server.service import copy_release, last_migration, manage

# What production is told, but for TLS to the database: the test server speaks none.
PRODUCTION = {
    "RUPAYA_ENV": "production",
    "SECRET_KEY": "k3Jx-9vQ_pL2mZ8rT5wY1uB7nC4hD6gF0sA_eXoViMtRqWzKbN",
    "ALLOWED_HOSTS": "api.example.com",
    "RELEASE": "v7-abc1234",
    "GIT_SHA": "abc1234",
}
BEHIND_TLS = {"Host": "api.example.com", "X-Forwarded-Proto": "https"}

ADD_NICKNAME = f"""
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "{last_migration("accounts")}")]

    operations = [migrations.AddField("user", "nickname", models.CharField(max_length=50, null=True))]
"""

FAIL = f"""
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("accounts", "{last_migration("accounts")}")]

    operations = [
        migrations.RunSQL("ALTER TABLE users ADD COLUMN half_done integer"),
        migrations.RunSQL("ALTER TABLE there_is_no_such_table ADD COLUMN anything integer"),
    ]
"""

SLOW = f"""
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("accounts", "{last_migration("accounts")}")]
    statement_timeout_ms = 0

    operations = [
        migrations.RunSQL("ALTER TABLE users ADD COLUMN half_done integer"),
        migrations.RunSQL("SELECT pg_sleep(60)"),
    ]
"""


def _release(destination: Path, name: str, migration: str) -> Path:
    tree = copy_release(destination)
    (tree / "accounts" / "migrations" / f"{name}.py").write_text(migration)
    return tree


@pytest.fixture
def newer_release(tmp_path: Path) -> Path:
    """A release that adds a column."""
    return _release(tmp_path / "newer", "0100_add_nickname_to_users", ADD_NICKNAME)


@pytest.fixture
def failing_release(tmp_path: Path) -> Path:
    """A release whose migration fails half-way."""
    return _release(tmp_path / "failing", "0100_fails_half_way", FAIL)


@pytest.fixture
def slow_release(tmp_path: Path) -> Path:
    """A release whose migration takes a minute, unless it is stopped."""
    return _release(tmp_path / "slow", "0100_takes_a_minute", SLOW)


@pytest.fixture(scope="session")
def production_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This code with its static files collected, as the image has them."""
    tree = copy_release(tmp_path_factory.mktemp("production") / "tree")
    collected = manage(tree, "collectstatic", "--noinput", **PRODUCTION, DATABASE_URL="postgresql://nobody@h.invalid/n")
    assert collected.returncode == 0, collected.stderr
    return tree
