"""What the admin's templates need to tell times, places and drill-downs."""

from __future__ import annotations

import calendar
from datetime import date, datetime
from typing import Any

from django import template
from django.http import HttpRequest
from django.utils.safestring import SafeString

from rupaya.inspection import moments
from rupaya.inspection.paging import InspectionList

register = template.Library()


@register.filter
def moment(value: Any, request: HttpRequest) -> SafeString | str:
    """A point in time in UTC, with the viewer's time zone beside it: ``{{ run.started_at|moment:request }}``."""
    return moments.html(value, moments.zone_of(request))


@register.inclusion_tag("admin/date_hierarchy.html")
def date_drill_down(cl: InspectionList) -> dict[str, Any]:
    """Django's date hierarchy, but for asking every row for its date: from the first year there is to the last.

    Months and days are those of the calendar, whether they have rows or not.
    """
    name = cl.date_hierarchy
    year, month, day = (_number(cl.params.get(f"{name}__{part}")) for part in ("year", "month", "day"))

    def link(title: str, **parts: int) -> dict[str, str]:
        return {
            "title": title,
            "link": cl.get_query_string({f"{name}__{part}": value for part, value in parts.items()}, [f"{name}__"]),
        }

    back = {"title": "All dates", "link": cl.get_query_string({}, [f"{name}__"])}
    if year and month and 1 <= month <= 12:
        title = f"{calendar.month_name[month]} {year}"
        days = [] if day else range(1, calendar.monthrange(year, month)[1] + 1)
        return {
            "show": True,
            "back": link(title, year=year, month=month) if day else link(str(year), year=year),
            "choices": [link(str(number), year=year, month=month, day=number) for number in days]
            or [{"title": f"{calendar.month_name[month]} {day}"}],
        }
    if year:
        return {
            "show": True,
            "back": back,
            "choices": [link(calendar.month_name[number], year=year, month=number) for number in range(1, 13)],
        }
    return {"show": True, "choices": [link(str(number), year=number) for number in _years(cl)]}


def _years(cl: InspectionList) -> range:
    rows = cl.root_queryset.order_by().values_list(cl.date_hierarchy, flat=True)
    ends: list[date | datetime] = [
        end for order in (cl.date_hierarchy, f"-{cl.date_hierarchy}") for end in rows.order_by(order)[:1]
    ]
    return range(ends[0].year, ends[1].year + 1) if ends else range(0)


def _number(value: Any) -> int | None:
    text = value[0] if isinstance(value, list) and value else value
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() and 0 < int(text) < 10000 else None
