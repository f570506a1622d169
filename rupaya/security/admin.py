"""Failed sign-ins, for those who read the log; what the libraries register besides is not shown."""

from __future__ import annotations

from axes.models import AccessAttempt
from django.contrib import admin
from django.http import HttpRequest
from django_otp.plugins.otp_totp import admin as registered  # noqa: F401 - registers what is taken back here
from django_otp.plugins.otp_totp.models import TOTPDevice

from rupaya.inspection.home import PerDay
from rupaya.inspection.masking import mask_email
from rupaya.inspection.modeladmin import InspectionAdmin
from rupaya.inspection.search import exactly

admin.site.unregister(TOTPDevice)


@admin.register(AccessAttempt)
class FailedSignInAdmin(InspectionAdmin):
    """Wrong passwords by account and address; a success at the same address takes its own away."""

    section = "Access"
    place_in_section = 15
    list_title = "Failed sign-ins"
    nothing_yet = "Nobody has failed to sign in. A success clears that account's failures at the same address."
    per_day = PerDay("Failed sign-ins", "attempt_time", many_field="failures_since_start", empty="None.")
    # What was sent may hold whatever somebody typed.
    secret_fields = ("get_data", "post_data", "http_accept")
    personal_data = {"username": mask_email}
    list_display = ("attempt_time", "username", "ip_address", "failures_since_start", "user_agent")
    searches = (exactly("username", "an account as it was typed, in small letters", tells_personal_data=True),)
    ordering = ("-attempt_time", "-pk")

    def has_view_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """With the log."""
        return bool(request.user.has_perm("admin.view_logentry"))
