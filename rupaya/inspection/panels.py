"""What else a row's page shows: pictures and lists of the apps that have them, for a model that they need not know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import OperationalError, connections, models, transaction
from django.http import HttpRequest
from django.utils.safestring import SafeString
from psycopg2.errors import QueryCanceled

# Of each panel: somebody with a hundred thousand transactions has a page, too.
STATEMENT_TIMEOUT_MS = 150
TOO_MANY = "There are too many to add up for this page; the list has them."


@dataclass(frozen=True)
class Panel:
    """One of them; `lines` are rows of cells, each with its class."""

    title: str
    address: str = ""
    figures: tuple[tuple[str, SafeString | str], ...] = ()
    picture: SafeString | str = ""
    first: str = ""
    last: str = ""
    lines: tuple[tuple[tuple[str, SafeString | str], ...], ...] = ()
    headings: tuple[tuple[str, str], ...] = ()
    note: str = ""


Read = Callable[[HttpRequest, Any], Panel | None]
_panels: dict[str, list[tuple[str, Read]]] = {}


def register(label: str, title: str) -> Callable[[Read], Read]:
    """Show a panel on the pages of a model's rows, in the order of registration; None is shown as nothing."""

    def keep(read: Read) -> Read:
        _panels.setdefault(label, []).append((title, read))
        return read

    return keep


def of(request: HttpRequest, row: models.Model) -> list[Panel]:
    """The panels of a row, within the page's transaction, whose limit is put back; one that takes too long says so."""
    panels = _panels.get(row._meta.label, ())
    alias = row._state.db or "default"
    if not panels:
        return []
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT current_setting('statement_timeout')")
        (before,) = cursor.fetchone()
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(STATEMENT_TIMEOUT_MS)])
        found = [_read(request, row, title, read) for title, read in panels]
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [before])
    return [panel for panel in found if panel is not None]


def _read(request: HttpRequest, row: models.Model, title: str, read: Read) -> Panel | None:
    try:
        # What is stopped takes nothing of the page with it.
        with transaction.atomic(using=row._state.db):
            return read(request, row)
    except OperationalError as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise
        return Panel(title, note=TOO_MANY)
