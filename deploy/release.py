"""The newest release in CHANGELOG.md: `python deploy/release.py` prints its version; with `--notes`, what it says.

The release workflow tags what this names. It needs nothing but Python.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path

CHANGELOG = Path(__file__).resolve().parent.parent / "CHANGELOG.md"
_HEADING = re.compile(r"^## \[(?P<name>[^]]+)\](?: - (?P<date>\S+))?$")
_VERSION = re.compile(r"\d+\.\d+\.\d+")


class Malformed(Exception):
    """The changelog is not as Keep a Changelog has it; the text says where."""


@dataclass(frozen=True)
class Release:
    """A version, the day on which it was made, and what is new in it."""

    version: str
    made_on: date
    notes: str


def releases(text: str) -> list[Release]:
    """Every release of a changelog, the newest first; what is not released yet is left out.

    Raises:
        Malformed: for a heading without a version or a date, releases out of order, or one that says nothing.
    """
    found: list[Release] = []
    parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)[1:]
    for part in parts:
        heading, _, notes = part.partition("\n")
        match = _HEADING.match(heading)
        if match is None:
            raise Malformed(f"{heading!r} should be '## [1.2.3] - 2026-01-31', or '## [Unreleased]'.")
        if match["name"] == "Unreleased":
            continue
        if not _VERSION.fullmatch(match["name"]) or not match["date"]:
            raise Malformed(f"{heading!r} should be '## [1.2.3] - 2026-01-31'.")
        try:
            made_on = date.fromisoformat(match["date"])
        except ValueError:
            raise Malformed(f"{heading!r} has no date such as 2026-01-31.") from None
        if not notes.strip():
            raise Malformed(f"{heading!r} says nothing of what is new.")
        found.append(Release(match["name"], made_on, notes.strip()))
    order = [(tuple(map(int, each.version.split("."))), each.made_on) for each in found]
    if order != sorted(order, reverse=True) or len({version for version, _day in order}) < len(order):
        raise Malformed("Releases are listed from the newest to the oldest, each version once.")
    return found


def main(arguments: list[str]) -> int:
    """Print the newest release; 1 if there is none, or the changelog is malformed."""
    parser = argparse.ArgumentParser(description="The newest release in CHANGELOG.md.")
    parser.add_argument("--notes", action="store_true", help="what is new in it, instead of its version")
    options = parser.parse_args(arguments)
    try:
        found = releases(CHANGELOG.read_text("utf-8"))
    except Malformed as error:
        print(f"CHANGELOG.md: {error}", file=sys.stderr)
        return 1
    if not found:
        print("CHANGELOG.md has no release yet.", file=sys.stderr)
        return 1
    print(found[0].notes if options.notes else found[0].version)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
