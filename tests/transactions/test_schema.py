"""The tables and views of money, as the catalog has them: other backends rely on each of these lines."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.db import connection, models

from tests.accounts.catalog import facts, lines

TABLES = {
    "accounts": """
        account_id uuid not null default gen_random_uuid()
        user_id uuid not null
        name character varying(255) not null
        account_type character varying(20) not null
        currency character varying(3) not null default 'INR'
        current_balance numeric(15,2) not null default 0
        is_default boolean not null default false
        icon character varying(50)
        color character varying(7)
        is_deleted boolean not null default false
        created_at timestamp with time zone not null default CURRENT_TIMESTAMP
        updated_at timestamp with time zone not null default CURRENT_TIMESTAMP
        accounts_pkey PRIMARY KEY (account_id)
        accounts_user_id_foreign FOREIGN KEY (user_id) REFERENCES users(user_id) ON DELETE CASCADE
        accounts_is_default_unique unique (user_id) WHERE is_default
        accounts_color_check CHECK
        accounts_currency_check CHECK
        accounts_current_balance_check CHECK
        accounts_type_check CHECK
        idx_accounts_user_id (user_id)
        idx_accounts_type (account_type)
        idx_accounts_created_at (created_at)
        idx_accounts_deleted (created_at) WHERE is_deleted
        accounts_set_updated_at BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION set_updated_at()
    """,
    "categories": """
        category_id uuid not null default gen_random_uuid()
        user_id uuid
        name character varying(100) not null
        description character varying(200)
        category_type character varying(20) not null
        icon character varying(50)
        color character varying(7)
        is_system boolean not null default false
        is_active boolean not null default true
        is_deleted boolean not null default false
        created_at timestamp with time zone not null default CURRENT_TIMESTAMP
        updated_at timestamp with time zone not null default CURRENT_TIMESTAMP
        categories_pkey PRIMARY KEY (category_id)
        categories_user_id_foreign FOREIGN KEY (user_id) REFERENCES users(user_id) ON DELETE CASCADE
        categories_color_check CHECK
        categories_system_check CHECK
        categories_type_check CHECK
        idx_categories_user_id (user_id)
        idx_categories_type (category_type)
        idx_categories_created_at (created_at)
        idx_categories_deleted (created_at) WHERE is_deleted
        idx_categories_system (created_at) WHERE is_system
        idx_categories_name_begins (lower((name)::text) COLLATE "C")
        categories_set_updated_at BEFORE UPDATE ON categories FOR EACH ROW EXECUTE FUNCTION set_updated_at()
    """,
    "transactions": """
        transaction_id uuid not null default gen_random_uuid()
        user_id uuid not null
        account_id uuid not null
        to_account_id uuid
        amount numeric(15,2) not null
        currency character varying(3) not null default 'INR'
        transaction_type character varying(20) not null
        category_id uuid
        description text
        notes text
        location character varying(255)
        merchant character varying(255)
        tags text[]
        attachment_url character varying(500)
        transaction_date date not null
        is_deleted boolean not null default false
        created_at timestamp with time zone not null default CURRENT_TIMESTAMP
        updated_at timestamp with time zone not null default CURRENT_TIMESTAMP
        transactions_pkey PRIMARY KEY (transaction_id)
        transactions_user_id_foreign FOREIGN KEY (user_id) REFERENCES users(user_id) ON DELETE CASCADE
        transactions_account_id_foreign FOREIGN KEY (account_id) REFERENCES accounts(account_id)
        transactions_to_account_id_foreign FOREIGN KEY (to_account_id) REFERENCES accounts(account_id)
        transactions_category_id_foreign FOREIGN KEY (category_id) REFERENCES categories(category_id)
        transactions_amount_positive_check CHECK
        transactions_currency_check CHECK
        transactions_transfer_check CHECK
        transactions_type_check CHECK
        idx_transactions_date (user_id, transaction_date DESC)
        idx_transactions_account_id (account_id)
        idx_transactions_to_account_id (to_account_id)
        idx_transactions_category (category_id)
        idx_transactions_type (transaction_type)
        idx_transactions_latest (transaction_date DESC, transaction_id DESC)
        idx_transactions_deleted (transaction_date DESC, transaction_id DESC) WHERE is_deleted
        idx_transactions_merchant (lower((merchant)::text) COLLATE "C")
        transactions_set_updated_at BEFORE UPDATE ON transactions FOR EACH ROW EXECUTE FUNCTION set_updated_at()
    """,
    "recurring_transactions": """
        recurring_id uuid not null default gen_random_uuid()
        user_id uuid not null
        account_id uuid not null
        to_account_id uuid
        category_id uuid
        amount numeric(15,2) not null
        currency character varying(3) not null default 'INR'
        transaction_type character varying(20) not null
        description text
        frequency character varying(20) not null
        interval_count integer not null default 1
        start_date date not null
        end_date date
        next_run_on date
        is_active boolean not null default true
        created_at timestamp with time zone not null default CURRENT_TIMESTAMP
        updated_at timestamp with time zone not null default CURRENT_TIMESTAMP
        recurring_transactions_pkey PRIMARY KEY (recurring_id)
        recurring_transactions_user_id_foreign FOREIGN KEY (user_id) REFERENCES users(user_id) ON DELETE CASCADE
        recurring_transactions_account_id_foreign FOREIGN KEY (account_id) REFERENCES accounts(account_id)
        recurring_transactions_to_account_id_foreign FOREIGN KEY (to_account_id) REFERENCES accounts(account_id)
        recurring_transactions_category_id_foreign FOREIGN KEY (category_id) REFERENCES categories(category_id)
        recurring_transactions_amount_positive_check CHECK
        recurring_transactions_currency_check CHECK
        recurring_transactions_end_date_check CHECK
        recurring_transactions_frequency_check CHECK
        recurring_transactions_interval_count_check CHECK
        recurring_transactions_transfer_check CHECK
        recurring_transactions_type_check CHECK
        idx_recurring_user_id (user_id)
        idx_recurring_account_id (account_id)
        idx_recurring_to_account_id (to_account_id)
        idx_recurring_category_id (category_id)
        idx_recurring_next_run_on (next_run_on)
        idx_recurring_created_at (created_at)
        recurring_transactions_set_updated_at BEFORE UPDATE ON recurring_transactions \
FOR EACH ROW EXECUTE FUNCTION set_updated_at()
    """,
    "budgets": """
        budget_id uuid not null default gen_random_uuid()
        user_id uuid not null
        category_id uuid
        name character varying(255)
        amount numeric(15,2) not null
        currency character varying(3) not null default 'INR'
        period character varying(20) not null
        start_date date not null
        end_date date
        alert_threshold numeric(5,2) not null default 80
        is_active boolean not null default true
        is_deleted boolean not null default false
        created_at timestamp with time zone not null default CURRENT_TIMESTAMP
        updated_at timestamp with time zone not null default CURRENT_TIMESTAMP
        budgets_pkey PRIMARY KEY (budget_id)
        budgets_user_id_foreign FOREIGN KEY (user_id) REFERENCES users(user_id) ON DELETE CASCADE
        budgets_category_id_foreign FOREIGN KEY (category_id) REFERENCES categories(category_id)
        budgets_alert_threshold_check CHECK
        budgets_amount_positive_check CHECK
        budgets_currency_check CHECK
        budgets_end_date_check CHECK
        budgets_period_check CHECK
        idx_budgets_user_id (user_id)
        idx_budgets_category_id (category_id)
        idx_budgets_created_at (created_at)
        idx_budgets_deleted (created_at) WHERE is_deleted
        budgets_set_updated_at BEFORE UPDATE ON budgets FOR EACH ROW EXECUTE FUNCTION set_updated_at()
    """,
    "monthly_expense_summary": """
        summary_id text
        user_id uuid
        month date
        category_id uuid
        category_name character varying(100)
        currency character varying(3)
        transaction_count bigint
        total_amount numeric
        average_amount numeric
    """,
    "monthly_income_summary": """
        summary_id text
        user_id uuid
        month date
        category_id uuid
        category_name character varying(100)
        currency character varying(3)
        transaction_count bigint
        total_amount numeric
        average_amount numeric
    """,
    "budget_progress": """
        budget_id uuid
        user_id uuid
        category_id uuid
        name character varying(255)
        currency character varying(3)
        start_date date
        end_date date
        amount numeric(15,2)
        spent numeric
        remaining numeric
        percent_used numeric
    """,
}
SYSTEM_CATEGORIES = {
    ("7a7fda8f-5769-410e-b331-42623bb02e53", "Salary", "income"),
    ("8b9dbee0-f584-4722-8c92-47a8ec00d96e", "Business", "income"),
    ("45dab612-e316-41e7-b5ff-2def003950ee", "Investment", "income"),
    ("ade484b7-933c-4b05-9d29-1ddc9d3f552d", "Groceries", "expense"),
    ("04eab69a-1721-4b3e-bf05-88234e2c635a", "Dining & Restaurants", "expense"),
    ("fc2a83ff-f93a-4861-8a29-bcfe0d9060b2", "Transportation", "expense"),
    ("6725ad19-4469-46fe-9d46-9c586abc9f84", "Shopping", "expense"),
    ("31141fd5-bcbe-4dc0-b7b4-0e5b8c5a5242", "Entertainment", "expense"),
    ("7b4af909-8cd4-4311-9566-c14e54bd3b78", "Healthcare", "expense"),
    ("c908827a-0eb5-4720-b0d2-47c32033bb86", "Bills & Utilities", "expense"),
    ("d99a14b5-0bce-4b50-8126-0344cb0b4e07", "Education", "expense"),
    ("587fdc60-d9c0-4ef4-8adf-0b0b1f815bc9", "Transfer", "transfer"),
}


@pytest.mark.django_db
@pytest.mark.parametrize("table", TABLES)
def test_a_table_is_exactly_what_other_backends_rely_on(table: str) -> None:
    with connection.cursor() as cursor:
        assert facts(cursor, table) == lines(TABLES[table])


@pytest.mark.django_db
def test_no_foreign_key_of_ours_may_be_deferred() -> None:
    """Django's own may: those of the user's groups and permissions."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT conname FROM pg_constraint WHERE contype = 'f' AND conname LIKE '%%\\_foreign' AND condeferrable"
        )
        assert cursor.fetchall() == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    "field",
    [
        field
        for app in ("accounts", "transactions")
        for model in apps.get_app_config(app).get_models()
        if model._meta.managed
        for field in model._meta.local_fields
        if isinstance(field, models.ForeignKey)
    ],
    ids=str,
)
def test_a_models_foreign_key_is_one_in_the_database_too(field: models.ForeignKey) -> None:  # type: ignore[type-arg]
    """Django adds none itself (`db_constraint=False`), so a migration may have forgotten it."""
    with connection.cursor() as cursor:
        constraints = connection.introspection.get_constraints(cursor, field.model._meta.db_table)
    name = f"{field.model._meta.db_table}_{field.column}_foreign"
    assert constraints[name]["foreign_key"] == (
        field.related_model._meta.db_table,
        field.related_model._meta.pk.column,
    )


@pytest.mark.django_db
def test_twelve_system_categories_come_with_the_schema_and_are_the_same_everywhere() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT category_id::text, name, category_type FROM categories WHERE is_system")
        assert set(cursor.fetchall()) == SYSTEM_CATEGORIES
