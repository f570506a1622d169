"""The home page's pictures of the schema: the last runs on a real axis of time, and the biggest tables."""

from __future__ import annotations

from django.urls import reverse

from rupaya.inspection.charts import length
from rupaya.migrator.errors import driver_text
from rupaya.story import live, reading, runs, state
from rupaya.story.timeline import strip

MOST_TABLES = 6
RUNS = 30
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
        "tables": [(table, length(table.total_bytes / most)) for table in biggest],
        "since": since,
    }
