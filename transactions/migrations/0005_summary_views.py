import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

# A date's month is found by way of `timestamp`, for `timestamptz`, the default, would bring in the session's time zone.
MONTHLY_SUMMARY = """
CREATE VIEW {view} AS
SELECT
    concat_ws(
        ':', t.user_id, to_char(t.transaction_date, 'YYYY-MM'), coalesce(t.category_id::text, '-'), t.currency
    ) AS summary_id,
    t.user_id,
    date_trunc('month', t.transaction_date::timestamp)::date AS month,
    t.category_id,
    c.name AS category_name,
    t.currency,
    count(*) AS transaction_count,
    sum(t.amount) AS total_amount,
    round(avg(t.amount), 2) AS average_amount
FROM transactions AS t
LEFT JOIN categories AS c ON c.category_id = t.category_id
WHERE t.transaction_type = '{transaction_type}' AND NOT t.is_deleted
GROUP BY summary_id, t.user_id, month, t.category_id, c.name, t.currency
"""
MONTHLY_EXPENSE_SUMMARY = MONTHLY_SUMMARY.format(view="monthly_expense_summary", transaction_type="expense")
MONTHLY_INCOME_SUMMARY = MONTHLY_SUMMARY.format(view="monthly_income_summary", transaction_type="income")

# A budget without a category is for all spending, one without an end goes on.
BUDGET_PROGRESS = """
CREATE VIEW budget_progress AS
SELECT
    b.budget_id,
    b.user_id,
    b.category_id,
    b.name,
    b.currency,
    b.start_date,
    b.end_date,
    b.amount,
    s.spent,
    b.amount - s.spent AS remaining,
    round(100 * s.spent / b.amount, 2) AS percent_used
FROM budgets AS b
CROSS JOIN LATERAL (
    SELECT coalesce(sum(t.amount), 0::numeric(15, 2)) AS spent
    FROM transactions AS t
    WHERE t.user_id = b.user_id
        AND t.transaction_type = 'expense'
        AND NOT t.is_deleted
        AND t.currency = b.currency
        AND (b.category_id IS NULL OR t.category_id = b.category_id)
        AND t.transaction_date >= b.start_date
        AND (b.end_date IS NULL OR t.transaction_date <= b.end_date)
) AS s
WHERE NOT b.is_deleted
"""


class Migration(migrations.Migration):
    """Views that sum up months and budgets, so that every backend sees the same figures."""

    phase = "expand"
    dependencies = [
        ("transactions", "0004_complete_transactions_table"),
    ]

    operations = [
        migrations.RunSQL(
            MONTHLY_EXPENSE_SUMMARY,
            "DROP VIEW monthly_expense_summary",
        ),
        migrations.CreateModel(
            name="MonthlyExpenseSummary",
            fields=[
                ("summary_id", models.TextField(primary_key=True, serialize=False)),
                (
                    "user",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "category",
                    models.ForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="transactions.category",
                    ),
                ),
                ("month", models.DateField(help_text="The first day of the month.")),
                ("category_name", models.CharField(max_length=100, null=True)),
                ("currency", models.CharField(max_length=3)),
                ("transaction_count", models.BigIntegerField()),
                ("total_amount", models.DecimalField(decimal_places=2, max_digits=17)),
                ("average_amount", models.DecimalField(decimal_places=2, max_digits=15)),
            ],
            options={
                "verbose_name_plural": "monthly expense summaries",
                "db_table": "monthly_expense_summary",
                "managed": False,
            },
        ),
        migrations.RunSQL(
            MONTHLY_INCOME_SUMMARY,
            "DROP VIEW monthly_income_summary",
        ),
        migrations.CreateModel(
            name="MonthlyIncomeSummary",
            fields=[
                ("summary_id", models.TextField(primary_key=True, serialize=False)),
                (
                    "user",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "category",
                    models.ForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="transactions.category",
                    ),
                ),
                ("month", models.DateField(help_text="The first day of the month.")),
                ("category_name", models.CharField(max_length=100, null=True)),
                ("currency", models.CharField(max_length=3)),
                ("transaction_count", models.BigIntegerField()),
                ("total_amount", models.DecimalField(decimal_places=2, max_digits=17)),
                ("average_amount", models.DecimalField(decimal_places=2, max_digits=15)),
            ],
            options={
                "verbose_name_plural": "monthly income summaries",
                "db_table": "monthly_income_summary",
                "managed": False,
            },
        ),
        migrations.RunSQL(
            BUDGET_PROGRESS,
            "DROP VIEW budget_progress",
        ),
        migrations.CreateModel(
            name="BudgetProgress",
            fields=[
                (
                    "budget",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="progress",
                        serialize=False,
                        to="transactions.budget",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "category",
                    models.ForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="transactions.category",
                    ),
                ),
                ("name", models.CharField(max_length=255, null=True)),
                ("currency", models.CharField(max_length=3)),
                ("start_date", models.DateField()),
                ("end_date", models.DateField(null=True)),
                ("amount", models.DecimalField(decimal_places=2, max_digits=15)),
                ("spent", models.DecimalField(decimal_places=2, max_digits=17)),
                ("remaining", models.DecimalField(decimal_places=2, max_digits=17)),
                ("percent_used", models.DecimalField(decimal_places=2, max_digits=19)),
            ],
            options={
                "verbose_name_plural": "budget progress",
                "db_table": "budget_progress",
                "managed": False,
            },
        ),
    ]
