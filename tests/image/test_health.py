"""The health check through a long migration, which outlives the patience of the check; a stalled one does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.image.containers import Container, StartContainer
from tests.image.engine import Engine
from tests.server.service import PROJECT, last_migration

# A cold build downloads every dependency.
pytestmark = [pytest.mark.image, pytest.mark.timeout(1200)]

MIGRATION_S = 90
# As in the Dockerfile.
START_PERIOD_S, INTERVAL_S, RETRIES = 10, 5, 3
MIGRATION = f"""
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("accounts", "{last_migration("accounts")}")]
    phase = "expand"
    statement_timeout_ms = 0

    operations = [migrations.RunSQL("SELECT pg_sleep({MIGRATION_S})", migrations.RunSQL.noop)]
"""


@pytest.fixture
def long_migration(tmp_path: Path) -> tuple[str, ...]:
    """Options that give the image one migration more."""
    file = tmp_path / "0100_takes_long.py"
    file.write_text(MIGRATION)
    tmp_path.chmod(0o755)
    return (f"--volume={file}:/app/accounts/migrations/{file.name}:ro",)


def polled_health(engine: Engine, container: Container, until: Callable[[], bool]) -> bool:
    """Ask as the engine would, by the Dockerfile's clock; whether it was still healthy when `until` came true."""
    failures = 0
    while not until():
        assert container.is_running(), container.logs()
        began = time.monotonic()
        if engine.health(container.name) == 0:
            failures = 0
        elif container.age_s() > START_PERIOD_S:
            failures += 1
        if failures >= RETRIES:
            return False
        time.sleep(max(0.0, INTERVAL_S - (time.monotonic() - began)))
    return True


def is_serving(container: Container) -> bool:
    if not container.is_listening():
        return False
    return container.get("/health/ready").status == 200


def test_the_dockerfile_has_the_clock_that_is_used_here() -> None:
    expected = f"--start-period={START_PERIOD_S}s --interval={INTERVAL_S}s --timeout=3s --retries={RETRIES}"
    assert expected in (PROJECT / "Dockerfile").read_text()


def test_a_migration_of_ninety_seconds_survives_to_serve(
    engine: Engine, start: StartContainer, empty_database: str, long_migration: tuple[str, ...]
) -> None:
    container = start(empty_database, options=long_migration)

    assert polled_health(engine, container, lambda: is_serving(container)), container.logs()
    assert container.age_s() > MIGRATION_S
    assert engine.health(container.name) == 0


def test_a_stalled_one_does_not(
    engine: Engine, start: StartContainer, empty_database: str, long_migration: tuple[str, ...]
) -> None:
    container = start(empty_database, options=long_migration, MIGRATE_DEADLINE_S="5")

    assert not polled_health(engine, container, lambda: is_serving(container)), container.logs()
    assert container.age_s() < MIGRATION_S
