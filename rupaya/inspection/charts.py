"""Small charts as SVG text, drawn on the server: shares as bars, and figures by day or by month."""

from __future__ import annotations

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
