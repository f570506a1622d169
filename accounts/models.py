"""People as the database keeps them: users, their devices, phone numbers' one-time passwords, revoked tokens.

Table names, columns and types are a contract with backends in other languages, so each default and rule is the
database's (`db_default`, constraints), and names are what that database calls things. Three habits follow:

- A foreign key has ``db_constraint=False``: Django's would be deferrable and without ON DELETE. The migration that
  makes the table adds the real one, ``<table>_<column>_foreign``.
- Uniqueness is a named constraint, not ``unique=True``, whose name Django makes up.
- `updated_at` is set by a trigger. After ``save()`` an instance still has the value that it was loaded with;
  `refresh_from_db()` fetches the new one.
"""
# ruff: noqa: DJ001 - in these tables, as the other backends write them, NULL is what was not given

from __future__ import annotations

from asgiref.sync import sync_to_async
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import PermissionsMixin
from django.contrib.postgres.functions import RandomUUID, TransactionNow
from django.db import models
from django.db.models import Q
from django.db.models.functions import Collate, Lower
from uuid_utils.compat import uuid7

from accounts.fields import BCRYPT_PATTERN, E164_PATTERN, UNUSABLE_PASSWORD, BcryptHashField, E164PhoneNumberField
from accounts.longpasswords import matches_as_cut
from accounts.managers import RevokedTokenManager, UserManager
from accounts.validators import MaximumBytesValidator, fits_bcrypt


class User(AbstractBaseUser, PermissionsMixin):
    """A person, who signs in with an e-mail address and a password or by way of an OAuth provider."""

    class Theme(models.TextChoices):
        SYSTEM = "system"
        LIGHT = "light"
        DARK = "dark"

    class Status(models.TextChoices):
        ACTIVE = "active"
        INACTIVE = "inactive"
        SUSPENDED = "suspended"
        DELETED = "deleted"

    id = models.UUIDField(primary_key=True, db_column="user_id", default=uuid7, db_default=RandomUUID(), editable=False)
    email = models.EmailField(max_length=255)
    email_verified = models.BooleanField(default=False, db_default=False)
    password = BcryptHashField(db_column="password_hash", max_length=255)
    name = models.CharField(max_length=255, null=True, blank=True)
    phone_number = E164PhoneNumberField(max_length=20, null=True, blank=True)
    phone_verified = models.BooleanField(default=False, db_default=False)
    country_code = models.CharField(max_length=2, default="IN", db_default="IN")
    currency_preference = models.CharField(max_length=3, default="INR", db_default="INR")
    timezone = models.CharField(max_length=50, default="Asia/Kolkata", db_default="Asia/Kolkata")
    theme_preference = models.CharField(
        max_length=20, choices=Theme.choices, default=Theme.SYSTEM, db_default=Theme.SYSTEM
    )
    language_preference = models.CharField(max_length=10, default="en", db_default="en")
    oauth_provider = models.CharField(max_length=20, null=True, blank=True)
    oauth_provider_id = models.CharField(max_length=255, null=True, blank=True)
    mfa_enabled = models.BooleanField(default=False, db_default=False)
    mfa_secret = models.CharField(max_length=255, null=True, blank=True)
    account_status = models.CharField(
        max_length=20, choices=Status.choices, default=Status.ACTIVE, db_default=Status.ACTIVE
    )
    last_login = models.DateTimeField(db_column="last_login_at", null=True, blank=True)
    last_login_device_id = models.CharField(max_length=255, null=True, blank=True)
    login_attempt_count = models.IntegerField(default=0, db_default=0)
    login_attempt_last_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    updated_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    deleted_at = models.DateTimeField(null=True, blank=True)
    is_staff = models.BooleanField(default=False, db_default=False)
    is_superuser = models.BooleanField(default=False, db_default=False)

    objects = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"

    class Meta:
        db_table = "users"
        constraints = [
            models.UniqueConstraint(
                Lower("email"),
                name="users_email_unique",
                violation_error_message="A user with this e-mail address already exists.",
            ),
            models.UniqueConstraint(
                fields=["phone_number"],
                name="users_phone_number_unique",
                violation_error_message="A user with this phone number already exists.",
            ),
            models.UniqueConstraint(
                fields=["oauth_provider", "oauth_provider_id"],
                name="users_oauth_provider_oauth_provider_id_unique",
            ),
            models.CheckConstraint(condition=Q(email__regex=r"^[^@\s]+@[^@\s]+$"), name="users_email_check"),
            models.CheckConstraint(condition=Q(password__regex=BCRYPT_PATTERN), name="users_password_hash_check"),
            models.CheckConstraint(condition=Q(phone_number__regex=E164_PATTERN), name="users_phone_number_check"),
            models.CheckConstraint(
                condition=Q(currency_preference__regex=r"^[A-Z]{3}$"), name="users_currency_preference_check"
            ),
            models.CheckConstraint(
                condition=Q(theme_preference__in=["system", "light", "dark"]), name="users_theme_preference_check"
            ),
            models.CheckConstraint(
                condition=Q(account_status__in=["active", "inactive", "suspended", "deleted"]),
                name="users_account_status_check",
            ),
        ]
        indexes = [
            models.Index(fields=["created_at"], name="idx_users_created_at"),
            models.Index(fields=["email"], name="idx_users_email"),
            models.Index(fields=["phone_number"], name="idx_users_phone"),
            models.Index(fields=["account_status"], name="idx_users_status"),
            # How the admin site looks for people among a million: by how an address or a name begins, and for staff.
            models.Index(Collate(Lower("email"), "C"), name="idx_users_email_begins"),
            models.Index(Collate(Lower("name"), "C"), name="idx_users_name_begins"),
            models.Index(fields=["created_at"], condition=Q(is_staff=True), name="idx_users_staff"),
        ]
        permissions = [("view_personal_data", "Can see personal data whole")]

    @property
    def is_active(self) -> bool:  # type: ignore[override]  # Django's is a writable attribute; this one is derived
        """Whether this person may sign in; change `account_status` to change it."""
        return self.account_status == self.Status.ACTIVE

    def set_password(self, raw_password: str | None) -> None:
        """Hash the password onto this instance; None leaves the person without one.

        Raises:
            ValidationError: if it has more than 72 bytes, of which bcrypt would not read all.
        """
        if raw_password is None:
            self.set_unusable_password()
        else:
            MaximumBytesValidator().validate(raw_password)
            super().set_password(raw_password)

    def set_unusable_password(self) -> None:
        # Not Django's random text: the database keeps NULL, and a session must not end because that reads differently.
        self.password = UNUSABLE_PASSWORD

    def check_password(self, raw_password: str | None) -> bool:
        if raw_password is None or fits_bcrypt(raw_password):
            return super().check_password(raw_password)
        return matches_as_cut(raw_password, self.password)

    async def acheck_password(self, raw_password: str | None) -> bool:
        if raw_password is None or fits_bcrypt(raw_password):
            return await super().acheck_password(raw_password)
        return await sync_to_async(matches_as_cut, thread_sensitive=False)(raw_password, self.password)


class Device(models.Model):
    """A phone or browser that a person has signed in with."""

    id = models.UUIDField(
        primary_key=True, db_column="device_id", default=uuid7, db_default=RandomUUID(), editable=False
    )
    user = models.ForeignKey(
        User, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="devices"
    )
    device_name = models.CharField(max_length=255, null=True, blank=True)
    device_type = models.CharField(max_length=20, null=True, blank=True)
    device_fingerprint = models.CharField(max_length=255, null=True, blank=True)
    is_active = models.BooleanField(default=True, db_default=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        db_table = "devices"
        constraints = [
            models.UniqueConstraint(fields=["device_fingerprint"], name="devices_device_fingerprint_unique"),
        ]
        indexes = [
            models.Index(fields=["user"], name="idx_devices_user_id"),
            models.Index(fields=["device_fingerprint"], name="idx_devices_fingerprint"),
            models.Index(fields=["created_at"], name="idx_devices_created_at"),
        ]

    def __str__(self) -> str:
        return self.device_name or self.device_type or str(self.id)


class PhoneOTP(models.Model):
    """A one-time password sent to a phone number, which proves that the number is its user's."""

    id = models.UUIDField(primary_key=True, db_column="otp_id", default=uuid7, db_default=RandomUUID(), editable=False)
    phone_number = E164PhoneNumberField(max_length=20)
    code_hash = models.CharField(max_length=255)
    purpose = models.CharField(max_length=20, default="signup", db_default="signup")
    expires_at = models.DateTimeField()
    attempt_count = models.IntegerField(default=0, db_default=0)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        db_table = "phone_otps"
        verbose_name = "phone one-time password"
        constraints = [
            models.CheckConstraint(condition=Q(phone_number__regex=E164_PATTERN), name="phone_otps_phone_number_check"),
        ]
        indexes = [
            models.Index(fields=["phone_number"], name="idx_phone_otps_phone_number"),
            models.Index(fields=["expires_at"], name="idx_phone_otps_expires_at"),
        ]

    def __str__(self) -> str:
        return f"{self.purpose} code for …{str(self.phone_number)[-4:]}"


class RevokedToken(models.Model):
    """A JSON Web Token that is refused although it has not expired."""

    class TokenType(models.TextChoices):
        REFRESH = "refresh"
        ACCESS = "access"

    # The token's `jti`, which its issuer made: a default would hide that it was forgotten.
    token_id = models.UUIDField(primary_key=True)
    user = models.ForeignKey(
        User, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="revoked_tokens"
    )
    token_type = models.CharField(
        max_length=20, choices=TokenType.choices, default=TokenType.REFRESH, db_default=TokenType.REFRESH
    )
    expires_at = models.DateTimeField()
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    objects = RevokedTokenManager()

    class Meta:
        db_table = "revoked_tokens"
        constraints = [
            models.CheckConstraint(condition=Q(token_type__in=["refresh", "access"]), name="revoked_tokens_type_check"),
        ]
        indexes = [
            models.Index(fields=["user"], name="idx_revoked_tokens_user_id"),
            models.Index(fields=["expires_at"], name="idx_revoked_tokens_expires_at"),
        ]

    def __str__(self) -> str:
        return f"{self.token_type} token {self.token_id}"
