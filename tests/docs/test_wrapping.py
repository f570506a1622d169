"""Pages are wrapped, so that a changed sentence is a line or two in a diff, and no cell of a table is a paragraph."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.server.service import PROJECT

LONGEST_LINE = 120
LONGEST_CELL = 240
PAGES = sorted(
    str(page.relative_to(PROJECT)) for folder in (".", "docs", "infra") for page in (PROJECT / folder).glob("*.md")
)


def too_long(text: str) -> Iterator[str]:
    """The lines of prose and the cells of tables that are too long; what stands in a block of code may be."""
    in_code = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            in_code = not in_code
        elif in_code:
            continue
        elif line.lstrip().startswith("|"):
            if any(len(cell.strip()) > LONGEST_CELL for cell in re.split(r"(?<!\\)\|", line)):
                yield f"{number}: a cell of more than {LONGEST_CELL} characters: {line[:60]}"
        elif len(line) > LONGEST_LINE:
            yield f"{number}: more than {LONGEST_LINE} characters: {line[:60]}"


@pytest.mark.parametrize("page", PAGES)
def test_lines_are_wrapped_and_no_cell_is_a_paragraph(page: str) -> None:
    assert list(too_long((PROJECT / page).read_text("utf-8"))) == []


def test_what_is_too_long_is_found_but_for_code() -> None:
    page = "\n".join(["x" * 120, "x" * 121, "```", "x" * 121, "```", f"| a | {'y' * 240} |", f"| a | {'y' * 241} |"])

    assert [line.split(":")[0] for line in too_long(page)] == ["2", "7"]
    assert len(PAGES) > 15


def test_each_change_is_one_line() -> None:
    lines = (PROJECT / "CHANGELOG.md").read_text("utf-8").splitlines()

    assert [line for line in lines if line.startswith("  ")] == []
