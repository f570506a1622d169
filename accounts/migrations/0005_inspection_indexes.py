from django.db import migrations, models
from django.db.models.functions import Collate, Lower
from django_pg_migration_tools.operations import SaferAddIndexConcurrently


class Migration(migrations.Migration):
    """The admin site finds people among a million: by how an address or a name begins, new devices, and staff."""

    atomic = False
    phase = "expand"
    idempotent = True
    dependencies = [
        ("accounts", "0004_auth_token_revocation"),
        ("auth", "0012_alter_user_first_name_max_length"),
    ]
    operations = [
        migrations.AlterModelOptions(
            name="user",
            options={"permissions": [("view_personal_data", "Can see personal data whole")]},
        ),
        SaferAddIndexConcurrently(
            model_name="device",
            index=models.Index(fields=["created_at"], name="idx_devices_created_at"),
        ),
        SaferAddIndexConcurrently(
            model_name="user",
            index=models.Index(Collate(Lower("email"), "C"), name="idx_users_email_begins"),
        ),
        SaferAddIndexConcurrently(
            model_name="user",
            index=models.Index(Collate(Lower("name"), "C"), name="idx_users_name_begins"),
        ),
        SaferAddIndexConcurrently(
            model_name="user",
            index=models.Index(condition=models.Q(("is_staff", True)), fields=["created_at"], name="idx_users_staff"),
        ),
        # Of an expression PostgreSQL knows nothing until it has looked at one with an index.
        migrations.RunSQL("ANALYZE users", migrations.RunSQL.noop),
    ]
