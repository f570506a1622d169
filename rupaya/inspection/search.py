"""What somebody typed into the search box, read as the one thing that it is, so that an index finds it.

Django's own search joins every table named and compares every column with every word: at ten million rows, minutes.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import phonenumbers
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet
from django.db.models.functions import Collate, Lower
from django.db.models.lookups import StartsWith

MOST_PEOPLE = 200
"""Of so many people at most the rows are searched for at once."""


@dataclass(frozen=True)
class Search:
    """One thing that can be searched for: what it is called, and how a term is read as it.

    `read` gets the rows (and so the database they come from) and the term; it returns the narrowed rows, or None where
    the term is something else.
    """

    what: str
    read: Callable[[QuerySet[Any], str], QuerySet[Any] | None]
    tells_personal_data: bool = False
    """Whether it would tell a masked value, letter by letter: only for those who see it anyway."""


def find(rows: QuerySet[Any], term: str, searches: Sequence[Search]) -> QuerySet[Any] | None:
    """The rows that a term means, by the first search that can read it; None if none can."""
    for search in searches:
        found = search.read(rows, term)
        if found is not None:
            return found
    return None


def key(*fields: str) -> Search:
    """A UUID, in any of these columns."""

    def read(rows: QuerySet[Any], term: str) -> QuerySet[Any] | None:
        try:
            value = uuid.UUID(term)
        except ValueError:
            return None
        wanted = Q()
        for field in fields:
            wanted |= Q(**{field: value})
        return rows.filter(wanted)

    return Search("an id", read)


def starts_with(field: str, what: str, *, tells_personal_data: bool = False) -> Search:
    """The beginning of a text, in any case; needs an index on ``lower(field) COLLATE "C"``."""

    def read(rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        return rows.filter(_prefix(field, term))

    return Search(what, read, tells_personal_data)


def exactly(field: str, what: str, *, tells_personal_data: bool = False) -> Search:
    """A text as it stands in the table."""

    def read(rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        return rows.filter(**{field: term})

    return Search(what, read, tells_personal_data)


def contains(*fields: str, what: str) -> Search:
    """Some text within these columns: each row is read, so only where they are few and their order finds the newest."""

    def read(rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        wanted = Q()
        for field in fields:
            wanted |= Q(**{f"{field}__icontains": term})
        return rows.filter(wanted)

    return Search(what, read)


def email(field: str = "email") -> Search:
    """An e-mail address, or its beginning up to the @ and beyond, in any case."""

    def read(rows: QuerySet[Any], term: str) -> QuerySet[Any] | None:
        return rows.filter(_prefix(field, term)) if "@" in term else None

    return Search("an e-mail address", read)


def phone(field: str = "phone_number") -> Search:
    """A phone number in any spelling; without a country code, one of `PHONENUMBER_DEFAULT_REGION`."""

    def read(rows: QuerySet[Any], term: str) -> QuerySet[Any] | None:
        number = e164(term)
        return rows.filter(**{field: number}) if number else None

    return Search("a phone number", read)


def person(field: str = "user") -> Search:
    """The rows of people, found by their e-mail address, phone number or id."""

    def read(rows: QuerySet[Any], term: str) -> QuerySet[Any] | None:
        people = find(get_user_model()._base_manager.using(rows.db), term, (key("pk"), phone(), email()))
        if people is None:
            return None
        return rows.filter(**{f"{field}__in": list(people.values_list("pk", flat=True)[:MOST_PEOPLE])})

    return Search("its owner's e-mail address, phone number or id", read)


def e164(term: str) -> str | None:
    """A phone number in E.164 form, however it was written; None for what is no number that could exist."""
    if not any(character.isdigit() for character in term) or any(character.isalpha() for character in term):
        return None
    try:
        parsed = phonenumbers.parse(term, settings.PHONENUMBER_DEFAULT_REGION)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(parsed):
        return None
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


def _prefix(field: str, term: str) -> Any:
    # In the collation C, in which a beginning is a range of an ordinary index.
    return StartsWith(Collate(Lower(field), "C"), term.lower())
