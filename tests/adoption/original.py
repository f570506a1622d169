"""The database that the original system leaves behind, built from the facts that were read from a real one."""

from __future__ import annotations

from typing import Any

import psycopg2

from tests.accounts.catalog import dump
from tests.faults.migrator import query

# As bcryptjs writes it.
PASSWORD = "correct horse battery"
HASH_2A = "$2a$10$LhLBDNoGYmfYrlCIirxx3.pzyYD/JTAuzWHzTKA3/6j0swsogUU6O"

SCHEMA = """
CREATE TABLE users (
    user_id uuid CONSTRAINT users_pkey PRIMARY KEY DEFAULT gen_random_uuid(),
    email varchar(255) NOT NULL CONSTRAINT users_email_unique UNIQUE,
    email_verified boolean DEFAULT false,
    password_hash varchar(255),
    name varchar(255),
    country_code varchar(2) DEFAULT 'IN',
    currency_preference varchar(3) DEFAULT 'INR',
    timezone varchar(50) DEFAULT 'Asia/Kolkata',
    theme_preference varchar(20) DEFAULT 'system',
    language_preference varchar(10) DEFAULT 'en',
    oauth_provider varchar(20),
    oauth_provider_id varchar(255),
    mfa_enabled boolean DEFAULT false,
    mfa_secret varchar(255),
    account_status varchar(20) DEFAULT 'active',
    last_login_at timestamptz,
    last_login_device_id varchar(255),
    login_attempt_count integer DEFAULT 0,
    login_attempt_last_at timestamptz,
    created_at timestamptz DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamptz DEFAULT CURRENT_TIMESTAMP,
    deleted_at timestamptz
);
CREATE INDEX idx_users_email ON users (email);
CREATE INDEX idx_users_created_at ON users (created_at);
CREATE INDEX idx_users_status ON users (account_status);
CREATE TABLE devices (
    device_id uuid CONSTRAINT devices_pkey PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL CONSTRAINT devices_user_id_foreign REFERENCES users ON DELETE CASCADE,
    device_name varchar(255),
    device_type varchar(20),
    device_fingerprint varchar(255) CONSTRAINT devices_device_fingerprint_unique UNIQUE,
    is_active boolean DEFAULT true,
    last_used_at timestamptz DEFAULT CURRENT_TIMESTAMP,
    created_at timestamptz DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX idx_devices_user_id ON devices (user_id);
CREATE INDEX idx_devices_fingerprint ON devices (device_fingerprint);
CREATE TABLE accounts (
    account_id uuid CONSTRAINT accounts_pkey PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL CONSTRAINT accounts_user_id_foreign REFERENCES users ON DELETE CASCADE,
    name varchar(255) NOT NULL,
    account_type varchar(20) NOT NULL,
    currency varchar(3) DEFAULT 'INR',
    current_balance numeric(15, 2) DEFAULT '0',
    is_default boolean DEFAULT false,
    icon varchar(50),
    color varchar(7),
    created_at timestamptz DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamptz DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX idx_accounts_user_id ON accounts (user_id);
CREATE INDEX idx_accounts_type ON accounts (account_type);
CREATE TABLE categories (
    category_id uuid CONSTRAINT categories_pkey PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid CONSTRAINT categories_user_id_foreign REFERENCES users ON DELETE CASCADE,
    name varchar(100) NOT NULL,
    category_type varchar(20) NOT NULL,
    icon varchar(50),
    color varchar(7),
    is_system boolean DEFAULT false,
    created_at timestamptz DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX idx_categories_user_id ON categories (user_id);
CREATE INDEX idx_categories_type ON categories (category_type);
CREATE TABLE transactions (
    transaction_id uuid CONSTRAINT transactions_pkey PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL CONSTRAINT transactions_user_id_foreign REFERENCES users ON DELETE CASCADE,
    created_at timestamptz DEFAULT CURRENT_TIMESTAMP
);
ALTER TABLE users
    ADD COLUMN phone_number varchar(20) CONSTRAINT users_phone_number_unique UNIQUE,
    ADD COLUMN phone_verified boolean DEFAULT false;
CREATE INDEX idx_users_phone ON users (phone_number);
CREATE TABLE revoked_tokens (
    token_id uuid CONSTRAINT revoked_tokens_pkey PRIMARY KEY,
    user_id uuid NOT NULL CONSTRAINT revoked_tokens_user_id_foreign REFERENCES users ON DELETE CASCADE,
    token_type varchar(20) NOT NULL DEFAULT 'refresh',
    expires_at timestamptz NOT NULL,
    created_at timestamptz DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX idx_revoked_tokens_user_id ON revoked_tokens (user_id);
CREATE INDEX idx_revoked_tokens_expires_at ON revoked_tokens (expires_at);
ALTER TABLE transactions
    ADD COLUMN account_id uuid CONSTRAINT transactions_account_id_foreign REFERENCES accounts,
    ADD COLUMN to_account_id uuid CONSTRAINT transactions_to_account_id_foreign REFERENCES accounts,
    ADD COLUMN amount numeric(15, 2),
    ADD COLUMN currency varchar(3) DEFAULT 'INR',
    ADD COLUMN transaction_type varchar(20),
    ADD COLUMN category_id uuid CONSTRAINT transactions_category_id_foreign REFERENCES categories,
    ADD COLUMN description text,
    ADD COLUMN notes text,
    ADD COLUMN location varchar(255),
    ADD COLUMN merchant varchar(255),
    ADD COLUMN tags text[],
    ADD COLUMN attachment_url varchar(500),
    ADD COLUMN transaction_date date,
    ADD COLUMN updated_at timestamptz DEFAULT CURRENT_TIMESTAMP,
    ADD COLUMN is_deleted boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT transactions_amount_positive_check CHECK (amount > 0),
    ADD CONSTRAINT transactions_type_check CHECK (transaction_type IN ('income', 'expense', 'transfer'));
CREATE INDEX idx_transactions_account_id ON transactions (account_id);
CREATE INDEX idx_transactions_date ON transactions (user_id, transaction_date DESC);
CREATE INDEX idx_transactions_type ON transactions (transaction_type);
CREATE INDEX idx_transactions_category ON transactions (category_id);
ALTER TABLE categories
    ADD COLUMN description varchar(200),
    ADD COLUMN is_active boolean NOT NULL DEFAULT true,
    ADD COLUMN is_deleted boolean NOT NULL DEFAULT false,
    ADD COLUMN updated_at timestamptz DEFAULT CURRENT_TIMESTAMP;

CREATE TABLE feature_flags (id serial PRIMARY KEY, key varchar(255) NOT NULL UNIQUE, config jsonb NOT NULL);
CREATE TABLE feature_flags_audit (id serial PRIMARY KEY, flag_key varchar(255) NOT NULL REFERENCES feature_flags (key));
CREATE TABLE canary_deployment_logs (id serial PRIMARY KEY, event_type varchar(255) NOT NULL);
CREATE TABLE experiment_results (id serial PRIMARY KEY, variant varchar(255) NOT NULL);
CREATE TABLE deployment_metrics (id serial PRIMARY KEY, metric_key varchar(255) NOT NULL);
CREATE TABLE rollback_decisions (id serial PRIMARY KEY, decision varchar(255) NOT NULL);
INSERT INTO feature_flags (key, config) VALUES ('new-budget-page', '{"type": "boolean", "on": true}');
INSERT INTO feature_flags_audit (flag_key) VALUES ('new-budget-page');

CREATE TABLE knex_migrations (
    id serial PRIMARY KEY, name varchar(255), batch integer, migration_time timestamptz DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE knex_migrations_lock (index serial PRIMARY KEY, is_locked integer);
INSERT INTO knex_migrations_lock (is_locked) VALUES (0);
INSERT INTO knex_migrations (name, batch) VALUES
    ('001_init.js', 1), ('002_add_phone_number_to_users.js', 1), ('20240115_001_create_feature_flags.js', 1),
    ('20260228_001_create_revoked_tokens.js', 2), ('20260301_001_fix_transactions_schema.js', 3),
    ('20260304_001_fix_categories_schema.js', 4);
"""

TABLES = ("users", "devices", "accounts", "categories", "transactions", "revoked_tokens")
UNTOUCHED = (
    "knex_migrations knex_migrations_lock feature_flags feature_flags_audit canary_deployment_logs experiment_results "
    "deployment_metrics rollback_decisions"
).split()


def uid(kind: str, number: int) -> str:
    """A readable key: the kind's first letter as a hexadecimal digit, and a number."""
    return f"{'0' if kind == 'user' else kind[0] if kind[0] in 'abcdef' else '1'}0000000-0000-4000-8000-{number:012d}"


# Each row is there for the irregularity that its name says.
IRREGULAR = f"""
INSERT INTO users (user_id, email, password_hash, name, phone_number, created_at, updated_at) VALUES
    ('{uid("user", 1)}', 'asha@example.com', '{HASH_2A}', 'regular', '+919876543210', '2024-05-01', '2025-01-02'),
    ('{uid("user", 2)}', 'Ravi@example.com', '{HASH_2A}', 'by case 1', NULL, '2024-05-01', '2025-01-02'),
    ('{uid("user", 3)}', 'ravi@example.com', NULL, 'by case 2', NULL, '2024-06-01', '2025-01-03'),
    ('{uid("user", 4)}', 'mina@example.com', NULL, 'normalisable phone', '098765 43211', '2024-06-01', '2025-01-03'),
    ('{uid("user", 5)}', 'joe@example.com', NULL, 'unreadable phone', 'call me', '2024-06-01', '2025-01-03'),
    ('{uid("user", 6)}', 'dup@example.com', NULL, 'the same phone in another spelling', '09876543210',
        '2024-06-01', '2025-01-03');
INSERT INTO users (user_id, email, name, account_status, theme_preference, currency_preference, country_code,
    phone_number, created_at, updated_at, email_verified, login_attempt_count)
VALUES
    ('{uid("user", 7)}', 'odd@example.com', 'unknown status and theme, odd currency', 'BLOCKED', 'sepia', 'inr', 'US',
        '(415) 555-2671', NULL, '2025-01-04', NULL, NULL),
    ('{uid("user", 8)}', 'nulls@example.com', 'nulls', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO users (user_id, email, name, oauth_provider, oauth_provider_id)
VALUES ('{uid("user", 9)}', 'oauth@example.com', 'signs in elsewhere', 'google', 'g-1');
UPDATE users SET email_verified = true WHERE name = 'by case 1';
INSERT INTO devices (device_id, user_id, device_fingerprint, is_active, created_at) VALUES
    ('{uid("device", 1)}', '{uid("user", 1)}', 'f-1', true, '2025-01-01'),
    ('{uid("device", 2)}', '{uid("user", 3)}', 'f-2', NULL, NULL);
INSERT INTO accounts (account_id, user_id, name, account_type, is_default, color, currency, current_balance, created_at)
VALUES
    ('{uid("account", 1)}', '{uid("user", 1)}', 'Bank', 'bank', true, '#ff0000', 'INR', 1234.56, '2025-01-01'),
    ('{uid("account", 2)}', '{uid("user", 1)}', 'Cash', 'cash', true, NULL, NULL, NULL, '2025-02-01'),
    ('{uid("account", 3)}', '{uid("user", 2)}', 'Wallet', 'wallet', true, 'red', 'INR', 5, '2025-01-01'),
    ('{uid("account", 4)}', '{uid("user", 3)}', 'Bank', 'bank', true, NULL, 'INR', 5, '2025-03-01');
INSERT INTO categories (category_id, user_id, name, category_type, is_system, created_at) VALUES
    ('{uid("category", 1)}', '{uid("user", 1)}', 'Chess', 'expense', false, '2025-01-01'),
    ('{uid("category", 2)}', '{uid("user", 1)}', 'Chess clubs', 'Expense', NULL, NULL),
    ('{uid("category", 3)}', NULL, 'Groceries', 'expense', true, '2025-01-01');
INSERT INTO transactions (transaction_id, user_id, created_at) VALUES
    ('{uid("bare", 1)}', '{uid("user", 1)}', '2024-01-01'),
    ('{uid("bare", 2)}', '{uid("user", 3)}', NULL);
INSERT INTO transactions (transaction_id, user_id, account_id, to_account_id, amount, currency, transaction_type,
    category_id, description, tags, transaction_date, created_at, updated_at)
VALUES
    ('{uid("fine", 1)}', '{uid("user", 1)}', '{uid("account", 1)}', NULL, 12.50, 'INR', 'expense',
        '{uid("category", 3)}', 'Rice', ARRAY['food', 'a "quoted" tag'], '2025-03-01', '2025-03-01', '2025-03-02'),
    ('{uid("fine", 2)}', '{uid("user", 1)}', '{uid("account", 1)}', '{uid("account", 2)}', 100, 'INR', 'transfer',
        NULL, NULL, NULL, '2025-03-02', NULL, NULL),
    ('{uid("fine", 3)}', '{uid("user", 3)}', '{uid("account", 4)}', NULL, 7, NULL, 'income',
        NULL, NULL, NULL, '2025-03-02', '2025-03-02', '2025-03-02'),
    ('{uid("early", 1)}', '{uid("user", 1)}', '{uid("account", 1)}', NULL, 100, 'INR', 'transfer',
        NULL, 'transfer to nowhere', NULL, '2025-03-03', '2025-03-03', '2025-03-03'),
    ('{uid("early", 2)}', '{uid("user", 1)}', '{uid("account", 1)}', NULL, NULL, 'INR', 'expense',
        NULL, 'without amount', NULL, '2025-03-03', '2025-03-03', '2025-03-03'),
    ('{uid("early", 3)}', '{uid("user", 1)}', '{uid("account", 1)}', NULL, 5, 'rs', 'expense',
        NULL, 'odd currency', NULL, '2025-03-03', '2025-03-03', '2025-03-03');
INSERT INTO revoked_tokens (token_id, user_id, token_type, expires_at, created_at) VALUES
    ('{uid("a", 91)}', '{uid("user", 1)}', 'refresh', '2030-01-01', '2025-01-01'),
    ('{uid("a", 92)}', '{uid("user", 1)}', 'session', '2030-01-01', NULL);
"""

# What settles every irregularity above.
DECISIONS = (
    "--normalise-phones",
    "--unreadable-phones=clear",
    "--merge-email-case=into-verified",
    "--several-defaults=oldest",
    "--incomplete-transactions=quarantine",
    "--map=users.account_status:BLOCKED=suspended",
    "--map=users.theme_preference:sepia=system",
    "--map=users.currency_preference:inr=INR",
    "--map=accounts.account_type:wallet=cash",
    "--map=accounts.color:red=#ff0000",
    "--map=categories.category_type:Expense=expense",
    "--map=transactions.currency:rs=INR",
    "--map=revoked_tokens.token_type:session=refresh",
)

REGULAR = """
INSERT INTO users (user_id, email, password_hash, created_at)
    SELECT md5('u' || i)::uuid, 'user' || i || '@example.com', '{hash}', '2024-01-01'::timestamptz + i * interval '1 s'
    FROM generate_series(1, {users}) i;
INSERT INTO accounts (account_id, user_id, name, account_type, is_default)
    SELECT md5('a' || i)::uuid, md5('u' || i)::uuid, 'Bank', 'bank', true FROM generate_series(1, {users}) i;
INSERT INTO transactions (transaction_id, user_id, account_id, amount, transaction_type, description, transaction_date,
    created_at, updated_at)
SELECT gen_random_uuid(), md5('u' || u)::uuid, md5('a' || u)::uuid, 1 + i % 1000,
    CASE WHEN i % 10 = 0 THEN 'income' ELSE 'expense' END, 'transaction ' || i, '2024-01-01'::date + i % 700,
    '2024-01-01'::timestamptz + i * interval '1 s', CASE WHEN i % 20 > 0 THEN '2024-01-02'::timestamptz END
FROM (SELECT i, 1 + i % {users} AS u FROM generate_series(1, {transactions}) i) numbered;
"""


def build(url: str, rows: str = "") -> None:
    """Make the database; `rows` is SQL."""
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(SCHEMA + rows)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
    finally:
        connection.close()


def regular(transactions: int) -> str:
    """SQL for rows that break no rule but the one about nulls: every twentieth transaction has no updated_at."""
    return REGULAR.format(hash=HASH_2A, users=max(1, transactions // 100), transactions=transactions)


def schema(url: str) -> list[str]:
    """All that the catalog says of the schema `public`."""
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            return dump(cursor)
    finally:
        connection.close()


Rows = dict[str, dict[str, dict[str, Any]]]


def key(table: str) -> str:
    """The primary key's column."""
    return {"revoked_tokens": "token_id", "categories": "category_id"}.get(table, f"{table.removesuffix('s')}_id")


def rows(url: str, tables: tuple[str, ...] = TABLES) -> Rows:
    """Every row of these tables, by its key, with every value as JSON has it."""
    return {table: dict(query(url, f"SELECT {key(table)}::text, to_jsonb({table}) FROM {table}")) for table in tables}


def checksums(url: str, columns: dict[str, list[str]]) -> dict[str, tuple[Any, ...]]:
    """Of each table the number of rows, and of each of these columns a checksum over all rows, by key."""
    found = {}
    for table, names in columns.items():
        order = names[0] if table in UNTOUCHED else key(table)
        sums = [
            f"md5(coalesce(string_agg(md5(coalesce({column}::text, 'null')), '' ORDER BY {order}), ''))"
            for column in names
        ]
        (found[table],) = query(url, f"SELECT count(*), {', '.join(sums)} FROM {table}")
    return found


def columns(url: str) -> dict[str, list[str]]:
    """The columns of the original's tables, of Knex's and of the other service's."""
    return {
        table: [
            name
            for (name,) in query(
                url,
                "SELECT attname::text FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 "
                "AND NOT attisdropped ORDER BY attnum",
                table,
            )
        ]
        for table in (*TABLES, *UNTOUCHED)
    }
