"""Releases made from this code: an image's files in a folder, with one migration more; fixtures for any test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.server.service import copy_release

ADD_NICKNAME = """
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0004_auth_token_revocation")]

    operations = [migrations.AddField("user", "nickname", models.CharField(max_length=50, null=True))]
"""

FAIL = """
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("accounts", "0004_auth_token_revocation")]

    operations = [
        migrations.RunSQL("ALTER TABLE users ADD COLUMN half_done integer"),
        migrations.RunSQL("ALTER TABLE there_is_no_such_table ADD COLUMN anything integer"),
    ]
"""

SLOW = """
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("accounts", "0004_auth_token_revocation")]

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
