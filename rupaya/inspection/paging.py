"""Changelists that page by where the last page ended, not by counting rows from the beginning."""

from __future__ import annotations

import json
from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.utils.http import urlsafe_base64_decode, urlsafe_base64_encode
from django.utils.text import capfirst

from rupaya.inspection import ranges
from rupaya.inspection.choosing import COLUMNS
from rupaya.inspection.counting import Count, count
from rupaya.inspection.totals import totals

AFTER, BEFORE = "after", "before"
# What an address may hold besides filters.
OURS = (AFTER, BEFORE, COLUMNS, *ranges.NAMES)
END = "end"


class Keyset:
    """An order of rows by columns that are never NULL, the last of them unique, and places in it.

    Raises:
        ImproperlyConfigured: for an order by anything else.
    """

    def __init__(self, rows: QuerySet[Any]) -> None:
        opts = rows.model._meta
        self.columns: list[tuple[str, bool]] = []
        for item in rows.query.order_by:
            name, descending = str(item).lstrip("-"), str(item).startswith("-")
            field = opts.pk if name == "pk" else opts.get_field(name)
            if field.null:
                raise ImproperlyConfigured(f"{opts.label}.{name} may be NULL, so no page can begin after it.")
            self.columns.append((field.attname, descending))
        self.model = rows.model

    def place(self, row: Model) -> str:
        """Where a row stands, for an address."""
        values = [self._field(name).value_to_string(row) for name, _descending in self.columns]
        return urlsafe_base64_encode(json.dumps(values).encode())

    def beyond(self, place: str, *, backwards: bool) -> Q:
        """What comes after (or before) a place.

        Raises:
            IncorrectLookupParameters: if it is no place in this order.
        """
        try:
            texts = json.loads(urlsafe_base64_decode(place))
            values = [
                self._field(name).to_python(_storable(text))
                for (name, _), text in zip(self.columns, texts, strict=True)
            ]
        except (ValueError, TypeError, ValidationError, RecursionError) as error:
            raise IncorrectLookupParameters(error) from error
        beyond = Q()
        for index, (name, descending) in enumerate(self.columns):
            step = Q(**{f"{name}__{'lt' if descending != backwards else 'gt'}": values[index]})
            for (earlier, _), value in zip(self.columns[:index], values, strict=False):
                step &= Q(**{earlier: value})
            beyond |= step
        # Implied by the rest, and what an index can begin its scan at.
        name, descending = self.columns[0]
        return Q(**{f"{name}__{'lte' if descending != backwards else 'gte'}": values[0]}) & beyond

    def _field(self, name: str) -> Any:
        return next(field for field in self.model._meta.fields if field.attname == name)


def _storable(value: Any) -> Any:
    """The value itself.

    Raises:
        ValueError: for text that no row can have: with a NUL, or half of a surrogate pair.
    """
    if isinstance(value, str) and "\0" in value.encode().decode():
        raise ValueError(value)
    return value


class InspectionList(ChangeList):
    """A changelist whose every page costs the same; the number of its rows is an estimate where they are many."""

    model_admin: Any
    """The `InspectionAdmin` that makes this list; it imports this module."""
    count: Count
    newer = older = first = last = ""
    """Addresses of other pages, empty where there is none."""

    def get_filters_params(self, params: Any = None) -> Any:
        return {name: values for name, values in super().get_filters_params(params).items() if name not in OURS}

    @property
    def kept_parameters(self) -> list[tuple[str, str]]:
        """What a new search keeps of the address: order and filters, and no place in the list."""
        return [
            (name, value)
            for name, values in self.filter_params.items()
            if name not in (AFTER, BEFORE, SEARCH_VAR)
            for value in values
        ]

    @property
    def kept_beside_ranges(self) -> list[tuple[str, str]]:
        """What new ranges keep of the address: all but ranges and the place in the list."""
        return [
            (name, value)
            for name, values in self.filter_params.items()
            if name not in (AFTER, BEFORE, *ranges.NAMES)
            for value in values
        ]

    def get_query_string(self, new_params: Any = None, remove: Any = None) -> str:
        # A place belongs to one order and one filter; any other link begins anew.
        kept = {AFTER: None, BEFORE: None} | dict(new_params or {})
        return super().get_query_string(kept, remove)

    @property
    def chips(self) -> list[tuple[str, str]]:
        """What the list is narrowed to, one by one, each with the address of the list without it."""
        chips = []
        if self.query:
            chips.append((f"“{self.query}”", self.get_query_string(remove=[SEARCH_VAR])))
        for spec in self.filter_specs:
            for choice in list(spec.choices(self))[1:]:  # the first is "all"
                if choice.get("selected"):
                    without = self.get_query_string(remove=spec.expected_parameters())
                    chips.append((f"{spec.title}: {choice['display']}", without))
        for name, word in zip(ranges.NAMES, ("from", "to", "at least", "at most"), strict=True):
            value = getattr(self.ranges, {"from": "first", "to": "last"}.get(name, name))
            if value is not None:
                # By name, for what is taken away is taken by how a parameter begins.
                chips.append((f"{word} {value}", self.get_query_string({name: None})))
        return chips

    @property
    def totals(self) -> list[Any] | None:
        """What the rows add up to; None where they are too many for that."""
        admin = self.model_admin
        if not (admin.amount_field and admin.money):
            return []
        return totals(self.queryset, self.count, admin.amount_field, admin.money)

    @property
    def range_label(self) -> str:
        """Of which days a range is asked for."""
        return capfirst(str(self.opts.get_field(self.model_admin.ranged_by).verbose_name))  # type: ignore[union-attr]

    @property
    def column_choices(self) -> list[tuple[str, str, bool]]:
        """Each column that there could be."""
        choices: list[tuple[str, str, bool]] = self.model_admin.column_choices(self.request)
        return choices

    @property
    def address_with_columns(self) -> str:
        """This list for somebody whose browser remembers other columns."""
        return self.get_query_string({COLUMNS: ".".join(self.model_admin.columns_of(self.request))})

    @property
    def is_narrow(self) -> bool:
        """Whether so few rows are left that each of them can be looked at."""
        asked = self.filter_params
        return bool(
            self.query
            or self.ranges.is_short
            or any(f"{field.name}__{field.related_model._meta.pk.name}__exact" in asked for field in self._relations())
        )

    def _relations(self) -> list[Any]:
        return [field for field in self.opts.fields if field.related_model]

    @property
    def scope(self) -> str:
        """Whose rows alone these are, by the links between rows; empty for everybody's."""
        admin, request = self.model_admin, self.request
        filters = []
        for field in self.opts.fields:
            related: Any = field.related_model
            if related is None:
                continue
            for value in self.filter_params.get(f"{field.name}__{related._meta.pk.name}__exact", []):
                row = related._base_manager.using(self.queryset.db).filter(pk=value).first()
                filters.append(f"{field.verbose_name} {admin.label_of_any(request, row) if row else value}")
        return ", ".join(filters)

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request, exclude_parameters)
        self.request = request
        self.ranges = ranges.read(self.params)
        self.refused_range = ""
        if self.model_admin.ranged_by:
            rows = self.ranges.within_days(rows, self.model_admin.ranged_by)
        if self.model_admin.amount_field and self.ranges.has_amounts:
            if self.is_narrow:
                rows = self.ranges.within_amounts(rows, self.model_admin.amount_field)
            else:
                self.refused_range = ranges.NOT_NARROW
        self.waits_for_search = self.model_admin.needs_person and not rows.query.where
        return rows.none() if self.waits_for_search else rows

    def get_results(self, request: HttpRequest) -> None:
        size = self.list_per_page
        keyset = Keyset(self.queryset)
        after, before = self.params.get(AFTER, ""), self.params.get(BEFORE, "")
        backwards = bool(before)
        rows = self.queryset.reverse() if backwards else self.queryset
        place = after or before
        if place and place != END:
            rows = rows.filter(keyset.beyond(place, backwards=backwards))
        found = list(rows[: size + 1])
        more = len(found) > size
        found = found[:size]
        if backwards:
            found.reverse()

        if found:
            if backwards or more:
                self.older = self.get_query_string({AFTER: keyset.place(found[-1])}) if place != END else ""
            if (backwards and more) or after:
                self.newer = self.get_query_string({BEFORE: keyset.place(found[0])})
            self.first = self.get_query_string() if self.newer else ""
            self.last = self.get_query_string({BEFORE: END}) if self.older else ""
        elif place:
            self.first = self.get_query_string()

        self.count = Count(len(found), True) if not place and not more else count(self.queryset)
        self.result_list = found
        self.result_count = self.count.number
        self.full_result_count = None
        self.show_full_result_count = False
        self.show_admin_actions = False
        self.can_show_all = False
        self.multi_page = more or bool(place)
        self.paginator = Paginator(found, size)
