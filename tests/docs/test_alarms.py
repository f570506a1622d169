"""The phrases that the alarms search the log for are still said, word for word: a reworded message wakes nobody."""

from __future__ import annotations

import re

import pytest

from tests.server.service import PROJECT

ALARMS = (PROJECT / "infra" / "alarms.tf").read_text()
LITERAL = re.compile(r'\\"([^"\\]+)\\"')
SAID = {
    "ended the migration run before it was done": ("rupaya/migrator/session/stop.py", None),
    "The server answers no cancellation": ("rupaya/migrator/session/stop.py", None),
    "Migrations failed with exit status ${each.key};": ("entrypoint.sh", "Migrations failed with exit status $status;"),
    "manage.py schemadiff exited with 1.": ("infra/service.tf", "manage.py $* exited with $status."),
    "manage.py showmigrations --audit --check exited with 1.": (
        "infra/service.tf",
        "manage.py $* exited with $status.",
    ),
    "/health/ready": ("rupaya/probepaths.py", None),
    "Daily check failed": ("infra/service.tf", None),
    "Daily checks passed": ("infra/service.tf", None),
}
"""What each alarm searches for: the file that says it, and how it is written there if not the same way."""


def test_each_phrase_that_an_alarm_searches_for_is_known() -> None:
    assert set(LITERAL.findall(ALARMS)) == set(SAID)


@pytest.mark.parametrize("phrase", SAID)
def test_a_phrase_that_an_alarm_searches_for_is_said(phrase: str) -> None:
    file, written = SAID[phrase]

    assert (written or phrase) in (PROJECT / file).read_text()


def test_the_size_of_the_attic_is_said_under_the_name_that_the_alarm_reads() -> None:
    assert "$.attic_bytes" in ALARMS
    assert "attic_bytes=" in (PROJECT / "rupaya" / "migrator" / "run" / "tidying.py").read_text()
