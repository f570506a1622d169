"""The site's name, and the log of what was done on it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.http import HttpRequest

from rupaya.inspection.modeladmin import InspectionAdmin
from rupaya.inspection.search import key

admin.site.site_header = admin.site.site_title = "Rupaya"
admin.site.index_title = "Rupaya"
admin.site.site_url = None


@admin.register(LogEntry)
class LogEntryAdmin(InspectionAdmin):
    """Who changed or exported what; nobody changes this."""

    list_display = ("action_time", "user", "content_type", "object_repr", "change_message")
    ordering = ("-id",)
    searches = (key("user_id"),)

    def get_list_select_related(self, request: HttpRequest) -> Any:
        return ("user", "content_type")
