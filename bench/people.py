"""``python -m bench.people [USERS]``: fill a migrated database with people and their money, the same each time.

A million users have ten million transactions; every other table grows along. COPY, with indexes and keys made again
afterwards. The database is the one that manage.py uses, and it must hold nobody yet but staff.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg2
from psycopg2.extensions import connection as PgConnection  # noqa: N812 - a class, whatever its author named it
from psycopg2.extensions import make_dsn
from tqdm import tqdm

from rupaya import environment

USERS = 1_000_000
SEED = 20260630
LAST_DAY = datetime(2026, 6, 30, tzinfo=UTC)
DAYS = 5 * 365
CHUNK = 5_000
# One user in all this has one in a hundred of the transactions: somebody's import gone wild.
WHALE_EVERY = 100

_MULTIPLIER = 0x9E3779B97F4A7C15  # odd, so that no two numbers become one
_FIRST = "Asha Ravi Meera Kiran Priya Arjun Divya Rohan Anita Vikram Sana Dev Leela Nikhil Tara Omar".split(" ")
_LAST = "Sharma Patel Iyer Khan Reddy Das Nair Singh Mehta Bose Rao Joshi Kapoor Menon Gill Shah".split(" ")
_SHOPS = "Bazaar Kirana Cafe Metro Fuel Pharmacy Books Cinema Garage Rail Bakery Grocer Power Water Mobile Gym".split(
    " "
)


def key(kind: int, number: int) -> str:
    """The id of a row: a valid UUID, scattered as random ones are."""
    scattered = f"{(number * _MULTIPLIER + kind) % 2**64:016x}"
    return f"{scattered[:8]}-{scattered[8:12]}-4{scattered[12:15]}-8{scattered[15]}{kind:02x}-{number:012x}"


USER, DEVICE, ACCOUNT, CATEGORY, TRANSACTION, RECURRING, BUDGET, OTP, TOKEN = range(1, 10)


def email(number: int) -> str:
    """A user's address."""
    return f"{_FIRST[number % 16].lower()}.{number}@example.com"


def phone(number: int) -> str:
    """A user's number; one user in eight has none."""
    return f"+919{number:09d}" if number % 8 else r"\N"


@dataclass(frozen=True)
class Table:
    """A table, its columns, how many rows it gets for so many users, and the n-th of them as COPY's text."""

    name: str
    columns: str
    rows: Callable[[int], int]
    row: Callable[[random.Random, int], str]


class PeopleThereError(Exception):
    """The database holds people, whom made-up ones must not be mixed with."""


def load(url: str, users: int = USERS, *, progress: bool = True) -> None:
    """Fill the tables in one transaction each, then make indexes, keys and statistics.

    Raises:
        PeopleThereError: if there is anybody but members of staff; nothing was loaded then.
    """
    connection = psycopg2.connect(url)
    connection.autocommit = True
    try:
        if _rows(connection, "SELECT 1 FROM users WHERE NOT is_staff LIMIT 1"):
            raise PeopleThereError("This database has people already; nothing was loaded.")
        tables = _tables(connection, users)
        make_again = _drop_indexes(connection, [table.name for table in tables])
        for table in tables:
            _copy(connection, table, users, progress)
        for sql in tqdm(make_again, desc="indexes and keys", unit="", disable=None if progress else True):
            _rows(connection, sql)
        for table in tables:
            _rows(connection, f"VACUUM ANALYZE {table.name}")
    finally:
        connection.close()


def _tables(connection: PgConnection, users: int) -> list[Table]:
    system: dict[str, list[str]] = {}
    for category, kind in _rows(connection, "SELECT category_id, category_type FROM categories WHERE is_system"):
        system.setdefault(str(kind), []).append(str(category))
    transactions = users * 10
    span_s = DAYS * 86400

    def moment(number: int, of: int) -> str:
        return f"{LAST_DAY - timedelta(seconds=span_s - span_s * number // of):%Y-%m-%d %H:%M:%S+00}"

    def user(r: random.Random, n: int) -> str:
        status = ("suspended", "inactive", "deleted")[n % 3] if n % 97 == 0 else "active"
        name = f"{_FIRST[n % 16]} {_LAST[n // 16 % 16]}"
        verified = "t" if n % 10 else "f"
        return (
            f"{key(USER, n)}\t{email(n)}\t{verified}\t{name}\t{phone(n)}\t{status}\t{'t' if n % 20 == 0 else 'f'}\t"
            f"{moment(n, users)}"
        )

    def device(r: random.Random, n: int) -> str:
        kind = ("android", "ios", "web")[n % 3]
        return (
            f"{key(DEVICE, n)}\t{key(USER, n // 2)}\t{kind} {n % 50}\t{kind}\tf{n:015x}\t{'f' if n % 9 == 0 else 't'}\t"
            f"{moment(n, users * 2)}"
        )

    def account(r: random.Random, n: int) -> str:
        kind = ("bank", "cash", "savings", "credit_card", "investment")[n % 5]
        deleted = n % 2 and n % 201 == 0
        return (
            f"{key(ACCOUNT, n)}\t{key(USER, n // 2)}\t{kind} {n % 7}\t{kind}\t{r.randrange(10**7) / 100}\t"
            f"{'f' if n % 2 else 't'}\t{'t' if deleted else 'f'}\t{moment(n, users * 2)}"
        )

    def category(r: random.Random, n: int) -> str:
        return f"{key(CATEGORY, n)}\t{key(USER, n * 2)}\tMine {n % 100}\texpense\t{moment(n, users // 2)}"

    def transaction(r: random.Random, n: int) -> str:
        owner = 0 if n % WHALE_EVERY == 0 else int(users * r.random() ** 1.5)
        at = moment(n, transactions)
        roll = n % 20
        kind = "transfer" if roll == 19 else "income" if roll > 15 else "expense"
        choice = system[kind] if kind in system and roll != 7 else None
        category_id = choice[r.randrange(len(choice))] if choice else r"\N"
        merchant = f"{_SHOPS[int(16 * r.random() ** 2)]} {r.randrange(200)}" if kind == "expense" else r"\N"
        to_account = key(ACCOUNT, owner * 2 + 1 - n % 2) if kind == "transfer" else r"\N"
        return (
            f"{key(TRANSACTION, n)}\t{key(USER, owner)}\t{key(ACCOUNT, owner * 2 + n % 2)}\t{to_account}\t"
            f"{r.randrange(100, 10**6) / 100}\t{kind}\t{category_id}\t{merchant}\t{at[:10]}\t"
            f"{'t' if n % 211 == 0 else 'f'}\t{at}"
        )

    def recurring(r: random.Random, n: int) -> str:
        at = moment(n, users // 2)
        every = ("monthly", "weekly", "yearly")[n % 3]
        return (
            f"{key(RECURRING, n)}\t{key(USER, n * 2)}\t{key(ACCOUNT, n * 4)}\t{r.randrange(100, 10**5)}\texpense\t"
            f"{every}\t{at[:10]}\t{'f' if n % 5 == 0 else 't'}\t{at}"
        )

    def budget(r: random.Random, n: int) -> str:
        at = moment(n, users)
        return (
            f"{key(BUDGET, n)}\t{key(USER, n)}\tBudget {n % 12}\t{r.randrange(1000, 10**5)}\tmonthly\t{at[:8]}01\t"
            f"{at[:8]}28\t{'t' if n % 150 == 0 else 'f'}\t{at}"
        )

    def otp(r: random.Random, n: int) -> str:
        at = moment(n, users // 20)
        return f"{key(OTP, n)}\t{phone(n * 20 + 1)}\tnot a hash {n}\tlogin\t{at}\t{at}"

    def token(r: random.Random, n: int) -> str:
        at = moment(n, users // 5)
        return f"{key(TOKEN, n)}\t{key(USER, n * 5)}\t{'access' if n % 4 == 0 else 'refresh'}\t{at}\t{at}"

    return [
        Table("users", "user_id, email, email_verified, name, phone_number, account_status, mfa_enabled, created_at",
              lambda u: u, user),
        Table("devices", "device_id, user_id, device_name, device_type, device_fingerprint, is_active, created_at",
              lambda u: u * 2, device),
        Table("accounts", "account_id, user_id, name, account_type, current_balance, is_default, is_deleted, "
              "created_at", lambda u: u * 2, account),
        Table("categories", "category_id, user_id, name, category_type, created_at", lambda u: u // 2, category),
        Table("transactions", "transaction_id, user_id, account_id, to_account_id, amount, transaction_type, "
              "category_id, merchant, transaction_date, is_deleted, created_at", lambda u: u * 10, transaction),
        Table("recurring_transactions", "recurring_id, user_id, account_id, amount, transaction_type, frequency, "
              "start_date, is_active, created_at", lambda u: u // 2, recurring),
        Table("budgets", "budget_id, user_id, name, amount, period, start_date, end_date, is_deleted, created_at",
              lambda u: u, budget),
        Table("phone_otps", "otp_id, phone_number, code_hash, purpose, expires_at, created_at",
              lambda u: u // 20, otp),
        Table("revoked_tokens", "token_id, user_id, token_type, expires_at, created_at", lambda u: u // 5, token),
    ]  # fmt: skip


class _Copied:
    """What COPY reads from: chunks of rows, handed on in the sizes asked for."""

    def __init__(self, chunks: Iterator[str]) -> None:
        self._chunks = chunks
        self._left = b""

    def read(self, size: int) -> bytes:
        if not self._left:
            self._left = next(self._chunks, "").encode()
        given, self._left = self._left[:size], self._left[size:]
        return given


def _copy(connection: PgConnection, table: Table, users: int, progress: bool) -> None:
    hidden = None if progress else True  # None: where nobody looks, for standard error is no terminal
    total, r = table.rows(users), random.Random(SEED)  # noqa: S311 - data to look at, no secrets
    with tqdm(total=total, desc=table.name, unit=" rows", unit_scale=True, disable=hidden) as bar:

        def chunks() -> Iterator[str]:
            for start in range(0, total, CHUNK):
                end = min(start + CHUNK, total)
                yield "\n".join([table.row(r, number) for number in range(start, end)]) + "\n"
                bar.update(end - start)

        with connection.cursor() as cursor:
            cursor.copy_expert(f"COPY {table.name} ({table.columns}) FROM STDIN", _Copied(chunks()), 1 << 20)


def _drop_indexes(connection: PgConnection, tables: list[str]) -> list[str]:
    """Drop every key and index of these tables; the statements that make them again."""
    names = [f"'{name}'::regclass" for name in tables]
    constraints = _rows(
        connection,
        "SELECT conrelid::regclass, quote_ident(conname), pg_get_constraintdef(oid) FROM pg_constraint "
        f"WHERE contype IN ('p', 'u', 'f') AND (conrelid IN ({', '.join(names)}) OR confrelid IN ({', '.join(names)})) "
        "ORDER BY contype = 'f', contype = 'u', conname",
    )
    make_again = []
    for table, name, _definition in reversed(constraints):
        _rows(connection, f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    for index, definition in _rows(
        connection,
        "SELECT indexrelid::regclass, pg_get_indexdef(indexrelid) FROM pg_index "
        f"WHERE indrelid IN ({', '.join(names)})",
    ):
        _rows(connection, f"DROP INDEX {index}")
        make_again.append(str(definition))
    return make_again + [f"ALTER TABLE {table} ADD CONSTRAINT {name} {text}" for table, name, text in constraints]


def _rows(connection: PgConnection, sql: str) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


def local_url() -> str:
    """What libpq connects to where `manage.py` would: the database of `make run`, unless the environment names one."""
    return make_dsn(**environment.load().database.connect_kwargs())


def main(arguments: list[str]) -> int:
    """Load so many users; what went wrong is said in a sentence. Returns an exit status."""
    if arguments and not (len(arguments) == 1 and arguments[0].isdecimal() and int(arguments[0]) > 0):
        print("usage: python -m bench.people [USERS]", file=sys.stderr)
        return 2
    try:
        load(local_url(), int(arguments[0]) if arguments else USERS)
    except (PeopleThereError, environment.EnvironmentRefused) as refused:
        print(refused, file=sys.stderr)
    except psycopg2.errors.UndefinedTable:
        print("This database has no tables of ours; nothing was loaded. Run manage.py migrate first.", file=sys.stderr)
    except psycopg2.OperationalError as error:
        print(f"{error}Start a database with `make run`, or name one with DATABASE_URL.", file=sys.stderr)
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
