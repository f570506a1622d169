"""Django's form widgets, where they believe what is sent to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib.admin.widgets import AutocompleteSelect
from django.core.exceptions import ValidationError


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
