"""The home page's pictures of the schema: the last runs on a real axis of time, and the biggest tables."""

from __future__ import annotations

from django.urls import reverse

from rupaya.inspection.svg import element
from rupaya.migrator.errors import driver_text
from rupaya.story import live, reading, runs, state
from rupaya.story.timeline import strip

MOST_TABLES = 6
RUNS = 30
WIDTH = 100
KEPT_S = 20.0


def pictures() -> dict[str, object]:
    """What the cards show; the page must not fail where the story cannot be read."""
    try:
        return state.keep(("home",), KEPT_S, _read)
    except reading.ERRORS as error:
        return {"error": f"It could not be read just now: {driver_text(error)}."}


def _read() -> dict[str, object]:
    with reading.bounded() as connection:
        known = reading.tables(connection)
        bars = runs.bars(connection, None)[:RUNS] if known.ledger else []
        biggest = live.tables(connection)[:MOST_TABLES]
        since = live.statistics_since(connection)
    most = max([table.total_bytes for table in biggest], default=1)
    return {
        "bars": bars,
        "strip": strip(bars, lambda run_id: reverse("schema:run", args=[run_id])),
        "releases": list(dict.fromkeys(bar.release for bar in reversed(bars)))[-4:],
        "tables": [(table, _bar(table.total_bytes / most)) for table in biggest],
        "since": since,
    }


def _bar(share: float) -> object:
    return element(
        "svg",
        element("rect", x=0, y=0, width=max(1.0, WIDTH * share), height=8, rx=2, class_="chart-plain"),
        xmlns="http://www.w3.org/2000/svg",
        class_="chart chart-size",
        viewBox=f"0 0 {WIDTH} 8",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
