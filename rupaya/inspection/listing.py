"""The lists of a ModelAdmin: columns of one's own, searches, pages of the same cost at any size, files of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import label_for_field
from django.contrib.admin.views.main import ERROR_FLAG, ORDER_VAR, SEARCH_VAR
from django.core.exceptions import PermissionDenied
from django.db import OperationalError, connections, models, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.text import capfirst
from psycopg2.errors import QueryCanceled

from rupaya.inspection import choosing, export, replica
from rupaya.inspection.columns import Column
from rupaya.inspection.declared import Declared
from rupaya.inspection.paging import InspectionList
from rupaya.inspection.search import Search, find

STATEMENT_TIMEOUT_MS = 5000
logger = logging.getLogger(__name__)


class Listing(Declared):
    """Lists rows, each page at the same cost."""

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

    def to_field_allowed(self, request: HttpRequest, to_field: str) -> bool:
        """Rows are chosen by their key alone: nothing here is chosen in a window of its own, which sends others."""
        key = self.model._meta.pk
        return key is not None and to_field == key.attname

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return self._bounded(request, lambda: super(Listing, self).changelist_view(request, extra_context))

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
