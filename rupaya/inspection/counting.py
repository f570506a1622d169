"""How many rows there are, without reading them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

EXACT_UP_TO = 2000


@dataclass(frozen=True)
class Count:
    """A number of rows, and whether it was counted."""

    number: int
    is_exact: bool

    def __str__(self) -> str:
        return f"{self.number:,}" if self.is_exact else f"about {rounded(self.number):,}"


def count(rows: QuerySet[Any]) -> Count:
    """Count few rows, and estimate many.

    The estimate is the planner's, which for a whole table is `pg_class.reltuples` scaled to the table's present size,
    and for a filter what ANALYZE has seen of the columns' values:
    https://www.postgresql.org/docs/current/row-estimation-examples.html
    """
    rows = rows.order_by().select_related(None)
    if rows.query.is_empty():
        return Count(0, True)
    plan = json.loads(rows.explain(format="json"))[0]["Plan"]
    estimate = int(plan["Plan Rows"])
    if estimate <= EXACT_UP_TO:
        exact = count_up_to(rows, EXACT_UP_TO)
        if exact.is_exact:
            return exact
        estimate = exact.number
    return Count(estimate, False)


def count_up_to(rows: QuerySet[Any], limit: int) -> Count:
    """Count, but no further than `limit`: beyond it the number is `limit` and not exact."""
    number = rows.order_by()[: limit + 1].count()
    return Count(min(number, limit), number <= limit)


def rounded(number: int) -> int:
    """Three digits of it: an estimate has no more."""
    digits = max(0, len(str(number)) - 3)
    return round(number, -digits)
