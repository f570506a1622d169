import django.db.models.deletion
from django.conf import settings
from django.contrib.postgres.functions import TransactionNow
from django.db import migrations, models


class Migration(migrations.Migration):
    """Tokens that are refused although they have not expired."""

    phase = "expand"
    dependencies = [
        ("accounts", "0003_complete_api_schema"),
    ]

    operations = [
        migrations.CreateModel(
            name="RevokedToken",
            fields=[
                ("token_id", models.UUIDField(primary_key=True, serialize=False)),
                (
                    "user",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="revoked_tokens",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "token_type",
                    models.CharField(
                        choices=[("refresh", "Refresh"), ("access", "Access")],
                        db_default="refresh",
                        default="refresh",
                        max_length=20,
                    ),
                ),
                ("expires_at", models.DateTimeField()),
                ("created_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
            ],
            options={
                "db_table": "revoked_tokens",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("token_type__in", ["refresh", "access"])),
                        name="revoked_tokens_type_check",
                    ),
                ],
                "indexes": [
                    models.Index(fields=["user"], name="idx_revoked_tokens_user_id"),
                    models.Index(fields=["expires_at"], name="idx_revoked_tokens_expires_at"),
                ],
            },
        ),
        migrations.RunSQL(
            "ALTER TABLE revoked_tokens ADD CONSTRAINT revoked_tokens_user_id_foreign "
            "FOREIGN KEY (user_id) REFERENCES users (user_id) ON DELETE CASCADE",
            "ALTER TABLE revoked_tokens DROP CONSTRAINT revoked_tokens_user_id_foreign",
        ),
    ]
