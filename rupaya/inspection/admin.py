"""The site's name, and the log of what was done on it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth import admin as registered  # noqa: F401 - registers what is taken back here
from django.contrib.auth.models import Group
from django.http import HttpRequest

from rupaya.inspection.modeladmin import InspectionAdmin
from rupaya.inspection.search import exactly, key

admin.site.site_header = admin.site.site_title = "Rupaya"
admin.site.index_title = "Rupaya"
admin.site.site_url = None
admin.site.unregister(Group)


@admin.register(LogEntry)
class LogEntryAdmin(InspectionAdmin):
    """Who changed or exported what; nobody changes this."""

    section = "Access"
    place_in_section = 10
    list_title = "Change log"
    range_field = "action_time"
    list_display = ("action_time", "user", "content_type", "object_repr", "change_message")
    ordering = ("-id",)
    searches = (key("user_id"),)

    def get_list_select_related(self, request: HttpRequest) -> Any:
        return ("user", "content_type")


@admin.register(Group)
class GroupAdmin(InspectionAdmin):
    """Who may do what: migrations make groups, and whoever may edit a user says which ones they are in."""

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
