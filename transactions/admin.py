"""Money, as the admin site shows it to support, operators and auditors; deleted rows too."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet

from rupaya.inspection.masking import mask_text
from rupaya.inspection.modeladmin import InspectionAdmin
from rupaya.inspection.search import key, person, starts_with
from transactions.models import (
    Account,
    Budget,
    BudgetProgress,
    Category,
    MonthlyExpenseSummary,
    MonthlyIncomeSummary,
    RecurringTransaction,
    Transaction,
)

if TYPE_CHECKING:
    ModelForm = forms.ModelForm[Transaction]
else:
    ModelForm = forms.ModelForm

SUMMARY_ID = re.compile(r"([0-9a-f-]{36}):(\d{4})-(\d{2}):([0-9a-f-]{36}|-):([A-Z]{3})")


@admin.register(Account)
class AccountAdmin(InspectionAdmin):
    """A place where a person keeps money."""

    editable_fields = ("name", "icon", "color", "is_deleted")
    list_display = ("name", "user", "account_type", "current_balance", "currency", "is_default", "is_deleted")
    list_filter = ("account_type", "is_deleted")
    searches = (key("pk", "user"), person())
    sortable = ("created_at",)
    ordering = ("-created_at", "-pk")


@admin.register(Category)
class CategoryAdmin(InspectionAdmin):
    """What money is earned by or spent on."""

    editable_fields = ("name", "description", "icon", "color", "is_active", "is_deleted")
    list_display = ("name", "category_type", "user", "is_system", "is_active", "is_deleted")
    list_filter = ("category_type", "is_system", "is_deleted")
    searches = (key("pk", "user"), person(), starts_with("name", "the beginning of a name"))
    sortable = ("created_at",)
    ordering = ("-created_at", "-pk")


class TransactionForm(ModelForm):
    """What neither the database nor the form's fields check: whose category it is."""

    def clean_category(self) -> Category | None:
        """A category of the system or of the transaction's owner, and of the transaction's type."""
        category: Category | None = self.cleaned_data["category"]
        if category is None:
            return None
        if category.user_id not in (None, self.instance.user_id):
            raise ValidationError("This category is another person's.")
        if category.category_type != self.instance.transaction_type:
            raise ValidationError(
                f"This is a category of {category.category_type}, and the transaction is one of "
                f"{self.instance.transaction_type}."
            )
        return category


@admin.register(Transaction)
class TransactionAdmin(InspectionAdmin):
    """Money that came, went, or moved."""

    form = TransactionForm
    personal_data = {
        "description": mask_text,
        "notes": mask_text,
        "location": mask_text,
        "attachment_url": mask_text,
    }
    editable_fields = ("category", "merchant", "description", "notes", "is_deleted")
    autocomplete_fields = ("category",)
    list_display = (
        "transaction_date", "user", "transaction_type", "amount", "currency", "merchant", "account", "category",
    )  # fmt: skip
    list_filter = ("transaction_type", "is_deleted")
    searches = (key("pk", "user", "account"), person(), starts_with("merchant", "the beginning of a merchant"))
    sortable = ("transaction_date",)
    ordering = ("-transaction_date", "-pk")
    date_hierarchy = "transaction_date"


@admin.register(RecurringTransaction)
class RecurringTransactionAdmin(InspectionAdmin):
    """A transaction that is made again and again."""

    personal_data = {"description": mask_text}
    editable_fields = ("is_active", "end_date")
    list_display = ("user", "transaction_type", "amount", "currency", "frequency", "next_run_on", "is_active")
    searches = (key("pk", "user"), person())
    sortable = ("created_at",)
    ordering = ("-created_at", "-pk")


@admin.register(Budget)
class BudgetAdmin(InspectionAdmin):
    """How much a person means to spend."""

    editable_fields = ("name", "alert_threshold", "is_active", "is_deleted")
    list_display = ("__str__", "user", "category", "amount", "currency", "period", "start_date", "end_date")
    list_filter = ("is_deleted",)
    searches = (key("pk", "user"), person())
    sortable = ("created_at",)
    ordering = ("-created_at", "-pk")


@admin.register(MonthlyExpenseSummary, MonthlyIncomeSummary)
class MonthlySummaryAdmin(InspectionAdmin):
    """A view over one person's transactions; over everybody's it would add up the whole table."""

    needs_person = True
    list_display = ("month", "user", "category_name", "total_amount", "currency", "transaction_count")
    searches = (key("user"), person())
    ordering = ("-month", "-pk")

    def narrow(self, rows: QuerySet[Any], object_id: str) -> QuerySet[Any]:
        """By the person and the month in the key, which is put together when it is read."""
        found = SUMMARY_ID.fullmatch(object_id)
        if found is None:
            raise ValueError(f"{object_id!r} is no key of a summary")
        user, year, month, _category, currency = found.groups()
        return rows.filter(user=user, month=date(int(year), int(month), 1), currency=currency)


@admin.register(BudgetProgress)
class BudgetProgressAdmin(InspectionAdmin):
    """A view: what is spent of a budget, added up for the rows that are shown."""

    list_display = ("__str__", "name", "user", "spent", "remaining", "percent_used", "start_date", "end_date")
    searches = (key("pk", "user"), person())
    ordering = ("-pk",)
