"""The ModelAdmin of every table: it shows rows at any size, masked, read-only, and changes them on explicit demand."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.contrib.admin.widgets import RelatedFieldWidgetWrapper
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.forms import CheckboxSelectMultiple, Media
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.text import capfirst

from rupaya.inspection import editing, panels, replica
from rupaya.inspection.columns import Column
from rupaya.inspection.counting import Count, count_up_to
from rupaya.inspection.listing import Listing
from rupaya.inspection.widgets import KeySelect, Suggested

RELATED_UP_TO = 1000
_NOT_OF_THE_FORM = ("csrfmiddlewaretoken", editing.CONFIRM, editing.WHY)


class InspectionAdmin(Listing):
    """Shows every field but the secret ones to whoever may view the model; each page costs the same at any size."""

    @property
    def media(self) -> Media:
        """Of Django's scripts what these forms need: no slugs are made here, and no actions chosen."""
        folder = "admin/js"
        scripts = ("vendor/jquery/jquery.min.js", "jquery.init.js", "core.js", "admin/RelatedObjectLookups.js")
        return Media(js=[f"{folder}/{script}" for script in scripts])

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """By groups, what is empty folded into one line; in the edit form what can be changed first."""
        fields = {getattr(shown, "name", shown): shown for shown in self.get_fields(request, obj)}
        if self.has_change_permission(request):
            edited = [name for name in fields if name in self.get_editable_fields(request)]
            fixed = [shown for name, shown in fields.items() if name not in edited]
            return [("What can be changed", {"fields": edited}), ("What cannot", {"fields": fixed})]
        grouped = {name for _, names in self.groups for name in names}
        groups = [*self.groups, ("Besides" if self.groups else "", tuple(set(fields) - grouped))]
        found = []
        for title, names in groups:
            inside = [name for name in fields if name in names]
            empty = [name for name in inside if obj is not None and self._is_empty(fields[name], obj)]
            shown = [fields[name] for name in inside if name not in empty]
            listed = ", ".join(self._verbose(name) for name in empty)
            description = format_html('<p class="folded">Empty: {}.</p>', listed) if empty else None
            if shown or empty:
                found.append((title or None, {"fields": shown, "description": description}))
        return found

    def _is_empty(self, shown: Any, row: Any) -> bool:
        if not isinstance(shown, Column):
            return False
        return getattr(row, shown.field.attname) in (None, "", [])

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name in self.autocomplete_fields:
            kwargs.setdefault("widget", KeySelect(db_field, self.admin_site))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.many_to_many:
            kwargs["widget"] = CheckboxSelectMultiple
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if db_field.name in self.choices_of and field is not None:
            field.widget = Suggested(self.choices_of[db_field.name])
        widget = getattr(field, "widget", None)
        if isinstance(widget, RelatedFieldWidgetWrapper):
            # The other row is edited on its own page, if at all: in Django's popup it could only be looked at.
            widget.can_change_related = False
        return field

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        edited = self.get_editable_fields(request) if self.has_change_permission(request) else []
        return [shown for shown in self.get_fields(request, obj) if shown not in edited]

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """One row and what it refers to."""
        rows = self.get_queryset(request)
        key = self.opts.pk if from_field is None else self._field(from_field)
        try:
            if relations := self._relations():
                rows = rows.select_related(*relations)
            return self.narrow(rows, object_id).get(**{key.name: key.to_python(object_id)})
        except (self.model.DoesNotExist, ValueError, ValidationError):
            return None

    def narrow(self, rows: QuerySet[Any], object_id: str) -> QuerySet[Any]:
        """For a view whose key no index finds: what the key says in columns that one does.

        Raises:
            ValueError: if it is no key.
        """
        return rows

    # One row

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        if request.method == "POST":
            return self._change(request, object_id)
        if "edit" in request.GET and not self.may_edit(request):
            raise PermissionDenied
        return self._bounded(request, lambda: self._show(request, object_id))

    def _show(self, request: HttpRequest, object_id: str) -> Any:
        row = self.get_object(request, unquote(object_id))
        if row is None or not self.has_view_permission(request, row):
            return super().change_view(request, object_id)
        return super().change_view(request, object_id, "", self._context(request, row))

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        row = self.get_object(request, unquote(object_id))
        label = self.get_label(request, row) if row is not None else ""
        context = {"title": f"Change history: {label}", "label": label}
        return super().history_view(request, object_id, {**context, **(extra_context or {})})

    def _context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        label = self.get_label(request, row)
        is_edit = self.has_change_permission(request, row)
        return {
            "subtitle": label,
            "label": label,
            "may_edit": self.may_edit(request) and not is_edit,
            "is_edit": is_edit,
            "seen": editing.seen(row, self.get_editable_fields(request)) if is_edit else "",
            # Nothing of a page that is only read needs Django's scripts.
            **({} if is_edit else {"media": Media()}),
            "related": [] if is_edit else self.related(request, row),
            "panels": [] if is_edit else panels.of(request, row),
            "show_save_and_continue": False,
            "show_save_and_add_another": False,
        }

    def related(self, request: HttpRequest, row: Any) -> list[tuple[str, str, Count | None]]:
        """What refers to a row: what it is called, where its list is, and how many there are, counted up to a limit."""
        found: list[tuple[str, str, Count | None]] = []
        for relation in self.opts.related_objects:
            owner = self.admin_site._registry.get(relation.related_model)
            if not isinstance(owner, InspectionAdmin) or relation.field.many_to_many:
                continue
            if not owner.has_view_permission(request):
                continue
            opts = owner.opts
            address = reverse(f"admin:{opts.app_label}_{opts.model_name}_changelist")
            name = relation.field.name
            rows = owner.model._base_manager.using(row._state.db).filter(**{name: row.pk})
            same = [other for other in opts.fields if other.related_model is self.model]
            what = capfirst(str(opts.verbose_name_plural)) + (
                f" ({relation.field.verbose_name})" if len(same) > 1 else ""
            )
            found.append((what, f"{address}?{name}__{self.opts.pk.name}__exact={row.pk}", self._few(owner, rows)))
        return found + self.further(request, row)

    def further(self, request: HttpRequest, row: Any) -> list[tuple[str, str, Count | None]]:
        """What belongs to a row without referring to it by a key."""
        return []

    def _few(self, owner: InspectionAdmin, rows: QuerySet[Any]) -> Count | None:
        return None if owner.needs_person else count_up_to(rows, RELATED_UP_TO)

    # Changing a row

    def _change(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """Look at the change again, then make it: only of the row that its author saw."""
        with transaction.atomic():
            if not self.has_change_permission(request):
                raise PermissionDenied
            row = self.get_object(request, unquote(object_id))
            if row is not None:
                row = self.model._base_manager.select_for_update().filter(pk=row.pk).first()
            if row is None:
                return super().change_view(request, object_id)
            here = request.path
            moved = editing.changed_since(row, request.POST.get(editing.SEEN, ""))
            if moved is None or moved:
                which = f" ({', '.join(moved)})" if moved else ""
                self.message_user(
                    request,
                    f"Nothing was changed: somebody else has changed this row since you opened it{which}, or the form "
                    "is too old. It is shown as it is now; edit it again if your change is still wanted.",
                    messages.ERROR,
                )
                return HttpResponseRedirect(here)
            names = self.get_editable_fields(request)
            before = {name: editing.value_of(row, name) for name in names}
            context = self._context(request, row) | {"seen": request.POST[editing.SEEN]}
            form = self.get_form(request, row, change=True, fields=names)(request.POST, instance=row)
            if not form.is_valid():
                # Django shows the form again, with what is wrong in it.
                return super().changeform_view(request, object_id, "", context)
            changed = form.changed_data
            if not changed:
                self.message_user(request, "Nothing was changed: the form was as the row is.", messages.INFO)
                return HttpResponseRedirect(here)
            why = editing.reason(request)
            if editing.CONFIRM not in request.POST or not why:
                return self._confirmation(request, context["label"], form, before)
            row = form.save(commit=False)
            plain = [name for name in changed if not self.opts.get_field(name).many_to_many]
            if plain:
                # Only these columns: other services write to the same row at the same time.
                row.save(update_fields=plain)
            form.save_m2m()
            after = {name: editing.value_of(row, name) for name in names}
            self.log_change(request, row, editing.with_reason(self._told(changed, before, after), why))
        replica.remember_change(request)
        self.message_user(request, f"Changed: {', '.join(self._verbose(name) for name in changed)}.", messages.SUCCESS)
        return HttpResponseRedirect(here)

    def _confirmation(self, request: HttpRequest, label: str, form: Any, before: dict[str, Any]) -> TemplateResponse:
        changes = []
        for name in form.changed_data:
            after = form.cleaned_data[name]
            new = ", ".join(map(str, after)) if isinstance(after, QuerySet) else after
            changes.append((self._verbose(name), self._spelled(name, before[name]), "" if new is None else new))
        posted = [(key, value) for key, values in request.POST.lists() for value in values]
        context = {
            **self.admin_site.each_context(request),
            "title": f"Change this {self.opts.verbose_name}?",
            "opts": self.opts,
            "label": label,
            "changes": changes,
            "posted": [pair for pair in posted if pair[0] not in _NOT_OF_THE_FORM],
            "confirm": editing.CONFIRM,
            "why": editing.WHY,
            "why_max": editing.WHY_MAX_CHARACTERS,
            "why_is_missing": editing.CONFIRM in request.POST,
        }
        return TemplateResponse(request, "inspection/confirm.html", context)

    def _spelled(self, name: str, value: Any) -> Any:
        field: Any = self.opts.get_field(name)
        if not field.is_relation or not value:
            return value
        keys = value if field.many_to_many else [value]
        return ", ".join(str(other) for other in field.related_model._base_manager.filter(pk__in=keys))

    def _told(self, changed: list[str], before: dict[str, Any], after: dict[str, Any]) -> str:
        parts = [
            f"{self._verbose(name)}: {self._logged(name, before[name])} → {self._logged(name, after[name])}"
            for name in changed
        ]
        return f"Changed {'; '.join(parts)}."

    def _logged(self, name: str, value: Any) -> str:
        mask = self.personal_data.get(name)
        if mask is not None and value:
            return mask(value)  # the log is read by people who may not see personal data
        return str(self._spelled(name, value) or "-")
