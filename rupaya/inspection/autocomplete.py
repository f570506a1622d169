"""Django's autocompletion, with the names that this viewer may see."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.views.autocomplete import AutocompleteJsonView

from rupaya.inspection.modeladmin import InspectionAdmin


class Autocomplete(AutocompleteJsonView):
    """Lists rows by the label that their ModelAdmin gives this viewer."""

    def serialize_result(self, obj: Any, to_field_name: str) -> dict[str, str]:
        """One row."""
        owner = self.model_admin
        label = owner.get_label(self.request, obj) if isinstance(owner, InspectionAdmin) else str(obj)
        return {"id": str(getattr(obj, to_field_name)), "text": label}
