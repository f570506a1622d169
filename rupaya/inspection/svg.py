"""Pictures as SVG text, drawn on the server: no script, no inline style, colours from the style sheet by class."""

from __future__ import annotations

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString


def element(name: str, *content: SafeString, text: str = "", **attributes: str | float) -> SafeString:
    """An element; attributes and text are escaped, `class_` and `aria_label` named as Python can."""
    names = ((key.rstrip("_").replace("_", "-"), _value(value)) for key, value in attributes.items())
    written = format_html_join("", ' {}="{}"', names)
    inside = format_html_join("", "{}", ((part,) for part in content))
    return format_html("<{0}{1}>{2}{3}</{0}>", name, written, text, inside)


def picture(name: str, title: str, description: str, width: float, height: float, *content: SafeString) -> SafeString:
    """A whole picture, of a fixed size so that its text stays readable, with a name for who does not see it.

    A group and not an image: links inside an image are hidden from a screen reader.
    """
    return element(
        "svg",
        element("title", text=title, id=f"{name}-title"),
        element("desc", text=description, id=f"{name}-description"),
        *content,
        xmlns="http://www.w3.org/2000/svg",
        class_=f"story-picture story-{name}",
        width=width,
        height=height,
        viewBox=f"0 0 {_value(width)} {_value(height)}",
        role="group",
        aria_labelledby=f"{name}-title {name}-description",
    )


def text_at(x: float, y: float, text: str, class_: str, **attributes: str | float) -> SafeString:
    """A line of text."""
    return element("text", text=text, x=x, y=y, class_=class_, **attributes)


def _value(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
