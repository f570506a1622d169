"""Where one can go on this site, by what people look for: People, Money, Schema, Access.

A ModelAdmin says by `section` where it belongs; a page that is no model's list is registered by the app that has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.text import capfirst

SECTIONS = ("People", "Money", "Schema", "Access")
OTHERS = "More"


@dataclass(frozen=True)
class Page:
    """A page that is no model's list."""

    section: str
    title: str
    view_name: str
    permission: str = ""
    """Who may see it; empty for all staff."""
    covers: tuple[str, ...] = ()
    """How the addresses of other pages begin that belong to it."""


@dataclass(frozen=True)
class Place:
    """A place to go to."""

    title: str
    address: str
    is_current: bool = False


@dataclass(frozen=True)
class Section:
    """What belongs together."""

    title: str
    places: tuple[Place, ...]


_pages: list[Page] = []


def register(page: Page) -> None:
    """Show a page to those who may see it, in the order of registration, before the lists of its section."""
    if page not in _pages:
        _pages.append(page)


def sections(request: HttpRequest) -> list[Section]:
    """What this person may see; a model whose ModelAdmin names no section is under `OTHERS`."""
    found: dict[str, list[tuple[str, str]]] = {title: [] for title in (*SECTIONS, OTHERS)}
    covered: list[tuple[str, str]] = []
    for page in _pages:
        if not page.permission or request.user.has_perm(page.permission):
            address = reverse(page.view_name)
            found.setdefault(page.section, []).append((page.title, address))
            covered += [(beginning, address) for beginning in page.covers]
    for model, owner in sorted(admin.site._registry.items(), key=place_of):
        section = getattr(owner, "section", OTHERS)
        if section is None or not owner.has_view_permission(request):
            continue
        opts = model._meta
        address = reverse(f"admin:{opts.app_label}_{opts.model_name}_changelist")
        found.setdefault(section, []).append((name_of(owner), address))
    covered += [(address, address) for places in found.values() for _, address in places]
    matching = [(beginning, address) for beginning, address in covered if request.path.startswith(beginning)]
    _, here = max(matching, key=lambda match: len(match[0]), default=("", ""))
    return [
        Section(title, tuple(Place(name, address, address == here) for name, address in places))
        for title, places in found.items()
        if places
    ]


def name_of(owner: Any) -> str:
    """What a model's list is called."""
    return getattr(owner, "list_title", "") or capfirst(str(owner.opts.verbose_name_plural))


def place_of(item: tuple[Any, Any]) -> tuple[int, str]:
    """By what lists are ordered: a model and its ModelAdmin."""
    model, owner = item
    return getattr(owner, "place_in_section", 50), str(model._meta.verbose_name_plural)
