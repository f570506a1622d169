"""The runs on a real axis of time: a lane a kind of run, a bar a run, the higher the longer it took."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.utils.safestring import SafeString

from rupaya.inspection.svg import element

WIDTH, HEIGHT = 600, 90
BAR_WIDTH = 5
BAR_MIN_HEIGHT = 6.0
SHORTEST_S = 0.001
KINDS = ("migrate", "contract", "rollback", "adopt")
KINDS_SAID = {
    "migrate": "Batches applied",
    "contract": "Debts paid (contract)",
    "rollback": "Rolled back",
    "adopt": "Adopted",
}


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
    kind: str = "migrate"

    @property
    def took(self) -> str:
        return in_words(self.duration_s)

    @property
    def summary(self) -> str:
        """The run in words."""
        count = f"{self.migrations} migration{'s' if self.migrations != 1 else ''}"
        return f"{self.outcome}, {self.took}, {count}, release {self.release}"

    @property
    def title(self) -> str:
        """The run, when it was and how it went."""
        return f"Run {self.run_id}, {self.started_at:%Y-%m-%d %H:%M} UTC: {self.summary}"

    @property
    def level(self) -> str:
        """Good, failed or held, by its outcome."""
        return level_of(self.outcome)


@dataclass(frozen=True)
class Lane:
    """The runs of one kind."""

    title: str
    picture: SafeString


def level_of(outcome: str) -> str:
    """By what an outcome is coloured."""
    return {"succeeded": "good", "failed": "failed"}.get(outcome, "held")


def in_words(duration_s: float) -> str:
    """A duration as people say it."""
    if duration_s < 1:
        return f"{duration_s * 1000:.0f} ms"
    if duration_s < 60:
        return f"{duration_s:.1f} s"
    minutes, seconds = divmod(round(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def lanes(bars: Sequence[Bar], href: Callable[[int], str], until: datetime | None = None) -> list[Lane]:
    """A strip a kind of run that there is, all on one axis."""
    kinds = [kind for kind in KINDS if any(bar.kind == kind for bar in bars)]
    return [Lane(KINDS_SAID[kind], strip(bars, href, kind=kind, until=until)) for kind in kinds]


def ticks(bars: Sequence[Bar], until: datetime | None = None) -> list[datetime]:
    """What to write below the axis: its beginning, its middle and its end."""
    first, last = _axis(bars, until)
    return [first, first + (last - first) / 2, last]


def strip(
    bars: Sequence[Bar], href: Callable[[int], str], *, kind: str = "", until: datetime | None = None
) -> SafeString:
    """Runs, the newest first, where they were in time; a line where another release began. Without text, it stretches.

    With `kind`, only those of one kind, on the axis of all.
    """
    if not bars:
        return SafeString("")
    first, last = _axis(bars, until)
    whole_s = max(1.0, (last - first).total_seconds())
    longest_s = max([1.0, *(bar.duration_s for bar in bars)])
    name = f"runs-{kind or 'all'}"
    hatching = f"{name}-hatching"
    parts = [
        element("title", text=f"Runs in time: {KINDS_SAID.get(kind, 'all kinds')}", id=f"{name}-title"),
        element("desc", text="Each bar is a run and leads to it; the height is the duration, on a logarithmic scale."),
        _hatching(hatching),
        element("line", x1=0, y1=HEIGHT, x2=WIDTH, y2=HEIGHT, class_="chart-axis"),
    ]
    release = None
    for bar in reversed(bars):
        x = (bar.started_at - first).total_seconds() / whole_s * (WIDTH - BAR_WIDTH)
        if bar.release != release:
            release = bar.release
            line = element("line", x1=x, y1=0, x2=x, y2=HEIGHT, class_="chart-release")
            parts.append(element("g", element("title", text=f"Release {release}"), line))
        if kind and bar.kind != kind:
            continue
        parts.append(_drawn(bar, x, longest_s, href(bar.run_id), hatching))
    return element(
        "svg",
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        class_="story-picture chart chart-strip",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        preserveAspectRatio="none",
        role="group",
        aria_labelledby=f"{name}-title",
    )


def _axis(bars: Sequence[Bar], until: datetime | None) -> tuple[datetime, datetime]:
    starts = [bar.started_at for bar in bars]
    newest, oldest = max(starts), min(starts)
    # Never shorter than a minute, so that its ends are told apart.
    return oldest, max(until or datetime.now(UTC), newest, oldest + timedelta(minutes=1))


def _drawn(bar: Bar, x: float, longest_s: float, href: str, hatching: str) -> SafeString:
    share = math.log10(max(bar.duration_s, SHORTEST_S) / SHORTEST_S) / math.log10(longest_s / SHORTEST_S)
    high = BAR_MIN_HEIGHT + share * (HEIGHT - 8 - BAR_MIN_HEIGHT)
    # Not in the style sheet, where some browsers would look for the hatching in the style sheet.
    hatched = {"fill": f"url(#{hatching})"} if bar.outcome == "failed" else {}
    return element(
        "a",
        element("title", text=bar.title),
        # All of the height is the link's, so that a finger finds it.
        element("rect", x=x - BAR_WIDTH, y=0, width=3 * BAR_WIDTH, height=HEIGHT, class_="chart-reach"),
        element(
            "rect",
            x=x,
            y=HEIGHT - high,
            width=BAR_WIDTH,
            height=high,
            class_=f"run-bar run-{bar.outcome.replace(' ', '-')}",
            **hatched,
        ),
        href=href,
        aria_label=bar.title,
    )


def _hatching(name: str) -> SafeString:
    """For what failed: visible without colour."""
    return element(
        "defs",
        element(
            "pattern",
            element("rect", width=4, height=8, class_="run-failed"),
            element("rect", y=0, width=4, height=3, class_="run-gap"),
            id=name, width=4, height=8, patternUnits="userSpaceOnUse",
        ),
    )  # fmt: skip


WATERFALL_WIDTH = 1000


def waterfall(started_s: float, duration_s: float, whole_s: float, outcome: str) -> SafeString:
    """One attempt's place within its run."""
    return element(
        "svg",
        element("rect", x=0, y=0, width=WATERFALL_WIDTH, height=8, class_="chart-ground"),
        element(
            "rect",
            x=min(WATERFALL_WIDTH - 4.0, WATERFALL_WIDTH * max(0.0, started_s) / whole_s),
            y=0,
            width=max(4.0, WATERFALL_WIDTH * duration_s / whole_s),
            height=8,
            class_=f"chart-{level_of(outcome)}",
        ),
        xmlns="http://www.w3.org/2000/svg",
        class_="chart chart-length",
        viewBox=f"0 0 {WATERFALL_WIDTH} 8",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
