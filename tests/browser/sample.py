"""People who do not exist, and their money: the same each time, for tests and for screenshots.

Their addresses are in example.com, their numbers among those that no telephone has:
https://www.ofcom.org.uk/phones-and-broadband/phone-numbers/numbers-for-drama
"""

from __future__ import annotations

import random
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg2
from psycopg2.extras import execute_values

MEERA = uuid.uuid5(uuid.NAMESPACE_URL, "Meera Nair")
MEERAS_EMAIL = "meera.nair@example.com"
MEERAS_PHONE = "+447700900123"
MEERAS_TRANSACTIONS = 130
"""Two pages full, and a third one begun."""
NEWEST = date(2026, 6, 30)
HASH = "$2b$10$" + "e" * 53

FIRST_NAMES = "Aarav Diya Ishaan Kavya Rohan Ananya Vikram Priya Arjun Nisha".split(" ")
LAST_NAMES = "Iyer Kapoor Desai Reddy Bose Joshi".split(" ")
SHOPS = (
    ("Corner Grocery", "Groceries", 80, 2400),
    ("Filter Coffee House", "Dining & Restaurants", 60, 900),
    ("City Metro", "Transportation", 20, 300),
    ("Lakeside Cinema", "Entertainment", 200, 1200),
    ("Green Leaf Pharmacy", "Healthcare", 90, 1800),
    ("Power and Water", "Bills & Utilities", 700, 3200),
    ("Old Town Books", "Shopping", 150, 1900),
)
EMPLOYER = ("Example Works", "Salary", 52000, 52000)


def fill(url: str) -> None:
    """Put them into a database that has the schema and nobody in it."""
    choose = random.Random(7)
    rows: dict[str, list[dict[str, Any]]] = {}
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT name, category_id FROM categories WHERE is_system")
        categories = dict(cursor.fetchall())
        _add_meera(rows)
        for index in range(len(FIRST_NAMES) * len(LAST_NAMES)):
            _add_person(rows, index)
        for wallet in list(rows["accounts"]):
            many = MEERAS_TRANSACTIONS if wallet["user_id"] == str(MEERA) else 2
            if wallet["account_type"] == "bank":
                _add_transactions(rows, wallet, many, categories, choose)
        _add_budgets(rows, categories)
        for table, each in rows.items():
            columns = list(each[0])
            execute_values(
                cursor,
                f"INSERT INTO {table} ({', '.join(columns)}) VALUES %s",
                [[row[column] for column in columns] for row in each],
            )
    connection.close()


def moment(days: int, hour: int = 9) -> datetime:
    """So many days before the newest row."""
    return datetime(NEWEST.year, NEWEST.month, NEWEST.day, hour, 30, tzinfo=UTC) - timedelta(days=days)


def _add(rows: dict[str, list[dict[str, Any]]], table: str, **values: Any) -> None:
    rows.setdefault(table, []).append(values)


def _id(*name: object) -> str:
    return str(uuid.uuid5(MEERA, " ".join(map(str, name))))


def _user(rows: dict[str, list[dict[str, Any]]], user_id: str, name: str, phone: str, age: int, **values: Any) -> None:
    _add(
        rows, "users", user_id=user_id, name=name, email=f"{name.lower().replace(' ', '.')}@example.com",
        phone_number=phone, phone_verified=True, email_verified=True, password_hash=HASH, created_at=moment(age),
        last_login_at=moment(age // 3, 18), account_status=values.get("account_status", "active"),
    )  # fmt: skip


def _add_meera(rows: dict[str, list[dict[str, Any]]]) -> None:
    user = str(MEERA)
    _user(rows, user, "Meera Nair", MEERAS_PHONE, 2)
    for number, (name, kind) in enumerate((("Meera's phone", "android"), ("Kitchen tablet", "ios"), ("Work", "web"))):
        _add(
            rows, "devices", device_id=_id(kind), user_id=user, device_name=name, device_type=kind,
            device_fingerprint=_id("fingerprint", kind), last_used_at=moment(number), created_at=moment(40 + number),
        )  # fmt: skip
    for number, purpose in enumerate(("signup", "login")):
        _add(
            rows, "phone_otps", otp_id=_id(purpose), phone_number=MEERAS_PHONE, code_hash=HASH, purpose=purpose,
            expires_at=moment(2 - number), created_at=moment(2 - number, 8),
        )  # fmt: skip
        _add(
            rows, "revoked_tokens", token_id=_id("token", purpose), user_id=user, token_type="refresh",
            expires_at=moment(-30 - number), created_at=moment(number),
        )  # fmt: skip
    for name, kind, balance in (("Salary account", "bank", "84210.50"), ("Purse", "cash", "1250.00")):
        _account(rows, user, name, kind, balance)


def _add_person(rows: dict[str, list[dict[str, Any]]], index: int) -> None:
    name = f"{FIRST_NAMES[index % len(FIRST_NAMES)]} {LAST_NAMES[index // len(FIRST_NAMES)]}"
    status = "suspended" if index % 17 == 5 else "active"
    _user(rows, _id(name), name, f"+447700900{200 + index}", 3 + index, account_status=status)
    _account(rows, _id(name), "Bank", "bank", f"{1000 + index * 37}.00")


def _account(rows: dict[str, list[dict[str, Any]]], user: str, name: str, kind: str, balance: str) -> None:
    _add(
        rows, "accounts", account_id=_id(user, name), user_id=user, name=name, account_type=kind,
        current_balance=balance, is_default=kind == "bank", created_at=moment(60),
    )  # fmt: skip


def _add_transactions(
    rows: dict[str, list[dict[str, Any]]],
    account: dict[str, Any],
    many: int,
    categories: dict[str, str],
    choose: random.Random,
) -> None:
    for number in range(many):
        is_salary = number % 30 == 29
        merchant, category, least, most = EMPLOYER if is_salary else choose.choice(SHOPS)
        _add(
            rows, "transactions", transaction_id=_id(account["account_id"], number), user_id=account["user_id"],
            account_id=account["account_id"], amount=Decimal(choose.randint(least, most)), currency="INR",
            transaction_type="income" if is_salary else "expense", category_id=categories[category], merchant=merchant,
            description="For the whole family" if number % 4 == 0 else None, tags=["home"] if number % 5 == 0 else None,
            transaction_date=NEWEST - timedelta(days=number), created_at=moment(number, 12),
        )  # fmt: skip


def _add_budgets(rows: dict[str, list[dict[str, Any]]], categories: dict[str, str]) -> None:
    for name, amount in (("Groceries", 9000), ("Entertainment", 3000)):
        _add(
            rows, "budgets", budget_id=_id("budget", name), user_id=str(MEERA), category_id=categories[name], name=name,
            amount=amount, period="monthly", start_date=NEWEST.replace(day=1), end_date=NEWEST, created_at=moment(29),
        )  # fmt: skip
