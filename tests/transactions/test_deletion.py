"""What goes with a person, what stays, and what cannot go: in SQL as in Django."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest
from django.db import Error, connection
from django.db.models import RestrictedError
from django.db.models.signals import post_delete

from accounts.models import User
from tests.transactions.rows import (
    ACCOUNT,
    GROCERIES,
    OTHER_ACCOUNT,
    REQUIRED,
    STRANGER,
    USER,
    count,
    insert,
)
from transactions.models import Account, Budget, Category, RecurringTransaction, Transaction

pytestmark = pytest.mark.usefixtures("person")

OWNED = [table for table, values in REQUIRED.items() if "user_id" in values]


@pytest.fixture
def everything(person: None) -> str:
    """A row of every kind for the user, each referring to the others, and a stranger with one; the category's id."""
    category = insert("categories")["category_id"]
    insert("devices")
    insert("revoked_tokens")
    transfer = {"transaction_type": "transfer", "to_account_id": OTHER_ACCOUNT, "category_id": category}
    insert("transactions", **transfer)
    insert("transactions", is_deleted=True)
    insert("recurring_transactions", **transfer)
    insert("budgets", category_id=category)
    insert("users", user_id=STRANGER)
    stranger_account = insert("accounts", user_id=STRANGER)["account_id"]
    insert("transactions", user_id=STRANGER, account_id=stranger_account, category_id=GROCERIES)
    return str(category)


@pytest.fixture(params=[False, True], ids=["at once", "one by one"])
def one_by_one(request: pytest.FixtureRequest) -> Iterator[None]:
    """Django deletes row by row, in an order of its own, as soon as anybody listens."""

    def listen(**_: Any) -> None: ...

    models = [Account, Category, Transaction, RecurringTransaction, Budget] if request.param else []
    for model in models:
        post_delete.connect(listen, sender=model)
    yield
    for model in models:
        post_delete.disconnect(listen, sender=model)


def assert_only_the_user_is_gone() -> None:
    assert count("users") == 1
    assert {table: count(table, f"user_id = '{USER}'") for table in OWNED} == dict.fromkeys(OWNED, 0)
    assert count("transactions", f"user_id = '{STRANGER}'") == 1
    assert count("categories", "is_system") == 12


def test_in_sql_a_user_takes_all_their_rows_along(everything: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM users WHERE user_id = %s", [USER])
    assert_only_the_user_is_gone()


def test_in_django_a_user_takes_all_their_rows_along(everything: str, one_by_one: None) -> None:
    User.objects.get(pk=USER).delete()
    assert_only_the_user_is_gone()


@pytest.mark.parametrize(
    ("statement", "rules"),
    [
        (
            f"DELETE FROM accounts WHERE account_id = '{ACCOUNT}'",
            {"transactions_account_id_foreign", "recurring_transactions_account_id_foreign"},
        ),
        (
            f"DELETE FROM accounts WHERE account_id = '{OTHER_ACCOUNT}'",
            {"transactions_to_account_id_foreign", "recurring_transactions_to_account_id_foreign"},
        ),
        (
            f"DELETE FROM categories WHERE user_id = '{USER}'",
            {
                "transactions_category_id_foreign",
                "recurring_transactions_category_id_foreign",
                "budgets_category_id_foreign",
            },
        ),
    ],
    ids=["account", "account of transfers", "category"],
)
def test_in_sql_nothing_goes_that_money_refers_to(everything: str, statement: str, rules: set[str]) -> None:
    with pytest.raises(Error) as error, connection.cursor() as cursor:
        cursor.execute(statement)
    assert isinstance(error.value.__cause__, psycopg2.Error)
    assert error.value.__cause__.diag.constraint_name in rules


def test_in_django_nothing_goes_that_money_refers_to(everything: str) -> None:
    with pytest.raises(RestrictedError):
        Account.objects.get(pk=ACCOUNT).delete()
    with pytest.raises(RestrictedError):
        Account.objects.get(pk=OTHER_ACCOUNT).delete()
    with pytest.raises(RestrictedError):
        Category.objects.get(pk=everything).delete()


def test_what_nothing_refers_to_can_go(person: None) -> None:
    insert("budgets")
    Account.objects.get(pk=ACCOUNT).delete()
    Budget.objects.get().delete()
    assert (count("accounts"), count("budgets")) == (1, 0)
