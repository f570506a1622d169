"""The ModelAdmin of every table: it shows rows at any size, masked, read-only, and changes them on explicit demand."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.options import IncorrectLookupParameters, get_content_type_for_model
from django.contrib.admin.utils import label_for_field, unquote
from django.contrib.admin.views.main import ERROR_FLAG, ORDER_VAR, SEARCH_VAR
from django.contrib.admin.widgets import RelatedFieldWidgetWrapper
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import OperationalError, connections, models, transaction
from django.db.models import QuerySet
from django.forms import CheckboxSelectMultiple
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.text import capfirst
from psycopg2.errors import QueryCanceled

from rupaya.inspection import choosing, editing, export, panels, replica
from rupaya.inspection.columns import Column, Money
from rupaya.inspection.counting import Count, count_up_to
from rupaya.inspection.home import PerDay
from rupaya.inspection.moments import zone_of
from rupaya.inspection.navigation import OTHERS
from rupaya.inspection.paging import InspectionList
from rupaya.inspection.search import Search, find
from rupaya.inspection.widgets import KeySelect, Suggested

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin

PERSONAL_DATA = "accounts.view_personal_data"
STATEMENT_TIMEOUT_MS = 5000
RELATED_UP_TO = 1000
_NOT_OF_THE_FORM = ("csrfmiddlewaretoken", editing.CONFIRM, editing.WHY)
logger = logging.getLogger(__name__)


class InspectionAdmin(ModelAdmin):
    """Shows every field but the secret ones to whoever may view the model; each page costs the same at any size."""

    section: ClassVar[str | None] = OTHERS
    """Where its list is in the navigation (`rupaya.inspection.navigation`); None for nowhere."""
    place_in_section: ClassVar[int] = 50
    list_title: ClassVar[str] = ""
    """What the list is called, where the model's own name says it badly."""
    per_day: ClassVar[PerDay | None] = None
    """What the home page tells of it."""
    secret_fields: ClassVar[tuple[str, ...]] = ()
    """Never rendered, to nobody."""
    personal_data: ClassVar[dict[str, Callable[[Any], str]]] = {}
    """Fields that only those with `view_personal_data` see whole, and what the others see of them."""
    editable_fields: ClassVar[tuple[str, ...]] = ()
    groups: ClassVar[tuple[tuple[str, tuple[str, ...]], ...]] = ()
    """How a row's fields are told: what belongs together, by a name; what is in no group follows."""
    choices_of: ClassVar[dict[str, Callable[[], Sequence[str]]]] = {}
    """Free text for which the form has suggestions."""
    copied: ClassVar[tuple[str, ...]] = ()
    """Fields that people take elsewhere: a button copies them."""
    # `list_filter` has only columns of which an index finds the rare values: the common ones any page finds.
    searches: ClassVar[tuple[Search, ...]] = ()
    is_searched: ClassVar[bool] = False
    """Whether the site's one search looks here, too: only where `searches` are answered by indexes."""
    sortable: ClassVar[tuple[str, ...]] = ()
    """Fields by which an index sorts; they are never NULL."""
    money: ClassVar[Money | None] = None
    """How decimal fields are told, where they are sums of money: all but `plain_numbers`."""
    plain_numbers: ClassVar[tuple[str, ...]] = ()
    telling: ClassVar[dict[str, tuple[bool, str]]] = {}
    """Of yes and no, the one that a list tells where it is not the yes, and in which word."""
    amount_field: ClassVar[str] = ""
    """The sum of money that is added up below a list, and of which a range can be asked for."""
    range_field: ClassVar[str] = ""
    """The day or moment of which a range can be asked for; without one, `date_hierarchy` or what is sorted by."""
    needs_person = False
    """Whether the list is empty until somebody's rows are asked for: a view that would have to read everything."""

    # What `searches` does instead; Django insists on it for autocompletion.
    search_fields = ("pk",)
    actions = None
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    change_list_template = "inspection/change_list.html"
    change_form_template = "inspection/change_form.html"
    object_history_template = "inspection/object_history.html"

    # Who may do what

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only in the edit form, and only by those who were given the permission."""
        return "edit" in request.GET and self.may_edit(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        codename = f"{self.opts.app_label}.view_{self.opts.model_name}"
        return bool(request.user.has_perm(codename))

    def may_edit(self, request: HttpRequest) -> bool:
        """Whether there is anything here that this person may change."""
        return bool(self.get_editable_fields(request)) and editing.may_edit(request, self.opts)

    def get_editable_fields(self, request: HttpRequest) -> list[str]:
        """What this person could change: of personal data only what they may see."""
        return [name for name in self.editable_fields if name not in self.personal_data or self.sees_all(request)]

    def sees_all(self, request: HttpRequest) -> bool:
        """Whether personal data is shown whole."""
        return bool(request.user.has_perm(PERSONAL_DATA))

    # What is shown

    def get_label(self, request: HttpRequest, row: Any) -> str:
        """What a row is called before this viewer."""
        return str(row)

    def get_detail(self, request: HttpRequest, row: Any) -> str:
        """What the site's search tells of a row beside its label; nothing that a list would mask."""
        return ""

    def column(self, request: HttpRequest, name: str, *, in_list: bool = False) -> Column:
        """A field as this viewer sees it."""
        field = self._field(name)
        is_money = isinstance(field, models.DecimalField) and name not in self.plain_numbers
        return Column(
            field=field,
            name=name,
            in_list=in_list,
            money=self.money if is_money else None,
            telling=self.telling.get(name, (True, "")),
            is_copied=name in self.copied,
            sortable=name in self.sortable,
            mask=None if self.sees_all(request) else self.personal_data.get(name),
            label_of=lambda row: self.label_of_any(request, row),
            zone=zone_of(request),
        )

    def label_of_any(self, request: HttpRequest, row: models.Model) -> str:
        """What a row of any model is called before this viewer."""
        owner = self.admin_site._registry.get(type(row))
        return owner.get_label(request, row) if isinstance(owner, InspectionAdmin) else str(row)

    def get_list_display(self, request: HttpRequest) -> Any:
        return [self._listed(request, name) for name in self.columns_of(request)]

    def columns_of(self, request: HttpRequest) -> list[str]:
        """The columns that this person sees, by name."""
        return choosing.chosen(request, self.opts.label, self.offered_columns()) or list(map(str, self.list_display))

    def offered_columns(self) -> list[str]:
        """All columns that a list of this model could have: those that it has at first, and the other fields."""
        fields = [field.name for field in self.opts.fields if field.name not in self.secret_fields]
        return list(dict.fromkeys([*map(str, self.list_display), *fields]))

    def column_choices(self, request: HttpRequest) -> list[tuple[str, str, bool]]:
        """Each column that there could be: its name, what it is called, and whether it is shown."""
        shown = self.columns_of(request)
        return [
            (name, capfirst(str(label_for_field(self._listed(request, name), self.model, self))), name in shown)
            for name in self.offered_columns()
        ]

    def _listed(self, request: HttpRequest, name: str) -> Any:
        fields = {field.name for field in self.opts.fields}
        return self.column(request, name, in_list=True) if name in fields else name

    def get_list_display_links(self, request: HttpRequest, list_display: Any) -> Any:
        # The first that is no link itself.
        plain = [item for item in list_display if not (isinstance(item, Column) and item.field.is_relation)]
        return plain[:1] or list_display[:1]

    def get_sortable_by(self, request: HttpRequest) -> Any:
        return [self.column(request, name) for name in self.sortable]

    def get_list_select_related(self, request: HttpRequest) -> Any:
        return [name for name in self.columns_of(request) if name in self._relations()] or False

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [
            self._shown(request, field)
            for field in (*self.opts.fields, *self.opts.many_to_many)
            if field.name not in self.secret_fields
        ]

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
            told = ", ".join(self._verbose(name) for name in empty)
            description = format_html('<p class="folded">Empty: {}.</p>', told) if empty else None
            if shown or empty:
                found.append((title or None, {"fields": shown, "description": description}))
        return found

    def _is_empty(self, shown: Any, row: Any) -> bool:
        if not isinstance(shown, Column):
            return False
        return getattr(row, shown.field.attname) in (None, "", [])

    def _shown(self, request: HttpRequest, field: Any) -> Any:
        if field.name in self.get_editable_fields(request) and self.has_change_permission(request):
            return field.name
        return field.name if field.many_to_many else self.column(request, field.name)

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

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        # Not the default manager, which may leave deleted rows out.
        rows: QuerySet[Any] = self.model._base_manager.using(replica.source(request).alias)
        ordering = self.get_ordering(request)
        return rows.order_by(*ordering) if ordering else rows

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """One row and what it refers to."""
        rows = self.get_queryset(request)
        key = self.opts.pk if from_field is None else self._field(from_field)
        try:
            return self.narrow(rows.select_related(*self._relations()), object_id).get(
                **{key.name: key.to_python(object_id)}
            )
        except (self.model.DoesNotExist, ValueError, ValidationError):
            return None

    def narrow(self, rows: QuerySet[Any], object_id: str) -> QuerySet[Any]:
        """For a view whose key no index finds: what the key says in columns that one does.

        Raises:
            ValueError: if it is no key.
        """
        return rows

    def _relations(self) -> list[str]:
        return [field.name for field in self.opts.fields if field.is_relation]

    # Lists

    def __init__(self, model: type[models.Model], admin_site: Any) -> None:
        super().__init__(model, admin_site)
        days = [name for name in self.sortable if isinstance(self.opts.get_field(name), models.DateField)]
        self.ranged_by = self.range_field or self.date_hierarchy or "".join(days[:1])

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return InspectionList

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        found = super().get_changelist_instance(request)
        whats = [search.what for search in self.searches_of(request)]
        listed = f"{', '.join(whats[:-1])} or {whats[-1]}" if len(whats) > 1 else "".join(whats)
        found.search_help_text = f"Search for {listed}." if listed else ""
        return found

    def searches_of(self, request: HttpRequest) -> list[Search]:
        """What this person may search for."""
        return [search for search in self.searches if not search.tells_personal_data or self.sees_all(request)]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        found = find(queryset, term, self.searches_of(request))
        return queryset.none() if found is None else found, False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Only what the page itself offers: a filter by how a masked field begins would tell it, letter by letter."""
        name, _, rest = lookup.partition("__")
        if name == self.date_hierarchy:
            return rest in ("year", "month", "day")
        if name in self.list_filter:
            return rest in ("", "exact", "isnull")
        if name in self._relations():
            related: Any = self.opts.get_field(name).related_model
            return rest == f"{related._meta.pk.name}__exact"
        return any(name == getattr(item, "parameter_name", None) for item in self.list_filter)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return self._bounded(request, lambda: super(InspectionAdmin, self).changelist_view(request, extra_context))

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
            told = ", ".join(map(str, after)) if isinstance(after, QuerySet) else after
            changes.append((self._verbose(name), self._spelled(name, before[name]), "" if told is None else told))
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

    def _verbose(self, name: str) -> str:
        return str(self._field(name).verbose_name)

    def _field(self, name: str) -> Any:
        return self.opts.get_field(name)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> LogEntry:
        """As Django's, but the row's name is one that whoever reads the log may see."""
        return self._log(request, str(obj.pk), self._public_label(obj), str(message))

    def _public_label(self, row: Any) -> str:
        return str(row)

    def _log(self, request: HttpRequest, object_id: str | None, label: str, message: str) -> LogEntry:
        return LogEntry.objects.create(
            user_id=str(request.user.pk),
            content_type_id=get_content_type_for_model(self.model).pk,
            object_id=object_id,
            object_repr=label[:200],
            action_flag=CHANGE,
            change_message=message,
        )

    # A list as a file

    def get_urls(self) -> Any:
        name = f"{self.opts.app_label}_{self.opts.model_name}_export"
        return [
            path("export/", self.admin_site.admin_view(self.export_view), name=name),
            path("columns/", self.admin_site.admin_view(self.columns_view), name=name.replace("_export", "_columns")),
            *super().get_urls(),
        ]

    def columns_view(self, request: HttpRequest) -> HttpResponseBase:
        """Remember which columns somebody wants; of none, the list's own."""
        here = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")
        asked = request.GET.copy()
        asked.pop(choosing.COLUMNS, None)
        asked.pop(ORDER_VAR, None)  # it counts columns
        response = HttpResponseRedirect(f"{here}?{asked.urlencode()}" if asked else here)
        if request.method == "POST":
            wanted = [name for name in self.offered_columns() if name in request.POST.getlist("column")]
            is_default = wanted == list(map(str, self.list_display)) or "_default" in request.POST
            choosing.remember(response, self.opts.label, [] if is_default else wanted, here)
        return response

    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        """The list that the address filters, as CSV or XLSX; posted, for it leaves a trace."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        here = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")
        if request.method != "POST":
            return HttpResponseRedirect(here)
        try:
            rows = self.get_changelist_instance(request).queryset
        except IncorrectLookupParameters:
            return HttpResponseRedirect(f"{here}?{ERROR_FLAG}=1")
        columns = [shown for shown in self.get_fields(request) if isinstance(shown, Column)]
        kind = export.XLSX if request.POST.get("as") == export.XLSX else export.CSV
        try:
            content = export.Export(rows, columns, kind)
        except export.Busy:
            messages.error(request, "Another export is being made. Ask again when it is done; nothing was exported.")
            return HttpResponseRedirect(f"{here}?{request.GET.urlencode()}")
        asked = request.GET.copy()
        if SEARCH_VAR in asked:
            asked[SEARCH_VAR] = "***"  # the log is read by people who may not see whom it was about
        which = asked.urlencode(safe="*") or "all rows"
        how = "whole" if self.sees_all(request) or not self.personal_data else "masked"
        self._log(request, None, str(self.opts.verbose_name_plural), f"Exported as {kind.upper()} ({how}): {which}")
        logger.info("%s exported %s as %s (%s): %s", request.user.pk, self.opts.label, kind, how, which)
        stamp = f"{timezone.now():%Y%m%dT%H%M%SZ}"
        return StreamingHttpResponse(
            content,
            content_type=export.CONTENT_TYPES[kind],
            headers={"Content-Disposition": f'attachment; filename="{self.opts.model_name}-{stamp}.{kind}"'},
        )

    # Patience

    def _bounded(self, request: HttpRequest, view: Callable[[], Any]) -> HttpResponseBase:
        """Let no statement of a page run longer than `STATEMENT_TIMEOUT_MS`; where one would, say so instead."""
        alias = replica.source(request).alias
        try:
            with transaction.atomic(using=alias):
                with connections[alias].cursor() as cursor:
                    cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(STATEMENT_TIMEOUT_MS)])
                response: Any = view()
                # Now, while the timeout is in force.
                return response.render() if hasattr(response, "render") else response  # type: ignore[no-any-return]
        except OperationalError as error:
            if isinstance(error.__cause__, QueryCanceled):
                return self._too_long(request)
            if not replica.give_up(request):
                raise
            return self._bounded(request, view)

    def _too_long(self, request: HttpRequest) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": "This would take too long",
            "opts": self.opts,
            "limit_s": STATEMENT_TIMEOUT_MS // 1000,
        }
        return TemplateResponse(request, "inspection/too_long.html", context, status=503)
