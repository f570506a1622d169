"""MIGRATE_* settings: defaults, and nonsense by the id of its check."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.management import get_commands

from rupaya.migrator import conf
from rupaya.migrator.options import OPTIONS
from tests.faults.migrator import query


def ids() -> list[str]:
    return [str(message.id) for message in run_checks(tags=["migrator"])]


def test_the_defaults_are_no_nonsense() -> None:
    read, problems = conf.read()

    assert (asdict(read), problems) == ({name: option.default for name, option in OPTIONS.items()}, [])
    assert ids() == []


def test_in_a_deadlock_with_traffic_the_migration_gives_way(server_url: str) -> None:
    """The server ends whoever has waited for `deadlock_timeout`: that is traffic, which waited first."""
    ((deadlock_timeout_ms,),) = query(
        server_url, "SELECT boot_val::integer FROM pg_settings WHERE name = 'deadlock_timeout'"
    )

    assert OPTIONS["lock_timeout_ms"].default <= deadlock_timeout_ms - 200


def test_where_the_migrator_is_not_installed_nobody_replaces_it(settings: Any) -> None:
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "rupaya.migrator"]
    get_commands.cache_clear()
    try:
        assert ids() == []
    finally:
        get_commands.cache_clear()


def test_texts_from_the_environment_are_read_as_numbers(settings: Any) -> None:
    settings.MIGRATE_LOCK_TIMEOUT_MS = "250"
    settings.MIGRATE_DB_WAIT_S = "2.5"

    read, _problems = conf.read()

    assert (read.lock_timeout_ms, read.db_wait_s) == (250, 2.5)


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("MIGRATE_LOCK_TIMEOUT_MS", "soon", "migrator.E001"),
        ("MIGRATE_LOCK_TIMEOUT_MS", "0", "migrator.E001"),
        ("MIGRATE_LOCK_TIMEOUT_MS", "1.5", "migrator.E001"),
        ("MIGRATE_RETRIES", "-1", "migrator.E001"),
        ("MIGRATE_DEADLINE_S", "nan", "migrator.E001"),
        ("MIGRATE_BATCH", "some", "migrator.E002"),
        ("MIGRATE_LOCK_TIMEOUT_MS", "5000", "migrator.E003"),
        ("MIGRATE_LOCK_TIMEOUT", "1000", "migrator.E004"),
        ("MIGRATE_LOCK_WAIT_S", "60", "migrator.W001"),
    ],
)
def test_nonsense_is_named(settings: Any, name: str, value: str, check: str) -> None:
    setattr(settings, name, value)

    assert ids() == [check]


def test_a_misspelt_name_is_answered_with_the_right_one(settings: Any) -> None:
    settings.MIGRATE_LOCK_TIMEOUT = "1000"

    (problem,) = conf.read()[1]

    assert problem.remedy == "Did you mean MIGRATE_LOCK_TIMEOUT_MS?"


def test_each_of_several_bad_settings_is_named_in_its_own_remedy(settings: Any) -> None:
    settings.MIGRATE_RETRIES = "abc"
    settings.MIGRATE_PHASE = "bogus"

    remedies = [problem.remedy for problem in conf.read()[1]]

    assert remedies == [
        "Set MIGRATE_RETRIES to a whole number from 0 to 10000, or unset it.",
        "Set MIGRATE_PHASE to one of expand, all, or unset it.",
    ]
