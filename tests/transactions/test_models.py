"""The models of money: rows marked as deleted, ids, and times."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from django.core.exceptions import ValidationError
from django.db import models

from accounts.models import User
from tests.transactions.rows import ACCOUNT, GROCERIES, USER, count, insert
from transactions.models import Account, Budget, Category, Transaction

pytestmark = pytest.mark.usefixtures("person")

MARKED = {Account: "accounts", Category: "categories", Transaction: "transactions", Budget: "budgets"}


@pytest.mark.parametrize("model", MARKED, ids=lambda model: model.__name__)
def test_objects_leaves_deleted_rows_out_and_all_objects_does_not(model: type[models.Model]) -> None:
    table = MARKED[model]
    kept = next(iter(insert(table).values()))
    deleted = next(iter(insert(table, is_deleted=True).values()))
    assert model.objects.filter(pk__in=[kept, deleted]).values_list("pk", flat=True).get() == kept  # type: ignore[attr-defined]
    assert model.all_objects.filter(pk__in=[kept, deleted]).count() == 2  # type: ignore[attr-defined]


def test_a_persons_rows_are_those_not_deleted() -> None:
    insert("transactions")
    insert("transactions", is_deleted=True)
    assert User.objects.get(pk=USER).transactions.count() == 1


def test_a_transaction_finds_its_account_after_that_was_deleted() -> None:
    insert("transactions")
    account = Account.objects.get(pk=ACCOUNT)
    account.is_deleted = True
    account.save()
    assert Transaction.objects.get().account == account


def test_a_deleted_row_can_be_brought_back() -> None:
    pk = insert("budgets", is_deleted=True)["budget_id"]
    budget = Budget.all_objects.get(pk=pk)
    budget.is_deleted = False
    budget.save()
    budget.refresh_from_db()
    assert Budget.objects.get() == budget


def test_django_writes_a_row_that_says_what_was_meant() -> None:
    transaction = Transaction.objects.create(
        user_id=USER,
        account_id=ACCOUNT,
        amount=Decimal("0.1"),
        transaction_type="expense",
        category_id=GROCERIES,
        transaction_date=dt.date(2026, 3, 14),
        tags=["food", "a, b"],
    )
    assert transaction.pk.version == 7
    assert transaction.created_at == transaction.updated_at
    transaction.refresh_from_db()
    assert (transaction.amount, transaction.currency, transaction.tags) == (Decimal("0.10"), "INR", ["food", "a, b"])
    assert str(transaction) == "expense of 0.10 INR on 2026-03-14"


def test_ids_made_by_django_are_in_order_of_time() -> None:
    ids = [Budget().pk for _ in range(100)]
    assert ids == sorted(ids)


def test_updated_at_is_the_databases_and_read_by_refreshing() -> None:
    insert("budgets", updated_at="2001-01-01T00:00Z")
    budget = Budget.objects.get()
    budget.name = "Food"
    budget.save()
    assert budget.updated_at.year == 2001
    budget.refresh_from_db()
    assert budget.updated_at.year > 2001


def test_django_knows_the_rules_too() -> None:
    budget = Budget(
        user_id=USER, amount=Decimal(1), period="weekly", start_date=dt.date(2026, 3, 2), end_date=dt.date(2026, 3, 1)
    )
    with pytest.raises(ValidationError, match="budgets_end_date_check"):
        budget.full_clean()


@pytest.mark.parametrize(
    ("table", "text"),
    [("accounts", "Wallet"), ("categories", "Chess"), ("budgets", "monthly budget of 5000.00 INR")],
)
def test_a_row_has_a_name_that_people_understand(table: str, text: str) -> None:
    key, pk = next(iter(insert(table).items()))
    model = {name: model for model, name in MARKED.items()}[table]
    assert count(table, f"{key} = '{pk}'") == 1
    assert str(model.objects.get(pk=pk)) == text  # type: ignore[attr-defined]
