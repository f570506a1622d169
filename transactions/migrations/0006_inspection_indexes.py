from django.conf import settings
from django.db import migrations, models
from django.db.models.functions import Collate, Lower
from django_pg_migration_tools.operations import SaferAddIndexConcurrently


class Migration(migrations.Migration):
    """The admin site pages through ten million rows, and finds deleted ones, merchants and categories among them."""

    atomic = False
    phase = "expand"
    idempotent = True
    dependencies = [
        ("transactions", "0005_summary_views"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]
    operations = [
        SaferAddIndexConcurrently(
            model_name="account",
            index=models.Index(fields=["created_at"], name="idx_accounts_created_at"),
        ),
        SaferAddIndexConcurrently(
            model_name="account",
            index=models.Index(
                condition=models.Q(("is_deleted", True)), fields=["created_at"], name="idx_accounts_deleted"
            ),
        ),
        SaferAddIndexConcurrently(
            model_name="budget",
            index=models.Index(fields=["created_at"], name="idx_budgets_created_at"),
        ),
        SaferAddIndexConcurrently(
            model_name="budget",
            index=models.Index(
                condition=models.Q(("is_deleted", True)), fields=["created_at"], name="idx_budgets_deleted"
            ),
        ),
        SaferAddIndexConcurrently(
            model_name="category",
            index=models.Index(fields=["created_at"], name="idx_categories_created_at"),
        ),
        SaferAddIndexConcurrently(
            model_name="category",
            index=models.Index(
                condition=models.Q(("is_system", True)), fields=["created_at"], name="idx_categories_system"
            ),
        ),
        SaferAddIndexConcurrently(
            model_name="category",
            index=models.Index(
                condition=models.Q(("is_deleted", True)), fields=["created_at"], name="idx_categories_deleted"
            ),
        ),
        SaferAddIndexConcurrently(
            model_name="category",
            index=models.Index(Collate(Lower("name"), "C"), name="idx_categories_name_begins"),
        ),
        SaferAddIndexConcurrently(
            model_name="recurringtransaction",
            index=models.Index(fields=["created_at"], name="idx_recurring_created_at"),
        ),
        SaferAddIndexConcurrently(
            model_name="transaction",
            index=models.Index(fields=["-transaction_date", "-id"], name="idx_transactions_latest"),
        ),
        SaferAddIndexConcurrently(
            model_name="transaction",
            index=models.Index(
                condition=models.Q(("is_deleted", True)),
                fields=["-transaction_date", "-id"],
                name="idx_transactions_deleted",
            ),
        ),
        SaferAddIndexConcurrently(
            model_name="transaction",
            index=models.Index(Collate(Lower("merchant"), "C"), name="idx_transactions_merchant"),
        ),
        # Of an expression PostgreSQL knows nothing until it has looked at one with an index.
        migrations.RunSQL("ANALYZE transactions", migrations.RunSQL.noop),
        migrations.RunSQL("ANALYZE categories", migrations.RunSQL.noop),
    ]
