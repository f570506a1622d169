"""A window on people's money, for support: it shows, deleted rows too, and changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

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
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin


class ReadOnlyAdmin(ModelAdmin):
    """Shows every field to whoever may view the model, and lets nobody change it."""

    show_full_result_count = False
    list_per_page = 50

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        # The default manager leaves deleted rows out.
        rows: QuerySet[Any] = self.model._base_manager.get_queryset()
        return rows.order_by(*self.get_ordering(request))

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [field.name for field in self.opts.fields]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Account)
class AccountAdmin(ReadOnlyAdmin):
    list_display = ("name", "user", "account_type", "current_balance", "currency", "is_default", "is_deleted")
    list_filter = ("account_type", "is_deleted")
    search_fields = ("name", "user__email")
    list_select_related = ("user",)
    ordering = ("-created_at",)


@admin.register(Category)
class CategoryAdmin(ReadOnlyAdmin):
    list_display = ("name", "category_type", "user", "is_system", "is_active", "is_deleted")
    list_filter = ("category_type", "is_system", "is_active", "is_deleted")
    search_fields = ("name", "user__email")
    list_select_related = ("user",)
    ordering = ("-is_system", "name")


@admin.register(Transaction)
class TransactionAdmin(ReadOnlyAdmin):
    list_display = ("transaction_date", "user", "transaction_type", "amount", "currency", "account", "category")
    list_filter = ("transaction_type", "is_deleted")
    search_fields = ("user__email", "merchant", "description")
    list_select_related = ("user", "account", "category")
    ordering = ("-transaction_date", "-created_at")


@admin.register(RecurringTransaction)
class RecurringTransactionAdmin(ReadOnlyAdmin):
    list_display = ("user", "transaction_type", "amount", "currency", "frequency", "next_run_on", "is_active")
    list_filter = ("transaction_type", "frequency", "is_active")
    search_fields = ("user__email", "description")
    list_select_related = ("user",)
    ordering = ("-created_at",)


@admin.register(Budget)
class BudgetAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "user", "category", "amount", "currency", "period", "start_date", "end_date")
    list_filter = ("period", "is_active", "is_deleted")
    search_fields = ("name", "user__email")
    list_select_related = ("user", "category")
    ordering = ("-created_at",)


@admin.register(MonthlyExpenseSummary, MonthlyIncomeSummary)
class MonthlySummaryAdmin(ReadOnlyAdmin):
    list_display = ("month", "user", "category_name", "total_amount", "currency", "transaction_count")
    search_fields = ("user__email", "category_name")
    list_select_related = ("user",)
    ordering = ("-month", "user_id")


@admin.register(BudgetProgress)
class BudgetProgressAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "name", "user", "spent", "remaining", "percent_used", "start_date", "end_date")
    search_fields = ("name", "user__email")
    list_select_related = ("user",)
    ordering = ("-start_date",)
