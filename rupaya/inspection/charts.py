"""Small charts as SVG text, drawn on the server: shares as bars, and figures by day or by month."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils.safestring import SafeString

from rupaya.inspection.svg import element

SHARE_WIDTH, SHARE_HEIGHT = 96, 10


def share(percent: float, threshold: float) -> SafeString:
    """How much of a whole is used, as a bar with a mark where it becomes too much, and in figures beside it."""
    level = "failed" if percent > 100 else "warning" if percent >= threshold else "good"
    said = f"{percent:,.0f} %"
    return element(
        "span",
        element(
            "svg",
            element("rect", x=0, y=0, width=SHARE_WIDTH, height=SHARE_HEIGHT, rx=3, class_="chart-ground"),
            element(
                "rect",
                x=0,
                y=0,
                width=SHARE_WIDTH * min(100.0, max(0.0, percent)) / 100,
                height=SHARE_HEIGHT,
                rx=3,
                class_=f"chart-{level}",
            ),
            element(
                "line",
                x1=SHARE_WIDTH * threshold / 100,
                y1=-1,
                x2=SHARE_WIDTH * threshold / 100,
                y2=SHARE_HEIGHT + 1,
                class_="chart-mark",
            ),
            xmlns="http://www.w3.org/2000/svg",
            class_="chart chart-share",
            width=SHARE_WIDTH,
            height=SHARE_HEIGHT,
            viewBox=f"0 0 {SHARE_WIDTH} {SHARE_HEIGHT}",
            aria_hidden="true",
        ),
        element("span", text=said, class_=f"amount level-{level}"),
        class_="share",
    )


@dataclass(frozen=True)
class Bar:
    """One day, month or category: what it is called, how much of it there is, and where it leads."""

    label: str
    value: float
    said: str
    """The value in words."""
    kind: str = "plain"
    below: float = 0.0
    """What is drawn downwards from the middle, where a chart has two sides."""


BAR_WIDTH, HEIGHT = 10, 100


def bars(described: str, columns: Sequence[Bar]) -> SafeString:
    """A bar a column, the oldest at the left; without any text in it, it stretches to whatever place it gets."""
    top = max([column.value for column in columns], default=0) or 1
    bottom = max([column.below for column in columns], default=0)
    middle = HEIGHT * top / (top + bottom)
    drawn = []
    for position, column in enumerate(columns):
        x = position * BAR_WIDTH
        up = middle * column.value / top
        parts = [element("title", text=f"{column.label}: {column.said}")]
        # All of the column, so that pointing at it anywhere tells what it is.
        parts.append(element("rect", x=x, y=0, width=BAR_WIDTH, height=HEIGHT, class_="chart-reach"))
        if column.value:
            parts.append(
                element("rect", x=x + 1, y=middle - up, width=BAR_WIDTH - 2, height=up, class_=f"chart-{column.kind}")
            )
        if column.below:
            down = (HEIGHT - middle) * column.below / bottom
            parts.append(element("rect", x=x + 1, y=middle, width=BAR_WIDTH - 2, height=down, class_="chart-out"))
        drawn.append(element("g", *parts))
    width = BAR_WIDTH * max(1, len(columns))
    return element(
        "svg",
        *drawn,
        element("line", x1=0, y1=middle, x2=width, y2=middle, class_="chart-axis"),
        xmlns="http://www.w3.org/2000/svg",
        class_="chart chart-bars",
        viewBox=f"0 0 {width} {HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=described,
    )


def length(share_of_most: float) -> SafeString:
    """A bar beside a figure, as long as its share of the biggest."""
    return element(
        "svg",
        element("rect", x=0, y=0, width=max(1.0, 100 * share_of_most), height=8, rx=2, class_="chart-plain"),
        xmlns="http://www.w3.org/2000/svg",
        class_="chart chart-length",
        viewBox="0 0 100 8",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


@dataclass(frozen=True)
class Moment:
    """A point on a line of time."""

    at: datetime
    said: str
    kind: str = "plain"


LINE_WIDTH, LINE_HEIGHT = 600, 40


def line(described: str, moments: Sequence[Moment], now: datetime) -> SafeString:
    """Moments on a line from the oldest of them to now."""
    first = min(moment.at for moment in moments)
    whole_s = max(1.0, (now - first).total_seconds())
    middle = LINE_HEIGHT / 2
    drawn = [
        element(
            "g",
            element("title", text=moment.said),
            element(
                "circle",
                cx=10 + (LINE_WIDTH - 20) * max(0.0, (moment.at - first).total_seconds()) / whole_s,
                cy=middle,
                r=7,
                class_=f"chart-{moment.kind} chart-moment",
            ),
        )
        for moment in moments
    ]
    return element(
        "svg",
        element("line", x1=0, y1=middle, x2=LINE_WIDTH, y2=middle, class_="chart-axis"),
        *drawn,
        xmlns="http://www.w3.org/2000/svg",
        class_="chart chart-line",
        viewBox=f"0 0 {LINE_WIDTH} {LINE_HEIGHT}",
        role="img",
        aria_label=described,
    )
