"""Rows as a backend in another language writes them: plain SQL, and only what has no default."""

from __future__ import annotations

from typing import Any

from django.db import connection

USER = "11111111-1111-4111-8111-111111111111"
STRANGER = "22222222-2222-4222-8222-222222222222"
ACCOUNT = "33333333-3333-4333-8333-333333333333"
OTHER_ACCOUNT = "44444444-4444-4444-8444-444444444444"
GROCERIES = "ade484b7-933c-4b05-9d29-1ddc9d3f552d"
SHOPPING = "6725ad19-4469-46fe-9d46-9c586abc9f84"

REQUIRED: dict[str, dict[str, Any]] = {
    "users": {"email": "someone@example.com"},
    "devices": {"user_id": USER},
    "phone_otps": {"phone_number": "+919876543210", "code_hash": "a hash", "expires_at": "2030-01-01T00:00Z"},
    "revoked_tokens": {
        "token_id": "55555555-5555-4555-8555-555555555555",
        "user_id": USER,
        "expires_at": "2030-01-01T00:00Z",
    },
    "accounts": {"user_id": USER, "name": "Wallet", "account_type": "cash"},
    "categories": {"user_id": USER, "name": "Chess", "category_type": "expense"},
    "transactions": {
        "user_id": USER,
        "account_id": ACCOUNT,
        "amount": "12.50",
        "transaction_type": "expense",
        "transaction_date": "2026-03-14",
    },
    "recurring_transactions": {
        "user_id": USER,
        "account_id": ACCOUNT,
        "amount": "900",
        "transaction_type": "expense",
        "frequency": "monthly",
        "start_date": "2026-03-01",
    },
    "budgets": {"user_id": USER, "amount": "5000", "period": "monthly", "start_date": "2026-03-01"},
}


def insert(table: str, **values: Any) -> dict[str, Any]:
    """Insert a row with what is required and what is given; return all of it as the database has it."""
    row = {**REQUIRED[table], **values}
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))}) RETURNING *",
            list(row.values()),
        )
        assert cursor.description is not None
        return dict(zip([column.name for column in cursor.description], cursor.fetchone(), strict=True))


def insert_person() -> None:
    """A user with two accounts."""
    insert("users", user_id=USER, email="asha@example.com")
    insert("accounts", account_id=ACCOUNT)
    insert("accounts", account_id=OTHER_ACCOUNT, name="Bank", account_type="bank")


def count(table: str, where: str = "true") -> int:
    """How many rows of a table there are."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table} WHERE {where}")
        return int(cursor.fetchone()[0])
