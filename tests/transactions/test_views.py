"""The figures of the three views."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from tests.transactions.rows import GROCERIES, OTHER_ACCOUNT, SHOPPING, STRANGER, USER, insert
from transactions.models import Budget, BudgetProgress, MonthlyExpenseSummary, MonthlyIncomeSummary

pytestmark = pytest.mark.usefixtures("person")


def spend(date: str, amount: str, category: str | None = GROCERIES, **values: Any) -> None:
    insert("transactions", transaction_date=date, amount=amount, category_id=category, **values)


def progress(**values: Any) -> BudgetProgress:
    row = insert("budgets", **{"start_date": "2026-03-01", "end_date": "2026-03-31", "amount": "300", **values})
    return BudgetProgress.objects.get(budget_id=row["budget_id"])


@pytest.fixture
def spending(person: None) -> None:
    """Spending in March 2026, at its edges, and what is none."""
    spend("2026-03-01", "10.00")
    spend("2026-03-31", "10.01")
    spend("2026-03-15", "10.01", SHOPPING)
    spend("2026-03-15", "5.00", None)
    spend("2026-03-15", "7.00", currency="USD")
    spend("2026-02-28", "100.00")
    spend("2026-04-01", "200.00")
    spend("2026-03-15", "1000.00", is_deleted=True)
    spend("2026-03-15", "2000.00", transaction_type="income")
    spend("2026-03-15", "4000.00", transaction_type="transfer", to_account_id=OTHER_ACCOUNT)
    insert("users", user_id=STRANGER)
    account = insert("accounts", user_id=STRANGER)["account_id"]
    spend("2026-03-15", "8000.00", user_id=STRANGER, account_id=account)


@pytest.mark.usefixtures("spending")
def test_a_months_spending_is_summed_up_by_category_and_currency() -> None:
    rows = MonthlyExpenseSummary.objects.filter(user_id=USER).values_list(
        "month", "category_name", "currency", "transaction_count", "total_amount", "average_amount"
    )
    march = dt.date(2026, 3, 1)
    assert set(rows) == {
        (dt.date(2026, 2, 1), "Groceries", "INR", 1, Decimal("100.00"), Decimal("100.00")),
        (march, "Groceries", "INR", 2, Decimal("20.01"), Decimal("10.01")),
        (march, "Groceries", "USD", 1, Decimal("7.00"), Decimal("7.00")),
        (march, "Shopping", "INR", 1, Decimal("10.01"), Decimal("10.01")),
        (march, None, "INR", 1, Decimal("5.00"), Decimal("5.00")),
        (dt.date(2026, 4, 1), "Groceries", "INR", 1, Decimal("200.00"), Decimal("200.00")),
    }


@pytest.mark.usefixtures("spending")
def test_a_months_income_is_summed_up_alone() -> None:
    (row,) = MonthlyIncomeSummary.objects.all()
    assert (str(row.user_id), row.total_amount) == (USER, Decimal("2000.00"))
    assert str(row) == "2026-03 Groceries: 2000.00 INR"


@pytest.mark.usefixtures("spending")
def test_a_row_of_a_summary_has_a_key_of_its_own() -> None:
    keys = list(MonthlyExpenseSummary.objects.values_list("pk", flat=True))
    assert len(keys) == len(set(keys)) == 7
    assert f"{USER}:2026-03:-:INR" in keys


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_a_month_is_the_same_in_every_time_zone(zone: str) -> None:
    spend("2026-03-01", "1.00")
    spend("2026-03-31", "1.00")
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('TimeZone', %s, true)", [zone])
        cursor.execute("SELECT month, transaction_count FROM monthly_expense_summary")
        assert cursor.fetchall() == [(dt.date(2026, 3, 1), 2)]


@pytest.mark.usefixtures("spending")
@pytest.mark.parametrize(
    ("budget", "spent"),
    [
        ({"category_id": GROCERIES}, "20.01"),
        ({"category_id": GROCERIES, "end_date": "2026-03-30"}, "10.00"),
        ({"category_id": GROCERIES, "start_date": "2026-03-02"}, "10.01"),
        ({"category_id": GROCERIES, "end_date": None}, "220.01"),
        ({"category_id": GROCERIES, "currency": "USD"}, "7.00"),
        ({"category_id": SHOPPING}, "10.01"),
        ({"category_id": None}, "35.02"),
        ({"category_id": GROCERIES, "currency": "EUR"}, "0.00"),
        ({"category_id": GROCERIES, "user_id": STRANGER}, "8000.00"),
    ],
    ids=str,
)
def test_a_budget_counts_its_own_spending_only(budget: dict[str, Any], spent: str) -> None:
    row = progress(**budget)
    assert (row.spent, row.remaining) == (Decimal(spent), Decimal(300) - Decimal(spent))


@pytest.mark.parametrize(
    ("spent", "percent"), [(None, "0.00"), ("100.00", "33.33"), ("300.00", "100.00"), ("450.00", "150.00")]
)
def test_percent_used_may_pass_a_hundred(spent: str | None, percent: str) -> None:
    if spent:
        spend("2026-03-15", spent)
    row = progress()
    assert row.percent_used == Decimal(percent)
    assert str(row) == f"{percent} % of 300.00 INR"


def test_a_deleted_budget_has_no_progress() -> None:
    row = insert("budgets", is_deleted=True)
    assert not BudgetProgress.objects.filter(budget_id=row["budget_id"]).exists()


def test_a_budget_finds_its_progress() -> None:
    progress()
    assert Budget.objects.get().progress.spent == 0
