"""A model's field as this site shows it: masked, linked, aligned, and in everybody's time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import date, datetime, tzinfo
from decimal import Decimal
from typing import Any

from django.db import models
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.text import capfirst

from rupaya.inspection import amounts, moments
from rupaya.inspection.amounts import Direction

EMPTY = "-"


@dataclasses.dataclass(frozen=True)
class Money:
    """How a model's sums are told: in which currency, and which way they went."""

    currency_field: str
    direction_field: str = ""
    directions: dict[str, Direction] = dataclasses.field(default_factory=dict)

    def currency(self, row: models.Model) -> str:
        """The row's currency."""
        return str(getattr(row, self.currency_field, "") or "")

    def direction(self, row: models.Model) -> Direction:
        """Which way the row's money went."""
        return self.directions.get(getattr(row, self.direction_field, ""), Direction.NONE)


@dataclasses.dataclass(frozen=True)
class Column:
    """Called with a row, it gives the HTML of one field; `text` gives the same for a CSV file."""

    field: models.Field[Any, Any] = dataclasses.field(compare=False)
    name: str
    sortable: bool
    mask: Callable[[Any], str] | None = dataclasses.field(compare=False)
    label_of: Callable[[models.Model], str] = dataclasses.field(compare=False)
    zone: tzinfo | None = dataclasses.field(compare=False)
    in_list: bool = dataclasses.field(default=False, compare=False)
    """In a list, space is dear: a moment is told once, and of yes and no only the telling one."""
    money: Money | None = dataclasses.field(default=None, compare=False)
    is_copied: bool = dataclasses.field(default=False, compare=False)
    """Whether a row's page has a button that copies it."""
    telling: tuple[bool, str] = dataclasses.field(default=(True, ""), compare=False)
    """Which of yes and no a list tells, and in which word; empty for the field's own name."""

    @property
    def __name__(self) -> str:
        return self.name

    @property
    def short_description(self) -> str:
        """What Django calls a column."""
        said = str(self.field.verbose_name)
        return f"{said} (UTC)" if self.in_list and isinstance(self.field, models.DateTimeField) else said

    @property
    def admin_order_field(self) -> str | None:
        """By what Django sorts it, if it may."""
        return self.name if self.sortable else None

    @property
    def is_number(self) -> bool:
        """Whether it is read digit below digit, and so from the right."""
        numbers = (models.DecimalField, models.IntegerField, models.FloatField)
        return isinstance(self.field, numbers) and not self.field.choices

    def __call__(self, row: models.Model) -> Any:
        if self.field.is_relation:
            return self._related(row)
        value = getattr(row, self.field.attname)
        if isinstance(value, bool):
            return self._said(value)
        if self.money and self.mask is None and isinstance(value, Decimal):
            return amounts.html(value, self.money.currency(row), self.money.direction(row))
        if self.is_number and self.mask is None and isinstance(value, int | Decimal):
            return amounts.figure(value)
        if isinstance(value, datetime):
            return moments.short_html(value, self.zone) if self.in_list else moments.html(value, self.zone)
        text = self.text(row) or EMPTY
        if self.is_copied and not self.in_list and self.mask is None and text != EMPTY:
            return format_html(
                '{} <button type="button" class="copy" hidden data-copy="{}" aria-label="Copy {}">Copy</button>',
                text, text, self.field.verbose_name,
            )  # fmt: skip
        return text

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

    def value(self, row: models.Model) -> Any:
        """The value as a spreadsheet keeps it: figures and days as such, all else as `text`."""
        value = getattr(row, self.field.attname)
        is_plain = isinstance(value, bool | int | Decimal | date) and not self.field.choices
        return value if is_plain and self.mask is None else self.text(row)

    def _said(self, value: bool) -> Any:
        if not self.in_list:
            return "Yes" if value else "No"
        told, word = self.telling
        if value is not told:
            # For who hears the page; who sees it is told by the others' pills.
            return format_html('<span class="visually-hidden">{}</span>', "yes" if value else "no")
        return format_html('<span class="pill">{}</span>', word or capfirst(self.short_description.removeprefix("is ")))

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
