from decimal import Decimal

import django.db.models.deletion
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.functions import TransactionNow
from django.db import migrations, models


class Migration(migrations.Migration):
    """All that a transaction says beyond whose it is.

    A row from before has no account, amount, type or date, which no default can make up for: PostgreSQL refuses this
    migration, and changes nothing, while there is one.
    """

    dependencies = [
        ("transactions", "0003_system_categories"),
    ]

    operations = [
        migrations.AddField(
            model_name="transaction",
            name="account",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="transactions",
                to="transactions.account",
            ),
        ),
        migrations.AddField(
            model_name="transaction",
            name="to_account",
            field=models.ForeignKey(
                blank=True,
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="incoming_transfers",
                to="transactions.account",
            ),
        ),
        migrations.AddField(
            model_name="transaction",
            name="amount",
            field=models.DecimalField(decimal_places=2, max_digits=15),
        ),
        migrations.AddField(
            model_name="transaction",
            name="currency",
            field=models.CharField(db_default="INR", default="INR", max_length=3),
        ),
        migrations.AddField(
            model_name="transaction",
            name="transaction_type",
            field=models.CharField(
                choices=[("income", "Income"), ("expense", "Expense"), ("transfer", "Transfer")], max_length=20
            ),
        ),
        migrations.AddField(
            model_name="transaction",
            name="category",
            field=models.ForeignKey(
                blank=True,
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="transactions",
                to="transactions.category",
            ),
        ),
        migrations.AddField(
            model_name="transaction",
            name="description",
            field=models.TextField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="transaction",
            name="notes",
            field=models.TextField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="transaction",
            name="location",
            field=models.CharField(blank=True, max_length=255, null=True),
        ),
        migrations.AddField(
            model_name="transaction",
            name="merchant",
            field=models.CharField(blank=True, max_length=255, null=True),
        ),
        migrations.AddField(
            model_name="transaction",
            name="tags",
            field=ArrayField(base_field=models.TextField(), blank=True, null=True, size=None),
        ),
        migrations.AddField(
            model_name="transaction",
            name="attachment_url",
            field=models.CharField(blank=True, max_length=500, null=True),
        ),
        migrations.AddField(
            model_name="transaction",
            name="transaction_date",
            field=models.DateField(),
        ),
        migrations.AddField(
            model_name="transaction",
            name="is_deleted",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="transaction",
            name="updated_at",
            field=models.DateTimeField(db_default=TransactionNow(), editable=False),
        ),
        migrations.RunSQL(
            "ALTER TABLE transactions ADD CONSTRAINT transactions_account_id_foreign "
            "FOREIGN KEY (account_id) REFERENCES accounts (account_id)",
            "ALTER TABLE transactions DROP CONSTRAINT transactions_account_id_foreign",
        ),
        migrations.RunSQL(
            "ALTER TABLE transactions ADD CONSTRAINT transactions_to_account_id_foreign "
            "FOREIGN KEY (to_account_id) REFERENCES accounts (account_id)",
            "ALTER TABLE transactions DROP CONSTRAINT transactions_to_account_id_foreign",
        ),
        migrations.RunSQL(
            "ALTER TABLE transactions ADD CONSTRAINT transactions_category_id_foreign "
            "FOREIGN KEY (category_id) REFERENCES categories (category_id)",
            "ALTER TABLE transactions DROP CONSTRAINT transactions_category_id_foreign",
        ),
        migrations.RunSQL(
            "CREATE TRIGGER transactions_set_updated_at BEFORE UPDATE ON transactions "
            "FOR EACH ROW EXECUTE FUNCTION set_updated_at()",
            "DROP TRIGGER transactions_set_updated_at ON transactions",
        ),
        migrations.AddConstraint(
            model_name="transaction",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount__gt", 0), ("amount__lt", Decimal(10**13))),
                name="transactions_amount_positive_check",
            ),
        ),
        migrations.AddConstraint(
            model_name="transaction",
            constraint=models.CheckConstraint(
                condition=models.Q(("currency__regex", r"^[A-Z]{3}$")), name="transactions_currency_check"
            ),
        ),
        migrations.AddConstraint(
            model_name="transaction",
            constraint=models.CheckConstraint(
                condition=models.Q(("transaction_type__in", ["income", "expense", "transfer"])),
                name="transactions_type_check",
            ),
        ),
        migrations.AddConstraint(
            model_name="transaction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        models.Q(("to_account", models.F("account")), _negated=True),
                        ("to_account__isnull", False),
                        ("transaction_type", "transfer"),
                    ),
                    models.Q(models.Q(("transaction_type", "transfer"), _negated=True), ("to_account__isnull", True)),
                    _connector="OR",
                ),
                name="transactions_transfer_check",
            ),
        ),
        migrations.AddIndex(
            model_name="transaction",
            index=models.Index(fields=["user", "-transaction_date"], name="idx_transactions_date"),
        ),
        migrations.AddIndex(
            model_name="transaction",
            index=models.Index(fields=["account"], name="idx_transactions_account_id"),
        ),
        migrations.AddIndex(
            model_name="transaction",
            index=models.Index(fields=["to_account"], name="idx_transactions_to_account_id"),
        ),
        migrations.AddIndex(
            model_name="transaction",
            index=models.Index(fields=["category"], name="idx_transactions_category"),
        ),
        migrations.AddIndex(
            model_name="transaction",
            index=models.Index(fields=["transaction_type"], name="idx_transactions_type"),
        ),
    ]
