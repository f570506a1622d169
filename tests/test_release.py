"""The changelog's releases, which the release workflow tags."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.release import CHANGELOG, Malformed, releases

PROJECT = Path(__file__).resolve().parents[1]
TWO = """# Changelog

## [Unreleased]

## [1.1.0] - 2026-02-01

- New.

## [1.0.0] - 2026-01-31

- First.
"""


def test_the_newest_is_first_and_what_is_not_released_is_none() -> None:
    newest, first = releases(TWO)

    assert (newest.version, str(newest.made_on), newest.notes) == ("1.1.0", "2026-02-01", "- New.")
    assert first.version == "1.0.0"


@pytest.mark.parametrize(
    "text",
    [
        TWO.replace(" - 2026-02-01", ""),
        TWO.replace("2026-02-01", "1st of February"),
        TWO.replace("1.1.0", "1.1"),
        TWO.replace("[1.1.0]", "1.1.0"),
        TWO.replace("1.1.0", "0.9.0"),
        TWO.replace("1.1.0", "1.0.0"),
        TWO.replace("- New.\n", ""),
    ],
    ids=["no date", "no such date", "no version", "no brackets", "out of order", "twice", "nothing new"],
)
def test_what_is_not_as_it_must_be_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        releases(text)


def test_this_changelog_has_a_release_and_the_command_names_it() -> None:
    newest = releases(CHANGELOG.read_text("utf-8"))[0]
    command = (sys.executable, "deploy/release.py")

    version = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    notes = subprocess.run((*command, "--notes"), cwd=PROJECT, capture_output=True, text=True, check=True).stdout

    assert version.strip() == newest.version
    assert notes.strip() == newest.notes
