"""The table of the original guide's sentences is whole, and each proof that it names is there."""

from __future__ import annotations

import re

from tests.server.service import PROJECT

GUIDE = (PROJECT / "docs" / "guide.md").read_text()


def test_all_twenty_four_sentences_have_a_proof() -> None:
    rows = re.findall(r"^\| (\d+) \|.*\| (.+) \|$", GUIDE, re.MULTILINE)

    assert [int(number) for number, _proof in rows] == list(range(1, 25))
    assert all("`" in proof or "](" in proof for _number, proof in rows)


def test_each_proof_that_is_named_exists() -> None:
    files = {path.name: path for path in (PROJECT / "tests").rglob("test_*.py")}
    source = "".join(path.read_text() for path in files.values())

    for name in re.findall(r"`([\w/]+\.(?:py|hcl|tftest\.hcl))", GUIDE):
        assert (PROJECT / name).exists() or name in files, name
    for test in re.findall(r"(?:`|::)(test_\w+)`", GUIDE):
        assert f"def {test}(" in source, test
