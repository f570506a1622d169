from django.contrib.postgres.functions import RandomUUID, TransactionNow
from django.db import migrations, models
from uuid_utils.compat import uuid7

import accounts.fields


class Migration(migrations.Migration):
    """The one-time passwords that prove a phone number."""

    dependencies = [
        ("accounts", "0002_add_phone_number_to_users"),
    ]

    operations = [
        migrations.CreateModel(
            name="PhoneOTP",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_column="otp_id",
                        db_default=RandomUUID(),
                        default=uuid7,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("phone_number", accounts.fields.E164PhoneNumberField(max_length=20)),
                ("code_hash", models.CharField(max_length=255)),
                ("purpose", models.CharField(db_default="signup", default="signup", max_length=20)),
                ("expires_at", models.DateTimeField()),
                ("attempt_count", models.IntegerField(db_default=0, default=0)),
                ("created_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
            ],
            options={
                "verbose_name": "phone one-time password",
                "db_table": "phone_otps",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("phone_number__regex", r"^\+[1-9][0-9]{1,14}$")),
                        name="phone_otps_phone_number_check",
                    ),
                ],
                "indexes": [
                    models.Index(fields=["phone_number"], name="idx_phone_otps_phone_number"),
                    models.Index(fields=["expires_at"], name="idx_phone_otps_expires_at"),
                ],
            },
        ),
    ]
