"""From this day to that, from this amount to that: what a list is narrowed to besides its filters.

A range of days is answered by the index that orders them. No index orders amounts: they are compared row by row, and so
only where few rows are left, one person's or a month's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from django.db import models
from django.db.models import QuerySet

FIRST, LAST, LEAST, MOST = NAMES = ("from", "to", "least", "most")
DAYS_WITH_AMOUNTS = 31
NOT_NARROW = (
    f"Amounts are looked for among one person's rows, or within {DAYS_WITH_AMOUNTS} days: search for a person or "
    "choose the days, too."
)


@dataclass(frozen=True)
class Ranges:
    """What was asked for; None where nothing was, or nonsense."""

    first: date | None
    last: date | None
    least: Decimal | None
    most: Decimal | None

    @property
    def has_amounts(self) -> bool:
        """Whether amounts are asked for."""
        return self.least is not None or self.most is not None

    @property
    def is_short(self) -> bool:
        """Whether so few days are asked for that each of their rows can be looked at."""
        if self.first is None or self.last is None:
            return False
        return self.last - self.first <= timedelta(days=DAYS_WITH_AMOUNTS)

    def within_days(self, rows: QuerySet[Any], field: str) -> QuerySet[Any]:
        """The rows of these days, in UTC, both ends included."""
        is_moment = isinstance(rows.model._meta.get_field(field), models.DateTimeField)
        if self.first is not None:
            rows = rows.filter(**{f"{field}__gte": _midnight(self.first) if is_moment else self.first})
        if self.last is not None and is_moment:
            return rows.filter(**{f"{field}__lt": _midnight(self.last + timedelta(days=1))})
        return rows if self.last is None else rows.filter(**{f"{field}__lte": self.last})

    def within_amounts(self, rows: QuerySet[Any], field: str) -> QuerySet[Any]:
        """The rows between these amounts, both included."""
        if self.least is not None:
            rows = rows.filter(**{f"{field}__gte": self.least})
        return rows if self.most is None else rows.filter(**{f"{field}__lte": self.most})


def read(params: Mapping[str, Any]) -> Ranges:
    """The ranges in an address."""
    return Ranges(
        _day(params.get(FIRST)), _day(params.get(LAST)), _amount(params.get(LEAST)), _amount(params.get(MOST))
    )


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _day(text: str | None) -> date | None:
    try:
        found = date.fromisoformat(text or "")
    except ValueError:
        return None
    # The day after it must be one, too.
    return found if found < date.max else None


def _amount(text: str | None) -> Decimal | None:
    try:
        value = Decimal((text or "").replace(",", "").strip())
    except InvalidOperation:
        return None
    return value if value.is_finite() and abs(value) < Decimal(10) ** 15 else None
