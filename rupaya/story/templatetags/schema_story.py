"""What the templates of the schema's story need besides Django's tags."""

from __future__ import annotations

from datetime import timedelta

from django import template

from rupaya.story import state
from rupaya.story.timeline import in_words

register = template.Library()


@register.simple_tag
def schema_headline() -> state.Fact:
    """How the schema stands to this code, in one line."""
    return state.headline()


@register.filter
def took(duration: timedelta | None) -> str:
    """A duration as people say it."""
    return "under way" if duration is None else in_words(duration.total_seconds())


@register.filter
def ms(milliseconds: float) -> str:
    """Milliseconds as people say them."""
    return f"{milliseconds:.1f} ms" if milliseconds < 100 else in_words(milliseconds / 1000)


@register.filter
def estimated(rows: int) -> str:
    """The server's estimate of a table's rows."""
    return "never analysed" if rows < 0 else f"about {rows:,}"
