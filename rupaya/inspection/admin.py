"""The site's name, and the log of what was done on it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth import admin as registered  # noqa: F401 - registers what is taken back here
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.text import capfirst

from rupaya.inspection import editing
from rupaya.inspection.modeladmin import InspectionAdmin
from rupaya.inspection.search import contains, exactly, key, person

admin.site.site_header = admin.site.site_title = "Rupaya"
admin.site.index_title = "Rupaya"
admin.site.site_url = None
admin.site.unregister(Group)


class KindFilter(admin.SimpleListFilter):
    """What the row is that was changed: only kinds of which there are entries."""

    title = "what it was about"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """By the words that the site has for them."""
        there = LogEntry.objects.order_by().values_list("content_type_id", flat=True).distinct()
        kinds = ContentType.objects.filter(pk__in=there)
        return sorted(((str(kind.pk), capfirst(kind.name)) for kind in kinds), key=lambda kind: kind[1])

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Those of one kind."""
        value = self.value() or ""
        return queryset.filter(content_type_id=int(value)) if value.isdecimal() and len(value) < 10 else queryset


@admin.register(LogEntry)
class LogEntryAdmin(InspectionAdmin):
    """Who changed or exported what; nobody changes this."""

    section = "Access"
    place_in_section = 10
    list_title = "Change log"
    nothing_yet = "Nobody has changed or exported anything on this site yet."
    range_field = "action_time"
    list_display = ("action_time", "user", "what", "why", "of_what", "content_type")
    ordering = ("-id",)
    searches = (
        key("object_id", "user_id"), person(),
        contains("change_message", "object_repr", what="a field's name, a reason, or whatever else an entry says"),
    )  # fmt: skip
    list_filter = (KindFilter,)

    def get_list_select_related(self, request: HttpRequest) -> Any:
        return ("user", "content_type")

    @admin.display(description="what")
    def what(self, entry: LogEntry) -> str:
        """Each field from its old value to its new one; of personal data what anybody may see."""
        return editing.without_reason(entry.get_change_message())[0]

    @admin.display(description="why")
    def why(self, entry: LogEntry) -> str:
        """The reason that its author gave."""
        return editing.without_reason(entry.get_change_message())[1]

    @admin.display(description="of what")
    def of_what(self, entry: LogEntry) -> Any:
        """The row, with a link to it; an export is of a list."""
        model = entry.content_type.model_class() if entry.content_type else None
        if model is None or model not in self.admin_site._registry:
            return entry.object_repr
        opts = model._meta
        page, arguments = ("change", (entry.object_id,)) if entry.object_id else ("changelist", ())
        address = reverse(f"admin:{opts.app_label}_{opts.model_name}_{page}", args=arguments)
        return format_html('<a href="{}">{}</a>', address, entry.object_repr or capfirst(opts.verbose_name_plural))


@admin.register(Group)
class GroupAdmin(InspectionAdmin):
    """Who may do what: migrations make groups, and those who may edit a user say which ones they are in."""

    section = "Access"
    place_in_section = 20
    list_display = ("name",)
    ordering = ("name",)
    searches = (exactly("name", "a group's name"),)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [self.column(request, "name"), "members_may"]

    @admin.display(description="members may")
    def members_may(self, group: Group) -> str:
        """Permissions as code asks for them."""
        names = group.permissions.order_by("content_type__app_label", "codename")
        return "\n".join(f"{app}.{name}" for app, name in names.values_list("content_type__app_label", "codename"))
