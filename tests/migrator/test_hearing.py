"""What operations log is part of what the command says that runs them, in its stream and its format."""

from __future__ import annotations

import json
import logging
import re

import pytest

from rupaya.migrator.output import heard
from tests.faults.migrator import migrate, query

APP = "points"
DONE = r"Backfill of points_order is done: 3000 rows set in \d+\.\d s"


@pytest.fixture
def live(database_url: str) -> str:
    """A database whose next migration is the one that fills."""
    assert migrate(database_url, "migrate", APP, "0005", apps=APP).process.returncode == 0
    return database_url


def lines_with(text: str, output: str) -> list[str]:
    return [line for line in output.splitlines() if text in line]


def test_a_run_says_it_as_its_own(live: str) -> None:
    told = migrate(live, "migrate", APP, apps=APP, LOG_LEVEL="INFO")

    assert told.process.returncode == 0, told.output
    (line,) = lines_with("is done", told.output)
    assert re.fullmatch(DONE, line)
    assert query(live, "SELECT count(*) FROM django_migrations WHERE app = 'points'") == [(6,)]


def test_a_machine_gets_an_object_a_line(live: str) -> None:
    told = migrate(live, "migrate", APP, apps=APP, LOG_LEVEL="INFO", LOG_FORMAT="json")

    (line,) = lines_with("is done", told.output)
    assert re.fullmatch(DONE, json.loads(line)["message"])
    assert json.loads(line)["logger"] == "migration"


def test_a_rehearsal_has_it_under_its_migration_and_nowhere_else(live: str) -> None:
    told = migrate(live, "migrate", "--rehearse", APP, apps=APP, LOG_LEVEL="INFO")

    assert told.process.returncode == 0, told.output
    (line,) = lines_with("is done", told.output)
    assert re.fullmatch(f"  {DONE}", line)


def test_nothing_is_heard_any_more_afterwards(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("rupaya.migrator.operations.backfill")
    said: list[tuple[str, bool]] = []

    with caplog.at_level(logging.INFO, logger=logger.name):
        with heard(lambda message, is_warning: said.append((message, is_warning))):
            logger.info("%d rows", 3)
            logger.warning("rows are left")
        logger.info("to the log")

    assert said == [("3 rows", False), ("rows are left", True)]
    assert caplog.messages == ["to the log"]
