"""One search for all that this site shows: people and money by what an index finds, and whatever apps add to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.db import OperationalError, connections, transaction
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import urlencode
from psycopg2.errors import QueryCanceled

from rupaya.inspection import navigation, replica
from rupaya.inspection.search import find

MOST_OF_A_KIND = 6
STATEMENT_TIMEOUT_MS = 300
SHORTEST = 2
LONGEST = 200


@dataclass(frozen=True)
class Hit:
    """Something that was found, what is known of it at once, and where it is."""

    title: str
    address: str
    detail: str = ""


@dataclass(frozen=True)
class Kind:
    """What was found of one kind."""

    title: str
    hits: tuple[Hit, ...]
    all_of_them: str = ""
    note: str = ""


Source = Callable[[HttpRequest, str], Iterable[Kind]]
_sources: list[Source] = []


def register(source: Source) -> Source:
    """Ask a source, too: it sees to it itself who may see what, and that it takes no time."""
    if source not in _sources:
        _sources.append(source)
    return source


def everything(request: HttpRequest, term: str) -> list[Kind]:
    """All that a term finds, by kind."""
    term = " ".join(term.split())[:LONGEST]
    if len(term) < SHORTEST or "\x00" in term:
        return []
    found = [_pages(request, term), *_rows(request, term)]
    for source in _sources:
        found.extend(source(request, term))
    return [kind for kind in found if kind.hits or kind.note]


def view(request: HttpRequest) -> HttpResponse:
    """The page of results; with `part`, only the list of them, for who is still typing."""
    term = request.GET.get("q", "")
    context = {"term": term.strip(), "kinds": everything(request, term), "shortest": SHORTEST}
    if "part" in request.GET:
        return TemplateResponse(request, "inspection/found.html", context)
    context |= {**admin.site.each_context(request), "title": "Search"}
    return TemplateResponse(request, "inspection/search.html", context)


def _pages(request: HttpRequest, term: str) -> Kind:
    wanted = term.lower()
    places = [
        Hit(place.title, place.address, section.title)
        for section in navigation.sections(request)
        for place in section.places
        if wanted in place.title.lower()
    ]
    return Kind("Pages", tuple(places[:MOST_OF_A_KIND]))


def _rows(request: HttpRequest, term: str) -> list[Kind]:
    found = []
    for _model, owner in sorted(admin.site._registry.items(), key=navigation.place_of):
        if getattr(owner, "is_searched", False) and owner.has_view_permission(request):
            found.append(_rows_of(request, owner, term))
    return found


def _rows_of(request: HttpRequest, owner: Any, term: str) -> Kind:
    opts = owner.opts
    title = navigation.name_of(owner)
    here = reverse(f"admin:{opts.app_label}_{opts.model_name}_changelist")
    alias = replica.source(request).alias
    searches = owner.searches_of(request)
    try:
        with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(STATEMENT_TIMEOUT_MS)])
            rows = find(owner.get_queryset(request), term, searches)
            hits = [] if rows is None else list(rows[: MOST_OF_A_KIND + 1])
            shown = tuple(
                Hit(
                    owner.get_label(request, row),
                    reverse(f"admin:{opts.app_label}_{opts.model_name}_change", args=(row.pk,)),
                    owner.get_detail(request, row),
                )
                for row in hits[:MOST_OF_A_KIND]
            )
    except OperationalError as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise
        return Kind(title, (), note="It takes too long here; ask the list.")
    return Kind(title, shown, f"{here}?{urlencode({'q': term})}" if len(hits) > MOST_OF_A_KIND else "")
