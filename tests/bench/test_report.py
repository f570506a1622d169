"""The benchmarks' arithmetic: medians, ratios, verdicts, and a page that keeps what was not measured again."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from bench.report import Reach, Section, as_ratio, middle, ratio, sections_of, write_page


def test_one_slow_run_does_not_move_the_middle() -> None:
    assert middle([1.0, 1.1, 60.0]) == 1.1


def test_the_middle_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        middle([])


def test_a_ratio_is_ours_divided_by_theirs() -> None:
    assert ratio([1.0, 1.0, 5.0], [4.0]) == 0.25


@pytest.mark.parametrize("theirs", [None, []])
def test_without_the_other_there_is_no_ratio(theirs: list[float] | None) -> None:
    assert ratio([1.0], theirs) is None
    assert as_ratio(None) == "–"


@pytest.mark.parametrize(("found", "verdict"), [(0.29, "met"), (0.3, "met"), (0.31, "missed"), (None, "not measured")])
def test_a_reach_is_met_up_to_its_limit(found: float | None, verdict: str) -> None:
    assert Reach("CPU ÷ Knex", found, 0.3).verdict == verdict


def test_a_missing_contestant_is_said() -> None:
    section = Section("Title", "Prose.", ["", "wall"], [["ours", "60 ms"]], runs=3)
    text = section.markdown(date(2026, 1, 2), {"Knex": "npm is not installed"})
    assert "| ours | 60 ms |" in text
    assert "Knex was not measured: npm is not installed." in text
    assert "2026-01-02, 3 runs of each." in text


def test_the_page_keeps_sections_that_were_not_measured_again(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    write_page(page, "A machine.", {"One": "## One\n\nold\n", "Two": "## Two\n\nkept\n"}, ["One", "Two"])
    write_page(page, "A machine.", {"One": "## One\n\nnew\n"}, ["One", "Two"])
    found = sections_of(page.read_text())
    assert list(found) == ["Machine", "One", "Two"]
    assert "new" in found["One"]
    assert "kept" in found["Two"]


def test_a_page_is_as_wide_as_every_page_of_the_docs(tmp_path: Path) -> None:
    long = "a sentence that goes on " * 20
    section = Section("Long", long, ["a"], [["1"]], notes=[long])

    write_page(tmp_path / "page.md", long, {"Long": section.markdown(date(2026, 1, 5), {"knex": long})}, ["Long"])

    page = (tmp_path / "page.md").read_text()
    assert max(map(len, page.splitlines())) <= 120
    assert " ".join(page.split()).count(" ".join(long.split())) == 4
