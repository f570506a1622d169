"""The ledger's rows as lists to filter and to search; a row opens its run's page, and nothing can be changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db import DEFAULT_DB_ALIAS
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from rupaya.migrator.errors import driver_text, sqlstate
from rupaya.story import reading
from rupaya.story.models import Attempt, Run
from rupaya.story.timeline import in_words, level_of

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin

MAX_CHOICES = 30


class _RunLinks(ChangeList):
    def url_for_result(self, result: Any) -> str:
        if isinstance(result, Attempt):
            return f"{reverse('schema:run', args=[result.run_id])}#attempt-{result.attempt_id}"
        return reverse("schema:run", args=[result.run_id])


class ReleaseFilter(admin.SimpleListFilter):
    """The releases of the newest runs; there may be any number of older ones."""

    title = "release"
    parameter_name = "release"
    field = "release"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        newest = (
            Run.objects.using(DEFAULT_DB_ALIAS)
            .order_by("-run_id")
            .values_list("release", flat=True)[: MAX_CHOICES * 10]
        )
        return [(release, release) for release in list(dict.fromkeys(newest))[:MAX_CHOICES]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**{self.field: self.value()}) if self.value() else queryset


class ReleaseOfRunFilter(ReleaseFilter):
    field = "run__release"


class LedgerAdmin(ModelAdmin):
    """What both lists have in common."""

    # The navigation has the story's pages by name (`rupaya.story.apps`).
    section = None
    change_list_template = "schema/change_list.html"
    actions = None
    list_per_page = 50
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).using(DEFAULT_DB_ALIAS)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return _RunLinks

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Only what the page itself offers: Django allows any lookup, and those that its forms never ask break."""
        name, _, rest = lookup.partition("__")
        if name in self.list_filter:
            return rest in ("", "exact", "isnull", "gte", "lt")
        return any(name == getattr(item, "parameter_name", None) for item in self.list_filter)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list, or what to do where there is none."""
        title = f"Migration {'attempts' if self.model is Attempt else 'runs'}"
        context = {**admin.site.each_context(request), "title": title, "current": "runs"}
        try:
            with reading.bounded() as connection:
                if not reading.tables(connection).ledger:
                    return TemplateResponse(request, "schema/empty.html", context)
                response = super().changelist_view(
                    request, {**(extra_context or {}), "title": title, "current": "runs"}
                )
                # Its queries are made when it is rendered: within the limits.
                return response.render() if isinstance(response, TemplateResponse) else response
        except reading.ERRORS as error:
            if sqlstate(error) not in reading.OUT_OF_TIME_SQLSTATES:
                raise
            context |= {"title": "Not now", "reason": driver_text(error)}
            return TemplateResponse(request, "schema/unavailable.html", context, status=503)

    @admin.display(description="outcome", ordering="outcome")
    def ended(self, row: Run | Attempt) -> SafeString:
        """The outcome, coloured."""
        return format_html('<span class="pill pill-{}">{}</span>', level_of(row.outcome), row.get_outcome_display())

    @admin.display(description="duration")
    def took(self, row: Run | Attempt) -> str:
        return in_words(row.duration.total_seconds()) if row.duration else "under way"

    @admin.display(description="started (UTC)", ordering="started_at")
    def started(self, row: Run | Attempt) -> str:
        return f"{row.started_at:%Y-%m-%d %H:%M:%S}"

    took.is_number = True  # type: ignore[attr-defined]  # aligned, as the site's own columns are


@admin.register(Run)
class RunAdmin(LedgerAdmin):
    list_display = ("number", "ended", "started", "took", "command", "release", "task", "exit_code", "database_user")
    list_filter = ("outcome", "command", ReleaseFilter, "started_at")
    search_fields = ("attempts__name", "attempts__app", "task", "git_sha")
    search_help_text = "A migration's name or app, a task or a git sha"
    ordering = ("-run_id",)

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        """The run's own page."""
        return redirect("schema:run", run_id=object_id) if object_id.isdecimal() else redirect("schema:overview")

    @admin.display(description="run", ordering="run_id")
    def number(self, run: Run) -> str:
        return f"Run {run.run_id}"


@admin.register(Attempt)
class AttemptAdmin(LedgerAdmin):
    list_display = ("__str__", "direction", "phase", "ended", "started", "took", "tries", "release", "number")
    list_filter = ("outcome", "direction", "phase", ReleaseOfRunFilter, "started_at")
    list_select_related = ("run",)
    search_fields = ("name", "app")
    search_help_text = "A migration's name or app"
    ordering = ("-attempt_id",)

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        """Its run's page."""
        with reading.bounded():
            attempt = (
                Attempt.objects.using(DEFAULT_DB_ALIAS).filter(pk=object_id).first() if object_id.isdecimal() else None
            )
        return redirect("schema:run", run_id=attempt.run_id) if attempt else redirect("schema:overview")

    @admin.display(description="release", ordering="run__release")
    def release(self, attempt: Attempt) -> str:
        return attempt.run.release

    @admin.display(description="run", ordering="run_id")
    def number(self, attempt: Attempt) -> str:
        return f"Run {attempt.run_id}"
