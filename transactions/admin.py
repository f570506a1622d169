"""Money, as the admin site shows it to support, operators and auditors; deleted rows too."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from rupaya.inspection import amounts
from rupaya.inspection.amounts import Direction
from rupaya.inspection.charts import share
from rupaya.inspection.columns import Money
from rupaya.inspection.home import PerDay
from rupaya.inspection.masking import mask_text
from rupaya.inspection.modeladmin import InspectionAdmin
from rupaya.inspection.search import key, person, starts_with
from transactions import panels  # noqa: F401 - registers what a person's page shows of their money
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

IN_ITS_CURRENCY = Money("currency")
INACTIVE = {"is_active": (False, "Inactive")}
BY_ITS_TYPE = Money(
    "currency",
    "transaction_type",
    {"income": Direction.IN, "expense": Direction.OUT, "transfer": Direction.MOVED},
)
SUMMARY_ID = re.compile(r"([0-9a-f-]{36}):(\d{4})-(\d{2}):([0-9a-f-]{36}|-):([A-Z]{3})")


@admin.register(Account)
class AccountAdmin(InspectionAdmin):
    """A place where a person keeps money."""

    section = "Money"
    place_in_section = 20
    money = IN_ITS_CURRENCY
    editable_fields = ("name", "icon", "color", "is_deleted")
    list_display = ("name", "user", "account_type", "current_balance", "is_default", "is_deleted")
    list_filter = ("account_type", "is_deleted")
    searches = (key("pk", "user"), person())
    sortable = ("created_at",)
    ordering = ("-created_at", "-pk")


@admin.register(Category)
class CategoryAdmin(InspectionAdmin):
    """What money is earned by or spent on."""

    section = "Money"
    place_in_section = 30
    telling = INACTIVE
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

    section = "Money"
    place_in_section = 10
    is_searched = True
    per_day = PerDay("Money", "transaction_date", "amount", where=(("is_deleted", False),))
    form = TransactionForm
    amount_field = "amount"
    money = BY_ITS_TYPE
    personal_data = {
        "description": mask_text,
        "notes": mask_text,
        "location": mask_text,
        "attachment_url": mask_text,
    }
    editable_fields = ("category", "merchant", "description", "notes", "is_deleted")
    autocomplete_fields = ("category",)
    list_display = (
        "transaction_date", "amount", "user", "merchant", "category", "account", "transaction_type", "is_deleted",
    )  # fmt: skip
    list_filter = ("transaction_type", "is_deleted")
    searches = (key("pk", "user", "account"), person(), starts_with("merchant", "the beginning of a merchant"))
    sortable = ("transaction_date",)
    ordering = ("-transaction_date", "-pk")
    date_hierarchy = "transaction_date"

    def get_label(self, request: HttpRequest, row: Transaction) -> str:
        """The amount, and where it went."""
        return f"{amounts.text(row.amount, row.currency, BY_ITS_TYPE.direction(row))} {row.merchant or ''}".strip()

    def get_detail(self, request: HttpRequest, row: Transaction) -> str:
        """The day."""
        return str(row.transaction_date)


@admin.register(RecurringTransaction)
class RecurringTransactionAdmin(InspectionAdmin):
    """A transaction that is made again and again."""

    section = "Money"
    place_in_section = 70
    money = BY_ITS_TYPE
    telling = INACTIVE
    personal_data = {"description": mask_text}
    editable_fields = ("is_active", "end_date")
    list_display = ("user", "amount", "transaction_type", "frequency", "next_run_on", "is_active")
    searches = (key("pk", "user"), person())
    sortable = ("created_at",)
    ordering = ("-created_at", "-pk")


@admin.register(Budget)
class BudgetAdmin(InspectionAdmin):
    """How much a person means to spend."""

    section = "Money"
    place_in_section = 40
    money = IN_ITS_CURRENCY
    plain_numbers = ("alert_threshold",)
    telling = INACTIVE
    editable_fields = ("name", "alert_threshold", "is_active", "is_deleted")
    list_display = (
        "title",
        "user",
        "category",
        "amount",
        "period",
        "start_date",
        "end_date",
        "is_active",
        "is_deleted",
    )
    list_filter = ("is_deleted",)
    searches = (key("pk", "user"), person())
    sortable = ("created_at",)
    ordering = ("-created_at", "-pk")

    @admin.display(description="budget")
    def title(self, row: Budget) -> str:
        """Its name; without one, what it is."""
        return row.name or f"{row.get_period_display()} budget"


@admin.register(MonthlyExpenseSummary, MonthlyIncomeSummary)
class MonthlySummaryAdmin(InspectionAdmin):
    """A view over one person's transactions; over everybody's it would add up the whole table."""

    section = "Money"
    place_in_section = 60
    money = IN_ITS_CURRENCY
    needs_person = True
    list_display = ("month_name", "user", "category_name", "total_amount", "transaction_count")
    searches = (key("user"), person())
    ordering = ("-month", "-pk")

    @admin.display(description="month")
    def month_name(self, row: Any) -> str:
        """``June 2026``."""
        return f"{row.month:%B %Y}"

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

    section = "Money"
    place_in_section = 50
    money = IN_ITS_CURRENCY
    plain_numbers = ("percent_used",)
    list_display = ("title", "user", "used", "spent", "amount", "remaining", "start_date", "end_date")
    searches = (key("pk", "user"), person())
    ordering = ("-pk",)

    def get_list_select_related(self, request: HttpRequest) -> Any:
        return ("user", "budget")

    @admin.display(description="budget")
    def title(self, row: BudgetProgress) -> str:
        """Its name; without one, what it is."""
        return row.name or f"{row.budget.get_period_display()} budget"

    @admin.display(description="used")
    def used(self, row: BudgetProgress) -> SafeString:
        """How much of it is spent, as a bar, against the threshold at which its owner is warned."""
        return share(float(row.percent_used), float(row.budget.alert_threshold))
