"""What the README, CONTRIBUTING.md and docs/testing.md name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PAGES = ("CONTRIBUTING.md", "docs/testing.md")


@pytest.mark.parametrize("page", PAGES)
def test_each_file_and_make_target_that_is_named_is_there(page: str) -> None:
    text = (PROJECT / page).read_text("utf-8")
    named = set(re.findall(r"(?:tests|rupaya|docs|infra|deploy|\.github)/[\w./-]+", text))
    targets = set(re.findall(r"make ([a-z-]+)", text)) - {"are"}
    known = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text("utf-8"), re.MULTILINE))

    assert len(named) > 10
    assert {path for path in named if not (PROJECT / path.rstrip(".")).exists()} == set()
    assert targets <= known


def test_each_path_of_the_readme_is_there() -> None:
    paths = re.findall(r"`([\w.-]+/[\w./-]*)`", (PROJECT / "README.md").read_text("utf-8"))

    assert len(paths) > 15
    for path in paths:
        assert any((place / path).exists() for place in (PROJECT, PROJECT / "rupaya" / "migrator")), path


def test_each_function_and_fixture_that_is_named_is_there() -> None:
    text = "".join((PROJECT / page).read_text("utf-8") for page in PAGES)
    code = "".join(
        path.read_text("utf-8") for folder in ("rupaya", "tests") for path in (PROJECT / folder).rglob("*.py")
    )

    for name in (
        "refuse_before_the_lock",
        "refuse_under_the_lock",
        "wait_for",
        "query",
        "viewer",
        "working",
    ):
        assert name in text
        assert f"def {name}(" in code
