"""Django's form widgets, where they believe what is sent to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.contrib.admin.widgets import AutocompleteSelect
from django.core.exceptions import ValidationError
from django.forms import TextInput


class KeySelect(AutocompleteSelect):
    """Shows a form again although a key in it is none: Django looks each up, and PostgreSQL's types refuse some."""

    def optgroups(self, name: str, value: Sequence[str], attr: Any = None) -> Any:
        """The options that are selected, of those that can be."""
        return super().optgroups(name, [key for key in value if self._is_key(key)], attr)

    def _is_key(self, text: str) -> bool:
        try:
            self.field.target_field.to_python(text)
        except ValidationError:
            return False
        return "\x00" not in str(text)


class Suggested(TextInput):
    """Text with a list to choose from, narrowed while somebody types; any other text is the form's to judge."""

    template_name = "inspection/suggested.html"

    def __init__(self, choices: Callable[[], Sequence[str]]) -> None:
        super().__init__(attrs={"autocomplete": "off"})
        self.suggestions = choices

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        """With the suggestions, and the list's name."""
        context: dict[str, Any] = super().get_context(name, value, attrs)
        place = f"suggested-{name}"
        context["widget"]["attrs"]["list"] = place
        return {**context, "place": place, "suggestions": self.suggestions()}
