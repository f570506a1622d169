"""What the templates of the schema's story need besides Django's tags."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from django import template
from django.utils.html import escape, format_html, format_html_join
from django.utils.safestring import SafeString

from rupaya.inspection.amounts import MINUS
from rupaya.story import home, state
from rupaya.story.timeline import Bar, in_words, level_of

register = template.Library()
_STEPS = ((10**9, "G"), (10**6, "M"), (10**3, "k"))


@register.filter
def took(duration: timedelta | None) -> str:
    """A duration as people say it."""
    return "under way" if duration is None else in_words(duration.total_seconds())


@register.filter
def seconds(duration_s: float) -> str:
    """So many seconds, as people say them."""
    return in_words(duration_s)


@register.filter
def outcome_level(outcome: str) -> str:
    """By what an outcome is coloured."""
    return level_of(outcome)


_COMMAND = re.compile(r"'(manage\.py [^']+)'")


def _command(text: str) -> SafeString:
    button = '<button type="button" class="copy" hidden data-copy="{0}" aria-label="Copy {0}">Copy</button>'
    return format_html("<code>{0}</code> " + button, text)


@register.filter
def commands(text: str) -> SafeString:
    """A sentence whose commands are code that can be copied."""
    parts = _COMMAND.split(text)
    pieces = [_command(part) if index % 2 else escape(part) for index, part in enumerate(parts)]
    return format_html_join("", "{}", ((part,) for part in pieces))


@register.filter
def ms(milliseconds: float) -> str:
    """Milliseconds as people say them."""
    return f"{milliseconds:.1f} ms" if milliseconds < 100 else in_words(milliseconds / 1000)


@register.filter
def estimated(rows: int) -> str:
    """The server's estimate of a table's rows."""
    return "never analysed" if rows < 0 else f"about {rows:,}"


@register.inclusion_tag("schema/_lead.html")
def schema_lead() -> dict[str, object]:
    """How the schema stands, since when, and which release made it so."""
    fact, last_run = state.lead()
    return {"fact": fact, "last_run": last_run}


@register.inclusion_tag("schema/_cards.html")
def schema_cards() -> dict[str, object]:
    """The last runs on their axis, and the biggest tables."""
    return home.pictures()


@register.filter
def last_started(bars: list[Bar]) -> datetime:
    """When the oldest of these runs, the last in the list, began."""
    return bars[-1].started_at


@register.filter
def signed(number: int) -> str:
    """``+1.2 k``, or a minus before it."""
    size = abs(number)
    text = next((f"{size / step:.3g} {unit}" for step, unit in _STEPS if size >= step), str(size))
    return f"{'+' if number > 0 else MINUS}{text}"
