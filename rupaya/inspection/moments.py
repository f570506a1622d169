"""Points in time, told so that nobody has to ask which time zone: UTC first, the viewer's own beside it."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString


def zone_of(request: HttpRequest) -> tzinfo | None:
    """The viewer's time zone, by their row in `users`; None where that is UTC or no zone at all."""
    name = getattr(request.user, "timezone", "") or ""
    try:
        zone = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
    return None if zone.utcoffset(datetime.now(UTC)) == UTC.utcoffset(None) else zone


def text(value: datetime) -> str:
    """``2026-11-22 16:46:18 UTC``."""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def html(value: Any, zone: tzinfo | None) -> SafeString | str:
    """UTC, and the same moment in another zone beside it; a value that is no point in time as it is."""
    if not isinstance(value, datetime):
        return "-" if value is None else str(value)
    local = value.astimezone(zone) if zone else None
    return format_html(
        '<time datetime="{}">{}</time>{}',
        value.astimezone(UTC).isoformat(timespec="seconds"),
        text(value),
        format_html(' <span class="local-time">{}</span>', f"{local:%d %b %H:%M} {zone}") if local else "",
    )


def short_html(value: datetime, zone: tzinfo | None) -> SafeString:
    """For a list, whose heading names UTC: to the minute; whole, and in another zone, for who points at it."""
    local = value.astimezone(zone) if zone else None
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        value.astimezone(UTC).isoformat(timespec="seconds"),
        text(value) + (f", {local:%d %b %H:%M} {zone}" if local else ""),
        f"{value.astimezone(UTC):%Y-%m-%d %H:%M}",
    )
