"""A window on people's data, for support: it shows, and changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest

from accounts.models import Device, PhoneOTP, RevokedToken, User

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin


class ReadOnlyAdmin(ModelAdmin):
    """Shows every field but the secret ones to whoever may view the model, and lets nobody change it."""

    secret_fields: ClassVar[tuple[str, ...]] = ()
    show_full_result_count = False
    list_per_page = 50

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = [*self.opts.fields, *self.opts.many_to_many]
        return [field.name for field in fields if field.name not in self.secret_fields]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(User)
class UserAdmin(ReadOnlyAdmin):
    secret_fields = ("password", "mfa_secret")
    list_display = ("email", "name", "phone_number", "account_status", "is_staff", "last_login", "created_at")
    list_filter = ("account_status", "email_verified", "phone_verified", "mfa_enabled", "is_staff", "is_superuser")
    search_fields = ("email", "name", "phone_number")
    ordering = ("-created_at",)


@admin.register(Device)
class DeviceAdmin(ReadOnlyAdmin):
    list_display = ("device_name", "device_type", "user", "is_active", "last_used_at", "created_at")
    list_filter = ("is_active", "device_type")
    search_fields = ("user__email", "device_name", "device_fingerprint")
    list_select_related = ("user",)
    ordering = ("-created_at",)


@admin.register(PhoneOTP)
class PhoneOTPAdmin(ReadOnlyAdmin):
    secret_fields = ("code_hash",)
    list_display = ("phone_number", "purpose", "attempt_count", "expires_at", "created_at")
    list_filter = ("purpose",)
    search_fields = ("phone_number",)
    ordering = ("-created_at",)


@admin.register(RevokedToken)
class RevokedTokenAdmin(ReadOnlyAdmin):
    list_display = ("token_id", "user", "token_type", "expires_at", "created_at")
    list_filter = ("token_type",)
    search_fields = ("=token_id", "user__email")
    list_select_related = ("user",)
    ordering = ("-created_at",)
