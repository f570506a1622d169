"""What stands on every page of the admin: the environment, and the database that was read."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest


def page(request: HttpRequest) -> dict[str, Any]:
    """A context processor."""
    return {
        "environment": settings.RUPAYA_ENV,
        "release": settings.RELEASE,
        "read_from": getattr(request, "inspection_source", None),
    }
