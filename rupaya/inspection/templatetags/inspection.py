"""What the admin's templates need to tell times, places and drill-downs."""

from __future__ import annotations

import calendar
from datetime import date, datetime
from typing import Any

from django import template
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.admin.templatetags.admin_list import result_headers, result_hidden_fields, results
from django.db.models import Model
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst

from rupaya.inspection import editing, home, moments, navigation
from rupaya.inspection.modeladmin import InspectionAdmin
from rupaya.inspection.paging import InspectionList

register = template.Library()


@register.filter
def moment(value: Any, request: HttpRequest) -> SafeString | str:
    """A point in time in UTC, with the viewer's time zone beside it: ``{{ run.started_at|moment:request }}``."""
    return moments.html(value, moments.zone_of(request))


@register.inclusion_tag("inspection/navigation.html", takes_context=True)
def site_navigation(context: template.Context) -> dict[str, Any]:
    """Where this person can go."""
    request: HttpRequest = context["request"]
    return {
        "sections": navigation.sections(request),
        "is_home": request.path == reverse("admin:index"),
        "path": request.path,
    }


@register.inclusion_tag("inspection/recent.html", takes_context=True)
def recent_changes(context: template.Context) -> dict[str, Any]:
    """What was changed or exported last, by anybody."""
    entries = LogEntry.objects.select_related("user").order_by("-id")[:6]
    return {"entries": entries, "request": context["request"]}


@register.filter
def told_and_why(message: str) -> tuple[str, str]:
    """What an entry of the log says was changed, and why."""
    return editing.without_reason(message)


@register.filter
def moment_short(value: datetime, request: HttpRequest) -> SafeString:
    """A point in time to the minute, whose zone is named elsewhere on the page."""
    return moments.short_html(value, moments.zone_of(request))


@register.inclusion_tag("inspection/cards.html", takes_context=True)
def row_cards(context: template.Context) -> dict[str, Any]:
    """What came in, day by day."""
    return {"cards": home.cards(context["request"])}


@register.simple_tag(takes_context=True)
def called(context: template.Context, row: Model | None) -> SafeString | str:
    """A row by the name that this viewer may see, with a link to it where they may look at it."""
    if row is None:
        return "-"
    request: HttpRequest = context["request"]
    owner = admin.site._registry.get(type(row))
    if not isinstance(owner, InspectionAdmin):
        return str(row)
    label = owner.get_label(request, row)
    opts = row._meta
    try:
        address = reverse(f"admin:{opts.app_label}_{opts.model_name}_change", args=(row.pk,))
    except NoReverseMatch:
        return label
    return format_html('<a href="{}">{}</a>', address, label) if owner.has_view_permission(request) else label


@register.inclusion_tag("inspection/filter_choices.html")
def filter_choices(cl: Any, spec: Any) -> dict[str, Any]:
    """One filter, and what it can be set to."""
    return {"title": spec.title, "choices": list(spec.choices(cl))}


@register.inclusion_tag("inspection/result_list.html")
def result_table(cl: Any) -> dict[str, Any]:
    """Django's table of a list, whose cells know their heading (a phone shows a card a row) and whether they align."""
    headers = list(result_headers(cl))
    shown = [getattr(cl.model_admin, name, None) if isinstance(name, str) else name for name in cl.list_display]
    for header, column in zip(headers, shown, strict=True):
        header["is_number"] = getattr(column, "is_number", False)
    rows = [
        [_told(item, header) for item, header in zip(row, headers, strict=True)] for row in results(cl) if list(row)
    ]
    return {"cl": cl, "result_headers": headers, "result_hidden_fields": list(result_hidden_fields(cl)), "rows": rows}


def _told(cell: str, header: dict[str, Any]) -> SafeString:
    """A cell with its heading, for where the headings are not shown; `cell` is Django's, and begins with its class."""
    kind = "number " if header["is_number"] else ""
    label = format_html(' data-label="{}"', capfirst(header["text"]))
    # Django's own markup, and an escaped attribute put into it.
    labelled = str(cell).replace(' class="', f'{label} class="{kind}', 1)
    return SafeString(labelled)  # nosec B703


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
