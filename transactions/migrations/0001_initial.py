from decimal import Decimal

import django.db.models.deletion
from django.conf import settings
from django.contrib.postgres.functions import RandomUUID, TransactionNow
from django.db import migrations, models
from uuid_utils.compat import uuid7


class Migration(migrations.Migration):
    """Accounts, categories, and transactions as far as they went at first: whose they are."""

    phase = "expand"
    initial = True

    # The user model's first migration also makes set_updated_at(), which the triggers call.
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Account",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_column="account_id",
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
                        related_name="accounts",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("name", models.CharField(max_length=255)),
                (
                    "account_type",
                    models.CharField(
                        choices=[
                            ("cash", "Cash"),
                            ("bank", "Bank"),
                            ("credit_card", "Credit Card"),
                            ("investment", "Investment"),
                            ("savings", "Savings"),
                        ],
                        max_length=20,
                    ),
                ),
                ("currency", models.CharField(db_default="INR", default="INR", max_length=3)),
                (
                    "current_balance",
                    models.DecimalField(db_default=Decimal(0), decimal_places=2, default=Decimal(0), max_digits=15),
                ),
                ("is_default", models.BooleanField(db_default=False, default=False)),
                ("icon", models.CharField(blank=True, max_length=50, null=True)),
                ("color", models.CharField(blank=True, max_length=7, null=True)),
                ("created_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
                ("updated_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
            ],
            options={
                "db_table": "accounts",
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("is_default", True)),
                        fields=("user",),
                        name="accounts_is_default_unique",
                        violation_error_message="This person has a default account already.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("account_type__in", ["cash", "bank", "credit_card", "investment", "savings"])
                        ),
                        name="accounts_type_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("currency__regex", r"^[A-Z]{3}$")), name="accounts_currency_check"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("current_balance__lt", Decimal(10**13))),
                        name="accounts_current_balance_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("color__regex", r"^#[0-9A-Fa-f]{6}$")), name="accounts_color_check"
                    ),
                ],
                "indexes": [
                    models.Index(fields=["user"], name="idx_accounts_user_id"),
                    models.Index(fields=["account_type"], name="idx_accounts_type"),
                ],
            },
        ),
        migrations.RunSQL(
            "ALTER TABLE accounts ADD CONSTRAINT accounts_user_id_foreign "
            "FOREIGN KEY (user_id) REFERENCES users (user_id) ON DELETE CASCADE",
            "ALTER TABLE accounts DROP CONSTRAINT accounts_user_id_foreign",
        ),
        migrations.RunSQL(
            "CREATE TRIGGER accounts_set_updated_at BEFORE UPDATE ON accounts "
            "FOR EACH ROW EXECUTE FUNCTION set_updated_at()",
            "DROP TRIGGER accounts_set_updated_at ON accounts",
        ),
        migrations.CreateModel(
            name="Category",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_column="category_id",
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
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="categories",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("name", models.CharField(max_length=100)),
                (
                    "category_type",
                    models.CharField(
                        choices=[("income", "Income"), ("expense", "Expense"), ("transfer", "Transfer")], max_length=20
                    ),
                ),
                ("icon", models.CharField(blank=True, max_length=50, null=True)),
                ("color", models.CharField(blank=True, max_length=7, null=True)),
                ("is_system", models.BooleanField(db_default=False, default=False)),
                ("created_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
            ],
            options={
                "verbose_name_plural": "categories",
                "db_table": "categories",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("category_type__in", ["income", "expense", "transfer"])),
                        name="categories_type_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("color__regex", r"^#[0-9A-Fa-f]{6}$")), name="categories_color_check"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("is_system", True), ("user__isnull", True)),
                            models.Q(("is_system", False), ("user__isnull", False)),
                            _connector="OR",
                        ),
                        name="categories_system_check",
                    ),
                ],
                "indexes": [
                    models.Index(fields=["user"], name="idx_categories_user_id"),
                    models.Index(fields=["category_type"], name="idx_categories_type"),
                ],
            },
        ),
        migrations.RunSQL(
            "ALTER TABLE categories ADD CONSTRAINT categories_user_id_foreign "
            "FOREIGN KEY (user_id) REFERENCES users (user_id) ON DELETE CASCADE",
            "ALTER TABLE categories DROP CONSTRAINT categories_user_id_foreign",
        ),
        migrations.CreateModel(
            name="Transaction",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_column="transaction_id",
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
                        related_name="transactions",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("created_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
            ],
            options={
                "db_table": "transactions",
            },
        ),
        migrations.RunSQL(
            "ALTER TABLE transactions ADD CONSTRAINT transactions_user_id_foreign "
            "FOREIGN KEY (user_id) REFERENCES users (user_id) ON DELETE CASCADE",
            "ALTER TABLE transactions DROP CONSTRAINT transactions_user_id_foreign",
        ),
    ]
