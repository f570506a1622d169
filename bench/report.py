"""What was measured, as text: medians, ratios, and whether what was reached for was reached."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from statistics import median
from textwrap import fill

INTRODUCTION = """\
# Benchmarks

`manage.py migrate` of this project beside two others on the same machine, in the same run, against the same embedded
PostgreSQL (its defaults, fsync on):

- **stock Django**: Django's own `migrate`, over the same apps but for `rupaya.migrator`;
- **Knex**: what the original system ran, with the same tables and rows cut into five migrations (pinned in
  `bench/knex/package.json`).

```sh
make bench                              # all of it, about an hour; writes this page
make bench BENCH="noop stall"           # some of it: noop first-deploy scale serving probes stall gate estimates ...
make bench BENCH=noop BENCH_RUNS=3      # fewer runs
```

Contestants take turns (A B C A B C …), each a whole process measured from outside. CPU is user and system time of the
contestant's process tree, the server's not included; memory is the peak of its largest process. Figures are medians.
Look at the ratios, which say "ours divided by theirs": absolute times are this machine's.
"""


@dataclass(frozen=True)
class Reach:
    """A ratio or a figure that was aimed at, and the one that was found; None where there was nothing to compare."""

    what: str
    found: float | None
    at_most: float
    unit: str = ""

    @property
    def verdict(self) -> str:
        if self.found is None:
            return "not measured"
        return "met" if self.found <= self.at_most else "missed"

    def line(self) -> str:
        found = "–" if self.found is None else f"{round(self.found, 2):g}{self.unit}"
        return f"| {self.what} | at most {self.at_most:g}{self.unit} | {found} | **{self.verdict}** |"


@dataclass(frozen=True)
class Section:
    """One measurement: prose, a table, what was reached for, and what has to be said besides."""

    title: str
    prose: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    reaches: Sequence[Reach] = ()
    notes: Sequence[str] = field(default_factory=list)
    runs: int = 1

    def markdown(self, today: date, missing: dict[str, str]) -> str:
        """The section as it stands in the page, title included."""
        lines = [
            f"## {self.title}",
            "",
            _wrapped(self.prose),
            "",
            _line(self.header),
            _line(["---"] * len(self.header)),
        ]
        lines += [_line(row) for row in self.rows]
        if self.reaches:
            lines += ["", "| reach | | found | |", "|---|---|---|---|", *(reach.line() for reach in self.reaches)]
        lines += [line for note in self.notes for line in ("", _wrapped(note))]
        lines += [line for name, why in missing.items() for line in ("", _wrapped(f"{name} was not measured: {why}."))]
        runs = "one run of each" if self.runs == 1 else f"{self.runs} runs of each"
        return "\n".join([*lines, "", f"{today.isoformat()}, {runs}.", ""])


def middle(values: Sequence[float]) -> float:
    """The median.

    Raises:
        ValueError: if there are no values.
    """
    if not values:
        raise ValueError("nothing was measured")
    return float(median(values))


def ratio(ours: Sequence[float], theirs: Sequence[float] | None) -> float | None:
    """Our median divided by theirs; None if they did not take part."""
    return None if not theirs else middle(ours) / middle(theirs)


def in_ms(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms"


def in_s(seconds: float) -> str:
    return f"{seconds:.1f} s"


def in_mb(size_bytes: float) -> str:
    return f"{size_bytes / 1e6:.0f} MB"


def as_ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def write_page(path: Path, machine: str, sections: dict[str, str], order: Sequence[str]) -> None:
    """Write the page; sections that were not measured this time stay as they were."""
    known = sections_of(path.read_text()) if path.exists() else {}
    known |= sections
    body = [known[title] for title in order if title in known]
    path.write_text("\n".join([INTRODUCTION, f"## Machine\n\n{_wrapped(machine)}\n", *body]))


def sections_of(page: str) -> dict[str, str]:
    """The sections of a page by title."""
    found = re.split(r"^(?=## )", page, flags=re.MULTILINE)[1:]
    return {section.split("\n", 1)[0].removeprefix("## "): section.rstrip("\n") + "\n" for section in found}


def _wrapped(text: str) -> str:
    """As wide as every page of the docs."""
    return fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
