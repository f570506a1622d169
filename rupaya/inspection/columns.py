"""A model's field as this site shows it: masked, linked, and in everybody's time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import Any

from django.db import models
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html

from rupaya.inspection import moments

EMPTY = "-"


@dataclasses.dataclass(frozen=True)
class Column:
    """Called with a row, it gives the HTML of one field; `text` gives the same for a CSV file."""

    field: models.Field[Any, Any] = dataclasses.field(compare=False)
    name: str
    sortable: bool
    mask: Callable[[Any], str] | None = dataclasses.field(compare=False)
    label_of: Callable[[models.Model], str] = dataclasses.field(compare=False)
    zone: tzinfo | None = dataclasses.field(compare=False)

    @property
    def __name__(self) -> str:
        return self.name

    @property
    def short_description(self) -> str:
        """What Django calls a column."""
        return str(self.field.verbose_name)

    @property
    def admin_order_field(self) -> str | None:
        """By what Django sorts it, if it may."""
        return self.name if self.sortable else None

    @property
    def boolean(self) -> bool:
        """Whether Django shows it as a tick or a cross."""
        return isinstance(self.field, models.BooleanField)

    def __call__(self, row: models.Model) -> Any:
        if self.field.is_relation:
            return self._related(row)
        value = getattr(row, self.field.attname)
        if isinstance(value, datetime):
            return moments.html(value, self.zone)
        return value if self.boolean else self.text(row) or EMPTY

    def text(self, row: models.Model) -> str:
        """The value without markup, masked where the viewer may not see it; a relation is its key."""
        value = getattr(row, self.field.attname)
        if value is None or value == "":
            return ""
        if self.mask is not None:
            return self.mask(value)
        if isinstance(value, datetime):
            return moments.text(value)
        if isinstance(value, list):
            return ", ".join(map(str, value))
        if self.field.choices:
            return str(dict(self.field.flatchoices).get(value, value))
        return str(value)

    def _related(self, row: models.Model) -> Any:
        key = getattr(row, self.field.attname)
        if key is None:
            return EMPTY
        other = getattr(row, self.field.name)
        opts = other._meta
        try:
            address = reverse(f"admin:{opts.app_label}_{opts.model_name}_change", args=(key,))
        except NoReverseMatch:
            return self.label_of(other)
        return format_html('<a href="{}">{}</a>', address, self.label_of(other))
