"""Every default and every rule is the database's: these tests speak SQL, as other backends do."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import psycopg2.errors
import pytest
from django.db import Error, connection, transaction

from tests.transactions.rows import ACCOUNT, GROCERIES, OTHER_ACCOUNT, REQUIRED, STRANGER, insert

pytestmark = pytest.mark.usefixtures("person")

HASH = "$2b$12$" + "a" * 21 + "." + "b" * 31
DEFAULTS: dict[str, dict[str, Any]] = {
    "users": {
        "email_verified": False,
        "phone_verified": False,
        "country_code": "IN",
        "currency_preference": "INR",
        "timezone": "Asia/Kolkata",
        "theme_preference": "system",
        "language_preference": "en",
        "mfa_enabled": False,
        "account_status": "active",
        "login_attempt_count": 0,
        "is_staff": False,
        "is_superuser": False,
    },
    "devices": {"is_active": True},
    "phone_otps": {"purpose": "signup", "attempt_count": 0},
    "revoked_tokens": {"token_type": "refresh"},
    "accounts": {"currency": "INR", "current_balance": Decimal("0.00"), "is_default": False, "is_deleted": False},
    "categories": {"is_system": False, "is_active": True, "is_deleted": False},
    "transactions": {"currency": "INR", "is_deleted": False},
    "recurring_transactions": {"currency": "INR", "interval_count": 1, "is_active": True},
    "budgets": {"currency": "INR", "alert_threshold": Decimal("80.00"), "is_active": True, "is_deleted": False},
}
MOMENTS = {"created_at", "updated_at"}

# Rows that PostgreSQL must refuse, and by which rule. Where another rule could refuse the row as well, it does not
# count: the rule named must be the one.
BAD: list[tuple[str, dict[str, Any], str]] = [
    ("users", {"email": "asha.example.com"}, "users_email_check"),
    ("users", {"email": "@example.com"}, "users_email_check"),
    ("users", {"email": "asha@"}, "users_email_check"),
    ("users", {"email": "asha @example.com"}, "users_email_check"),
    ("users", {"email": "asha@example.com\n"}, "users_email_check"),
    ("users", {"email": "a@b@example.com"}, "users_email_check"),
    ("users", {"email": ""}, "users_email_check"),
    ("users", {"email": "ASHA@example.COM"}, "users_email_unique"),
    ("users", {"password_hash": "bcrypt$" + HASH}, "users_password_hash_check"),
    ("users", {"password_hash": "a stapled horse"}, "users_password_hash_check"),
    ("users", {"password_hash": ""}, "users_password_hash_check"),
    ("users", {"password_hash": HASH[:-1]}, "users_password_hash_check"),
    ("users", {"password_hash": HASH + "\n"}, "users_password_hash_check"),
    ("users", {"password_hash": HASH.replace("$12$", "$32$")}, "users_password_hash_check"),
    ("users", {"password_hash": HASH.replace("$2b$", "$2x$")}, "users_password_hash_check"),
    ("users", {"password_hash": "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$hash"}, "users_password_hash_check"),
    ("users", {"phone_number": "09876543210"}, "users_phone_number_check"),
    ("users", {"phone_number": "+91 98765 43210"}, "users_phone_number_check"),
    ("users", {"phone_number": "+0123456789"}, "users_phone_number_check"),
    ("users", {"phone_number": "+1234567890123456"}, "users_phone_number_check"),
    ("users", {"phone_number": "+919876543210\n"}, "users_phone_number_check"),
    ("users", {"phone_number": ""}, "users_phone_number_check"),
    ("users", {"phone_number": "+919999999999"}, "users_phone_number_unique"),
    ("users", {"currency_preference": "inr"}, "users_currency_preference_check"),
    ("users", {"currency_preference": "IN"}, "users_currency_preference_check"),
    ("users", {"theme_preference": "blue"}, "users_theme_preference_check"),
    ("users", {"account_status": "Active"}, "users_account_status_check"),
    ("users", {"account_status": ""}, "users_account_status_check"),
    ("users", {"oauth_provider": "google", "oauth_provider_id": "1"}, "users_oauth_provider_oauth_provider_id_unique"),
    ("devices", {"device_fingerprint": "taken"}, "devices_device_fingerprint_unique"),
    ("devices", {"user_id": STRANGER}, "devices_user_id_foreign"),
    ("phone_otps", {"phone_number": "9876543210"}, "phone_otps_phone_number_check"),
    ("revoked_tokens", {"token_type": "id"}, "revoked_tokens_type_check"),
    ("revoked_tokens", {"user_id": STRANGER}, "revoked_tokens_user_id_foreign"),
    ("accounts", {"user_id": STRANGER}, "accounts_user_id_foreign"),
    ("accounts", {"account_type": "piggy_bank"}, "accounts_type_check"),
    ("accounts", {"currency": "inr"}, "accounts_currency_check"),
    ("accounts", {"currency": "₹"}, "accounts_currency_check"),
    ("accounts", {"current_balance": "NaN"}, "accounts_current_balance_check"),
    ("accounts", {"color": "red"}, "accounts_color_check"),
    ("accounts", {"color": "#12345"}, "accounts_color_check"),
    ("accounts", {"color": "#12345g"}, "accounts_color_check"),
    ("accounts", {"is_default": True}, "accounts_is_default_unique"),
    ("categories", {"user_id": STRANGER}, "categories_user_id_foreign"),
    ("categories", {"category_type": "gift"}, "categories_type_check"),
    ("categories", {"color": "123456"}, "categories_color_check"),
    ("categories", {"user_id": None}, "categories_system_check"),
    ("categories", {"is_system": True}, "categories_system_check"),
    ("transactions", {"user_id": STRANGER}, "transactions_user_id_foreign"),
    ("transactions", {"account_id": STRANGER}, "transactions_account_id_foreign"),
    ("transactions", {"category_id": STRANGER}, "transactions_category_id_foreign"),
    (
        "transactions",
        {"transaction_type": "transfer", "to_account_id": STRANGER},
        "transactions_to_account_id_foreign",
    ),
    ("transactions", {"amount": "0"}, "transactions_amount_positive_check"),
    ("transactions", {"amount": "0.004"}, "transactions_amount_positive_check"),
    ("transactions", {"amount": "-1"}, "transactions_amount_positive_check"),
    ("transactions", {"amount": "NaN"}, "transactions_amount_positive_check"),
    ("transactions", {"currency": "EU"}, "transactions_currency_check"),
    ("transactions", {"transaction_type": "gift"}, "transactions_type_check"),
    ("transactions", {"transaction_type": "transfer"}, "transactions_transfer_check"),
    ("transactions", {"transaction_type": "transfer", "to_account_id": ACCOUNT}, "transactions_transfer_check"),
    ("transactions", {"transaction_type": "expense", "to_account_id": OTHER_ACCOUNT}, "transactions_transfer_check"),
    ("transactions", {"transaction_type": "income", "to_account_id": OTHER_ACCOUNT}, "transactions_transfer_check"),
    ("recurring_transactions", {"user_id": STRANGER}, "recurring_transactions_user_id_foreign"),
    ("recurring_transactions", {"account_id": STRANGER}, "recurring_transactions_account_id_foreign"),
    ("recurring_transactions", {"category_id": STRANGER}, "recurring_transactions_category_id_foreign"),
    (
        "recurring_transactions",
        {"transaction_type": "transfer", "to_account_id": STRANGER},
        "recurring_transactions_to_account_id_foreign",
    ),
    ("recurring_transactions", {"amount": "0"}, "recurring_transactions_amount_positive_check"),
    ("recurring_transactions", {"amount": "NaN"}, "recurring_transactions_amount_positive_check"),
    ("recurring_transactions", {"currency": "inr"}, "recurring_transactions_currency_check"),
    ("recurring_transactions", {"transaction_type": "gift"}, "recurring_transactions_type_check"),
    ("recurring_transactions", {"transaction_type": "transfer"}, "recurring_transactions_transfer_check"),
    ("recurring_transactions", {"to_account_id": OTHER_ACCOUNT}, "recurring_transactions_transfer_check"),
    (
        "recurring_transactions",
        {"transaction_type": "transfer", "to_account_id": ACCOUNT},
        "recurring_transactions_transfer_check",
    ),
    ("recurring_transactions", {"frequency": "hourly"}, "recurring_transactions_frequency_check"),
    ("recurring_transactions", {"interval_count": 0}, "recurring_transactions_interval_count_check"),
    ("recurring_transactions", {"end_date": "2026-02-28"}, "recurring_transactions_end_date_check"),
    ("budgets", {"user_id": STRANGER}, "budgets_user_id_foreign"),
    ("budgets", {"category_id": STRANGER}, "budgets_category_id_foreign"),
    ("budgets", {"amount": "0"}, "budgets_amount_positive_check"),
    ("budgets", {"amount": "NaN"}, "budgets_amount_positive_check"),
    ("budgets", {"currency": "inr"}, "budgets_currency_check"),
    ("budgets", {"period": "hourly"}, "budgets_period_check"),
    ("budgets", {"end_date": "2026-02-28"}, "budgets_end_date_check"),
    ("budgets", {"alert_threshold": "-0.01"}, "budgets_alert_threshold_check"),
    ("budgets", {"alert_threshold": "100.01"}, "budgets_alert_threshold_check"),
    ("budgets", {"alert_threshold": "NaN"}, "budgets_alert_threshold_check"),
]
GOOD: list[tuple[str, dict[str, Any]]] = [
    ("users", {"email": "o'brien+tag@mail.example.co.in"}),
    ("users", {"email": "अशा@उदाहरण.भारत"}),
    ("users", {"password_hash": HASH.replace("$2b$12$", "$2a$10$")}),
    ("users", {"phone_number": "+919876543210"}),
    ("users", {"phone_number": None, "oauth_provider": "google", "oauth_provider_id": "2"}),
    ("users", {"currency_preference": "EUR", "theme_preference": "dark", "account_status": "suspended"}),
    ("devices", {"device_fingerprint": None}),
    ("revoked_tokens", {"token_type": "access"}),
    ("accounts", {"account_type": "credit_card", "currency": "USD", "current_balance": "-9999999999999.99"}),
    ("accounts", {"color": "#00aaFF", "current_balance": "9999999999999.99"}),
    ("categories", {"category_type": "transfer", "color": "#000000"}),
    ("categories", {"is_system": True, "user_id": None}),
    ("transactions", {"amount": "0.01", "category_id": GROCERIES, "tags": ["food", "weekly"]}),
    ("transactions", {"amount": "9999999999999.99", "transaction_type": "income"}),
    ("transactions", {"transaction_type": "transfer", "to_account_id": OTHER_ACCOUNT}),
    ("recurring_transactions", {"end_date": "2026-03-01", "interval_count": 2, "frequency": "yearly"}),
    ("recurring_transactions", {"transaction_type": "transfer", "to_account_id": OTHER_ACCOUNT}),
    ("budgets", {"end_date": "2026-03-01", "alert_threshold": "0", "period": "custom"}),
    ("budgets", {"end_date": None, "alert_threshold": "100", "category_id": GROCERIES}),
]


def insert_taken() -> None:
    """Rows that have what is to be unique."""
    insert(
        "users",
        email="taken@example.com",
        phone_number="+919999999999",
        oauth_provider="google",
        oauth_provider_id="1",
    )
    insert("devices", device_fingerprint="taken")
    insert("accounts", is_default=True)


@pytest.fixture
def taken(person: None) -> None:
    """The same, for a test."""
    insert_taken()


@pytest.mark.parametrize("table", REQUIRED)
def test_an_insert_in_sql_gets_every_default(table: str) -> None:
    before = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=10)
    row = insert(table)
    given = REQUIRED[table].keys()
    defaults = {name: value for name, value in row.items() if value is not None and name not in given}
    key = next(iter(row))
    if key not in given:
        assert uuid.UUID(str(defaults.pop(key))).version == 4
    for name in MOMENTS & defaults.keys():
        assert before < defaults.pop(name) < dt.datetime.now(dt.UTC) + dt.timedelta(minutes=10)
    assert defaults == DEFAULTS[table]


@pytest.mark.usefixtures("taken")
@pytest.mark.parametrize(("table", "values", "rule"), BAD, ids=lambda value: str(value)[:60])
def test_a_bad_row_is_refused_by_the_rule_for_it(table: str, values: dict[str, Any], rule: str) -> None:
    with pytest.raises(Error) as error:
        insert(table, **values)
    assert isinstance(error.value.__cause__, psycopg2.Error)
    assert error.value.__cause__.diag.constraint_name == rule


@pytest.mark.usefixtures("taken")
@pytest.mark.parametrize(("table", "values"), GOOD, ids=lambda value: str(value)[:60])
def test_a_good_row_is_taken(table: str, values: dict[str, Any]) -> None:
    insert(table, **values)


def test_every_rule_of_the_database_refuses_some_row_here() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT conname FROM pg_constraint
            WHERE contype IN ('c', 'u', 'f') AND conrelid = ANY(%(tables)s::regclass[])
            UNION SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
            WHERE indisunique AND NOT indisprimary AND indrelid = ANY(%(tables)s::regclass[])
            """,
            {"tables": list(REQUIRED)},
        )
        assert {name for (name,) in cursor.fetchall()} == {rule for _, _, rule in BAD}


@pytest.mark.parametrize("table", REQUIRED)
def test_null_passes_only_where_a_column_may_be_null(table: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND attnotnull", [table]
        )
        columns = [name for (name,) in cursor.fetchall()]
    may_be_null = {"user_id"} if table == "categories" else set()
    assert {*REQUIRED[table], *DEFAULTS[table], "created_at"} - may_be_null <= set(columns)
    for column in columns:
        with pytest.raises(Error) as error, transaction.atomic():
            insert(table, **{column: None})
        assert isinstance(error.value.__cause__, psycopg2.errors.NotNullViolation)
        assert error.value.__cause__.diag.column_name == column


@pytest.mark.parametrize(
    "table", [table for table in REQUIRED if table not in {"devices", "phone_otps", "revoked_tokens"}]
)
def test_a_change_sets_updated_at_whatever_the_client_says(table: str) -> None:
    key = next(iter(insert(table, updated_at="2001-01-01T00:00Z")))
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {table} SET updated_at = '2002-01-01T00:00Z', created_at = created_at "
            f"WHERE updated_at = '2001-01-01T00:00Z' RETURNING {key}, clock_timestamp() - updated_at"
        )
        ((_, age),) = cursor.fetchall()
    assert dt.timedelta(0) <= age < dt.timedelta(minutes=1)


def test_the_second_change_in_a_transaction_is_later_than_the_first() -> None:
    insert("budgets")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE budgets SET name = 'first' RETURNING updated_at")
        (first,) = cursor.fetchone()
        cursor.execute("UPDATE budgets SET name = 'second' RETURNING updated_at, created_at")
        second, created = cursor.fetchone()
    assert created < first < second


def test_a_person_may_have_any_number_of_accounts_that_are_not_the_default() -> None:
    insert("accounts", is_default=True)
    insert("accounts", is_default=False)
    insert("accounts", is_default=False)
    insert("users", user_id=STRANGER)
    insert("accounts", user_id=STRANGER, is_default=True)


def test_people_without_a_phone_number_or_a_provider_do_not_collide() -> None:
    insert("users", email="one@example.com", phone_number=None)
    insert("users", email="two@example.com", phone_number=None)
