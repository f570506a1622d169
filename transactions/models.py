"""Money as the database keeps it: accounts, categories, transactions, recurring transactions, budgets, summaries.

Table names, columns and types are a contract with backends in other languages, so each default and rule is the
database's (`db_default`, constraints), and names are what that database calls things. Three habits follow:

- A foreign key has ``db_constraint=False``: Django's would be deferrable and without ON DELETE. The migration that
  makes the column adds the real one, ``<table>_<column>_foreign``. A user takes all their rows along; whatever else is
  referred to cannot be deleted (NO ACTION in the database, RESTRICT in Django), as the history of money would change:
  set `is_deleted` instead.
- Uniqueness is a named constraint, not ``unique=True``, whose name Django makes up.
- `updated_at` is set by a trigger. After ``save()`` an instance still has the value that it was loaded with;
  `refresh_from_db()` fetches the new one.
"""
# ruff: noqa: DJ001 - in these tables, as the other backends write them, NULL is what was not given

from __future__ import annotations

from decimal import Decimal

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.functions import RandomUUID, TransactionNow
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Collate, Lower
from uuid_utils.compat import uuid7

from transactions.managers import NotDeletedManager

CURRENCY_PATTERN = r"^[A-Z]{3}$"
COLOR_PATTERN = r"^#[0-9A-Fa-f]{6}$"
# Above what numeric(15,2) holds. PostgreSQL's NaN, which other languages do send, is greater than any number:
# without an upper bound it would pass for an amount, and every sum with it would be NaN.
TOO_MUCH = Decimal(10**13)

POSITIVE_AMOUNT = Q(amount__gt=0, amount__lt=TOO_MUCH)
# No part of it is NULL for any row, because a CHECK lets NULL pass.
TRANSFER_HAS_TWO_ACCOUNTS = Q(~Q(to_account=F("account")), transaction_type="transfer", to_account__isnull=False) | Q(
    ~Q(transaction_type="transfer"), to_account__isnull=True
)


class TransactionType(models.TextChoices):
    """Where money goes: in, out, or from one of a person's accounts to another."""

    INCOME = "income"
    EXPENSE = "expense"
    TRANSFER = "transfer"


class Frequency(models.TextChoices):
    """How often a recurring transaction happens."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    QUARTERLY = "quarterly"
    YEARLY = "yearly"


class Account(models.Model):
    """A place where a person keeps money."""

    class AccountType(models.TextChoices):
        CASH = "cash"
        BANK = "bank"
        CREDIT_CARD = "credit_card"
        INVESTMENT = "investment"
        SAVINGS = "savings"

    id = models.UUIDField(
        primary_key=True, db_column="account_id", default=uuid7, db_default=RandomUUID(), editable=False
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        db_constraint=False,
        db_index=False,
        related_name="accounts",
    )
    name = models.CharField(max_length=255)
    account_type = models.CharField(max_length=20, choices=AccountType.choices)
    currency = models.CharField(max_length=3, default="INR", db_default="INR")
    current_balance = models.DecimalField(max_digits=15, decimal_places=2, default=Decimal(0), db_default=Decimal(0))
    is_default = models.BooleanField(default=False, db_default=False)
    icon = models.CharField(max_length=50, null=True, blank=True)
    color = models.CharField(max_length=7, null=True, blank=True)
    is_deleted = models.BooleanField(default=False, db_default=False)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    updated_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    objects = NotDeletedManager["Account"]()
    all_objects = models.Manager["Account"]()

    class Meta:
        db_table = "accounts"
        constraints = [
            models.UniqueConstraint(
                fields=["user"],
                condition=Q(is_default=True),
                name="accounts_is_default_unique",
                violation_error_message="This person has a default account already.",
            ),
            models.CheckConstraint(
                condition=Q(account_type__in=["cash", "bank", "credit_card", "investment", "savings"]),
                name="accounts_type_check",
            ),
            models.CheckConstraint(condition=Q(currency__regex=CURRENCY_PATTERN), name="accounts_currency_check"),
            models.CheckConstraint(condition=Q(current_balance__lt=TOO_MUCH), name="accounts_current_balance_check"),
            models.CheckConstraint(condition=Q(color__regex=COLOR_PATTERN), name="accounts_color_check"),
        ]
        indexes = [
            models.Index(fields=["user"], name="idx_accounts_user_id"),
            models.Index(fields=["account_type"], name="idx_accounts_type"),
            models.Index(fields=["created_at"], name="idx_accounts_created_at"),
            models.Index(fields=["created_at"], condition=Q(is_deleted=True), name="idx_accounts_deleted"),
        ]

    def __str__(self) -> str:
        return self.name


class Category(models.Model):
    """What money is earned by or spent on: the system's own categories, and each person's."""

    id = models.UUIDField(
        primary_key=True, db_column="category_id", default=uuid7, db_default=RandomUUID(), editable=False
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        db_constraint=False,
        db_index=False,
        related_name="categories",
    )
    name = models.CharField(max_length=100)
    description = models.CharField(max_length=200, null=True, blank=True)
    category_type = models.CharField(max_length=20, choices=TransactionType.choices)
    icon = models.CharField(max_length=50, null=True, blank=True)
    color = models.CharField(max_length=7, null=True, blank=True)
    is_system = models.BooleanField(default=False, db_default=False)
    is_active = models.BooleanField(default=True, db_default=True)
    is_deleted = models.BooleanField(default=False, db_default=False)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    updated_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    objects = NotDeletedManager["Category"]()
    all_objects = models.Manager["Category"]()

    class Meta:
        db_table = "categories"
        verbose_name_plural = "categories"
        constraints = [
            models.CheckConstraint(
                condition=Q(category_type__in=["income", "expense", "transfer"]), name="categories_type_check"
            ),
            models.CheckConstraint(condition=Q(color__regex=COLOR_PATTERN), name="categories_color_check"),
            models.CheckConstraint(
                condition=Q(is_system=True, user__isnull=True) | Q(is_system=False, user__isnull=False),
                name="categories_system_check",
            ),
        ]
        indexes = [
            models.Index(fields=["user"], name="idx_categories_user_id"),
            models.Index(fields=["category_type"], name="idx_categories_type"),
            models.Index(fields=["created_at"], name="idx_categories_created_at"),
            models.Index(fields=["created_at"], condition=Q(is_system=True), name="idx_categories_system"),
            models.Index(fields=["created_at"], condition=Q(is_deleted=True), name="idx_categories_deleted"),
            models.Index(Collate(Lower("name"), "C"), name="idx_categories_name_begins"),
        ]

    def __str__(self) -> str:
        return self.name


class Transaction(models.Model):
    """Money that came, went, or moved between two accounts."""

    id = models.UUIDField(
        primary_key=True, db_column="transaction_id", default=uuid7, db_default=RandomUUID(), editable=False
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        db_constraint=False,
        db_index=False,
        related_name="transactions",
    )
    account = models.ForeignKey(
        Account, on_delete=models.RESTRICT, db_constraint=False, db_index=False, related_name="transactions"
    )
    to_account = models.ForeignKey(
        Account,
        on_delete=models.RESTRICT,
        null=True,
        blank=True,
        db_constraint=False,
        db_index=False,
        related_name="incoming_transfers",
    )
    amount = models.DecimalField(max_digits=15, decimal_places=2)
    currency = models.CharField(max_length=3, default="INR", db_default="INR")
    transaction_type = models.CharField(max_length=20, choices=TransactionType.choices)
    category = models.ForeignKey(
        Category,
        on_delete=models.RESTRICT,
        null=True,
        blank=True,
        db_constraint=False,
        db_index=False,
        related_name="transactions",
    )
    description = models.TextField(null=True, blank=True)
    notes = models.TextField(null=True, blank=True)
    location = models.CharField(max_length=255, null=True, blank=True)
    merchant = models.CharField(max_length=255, null=True, blank=True)
    tags = ArrayField(models.TextField(), null=True, blank=True)
    attachment_url = models.CharField(max_length=500, null=True, blank=True)
    transaction_date = models.DateField()
    is_deleted = models.BooleanField(default=False, db_default=False)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    updated_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    objects = NotDeletedManager["Transaction"]()
    all_objects = models.Manager["Transaction"]()

    class Meta:
        db_table = "transactions"
        constraints = [
            models.CheckConstraint(condition=POSITIVE_AMOUNT, name="transactions_amount_positive_check"),
            models.CheckConstraint(condition=Q(currency__regex=CURRENCY_PATTERN), name="transactions_currency_check"),
            models.CheckConstraint(
                condition=Q(transaction_type__in=["income", "expense", "transfer"]), name="transactions_type_check"
            ),
            models.CheckConstraint(condition=TRANSFER_HAS_TWO_ACCOUNTS, name="transactions_transfer_check"),
        ]
        indexes = [
            models.Index(fields=["user", "-transaction_date"], name="idx_transactions_date"),
            models.Index(fields=["account"], name="idx_transactions_account_id"),
            models.Index(fields=["to_account"], name="idx_transactions_to_account_id"),
            models.Index(fields=["category"], name="idx_transactions_category"),
            models.Index(fields=["transaction_type"], name="idx_transactions_type"),
            # How the admin site pages through all of them, finds the deleted ones, and looks for merchants.
            models.Index(fields=["-transaction_date", "-id"], name="idx_transactions_latest"),
            models.Index(
                fields=["-transaction_date", "-id"], condition=Q(is_deleted=True), name="idx_transactions_deleted"
            ),
            models.Index(Collate(Lower("merchant"), "C"), name="idx_transactions_merchant"),
        ]

    def __str__(self) -> str:
        return f"{self.transaction_type} of {self.amount} {self.currency} on {self.transaction_date}"


class RecurringTransaction(models.Model):
    """A transaction that is to be made again and again."""

    id = models.UUIDField(
        primary_key=True, db_column="recurring_id", default=uuid7, db_default=RandomUUID(), editable=False
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        db_constraint=False,
        db_index=False,
        related_name="recurring_transactions",
    )
    account = models.ForeignKey(
        Account, on_delete=models.RESTRICT, db_constraint=False, db_index=False, related_name="recurring_transactions"
    )
    to_account = models.ForeignKey(
        Account,
        on_delete=models.RESTRICT,
        null=True,
        blank=True,
        db_constraint=False,
        db_index=False,
        related_name="incoming_recurring_transfers",
    )
    category = models.ForeignKey(
        Category,
        on_delete=models.RESTRICT,
        null=True,
        blank=True,
        db_constraint=False,
        db_index=False,
        related_name="recurring_transactions",
    )
    amount = models.DecimalField(max_digits=15, decimal_places=2)
    currency = models.CharField(max_length=3, default="INR", db_default="INR")
    transaction_type = models.CharField(max_length=20, choices=TransactionType.choices)
    description = models.TextField(null=True, blank=True)
    frequency = models.CharField(max_length=20, choices=Frequency.choices)
    interval_count = models.IntegerField(default=1, db_default=1)
    start_date = models.DateField()
    end_date = models.DateField(null=True, blank=True)
    next_run_on = models.DateField(null=True, blank=True)
    is_active = models.BooleanField(default=True, db_default=True)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    updated_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        db_table = "recurring_transactions"
        constraints = [
            models.CheckConstraint(condition=POSITIVE_AMOUNT, name="recurring_transactions_amount_positive_check"),
            models.CheckConstraint(
                condition=Q(currency__regex=CURRENCY_PATTERN), name="recurring_transactions_currency_check"
            ),
            models.CheckConstraint(
                condition=Q(transaction_type__in=["income", "expense", "transfer"]),
                name="recurring_transactions_type_check",
            ),
            models.CheckConstraint(condition=TRANSFER_HAS_TWO_ACCOUNTS, name="recurring_transactions_transfer_check"),
            models.CheckConstraint(
                condition=Q(frequency__in=["daily", "weekly", "monthly", "quarterly", "yearly"]),
                name="recurring_transactions_frequency_check",
            ),
            models.CheckConstraint(
                condition=Q(interval_count__gt=0), name="recurring_transactions_interval_count_check"
            ),
            models.CheckConstraint(
                condition=Q(end_date__isnull=True) | Q(end_date__gte=F("start_date")),
                name="recurring_transactions_end_date_check",
            ),
        ]
        # Django allows an index's name 30 characters; the table's name alone would take 23 of them.
        indexes = [
            models.Index(fields=["user"], name="idx_recurring_user_id"),
            models.Index(fields=["account"], name="idx_recurring_account_id"),
            models.Index(fields=["to_account"], name="idx_recurring_to_account_id"),
            models.Index(fields=["category"], name="idx_recurring_category_id"),
            models.Index(fields=["next_run_on"], name="idx_recurring_next_run_on"),
            models.Index(fields=["created_at"], name="idx_recurring_created_at"),
        ]

    def __str__(self) -> str:
        return f"{self.frequency} {self.transaction_type} of {self.amount} {self.currency}"


class Budget(models.Model):
    """How much a person means to spend on a category, or without one on everything, between two dates."""

    class Period(models.TextChoices):
        DAILY = "daily"
        WEEKLY = "weekly"
        MONTHLY = "monthly"
        QUARTERLY = "quarterly"
        YEARLY = "yearly"
        CUSTOM = "custom"

    id = models.UUIDField(
        primary_key=True, db_column="budget_id", default=uuid7, db_default=RandomUUID(), editable=False
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        db_constraint=False,
        db_index=False,
        related_name="budgets",
    )
    category = models.ForeignKey(
        Category,
        on_delete=models.RESTRICT,
        null=True,
        blank=True,
        db_constraint=False,
        db_index=False,
        related_name="budgets",
    )
    name = models.CharField(max_length=255, null=True, blank=True)
    amount = models.DecimalField(max_digits=15, decimal_places=2)
    currency = models.CharField(max_length=3, default="INR", db_default="INR")
    period = models.CharField(max_length=20, choices=Period.choices)
    start_date = models.DateField()
    end_date = models.DateField(null=True, blank=True)
    alert_threshold = models.DecimalField(max_digits=5, decimal_places=2, default=Decimal(80), db_default=Decimal(80))
    is_active = models.BooleanField(default=True, db_default=True)
    is_deleted = models.BooleanField(default=False, db_default=False)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    updated_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    objects = NotDeletedManager["Budget"]()
    all_objects = models.Manager["Budget"]()

    class Meta:
        db_table = "budgets"
        constraints = [
            models.CheckConstraint(condition=POSITIVE_AMOUNT, name="budgets_amount_positive_check"),
            models.CheckConstraint(condition=Q(currency__regex=CURRENCY_PATTERN), name="budgets_currency_check"),
            models.CheckConstraint(
                condition=Q(period__in=["daily", "weekly", "monthly", "quarterly", "yearly", "custom"]),
                name="budgets_period_check",
            ),
            models.CheckConstraint(
                condition=Q(end_date__isnull=True) | Q(end_date__gte=F("start_date")), name="budgets_end_date_check"
            ),
            models.CheckConstraint(
                condition=Q(alert_threshold__gte=0, alert_threshold__lte=100), name="budgets_alert_threshold_check"
            ),
        ]
        indexes = [
            models.Index(fields=["user"], name="idx_budgets_user_id"),
            models.Index(fields=["category"], name="idx_budgets_category_id"),
            models.Index(fields=["created_at"], name="idx_budgets_created_at"),
            models.Index(fields=["created_at"], condition=Q(is_deleted=True), name="idx_budgets_deleted"),
        ]

    def __str__(self) -> str:
        return self.name or f"{self.period} budget of {self.amount} {self.currency}"


class MonthlySummary(models.Model):
    """The columns that both monthly views have: a row a user, month, category and currency."""

    # The four that make a row, as one text: Django's models, and its admin, want one key.
    summary_id = models.TextField(primary_key=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    month = models.DateField(help_text="The first day of the month.")
    category = models.ForeignKey(
        Category, on_delete=models.DO_NOTHING, null=True, db_constraint=False, related_name="+"
    )
    category_name = models.CharField(max_length=100, null=True)
    currency = models.CharField(max_length=3)
    transaction_count = models.BigIntegerField()
    total_amount = models.DecimalField(max_digits=17, decimal_places=2)
    average_amount = models.DecimalField(max_digits=15, decimal_places=2)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.month:%Y-%m} {self.category_name or 'without category'}: {self.total_amount} {self.currency}"


class MonthlyExpenseSummary(MonthlySummary):
    """A view: what a person spent in a month, by category and currency."""

    class Meta:
        managed = False
        db_table = "monthly_expense_summary"
        verbose_name_plural = "monthly expense summaries"


class MonthlyIncomeSummary(MonthlySummary):
    """A view: what a person earned in a month, by category and currency."""

    class Meta:
        managed = False
        db_table = "monthly_income_summary"
        verbose_name_plural = "monthly income summaries"


class BudgetProgress(models.Model):
    """A view: how much of a budget is spent."""

    budget = models.OneToOneField(
        Budget, on_delete=models.DO_NOTHING, primary_key=True, db_constraint=False, related_name="progress"
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    category = models.ForeignKey(
        Category, on_delete=models.DO_NOTHING, null=True, db_constraint=False, related_name="+"
    )
    name = models.CharField(max_length=255, null=True)
    currency = models.CharField(max_length=3)
    start_date = models.DateField()
    end_date = models.DateField(null=True)
    amount = models.DecimalField(max_digits=15, decimal_places=2)
    spent = models.DecimalField(max_digits=17, decimal_places=2)
    remaining = models.DecimalField(max_digits=17, decimal_places=2)
    percent_used = models.DecimalField(max_digits=19, decimal_places=2)

    class Meta:
        managed = False
        db_table = "budget_progress"
        verbose_name_plural = "budget progress"

    def __str__(self) -> str:
        return f"{self.percent_used} % of {self.amount} {self.currency}"
