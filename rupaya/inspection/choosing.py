"""Which columns of a list somebody wants to see: kept in a cookie, and in an address that is shared."""

from __future__ import annotations

from collections.abc import Sequence

from django.http import HttpRequest, HttpResponse

COLUMNS = "columns"
KEPT_S = 365 * 24 * 3600


def cookie_of(label: str) -> str:
    """The cookie of a model's list."""
    return f"columns-{label.lower()}"


def chosen(request: HttpRequest, label: str, offered: Sequence[str]) -> list[str]:
    """What this person, or the address that they were given, asks for; of it what is offered, and nothing twice."""
    text = request.GET.get(COLUMNS) or request.COOKIES.get(cookie_of(label), "")
    return list(dict.fromkeys(name for name in text.split(".") if name in offered))


def remember(response: HttpResponse, label: str, names: Sequence[str], path: str) -> None:
    """Keep a choice; without a name, forget it."""
    if names:
        response.set_cookie(cookie_of(label), ".".join(names), max_age=KEPT_S, path=path, httponly=True, samesite="Lax")
    else:
        response.delete_cookie(cookie_of(label), path=path)
