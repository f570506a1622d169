"""Days and moments that Python has no value for: PostgreSQL keeps years from -4713 to 294276, and `infinity`.

Other backends write them by a slip of the keyboard, and one such row must not take away the pages that it is on. For
the server alone, which writes no value back that it has read: a migration that copies rows must fail instead.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import date, datetime, timedelta, tzinfo
from typing import Any

from psycopg2.extensions import PYDATE, PYDATETIMETZ, new_type, register_type

_DATE_OID, _TIMESTAMPTZ_OID = 1082, 1184


class _Beyond:
    """The nearest value that Python has, which is told as the server tells what is meant."""

    told = ""

    def __str__(self) -> str:
        return self.told

    def __format__(self, _form: str) -> str:
        return self.told

    def strftime(self, _form: str) -> str:
        return self.told


class Day(_Beyond, date):
    """A day."""


class Moment(_Beyond, datetime):
    """A moment, the same in every time zone."""

    def astimezone(self, tz: tzinfo | None = None) -> Moment:
        return self


def take(*, connection: Any, **_signal: Any) -> None:
    """Let a Django connection read them; a receiver of `connection_created`."""
    register_type(new_type((_DATE_OID,), "DAY", _day), connection.connection)
    register_type(new_type((_TIMESTAMPTZ_OID,), "MOMENT", _moment), connection.connection)


def _day(text: Any, cursor: Any) -> date | None:
    if text is None:
        return None
    if _is_ordinary(text):
        with suppress(ValueError):
            return PYDATE(text, cursor)  # type: ignore[no-any-return]
    near = date.min if _is_early(text) else date.max
    found = Day(near.year, near.month, near.day)
    found.told = text
    return found


def _moment(text: Any, cursor: Any) -> datetime | None:
    if text is None:
        return None
    if _is_ordinary(text):
        with suppress(ValueError, OverflowError):
            return PYDATETIMETZ(text, cursor)  # type: ignore[no-any-return]
    # A day from the end, so that no time zone leads beyond it.
    near = date(1, 1, 2) if _is_early(text) else date(9999, 12, 30)
    found = Moment(
        near.year, near.month, near.day, tzinfo=cursor.tzinfo_factory(timedelta(0)) if cursor.tzinfo_factory else None
    )
    found.told = text
    return found


def _is_ordinary(text: str) -> bool:
    return not text.endswith("infinity")


def _is_early(text: str) -> bool:
    return text.endswith(" BC") or text == "-infinity"
