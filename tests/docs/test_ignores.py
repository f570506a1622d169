"""Each rule of the linter that a line is let off has its reason beside it: `# noqa: S311 - jitter, not a secret`."""

from __future__ import annotations

import re
from pathlib import Path

from tests.server.service import PROJECT

FOLDERS = ["accounts", "bench", "deploy", "rupaya", "tests", "transactions"]
IGNORED = re.compile(r"# noqa\b.*$", re.MULTILINE)
REASONED = re.compile(r"# noqa: [A-Z]+\d+(?:, [A-Z]+\d+)* - \S")


def without_reason(files: list[Path]) -> list[str]:
    """Where a line is let off without a reason."""
    return [
        f"{path.relative_to(PROJECT)}: {found}"
        for path in sorted(files)
        if path != Path(__file__)
        for found in IGNORED.findall(path.read_text())
        if not REASONED.match(found)
    ]


def test_what_is_let_off_has_its_reason_beside_it() -> None:
    files = [*PROJECT.glob("*.py"), *(path for folder in FOLDERS for path in (PROJECT / folder).rglob("*.py"))]

    assert len(files) > 300
    assert without_reason(files) == []
