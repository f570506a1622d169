"""Shapes that the original's files or other systems leave are refused before the first change, with the way out."""

from __future__ import annotations

import re

import pytest

from rupaya.adoption import baseline
from tests.adoption.original import build, schema
from tests.adoption.test_finish import assert_nothing_differs, assert_nothing_is_left_to_migrate
from tests.faults.migrator import migrate, query

OTP = """
CREATE TABLE phone_otps (
    otp_id uuid PRIMARY KEY DEFAULT gen_random_uuid(), phone_number varchar(20) NOT NULL,
    code_hash varchar(255) NOT NULL, purpose varchar(20) NOT NULL DEFAULT 'signup', expires_at timestamptz NOT NULL,
    attempt_count integer DEFAULT 0, created_at timestamptz DEFAULT now());
CREATE INDEX idx_phone_otps_phone ON phone_otps (phone_number);
"""
TRIGGER = """
CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN NEW.updated_at = CURRENT_TIMESTAMP; RETURN NEW; END $$;
CREATE TRIGGER update_users_updated_at BEFORE UPDATE ON users
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
"""
# What the third SQL file makes before Knex, with what refers to it; one key is an identity, as a newer file has it.
INTEGER_KEYS = """
ALTER TABLE transactions DROP CONSTRAINT transactions_category_id_foreign, DROP COLUMN category_id;
ALTER TABLE categories DROP COLUMN category_id, ADD COLUMN category_id serial PRIMARY KEY;
ALTER TABLE transactions
    ADD COLUMN category_id integer CONSTRAINT transactions_category_id_foreign REFERENCES categories ON DELETE SET NULL;
CREATE INDEX idx_transactions_category ON transactions (category_id);
ALTER TABLE devices DROP COLUMN device_id,
    ADD COLUMN device_id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT devices_pkey PRIMARY KEY;
CREATE TABLE wishes (wish text, category_id integer REFERENCES categories (category_id));
INSERT INTO categories (name, category_type, is_system)
    SELECT name, 'expense', true FROM unnest(ARRAY['Tea', 'Rice']) name;
INSERT INTO wishes SELECT 'more ' || name, category_id FROM categories;
"""
# Each with what is told of it, and what leads out.
SHAPES = (
    (OTP, "phone_otps is there in another shape", "DROP TABLE phone_otps"),
    (
        "CREATE TABLE budgets (budget_id uuid CONSTRAINT old_key PRIMARY KEY, user_id uuid, amount numeric)",
        "budgets is there in another shape",
        "CREATE SCHEMA kept; ALTER TABLE budgets SET SCHEMA kept",
    ),
    (
        "CREATE TABLE old (id uuid CONSTRAINT recurring_transactions_pkey PRIMARY KEY)",
        "the name recurring_transactions_pkey",
        "ALTER TABLE old RENAME CONSTRAINT recurring_transactions_pkey TO old_pkey",
    ),
    (
        "CREATE TABLE auth_group (id integer PRIMARY KEY); INSERT INTO auth_group VALUES (1)",
        "auth_group, which Django's migrations make",
        "ALTER TABLE auth_group SET SCHEMA kept",
    ),
    (
        "INSERT INTO knex_migrations (name, batch) VALUES ('20260901_001_referrals.js', 5);"
        "ALTER TABLE accounts ADD COLUMN referral varchar(20) NOT NULL",
        "accounts.referral, which the contract does not have, is NOT NULL without a default",
        "ALTER TABLE accounts DROP COLUMN referral",
    ),
    (
        "CREATE PUBLICATION cheap FOR TABLE categories, accounts WHERE (name <> 'secret')",
        "no row of accounts can be changed or deleted, by how it is published (cheap): take it out",
        "ALTER PUBLICATION cheap DROP TABLE ONLY accounts",
    ),
    (
        "ALTER TABLE revoked_tokens REPLICA IDENTITY NOTHING; CREATE PUBLICATION tokens FOR TABLE revoked_tokens",
        "no row of revoked_tokens can be changed or deleted",
        "ALTER PUBLICATION tokens DROP TABLE ONLY revoked_tokens",
    ),
    (TRIGGER, "would overwrite updated_at", "DROP TRIGGER update_users_updated_at ON users"),
    ("ALTER TABLE devices SET UNLOGGED", "devices is unlogged", "ALTER TABLE devices SET LOGGED"),
    (
        "ALTER TABLE accounts FORCE ROW LEVEL SECURITY, ENABLE ROW LEVEL SECURITY",
        "row security is forced on accounts",
        "ALTER TABLE accounts DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY",
    ),
    (
        "CREATE RULE nothing AS ON UPDATE TO categories DO INSTEAD NOTHING",
        "rule nothing on categories rewrites",
        "DROP RULE nothing ON categories",
    ),
    (
        "CREATE TABLE more_tokens () INHERITS (revoked_tokens)",
        "more_tokens inherits from revoked_tokens",
        "ALTER TABLE more_tokens NO INHERIT revoked_tokens",
    ),
    (
        'ALTER TABLE users ALTER mfa_secret TYPE varchar(255) COLLATE "C"',
        "users.mfa_secret has collation C",
        'ALTER TABLE users ALTER mfa_secret TYPE varchar(255) COLLATE "default"',
    ),
    (
        "CREATE FUNCTION set_updated_at() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "function set_updated_at() is there and is no trigger function",
        "ALTER FUNCTION set_updated_at() RENAME TO another",
    ),
    (
        baseline.create(("users_groups",))
        + "INSERT INTO users (user_id, email) VALUES ('00000000-0000-4000-8000-000000000001', 'a@example.com');"
        "INSERT INTO users_groups (id, user_id, group_id) VALUES (7, '00000000-0000-4000-8000-000000000001', 1)",
        "sequence public.users_groups_id_seq is behind users_groups.id",
        "DROP TABLE users_groups; DELETE FROM users",
    ),
    (
        "ALTER TABLE devices ALTER device_type TYPE varchar(10);"
        "CREATE SCHEMA reports; CREATE VIEW reports.types AS SELECT device_type FROM devices",
        "view reports.types uses devices.device_type",
        "DROP VIEW reports.types",
    ),
    (
        "CREATE TABLE adoption_quarantine (table_name text, kept bool)",
        "table adoption_quarantine, where adopt keeps rows as they were, is somebody else's",
        "ALTER TABLE adoption_quarantine RENAME TO theirs",
    ),
    (
        "UPDATE knex_migrations_lock SET is_locked = 1",
        "Knex's lock is set",
        "UPDATE knex_migrations_lock SET is_locked = 0",
    ),
)


@pytest.mark.slow
def test_what_cannot_be_adopted_is_refused_before_the_first_change_and_each_way_out_works(database_url: str) -> None:
    build(database_url, ";".join(sql for sql, _told, _way_out in SHAPES[1:]))
    query(database_url, OTP)
    before = schema(database_url)

    planned, run = migrate(database_url, "adopt", "--plan"), migrate(database_url, "adopt")

    assert (planned.process.returncode, run.process.returncode) == (1, 14), planned.output + run.output
    assert "Nothing needs a decision" not in planned.output
    for _sql, told, _way_out in SHAPES:
        assert told in planned.output
    # A lock is the first thing that keeps a run from going on, and the others are told once it is gone.
    assert "knex migrate:unlock" in run.output
    assert schema(database_url) == before
    query(database_url, SHAPES[-1][2])
    refused = migrate(database_url, "adopt")
    assert refused.process.returncode == 14
    for _sql, told, way_out in SHAPES[:-1]:
        assert told in refused.output
        query(database_url, way_out)
    assert migrate(database_url, "adopt", "--plan").process.returncode == 0
    done = migrate(database_url, "adopt")
    assert done.process.returncode == 0, done.output


BY_JSON = """
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RETURN jsonb_populate_record(NEW, jsonb_build_object(TG_ARGV[0], now())); END $$;
CREATE TRIGGER stamp BEFORE UPDATE OF name, email ON users FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION stamp('updated_at');
CREATE FUNCTION low() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN NEW.email := lower(NEW.email); RETURN NEW; END $$;
CREATE TRIGGER low BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION low();
INSERT INTO users (email, updated_at) VALUES ('a@example.com', '2020-01-02');
"""


def test_a_trigger_that_sets_updated_at_in_words_of_its_own_is_found_by_what_it_does(database_url: str) -> None:
    build(database_url, BY_JSON)

    planned = migrate(database_url, "adopt", "--plan", "--left-over=keep")
    assert migrate(database_url, "adopt").process.returncode == 0
    for refused, status in ((planned, 1), (migrate(database_url, "adopt", "--finish", "--left-over=keep"), 14)):
        assert refused.process.returncode == status, refused.output
        assert "trigger stamp on users would overwrite updated_at" in refused.output
        assert "trigger low on users would" not in refused.output

    query(database_url, "DROP TRIGGER stamp ON users")
    assert migrate(database_url, "adopt", "--plan", "--left-over=keep").process.returncode == 0


@pytest.mark.slow
def test_a_column_that_a_publication_names_and_that_gets_another_type_is_refused(database_url: str) -> None:
    build(
        database_url,
        "ALTER TABLE devices ALTER device_type TYPE varchar(10); ALTER TABLE devices REPLICA IDENTITY FULL;"
        "CREATE PUBLICATION phones FOR TABLE devices WHERE (device_type <> 'web')",
    )

    planned = migrate(database_url, "adopt", "--plan")

    assert planned.process.returncode == 1, planned.output
    assert "publication phones names devices.device_type, whose type changes to" in planned.output
    query(database_url, "ALTER PUBLICATION phones DROP TABLE devices")
    assert migrate(database_url, "adopt", "--plan").process.returncode == 0


def test_integer_keys_are_refused_and_the_way_out_keeps_what_refers_to_them(database_url: str) -> None:
    build(database_url, INTEGER_KEYS)
    before = schema(database_url)

    for arguments, status in ((("adopt", "--plan"), 1), (("adopt",), 14)):
        run = migrate(database_url, *arguments)
        assert run.process.returncode == status, run.output
        assert "devices.device_id, categories.category_id, transactions.category_id are numbers" in run.output
    assert schema(database_url) == before

    way_out = re.search(r"BEGIN; .*; COMMIT;", run.output)
    assert way_out, run.output
    query(database_url, way_out[0])
    assert query(database_url, "SELECT wish, name FROM wishes JOIN categories USING (category_id) ORDER BY 1") == [
        ("more Rice", "Rice"),
        ("more Tea", "Tea"),
    ]
    planned, run = migrate(database_url, "adopt", "--plan"), migrate(database_url, "adopt")
    assert (planned.process.returncode, run.process.returncode) == (0, 0), planned.output + run.output
    finished = migrate(database_url, "adopt", "--finish")
    assert finished.process.returncode == 0, finished.output
    query(database_url, "DROP TABLE wishes")
    assert_nothing_differs(database_url)


def test_what_knex_has_done_since_is_named_and_kept_where_it_is_so_decided(database_url: str) -> None:
    build(
        database_url,
        "INSERT INTO knex_migrations (name, batch) VALUES ('20260901_001_referrals.js', 5);"
        "ALTER TABLE users ADD COLUMN referral varchar(20); CREATE TABLE referrals (code text)",
    )

    planned = migrate(database_url, "adopt", "--plan")
    assert planned.process.returncode == 1, planned.output
    assert "not known here: 20260901_001_referrals.js" in planned.output
    assert "column referral on users; UNDECIDED: --left-over=keep or drop" in planned.output
    for arguments in (("adopt",), ("adopt", "--finish", "--left-over=keep")):
        run = migrate(database_url, *arguments)
        assert run.process.returncode == 0, run.output
    assert query(database_url, "SELECT count(referral) FROM users, referrals") == [(0,)]
    assert_nothing_is_left_to_migrate(database_url)


# What the first SQL file leaves besides, where Knex then ran on top of it.
FIRST_FILE_BESIDES = """
ALTER TABLE users ADD CONSTRAINT email_valid CHECK (email ~ '@'), ADD CONSTRAINT users_email_key UNIQUE (email);
ALTER TABLE transactions ADD CONSTRAINT amount_positive CHECK (amount > 0),
    ADD CONSTRAINT transaction_type_check CHECK (transaction_type IN ('income', 'expense', 'transfer'));
CREATE INDEX idx_transactions_user_id ON transactions (user_id);
CREATE FUNCTION bell() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER bell AFTER INSERT ON devices FOR EACH ROW EXECUTE FUNCTION bell();
CREATE POLICY everybody ON devices USING (true);
"""


@pytest.mark.slow
def test_what_is_there_besides_needs_a_decision_and_dropped_nothing_differs(database_url: str) -> None:
    build(database_url, FIRST_FILE_BESIDES)
    planned = migrate(database_url, "adopt", "--plan")
    assert planned.process.returncode == 1, planned.output
    for told in (
        "constraint email_valid on users",
        "index idx_transactions_user_id",
        "policy everybody",
        "--left-over",
    ):
        assert told in planned.output
    assert migrate(database_url, "adopt").process.returncode == 0
    undecided = migrate(database_url, "adopt", "--finish")
    assert undecided.process.returncode == 14
    assert "trigger bell on devices (--left-over=keep or drop)" in undecided.output
    assert migrate(database_url, "adopt", "--plan", "--left-over=keep").process.returncode == 0

    done = migrate(database_url, "adopt", "--finish", "--left-over=drop")

    assert done.process.returncode == 0, done.output
    assert query(database_url, "SELECT count(*), count(original) FROM adoption_quarantine") == [(8, 8)]
    assert_nothing_differs(database_url)


# Before Knex ever ran: tables of an older shape, which its first start completes.
FIRST_FILE = """
CREATE TABLE users (user_id uuid PRIMARY KEY DEFAULT gen_random_uuid(), email varchar(255) NOT NULL UNIQUE,
    phone_number varchar(20), password_hash varchar(255), name varchar(255), created_at timestamptz DEFAULT now());
CREATE TABLE accounts (account_id uuid PRIMARY KEY DEFAULT gen_random_uuid(), user_id uuid NOT NULL REFERENCES users);
CREATE TABLE transactions (transaction_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL REFERENCES users, amount numeric(15, 2) CHECK (amount > 0));
CREATE TABLE budgets (budget_id uuid PRIMARY KEY, user_id uuid REFERENCES users, amount numeric(15, 2));
CREATE TABLE recurring_transactions (recurring_id uuid PRIMARY KEY, user_id uuid REFERENCES users);
INSERT INTO users (email) VALUES ('a@example.com');
"""


def test_the_first_sql_file_alone_leads_to_the_originals_last_release_and_never_in_a_circle(database_url: str) -> None:
    query(database_url, FIRST_FILE)
    before = schema(database_url)

    for arguments in (
        ("migrate",),
        ("migrate", "--fake-initial"),
        ("migrate", "--fake", "accounts", "0001"),
        ("adopt", "--plan"),
        ("adopt",),
    ):
        run = migrate(database_url, *arguments)
        assert run.process.returncode == 14, run.output
        assert "Start the original's last release once" in run.output
        assert "--fake" not in run.output
    assert schema(database_url) == before


@pytest.mark.slow
def test_what_was_recorded_by_mistake_is_made_all_the_same(database_url: str) -> None:
    build(database_url)
    assert migrate(database_url, "migrate", "auth").process.returncode == 0
    query(database_url, "INSERT INTO django_migrations (app, name, applied) VALUES ('accounts', '0001_initial', now())")

    planned, run = migrate(database_url, "adopt", "--plan"), migrate(database_url, "adopt")

    assert (planned.process.returncode, run.process.returncode) == (0, 0), planned.output + run.output


@pytest.mark.slow
def test_a_hand_made_function_does_not_overwrite_the_times_of_mended_rows(database_url: str) -> None:
    build(
        database_url,
        "INSERT INTO users (email, phone_number, updated_at) VALUES ('a@example.com', '9876543210', '2025-01-02');"
        "CREATE FUNCTION set_updated_at() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN NEW.updated_at = now(); RETURN NEW; END $$;"
        "CREATE TRIGGER set_updated_at BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION set_updated_at();",
    )
    assert "function set_updated_at() given another text" in migrate(database_url, "adopt", "--plan").output
    assert migrate(database_url, "adopt").process.returncode == 0

    done = migrate(database_url, "adopt", "--finish", "--normalise-phones", "--left-over=drop")

    assert done.process.returncode == 0, done.output
    found = query(database_url, "SELECT phone_number, updated_at = '2025-01-02' FROM users")
    assert found == [("+919876543210", True)]


def test_tables_of_another_role_are_refused_before_the_first_change(owner_url: str, irregular_url: str) -> None:
    query(irregular_url, "ALTER TABLE users OWNER TO postgres")
    query(irregular_url, "GRANT SELECT ON users TO PUBLIC")
    before = schema(irregular_url)

    for arguments, status in ((("adopt", "--plan"), 1), (("adopt",), 14)):
        run = migrate(owner_url, *arguments)
        assert run.process.returncode == status, run.output
        assert "users belongs to postgres" in run.output
    assert schema(irregular_url) == before


STRANGERS = {
    "another history": (
        "CREATE TABLE users (id serial PRIMARY KEY, name text);"
        "CREATE TABLE knex_migrations (id serial, name varchar, batch integer, migration_time timestamptz);"
        "INSERT INTO knex_migrations (name, batch) VALUES ('20200101_init.js', 1)"
    ),
    "other users": (
        "CREATE TABLE users (id serial PRIMARY KEY, email text, name text);"
        "CREATE TABLE knex_migrations (id serial, name varchar, batch integer);"
        "INSERT INTO knex_migrations (name, batch) VALUES ('001_init.js', 1)"
    ),
    "no history": "CREATE TABLE knex_migrations (id serial, name varchar, batch integer)",
    "batches that are no numbers": (
        "CREATE TABLE knex_migrations (id serial, name text, batch text);"
        "INSERT INTO knex_migrations (name, batch) VALUES ('one.js', 'first')"
    ),
    "batches that are too large": (
        "CREATE TABLE knex_migrations (id serial, name text, batch bigint);"
        "INSERT INTO knex_migrations (name, batch) VALUES ('one.js', 99999999999)"
    ),
    "a lock that is no table": (
        "CREATE TABLE knex_migrations (id serial, name text, batch integer); CREATE SEQUENCE knex_migrations_lock"
    ),
    "another table": "CREATE TABLE knex_migrations (step text); INSERT INTO knex_migrations VALUES ('one')",
}


def test_a_sequence_of_that_name_is_no_history(database_url: str) -> None:
    query(database_url, "CREATE SEQUENCE knex_migrations")

    run = migrate(database_url, "adopt", "--plan")

    assert run.process.returncode == 14, run.output
    assert "it has no table knex_migrations" in run.output


@pytest.mark.parametrize("kind", ["VIEW", "MATERIALIZED VIEW"])
def test_a_view_in_place_of_a_table_is_told_and_can_be_put_away(database_url: str, kind: str) -> None:
    build(database_url)
    query(
        database_url,
        "ALTER TABLE revoked_tokens RENAME TO tokens; ALTER INDEX revoked_tokens_pkey RENAME TO tokens_pkey; "
        f"CREATE {kind} revoked_tokens AS SELECT * FROM tokens",
    )

    run = migrate(database_url, "adopt", "--plan")

    assert run.process.returncode == 1, run.output
    assert f"ALTER {kind} revoked_tokens SET SCHEMA kept" in run.output
    assert "DROP RULE" not in run.output
    assert "revoked_tokens: missing; will be created" not in run.output


@pytest.mark.parametrize("stranger", STRANGERS)
def test_what_knex_migrates_for_somebody_else_is_left_untouched(database_url: str, stranger: str) -> None:
    query(database_url, STRANGERS[stranger])
    before = schema(database_url)

    for arguments in (("migrate",), ("adopt", "--plan"), ("adopt",)):
        run = migrate(database_url, *arguments)
        assert run.process.returncode == 14, run.output
        assert "not known as the original system's" in run.output
        assert "Traceback" not in run.output
    assert schema(database_url) == before
