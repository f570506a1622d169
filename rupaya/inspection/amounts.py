"""Sums of money as people read them: separators, a sign where money came or went, the currency beside it."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString

MINUS = "\N{MINUS SIGN}"


class Direction(StrEnum):
    """Which way money went, from its owner's side."""

    IN = "in"
    OUT = "out"
    MOVED = "transfer"
    NONE = "none"


SIGNS = {Direction.IN: "+", Direction.OUT: MINUS}


def figure(value: Decimal | int) -> str:
    """``1,234,567.80``, negative with a real minus; a whole number has no point."""
    text = f"{abs(value):,.2f}" if isinstance(value, Decimal) else f"{abs(value):,}"
    return f"{MINUS}{text}" if value < 0 else text


def text(value: Decimal, currency: str = "", direction: Direction = Direction.NONE) -> str:
    """``+52,000.00 INR``."""
    signed = f"{SIGNS.get(direction, '')}{figure(value)}"
    return f"{signed} {currency}" if currency else signed


def html(value: Any, currency: str = "", direction: Direction = Direction.NONE) -> SafeString | str:
    """The same, coloured by its direction and never broken in two."""
    if value is None:
        return ""
    unit = format_html(' <span class="currency">{}</span>', currency) if currency else ""
    return format_html(
        '<span class="amount money-{}">{}{}</span>', direction.value, f"{SIGNS.get(direction, '')}{figure(value)}", unit
    )
