import django.db.models.deletion
from django.conf import settings
from django.contrib.postgres.functions import RandomUUID, TransactionNow
from django.db import migrations, models
from django.db.models.functions import Lower
from uuid_utils.compat import uuid7

import accounts.fields

# Every table with an `updated_at` has a trigger that calls this function, the tables of later migrations too.
# clock_timestamp() and not now(): a row changed twice in one transaction was last changed the second time.
CREATE_SET_UPDATED_AT = """
CREATE FUNCTION set_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END
$$
"""


class Migration(migrations.Migration):
    """Users and their devices."""

    phase = "expand"
    initial = True

    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [
        migrations.RunSQL(CREATE_SET_UPDATED_AT, "DROP FUNCTION set_updated_at()"),
        migrations.CreateModel(
            name="User",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_column="user_id",
                        db_default=RandomUUID(),
                        default=uuid7,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("email", models.EmailField(max_length=255)),
                ("email_verified", models.BooleanField(db_default=False, default=False)),
                (
                    "password",
                    accounts.fields.BcryptHashField(db_column="password_hash", max_length=255),
                ),
                ("name", models.CharField(blank=True, max_length=255, null=True)),
                ("country_code", models.CharField(db_default="IN", default="IN", max_length=2)),
                ("currency_preference", models.CharField(db_default="INR", default="INR", max_length=3)),
                ("timezone", models.CharField(db_default="Asia/Kolkata", default="Asia/Kolkata", max_length=50)),
                (
                    "theme_preference",
                    models.CharField(
                        choices=[("system", "System"), ("light", "Light"), ("dark", "Dark")],
                        db_default="system",
                        default="system",
                        max_length=20,
                    ),
                ),
                ("language_preference", models.CharField(db_default="en", default="en", max_length=10)),
                ("oauth_provider", models.CharField(blank=True, max_length=20, null=True)),
                ("oauth_provider_id", models.CharField(blank=True, max_length=255, null=True)),
                ("mfa_enabled", models.BooleanField(db_default=False, default=False)),
                ("mfa_secret", models.CharField(blank=True, max_length=255, null=True)),
                (
                    "account_status",
                    models.CharField(
                        choices=[
                            ("active", "Active"),
                            ("inactive", "Inactive"),
                            ("suspended", "Suspended"),
                            ("deleted", "Deleted"),
                        ],
                        db_default="active",
                        default="active",
                        max_length=20,
                    ),
                ),
                ("last_login", models.DateTimeField(blank=True, db_column="last_login_at", null=True)),
                ("last_login_device_id", models.CharField(blank=True, max_length=255, null=True)),
                ("login_attempt_count", models.IntegerField(db_default=0, default=0)),
                ("login_attempt_last_at", models.DateTimeField(blank=True, null=True)),
                ("created_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
                ("updated_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
                ("deleted_at", models.DateTimeField(blank=True, null=True)),
                ("is_staff", models.BooleanField(db_default=False, default=False)),
                ("is_superuser", models.BooleanField(db_default=False, default=False)),
                (
                    "groups",
                    models.ManyToManyField(
                        blank=True,
                        help_text=(
                            "The groups this user belongs to. A user will get all permissions granted to each of "
                            "their groups."
                        ),
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.group",
                        verbose_name="groups",
                    ),
                ),
                (
                    "user_permissions",
                    models.ManyToManyField(
                        blank=True,
                        help_text="Specific permissions for this user.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.permission",
                        verbose_name="user permissions",
                    ),
                ),
            ],
            options={
                "db_table": "users",
                "constraints": [
                    models.UniqueConstraint(
                        Lower("email"),
                        name="users_email_unique",
                        violation_error_message="A user with this e-mail address already exists.",
                    ),
                    models.UniqueConstraint(
                        fields=("oauth_provider", "oauth_provider_id"),
                        name="users_oauth_provider_oauth_provider_id_unique",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("email__regex", r"^[^@\s]+@[^@\s]+$")), name="users_email_check"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "password__regex",
                                r"^\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}$",
                            )
                        ),
                        name="users_password_hash_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("currency_preference__regex", "^[A-Z]{3}$")),
                        name="users_currency_preference_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("theme_preference__in", ["system", "light", "dark"])),
                        name="users_theme_preference_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("account_status__in", ["active", "inactive", "suspended", "deleted"])),
                        name="users_account_status_check",
                    ),
                ],
                "indexes": [
                    models.Index(fields=["created_at"], name="idx_users_created_at"),
                    models.Index(fields=["email"], name="idx_users_email"),
                    models.Index(fields=["account_status"], name="idx_users_status"),
                ],
            },
        ),
        migrations.RunSQL(
            "CREATE TRIGGER users_set_updated_at BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION set_updated_at()",
            "DROP TRIGGER users_set_updated_at ON users",
        ),
        migrations.CreateModel(
            name="Device",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_column="device_id",
                        db_default=RandomUUID(),
                        default=uuid7,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="devices",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("device_name", models.CharField(blank=True, max_length=255, null=True)),
                ("device_type", models.CharField(blank=True, max_length=20, null=True)),
                ("device_fingerprint", models.CharField(blank=True, max_length=255, null=True)),
                ("is_active", models.BooleanField(db_default=True, default=True)),
                ("last_used_at", models.DateTimeField(blank=True, null=True)),
                ("created_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
            ],
            options={
                "db_table": "devices",
                "constraints": [
                    models.UniqueConstraint(fields=("device_fingerprint",), name="devices_device_fingerprint_unique"),
                ],
                "indexes": [
                    models.Index(fields=["user"], name="idx_devices_user_id"),
                    models.Index(fields=["device_fingerprint"], name="idx_devices_fingerprint"),
                ],
            },
        ),
        migrations.RunSQL(
            "ALTER TABLE devices ADD CONSTRAINT devices_user_id_foreign "
            "FOREIGN KEY (user_id) REFERENCES users (user_id) ON DELETE CASCADE",
            "ALTER TABLE devices DROP CONSTRAINT devices_user_id_foreign",
        ),
    ]
