"""The deployment scenarios: the real entrypoint, gunicorn and PostgreSQL, seen from outside."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.faults.migrator import query
from tests.patience import HANGING_S
from tests.server.service import PROJECT, Service, manage

ORIGINAL_STEPS = (
    "accounts.0001_initial",
    "accounts.0002_add_phone_number_to_users",
    "accounts.0003_complete_api_schema",
    "accounts.0004_auth_token_revocation",
    "transactions.0001_initial",
    "transactions.0002_complete_api_schema",
)


def columns(url: str, table: str) -> set[str]:
    return {name for (name,) in query(url, f"SELECT attname FROM pg_attribute WHERE attrelid = '{table}'::regclass")}


def test_first_deployment_builds_the_schema_and_serves(database_url: str) -> None:
    with Service(DATABASE_URL=database_url) as service:
        ready = service.wait_until_ready()

        assert ready.json()["status"] == "ready"
        assert ready.json()["migrations"]["pending"] == 0
        output = service.output
        assert output.index("Running database migrations...") < output.index("Starting server...")
        applied = {f"{app}.{name}" for app, name in query(database_url, "SELECT app, name FROM django_migrations")}
        assert applied >= set(ORIGINAL_STEPS)
        assert any("complete_transactions_table" in name for name in applied)


def test_a_schema_update_is_applied_and_existing_rows_stay(migrated_url: str, newer_release: Path) -> None:
    query(migrated_url, "INSERT INTO users (email) VALUES ('asha@example.com')")

    with Service(newer_release, DATABASE_URL=migrated_url) as service:
        service.wait_until_ready()

    assert query(migrated_url, "SELECT email, nickname FROM users") == [("asha@example.com", None)]


def test_an_older_release_serves_on_the_newer_schema(migrated_url: str, newer_release: Path) -> None:
    with Service(newer_release, DATABASE_URL=migrated_url) as service:
        service.wait_until_ready()

    with Service(DATABASE_URL=migrated_url) as service:
        ready = service.wait_until_ready()

        assert ready.json()["migrations"]["unknown"] == 1
        assert "nickname" in columns(migrated_url, "users")


def test_a_failing_migration_never_opens_the_port_and_the_old_release_keeps_serving(
    migrated_url: str, failing_release: Path
) -> None:
    with Service(DATABASE_URL=migrated_url) as old:
        old.wait_until_ready()

        with Service(failing_release, DATABASE_URL=migrated_url) as new:
            assert new.wait_until_ended() != 0
            assert "there_is_no_such_table" in new.output
            assert "Starting server..." not in new.output

        assert "half_done" not in columns(migrated_url, "users")
        assert old.wait_until_ready().status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_during_migrate_ends_cleanly_and_starts_no_server(
    migrated_url: str, slow_release: Path, number: int
) -> None:
    with Service(slow_release, DATABASE_URL=migrated_url) as service:
        sleeping = (
            "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid() "
            "AND datname = current_database()"  # another test's may be on the same server
        )
        deadline = time.monotonic() + HANGING_S
        while not query(migrated_url, sleeping):
            assert time.monotonic() < deadline, service.output
            time.sleep(0.05)
        service.signal(number)

        assert service.wait_until_ended(timeout_s=15) == 143
        assert "Starting server..." not in service.output

    assert "half_done" not in columns(migrated_url, "users")


def test_sigterm_ends_a_serving_container_cleanly(migrated_url: str) -> None:
    with Service(DATABASE_URL=migrated_url) as service:
        service.wait_until_ready()
        service.signal(signal.SIGTERM)

        assert service.process.wait(30) == 0  # then ECS kills


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({}, "SECRET_KEY"),
        ({"SECRET_KEY": "k3Jx-9vQ_pL2mZ8rT5wY1uB7nC4hD6gF0sA_eXoViMtRqWzKbN", "ALLOWED_HOSTS": "*"}, "ALLOWED_HOSTS"),
        ({"SECRET_KEY": "k3Jx-9vQ_pL2mZ8rT5wY1uB7nC4hD6gF0sA_eXoViMtRqWzKbN", "DEBUG": "1"}, "DEBUG"),
    ],
)
def test_production_refuses_to_migrate_and_to_serve(migrated_url: str, variables: dict[str, str], named: str) -> None:
    production = {"RUPAYA_ENV": "production", "DATABASE_URL": migrated_url} | variables

    with Service(**production) as service:
        assert service.wait_until_ended() == 16
        assert named in service.output
        assert "Traceback" not in service.output

    with Service(command=("gunicorn", "rupaya.wsgi"), **production) as service:
        assert service.wait_until_ended() == 16
        assert named in service.output
        assert "Traceback" not in service.output


def test_check_deploy_is_clean(migrated_url: str) -> None:
    checked = manage(
        PROJECT,
        "check",
        "--deploy",
        "--fail-level=WARNING",
        RUPAYA_ENV="production",
        SECRET_KEY="k3Jx-9vQ_pL2mZ8rT5wY1uB7nC4hD6gF0sA_eXoViMtRqWzKbN",
        ALLOWED_HOSTS="api.example.com",
        DATABASE_URL=migrated_url,
    )

    assert (checked.returncode, checked.stderr) == (0, "")


def test_showmigrations_lists_the_originals_steps(migrated_url: str) -> None:
    shown = manage(PROJECT, "showmigrations", "--plan", DATABASE_URL=migrated_url)

    for step in ORIGINAL_STEPS:
        assert step in shown.stdout


def test_makemigrations_finds_nothing_to_make(migrated_url: str) -> None:
    checked = manage(PROJECT, "makemigrations", "--check", "--dry-run", DATABASE_URL=migrated_url)

    assert checked.returncode == 0, checked.stdout
