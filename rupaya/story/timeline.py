"""The runs as a chart: a bar a run, the newest on top, as long as it took, told apart by shape and word."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from django.utils.safestring import SafeString

from rupaya.inspection.svg import element, picture, text_at

WIDTH = 1110
LABEL_WIDTH = 250
ROW_HEIGHT = 34
BAR_HEIGHT = 16
TOP = 34
SAID_MAX_CHARACTERS = 54
# Room for the words behind the longest bar.
BAR_MAX_WIDTH = 440
BAR_MIN_WIDTH = 4
TICKS = ((0.01, "10 ms"), (0.1, "0.1 s"), (1, "1 s"), (10, "10 s"), (60, "1 min"), (600, "10 min"), (3600, "1 h"))
SHORTEST_S = 0.001
HATCHING = "story-hatching"


@dataclass(frozen=True)
class Bar:
    """A run on the chart."""

    run_id: int
    started_at: datetime
    duration_s: float
    outcome: str
    release: str
    command: str
    migrations: int

    @property
    def took(self) -> str:
        """The duration in words."""
        return in_words(self.duration_s)

    @property
    def said(self) -> str:
        """The run in words."""
        count = f"{self.migrations} migration{'s' if self.migrations != 1 else ''}"
        return f"{self.outcome}, {self.took}, {count}, release {self.release}"


def in_words(duration_s: float) -> str:
    """A duration as people say it."""
    if duration_s < 1:
        return f"{duration_s * 1000:.0f} ms"
    if duration_s < 60:
        return f"{duration_s:.1f} s"
    minutes, seconds = divmod(round(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def draw(bars: Sequence[Bar], href: Callable[[int], str]) -> SafeString:
    """The chart; durations are on a logarithmic scale."""
    longest_s = max([1.0, *(bar.duration_s for bar in bars)])
    height = TOP + ROW_HEIGHT * len(bars) + 10
    ticks = []
    for seconds, label in TICKS:
        if seconds <= longest_s:
            x = LABEL_WIDTH + _length(seconds, longest_s)
            ticks.append(element("line", x1=x, y1=TOP - 8, x2=x, y2=height, class_="story-tick"))
            ticks.append(text_at(x, TOP - 14, label, "story-tick-label", text_anchor="middle"))
    return picture(
        "timeline",
        "Runs and their durations",
        "A bar for each run, the newest on top, its length the duration on a logarithmic scale. The table below tells "
        "the same.",
        WIDTH,
        height,
        _patterns(),
        *ticks,
        *(_draw(bar, TOP + ROW_HEIGHT * row, longest_s, href(bar.run_id)) for row, bar in enumerate(bars)),
    )


def _length(seconds: float, longest_s: float) -> float:
    share = math.log10(max(seconds, SHORTEST_S) / SHORTEST_S) / math.log10(longest_s / SHORTEST_S)
    return BAR_MIN_WIDTH + share * (BAR_MAX_WIDTH - BAR_MIN_WIDTH)


def _draw(bar: Bar, y: float, longest_s: float, href: str) -> SafeString:
    kind = bar.outcome.replace(" ", "-")
    middle = y + ROW_HEIGHT / 2
    length = _length(bar.duration_s, longest_s)
    # Not in the style sheet, where some browsers would look for the hatching in the style sheet.
    hatched = {"fill": f"url(#{HATCHING})"} if bar.outcome == "failed" else {}
    return element(
        "a",
        element("title", text=f"Run {bar.run_id}: {bar.said}"),
        # All of the row is the link's, so that a finger finds it.
        element("rect", x=0, y=y, width=WIDTH, height=ROW_HEIGHT, class_="story-row"),
        text_at(8, middle + 4, f"Run {bar.run_id}", "story-run"),
        text_at(82, middle + 4, f"{bar.started_at:%Y-%m-%d %H:%M}", "story-when"),
        element("path", d=_shape(bar.outcome, LABEL_WIDTH - 16, middle), class_=f"story-shape story-shape-{kind}"),
        element(
            "rect",
            x=LABEL_WIDTH,
            y=middle - BAR_HEIGHT / 2,
            width=length,
            height=BAR_HEIGHT,
            class_=f"story-bar story-bar-{kind}",
            **hatched,
        ),
        text_at(LABEL_WIDTH + length + 8, middle + 4, _shortened(bar.said), "story-said"),
        href=href,
        aria_label=f"Run {bar.run_id}, {bar.started_at:%Y-%m-%d %H:%M} UTC: {bar.said}",
    )


def _shape(outcome: str, x: float, y: float) -> str:
    """A tick, a cross, a bar or a triangle."""
    match outcome:
        case "succeeded":
            return f"M{x - 6} {y} l4 5 l8 -10"
        case "failed":
            return f"M{x - 5} {y - 5} l10 10 M{x + 5} {y - 5} l-10 10"
        case "interrupted":
            return f"M{x - 6} {y} h12"
        case _:
            return f"M{x - 5} {y - 6} l10 6 l-10 6 z"


def _patterns() -> SafeString:
    """Hatching for what failed."""
    return element(
        "defs",
        element(
            "pattern",
            element("path", d="M0 0 V8", class_="story-hatch"),
            id=HATCHING, width=8, height=8, patternUnits="userSpaceOnUse", patternTransform="rotate(45)",
        ),
    )  # fmt: skip


def _shortened(text: str) -> str:
    return text if len(text) <= SAID_MAX_CHARACTERS else text[: SAID_MAX_CHARACTERS - 1] + "…"


STRIP_WIDTH, STRIP_HEIGHT = 600, 90
STRIP_BAR_WIDTH = 5


def strip(bars: Sequence[Bar], href: Callable[[int], str]) -> SafeString:
    """Runs where they were in time, the higher the longer they took; a line where another release began."""
    if not bars:
        return SafeString("")
    now = max(datetime.now(UTC), bars[0].started_at)
    first = bars[-1].started_at
    whole_s = max(1.0, (now - first).total_seconds())
    longest_s = max([1.0, *(bar.duration_s for bar in bars)])
    parts = [element("line", x1=0, y1=STRIP_HEIGHT, x2=STRIP_WIDTH, y2=STRIP_HEIGHT, class_="chart-axis")]
    release = None
    for bar in reversed(bars):
        x = (bar.started_at - first).total_seconds() / whole_s * (STRIP_WIDTH - STRIP_BAR_WIDTH)
        if bar.release != release:
            release = bar.release
            line = element("line", x1=x, y1=0, x2=x, y2=STRIP_HEIGHT, class_="chart-release")
            parts.append(element("g", element("title", text=f"Release {release}"), line))
        high = max(6.0, _length(bar.duration_s, longest_s) / BAR_MAX_WIDTH * (STRIP_HEIGHT - 8))
        parts.append(
            element(
                "a",
                element("title", text=f"Run {bar.run_id}, {bar.started_at:%Y-%m-%d %H:%M} UTC: {bar.said}"),
                element(
                    "rect", x=x, y=STRIP_HEIGHT - high, width=STRIP_BAR_WIDTH, height=high,
                    class_=f"run-{bar.outcome.replace(' ', '-')}",
                ),
                href=href(bar.run_id),
                aria_label=f"Run {bar.run_id}, {bar.started_at:%Y-%m-%d %H:%M} UTC: {bar.said}",
            )
        )  # fmt: skip
    return element(
        "svg",
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        class_="chart chart-strip",
        viewBox=f"0 0 {STRIP_WIDTH} {STRIP_HEIGHT}",
        preserveAspectRatio="none",
        role="group",
        aria_label=f"The last {len(bars)} runs, from {first:%Y-%m-%d} to now",
    )
