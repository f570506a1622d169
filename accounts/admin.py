"""People, as the admin site shows them to support, operators and auditors."""

from __future__ import annotations

import zoneinfo
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from accounts.models import Device, PhoneOTP, RevokedToken, User
from rupaya.inspection import charts
from rupaya.inspection import moments as moments_of
from rupaya.inspection.counting import Count, count_up_to
from rupaya.inspection.home import PerDay
from rupaya.inspection.masking import mask_email, mask_name, mask_phone, mask_text
from rupaya.inspection.modeladmin import RELATED_UP_TO, InspectionAdmin
from rupaya.inspection.panels import Panel, register
from rupaya.inspection.search import email, exactly, key, person, phone, starts_with

MOST_DEVICES = 20
# The most traded of ISO 4217; the form takes any other.
CURRENCIES = (
    "INR AED AUD BDT BRL CAD CHF CNY DKK EUR GBP HKD IDR ILS JPY KRW LKR MXN MYR NOK NPR NZD PHP PKR PLN QAR SAR SEK "
    "SGD THB TRY USD VND ZAR"
).split(" ")
STAFF_FIELDS = ("is_staff", "groups")


@admin.register(User)
class UserAdmin(InspectionAdmin):
    """A person, and the way to everything that is theirs."""

    section = "People"
    place_in_section = 10
    is_searched = True
    per_day = PerDay("New people", "created_at", where=(("is_staff", False),), empty="Nobody has registered yet.")
    secret_fields = ("password", "mfa_secret", "user_permissions")
    personal_data = {
        "email": mask_email,
        "phone_number": mask_phone,
        "name": mask_name,
        "oauth_provider_id": mask_text,
        "last_login_device_id": mask_text,
    }
    telling = {"is_staff": (True, "Staff")}
    copied = ("id", "email", "phone_number")
    choices_of = {
        "timezone": lambda: sorted(zoneinfo.available_timezones()),
        "currency_preference": lambda: CURRENCIES,
        "language_preference": lambda: [code for code, _ in settings.LANGUAGES],
    }
    groups = (
        ("Identity", ("id", "name", "email", "account_status", "created_at", "updated_at", "deleted_at")),
        ("Contact", ("email_verified", "phone_number", "phone_verified", "country_code")),
        ("Preferences", ("currency_preference", "timezone", "theme_preference", "language_preference")),
        (
            "Security",
            (
                "last_login",
                "last_login_device_id",
                "login_attempt_count",
                "login_attempt_last_at",
                "mfa_enabled",
                "oauth_provider",
                "oauth_provider_id",
            ),
        ),
        ("Rights", ("is_staff", "is_superuser", "groups")),
    )
    editable_fields = (
        "name", "account_status", "email_verified", "phone_verified", "currency_preference", "timezone",
        "language_preference", *STAFF_FIELDS,
    )  # fmt: skip
    list_display = ("email", "name", "phone_number", "account_status", "is_staff", "last_login", "created_at")
    list_filter = ("account_status", "is_staff")
    searches = (
        key("pk"), email(), phone(), starts_with("name", "the beginning of a name", tells_personal_data=True),
    )  # fmt: skip
    sortable = ("created_at",)
    ordering = ("-created_at", "-pk")
    date_hierarchy = "created_at"

    def get_editable_fields(self, request: HttpRequest) -> list[str]:
        """Who is staff, and in which groups, is for superusers to say."""
        names = super().get_editable_fields(request)
        is_superuser: bool = request.user.is_superuser
        return names if is_superuser else [name for name in names if name not in STAFF_FIELDS]

    def get_label(self, request: HttpRequest, row: User) -> str:
        """The e-mail address, masked or not."""
        return row.email if self.sees_all(request) else mask_email(row.email)

    def get_detail(self, request: HttpRequest, row: User) -> str:
        """The name and the status."""
        name = self.column(request, "name").text(row)
        return " · ".join(part for part in (name, row.get_account_status_display()) if part)

    def _public_label(self, row: User) -> str:
        return mask_email(row.email)

    def further(self, request: HttpRequest, row: User) -> list[tuple[str, str, Count | None]]:
        """Codes are sent to numbers, not to users."""
        owner = self.admin_site.get_model_admin(PhoneOTP)
        if not row.phone_number or not owner.has_view_permission(request):
            return []
        rows = PhoneOTP.objects.using(row._state.db).filter(phone_number=row.phone_number)
        address = f"{reverse('admin:accounts_phoneotp_changelist')}?{urlencode({'user': str(row.pk)})}"
        return [("Phone one-time passwords", address, count_up_to(rows, RELATED_UP_TO))]


@admin.register(Device)
class DeviceAdmin(InspectionAdmin):
    """A phone or browser."""

    section = "People"
    place_in_section = 20
    telling = {"is_active": (False, "Inactive")}
    # People call a phone by its owner's name.
    personal_data = {"device_name": mask_text, "device_fingerprint": mask_text}
    editable_fields = ("is_active",)
    list_display = ("device_name", "device_type", "user", "is_active", "last_used_at", "created_at")
    searches = (key("pk", "user"), person(), exactly("device_fingerprint", "a whole fingerprint"))
    sortable = ("created_at",)
    ordering = ("-created_at", "-pk")

    def get_label(self, request: HttpRequest, row: Device) -> str:
        """Its name, or for who sees people masked what kind of device it is."""
        return str(row) if self.sees_all(request) else self._public_label(row)

    def _public_label(self, row: Device) -> str:
        return f"{row.device_type or 'device'} {str(row.pk)[-4:]}"


class OfUser(admin.SimpleListFilter):
    """The codes sent to a user's number, asked for without the number in the address."""

    title = "user"
    parameter_name = "user"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Offered by the user's own page alone."""
        return [(self.value(), "this user")] if self.value() else []  # type: ignore[list-item]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """By the number that the user has now."""
        if not self.value():
            return queryset
        found = key("pk").read(User.objects.using(queryset.db).order_by(), str(self.value()))
        numbers = list(found.values_list("phone_number", flat=True)) if found is not None else []
        return queryset.filter(phone_number__in=[number for number in numbers if number])


@admin.register(PhoneOTP)
class PhoneOTPAdmin(InspectionAdmin):
    """A code that was sent, without the code."""

    section = "People"
    place_in_section = 30
    secret_fields = ("code_hash",)
    personal_data = {"phone_number": mask_phone}
    list_display = ("phone_number", "purpose", "attempt_count", "expires_at", "created_at")
    list_filter = (OfUser,)
    searches = (key("pk"), phone())
    sortable = ("expires_at",)
    ordering = ("-expires_at", "-pk")


@admin.register(RevokedToken)
class RevokedTokenAdmin(InspectionAdmin):
    """A token that no longer opens anything; its id is no secret."""

    section = "People"
    place_in_section = 40
    list_display = ("token_id", "user", "token_type", "expires_at", "created_at")
    searches = (key("pk", "user"), person())
    sortable = ("expires_at",)
    ordering = ("-expires_at", "-pk")


@register(User._meta.label, "Devices and sign-ins")
def devices_and_sign_ins(request: HttpRequest, person: Any) -> Panel | None:
    """When each device came and was last used, and the last sign-ins, on one line of time."""
    owner: Any = admin.site.get_model_admin(Device)
    if not owner.has_view_permission(request):
        return None
    devices = Device.objects.using(person._state.db).filter(user=person.pk).order_by("-created_at")[:MOST_DEVICES]
    moments = [(person.last_login, "Last sign-in", "good"), (person.login_attempt_last_at, "Last failure", "failed")]
    for device in devices:
        name = owner.get_label(request, device)
        moments.append((device.created_at, f"{name}: first seen", "plain"))
        moments.append((device.last_used_at, f"{name}: last used", "in"))
    told = sorted(((at, said, kind) for at, said, kind in moments if at), reverse=True)
    if not told:
        return None
    points = [charts.Moment(at, f"{said}, {moments_of.text(at)}", kind) for at, said, kind in told]
    zone = moments_of.zone_of(request)
    return Panel(
        "Devices and sign-ins",
        f"{reverse('admin:accounts_device_changelist')}?user__id__exact={person.pk}",
        picture=charts.line("Devices and sign-ins, the newest at the right", points, timezone.now()),
        first=f"{told[-1][0]:%d %b %Y}",
        last="now",
        lines=tuple((("", said), ("number", moments_of.short_html(at, zone))) for at, said, _ in told[:6]),
        headings=(("", "What"), ("number", "When (UTC)")),
    )
