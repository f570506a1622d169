from decimal import Decimal

import django.db.models.deletion
from django.conf import settings
from django.contrib.postgres.functions import RandomUUID, TransactionNow
from django.db import migrations, models
from uuid_utils.compat import uuid7


class Migration(migrations.Migration):
    """What the API needs of money: recurring transactions, budgets, and accounts and categories that can be deleted."""

    dependencies = [
        ("transactions", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="account",
            name="is_deleted",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="category",
            name="description",
            field=models.CharField(blank=True, max_length=200, null=True),
        ),
        migrations.AddField(
            model_name="category",
            name="is_active",
            field=models.BooleanField(db_default=True, default=True),
        ),
        migrations.AddField(
            model_name="category",
            name="is_deleted",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="category",
            name="updated_at",
            field=models.DateTimeField(db_default=TransactionNow(), editable=False),
        ),
        migrations.RunSQL(
            "CREATE TRIGGER categories_set_updated_at BEFORE UPDATE ON categories "
            "FOR EACH ROW EXECUTE FUNCTION set_updated_at()",
            "DROP TRIGGER categories_set_updated_at ON categories",
        ),
        migrations.CreateModel(
            name="RecurringTransaction",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_column="recurring_id",
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
                        related_name="recurring_transactions",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "account",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.RESTRICT,
                        related_name="recurring_transactions",
                        to="transactions.account",
                    ),
                ),
                (
                    "to_account",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.RESTRICT,
                        related_name="incoming_recurring_transfers",
                        to="transactions.account",
                    ),
                ),
                (
                    "category",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.RESTRICT,
                        related_name="recurring_transactions",
                        to="transactions.category",
                    ),
                ),
                ("amount", models.DecimalField(decimal_places=2, max_digits=15)),
                ("currency", models.CharField(db_default="INR", default="INR", max_length=3)),
                (
                    "transaction_type",
                    models.CharField(
                        choices=[("income", "Income"), ("expense", "Expense"), ("transfer", "Transfer")], max_length=20
                    ),
                ),
                ("description", models.TextField(blank=True, null=True)),
                (
                    "frequency",
                    models.CharField(
                        choices=[
                            ("daily", "Daily"),
                            ("weekly", "Weekly"),
                            ("monthly", "Monthly"),
                            ("quarterly", "Quarterly"),
                            ("yearly", "Yearly"),
                        ],
                        max_length=20,
                    ),
                ),
                ("interval_count", models.IntegerField(db_default=1, default=1)),
                ("start_date", models.DateField()),
                ("end_date", models.DateField(blank=True, null=True)),
                ("next_run_on", models.DateField(blank=True, null=True)),
                ("is_active", models.BooleanField(db_default=True, default=True)),
                ("created_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
                ("updated_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
            ],
            options={
                "db_table": "recurring_transactions",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("amount__gt", 0), ("amount__lt", Decimal(10**13))),
                        name="recurring_transactions_amount_positive_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("currency__regex", r"^[A-Z]{3}$")),
                        name="recurring_transactions_currency_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("transaction_type__in", ["income", "expense", "transfer"])),
                        name="recurring_transactions_type_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                models.Q(("to_account", models.F("account")), _negated=True),
                                ("to_account__isnull", False),
                                ("transaction_type", "transfer"),
                            ),
                            models.Q(
                                models.Q(("transaction_type", "transfer"), _negated=True), ("to_account__isnull", True)
                            ),
                            _connector="OR",
                        ),
                        name="recurring_transactions_transfer_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("frequency__in", ["daily", "weekly", "monthly", "quarterly", "yearly"])),
                        name="recurring_transactions_frequency_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("interval_count__gt", 0)),
                        name="recurring_transactions_interval_count_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("end_date__isnull", True), ("end_date__gte", models.F("start_date")), _connector="OR"
                        ),
                        name="recurring_transactions_end_date_check",
                    ),
                ],
                "indexes": [
                    models.Index(fields=["user"], name="idx_recurring_user_id"),
                    models.Index(fields=["account"], name="idx_recurring_account_id"),
                    models.Index(fields=["to_account"], name="idx_recurring_to_account_id"),
                    models.Index(fields=["category"], name="idx_recurring_category_id"),
                    models.Index(fields=["next_run_on"], name="idx_recurring_next_run_on"),
                ],
            },
        ),
        migrations.RunSQL(
            "ALTER TABLE recurring_transactions ADD CONSTRAINT recurring_transactions_user_id_foreign "
            "FOREIGN KEY (user_id) REFERENCES users (user_id) ON DELETE CASCADE",
            "ALTER TABLE recurring_transactions DROP CONSTRAINT recurring_transactions_user_id_foreign",
        ),
        migrations.RunSQL(
            "ALTER TABLE recurring_transactions ADD CONSTRAINT recurring_transactions_account_id_foreign "
            "FOREIGN KEY (account_id) REFERENCES accounts (account_id)",
            "ALTER TABLE recurring_transactions DROP CONSTRAINT recurring_transactions_account_id_foreign",
        ),
        migrations.RunSQL(
            "ALTER TABLE recurring_transactions ADD CONSTRAINT recurring_transactions_to_account_id_foreign "
            "FOREIGN KEY (to_account_id) REFERENCES accounts (account_id)",
            "ALTER TABLE recurring_transactions DROP CONSTRAINT recurring_transactions_to_account_id_foreign",
        ),
        migrations.RunSQL(
            "ALTER TABLE recurring_transactions ADD CONSTRAINT recurring_transactions_category_id_foreign "
            "FOREIGN KEY (category_id) REFERENCES categories (category_id)",
            "ALTER TABLE recurring_transactions DROP CONSTRAINT recurring_transactions_category_id_foreign",
        ),
        migrations.RunSQL(
            "CREATE TRIGGER recurring_transactions_set_updated_at BEFORE UPDATE ON recurring_transactions "
            "FOR EACH ROW EXECUTE FUNCTION set_updated_at()",
            "DROP TRIGGER recurring_transactions_set_updated_at ON recurring_transactions",
        ),
        migrations.CreateModel(
            name="Budget",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_column="budget_id",
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
                        related_name="budgets",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "category",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.RESTRICT,
                        related_name="budgets",
                        to="transactions.category",
                    ),
                ),
                ("name", models.CharField(blank=True, max_length=255, null=True)),
                ("amount", models.DecimalField(decimal_places=2, max_digits=15)),
                ("currency", models.CharField(db_default="INR", default="INR", max_length=3)),
                (
                    "period",
                    models.CharField(
                        choices=[
                            ("daily", "Daily"),
                            ("weekly", "Weekly"),
                            ("monthly", "Monthly"),
                            ("quarterly", "Quarterly"),
                            ("yearly", "Yearly"),
                            ("custom", "Custom"),
                        ],
                        max_length=20,
                    ),
                ),
                ("start_date", models.DateField()),
                ("end_date", models.DateField(blank=True, null=True)),
                (
                    "alert_threshold",
                    models.DecimalField(db_default=Decimal(80), decimal_places=2, default=Decimal(80), max_digits=5),
                ),
                ("is_active", models.BooleanField(db_default=True, default=True)),
                ("is_deleted", models.BooleanField(db_default=False, default=False)),
                ("created_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
                ("updated_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
            ],
            options={
                "db_table": "budgets",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("amount__gt", 0), ("amount__lt", Decimal(10**13))),
                        name="budgets_amount_positive_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("currency__regex", r"^[A-Z]{3}$")), name="budgets_currency_check"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("period__in", ["daily", "weekly", "monthly", "quarterly", "yearly", "custom"])
                        ),
                        name="budgets_period_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("end_date__isnull", True), ("end_date__gte", models.F("start_date")), _connector="OR"
                        ),
                        name="budgets_end_date_check",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("alert_threshold__gte", 0), ("alert_threshold__lte", 100)),
                        name="budgets_alert_threshold_check",
                    ),
                ],
                "indexes": [
                    models.Index(fields=["user"], name="idx_budgets_user_id"),
                    models.Index(fields=["category"], name="idx_budgets_category_id"),
                ],
            },
        ),
        migrations.RunSQL(
            "ALTER TABLE budgets ADD CONSTRAINT budgets_user_id_foreign "
            "FOREIGN KEY (user_id) REFERENCES users (user_id) ON DELETE CASCADE",
            "ALTER TABLE budgets DROP CONSTRAINT budgets_user_id_foreign",
        ),
        migrations.RunSQL(
            "ALTER TABLE budgets ADD CONSTRAINT budgets_category_id_foreign "
            "FOREIGN KEY (category_id) REFERENCES categories (category_id)",
            "ALTER TABLE budgets DROP CONSTRAINT budgets_category_id_foreign",
        ),
        migrations.RunSQL(
            "CREATE TRIGGER budgets_set_updated_at BEFORE UPDATE ON budgets "
            "FOR EACH ROW EXECUTE FUNCTION set_updated_at()",
            "DROP TRIGGER budgets_set_updated_at ON budgets",
        ),
    ]
