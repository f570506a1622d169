"""The plan is carried out on a copy: what nobody has thought of is told before the first change as well."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import psycopg2
import pytest

from tests.adoption.original import DECISIONS, build, checksums, columns, schema
from tests.adoption.test_plan import surveyed
from tests.conftest import with_server
from tests.faults.migrator import migrate, query

# What the server will refuse, in whose words, and a way out.
STUMBLING = {
    "a name that Django's tables need": (
        "CREATE TABLE old_sessions (e date); CREATE INDEX django_session_expire_date_a5c62663 ON old_sessions (e)",
        'relation "django_session_expire_date_a5c62663" already exists',
        "rename what has that name",
        "ALTER INDEX django_session_expire_date_a5c62663 RENAME TO another",
    ),
    "a view on a column that becomes wider": (
        "ALTER TABLE users ALTER name TYPE varchar(100); CREATE VIEW names AS SELECT name FROM users",
        "cannot alter type of a column used by a view or rule",
        "drop what depends on it",
        "DROP VIEW names",
    ),
}
FINISHING = {
    "a trigger that allows no change": (
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'closed'; END $$;"
        "CREATE TRIGGER no BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION no()",
        "closed",
        "disable or drop the trigger",
    ),
    "a trigger that takes changes back": (
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN OLD; END $$;"
        "CREATE TRIGGER no BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION no()",
        "is as it was, although it was written",
        "Disable or drop the trigger",
    ),
    "a trigger that lets nobody go": (
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;"
        "CREATE TRIGGER no BEFORE UPDATE OR DELETE ON users FOR EACH ROW EXECUTE FUNCTION no()",
        "violates|violated|is as it was",
        "",
    ),
    "a rule that what is decided breaks": (
        "ALTER TABLE users ADD CONSTRAINT digits CHECK (phone_number !~ '^.9198765432') NOT VALID",
        'violates check constraint "digits"',
        "drop the rule that the contract does not have",
    ),
}
# Only for good, not in a trial, which is in another schema.
ONLY_FOR_GOOD = """
CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
    IF current_query() LIKE '%CREATE TABLE "auth_group"%' AND current_schema() = 'public' THEN RAISE 'not now'; END IF;
END $$;
CREATE EVENT TRIGGER no ON ddl_command_end EXECUTE FUNCTION no();
"""


@pytest.mark.slow
@pytest.mark.parametrize("case", STUMBLING)
def test_what_the_server_will_refuse_is_told_before_the_first_change(database_url: str, case: str) -> None:
    sql, happened, remedy, way_out = STUMBLING[case]
    build(database_url, sql)
    before = schema(database_url)

    planned, run = migrate(database_url, "adopt", "--plan"), migrate(database_url, "adopt")

    assert (planned.process.returncode, run.process.returncode) == (1, 14), planned.output + run.output
    for told in (planned.output, run.output):
        assert happened in told
        assert remedy in told
    assert schema(database_url) == before
    query(database_url, way_out)
    assert migrate(database_url, "adopt").process.returncode == 0


@pytest.mark.parametrize("case", FINISHING)
def test_what_the_decisions_will_meet_is_told_before_the_first_change(adopted_url: str, case: str) -> None:
    sql, happened, remedy = FINISHING[case]
    keep, drop = (*DECISIONS, "--left-over=keep"), (*DECISIONS, "--left-over=drop")
    query(adopted_url, sql)
    before = schema(adopted_url), checksums(adopted_url, columns(adopted_url))

    planned = migrate(adopted_url, "adopt", "--plan", *keep)
    run = migrate(adopted_url, "adopt", "--finish", *keep)

    assert (planned.process.returncode, run.process.returncode) == (1, 14), planned.output + run.output
    for told in (planned.output, run.output):
        assert re.search(happened, told), told
        assert remedy in told
    assert (schema(adopted_url), checksums(adopted_url, columns(adopted_url))) == before
    planned = migrate(adopted_url, "adopt", "--plan", *drop)
    assert planned.process.returncode == 0, planned.output


@pytest.mark.slow
def test_columns_of_other_types_become_the_contracts_although_its_views_use_them(irregular_url: str) -> None:
    query(
        irregular_url,
        "CREATE TYPE theme AS ENUM ('light', 'dark', 'system', 'sepia');"
        "ALTER TABLE users ALTER theme_preference DROP DEFAULT,"
        " ALTER theme_preference TYPE theme USING theme_preference::text::theme,"
        " ALTER theme_preference SET DEFAULT 'dark';"
        "CREATE TYPE kind_of AS ENUM ('income', 'expense', 'transfer');"
        "ALTER TABLE transactions DROP CONSTRAINT transactions_type_check,"
        " ALTER transaction_type TYPE kind_of USING transaction_type::text::kind_of;"
        "ALTER TABLE categories ALTER name TYPE text",
    )

    status, document = surveyed(irregular_url, *DECISIONS)
    assert (status, document["unproved"], document["obstacles"]) == (0, None, [])
    assert migrate(irregular_url, "adopt").process.returncode == 0
    query(irregular_url, "GRANT SELECT ON monthly_expense_summary TO PUBLIC")
    run = migrate(irregular_url, "adopt", "--finish", *DECISIONS)

    assert run.process.returncode == 0, run.output
    query(irregular_url, "DROP TYPE theme, kind_of")
    assert query(
        irregular_url, "SELECT relacl::text LIKE '%=r/%' FROM pg_class WHERE relname = 'monthly_expense_summary'"
    ) == [(True,)]
    assert "The database is the same as the code" in migrate(irregular_url, "schemadiff").output


@pytest.mark.slow
def test_tables_that_refer_to_each_other_are_tried_out_too(irregular_url: str) -> None:
    query(irregular_url, "ALTER TABLE users ADD COLUMN first_account uuid REFERENCES accounts ON DELETE SET NULL")
    query(
        irregular_url,
        "UPDATE users u SET first_account = (SELECT account_id FROM accounts a WHERE a.user_id = u.user_id LIMIT 1)",
    )
    decided = (*DECISIONS, "--left-over=keep")

    status, document = surveyed(irregular_url, *decided)
    assert (status, document["unproved"], document["obstacles"]) == (0, None, [])
    for arguments in (("adopt",), ("adopt", "--finish", *decided)):
        run = migrate(irregular_url, *arguments)
        assert run.process.returncode == 0, run.output


def test_a_trial_locks_nobody_out_and_leaves_nothing(irregular_url: str) -> None:
    before = schema(irregular_url)
    writer = psycopg2.connect(irregular_url)
    with writer.cursor() as cursor:
        cursor.execute("UPDATE users SET name = 'changed'; UPDATE transactions SET notes = 'changed'")
        status, document = surveyed(irregular_url, *DECISIONS)
    writer.close()

    assert (status, document["unproved"], document["obstacles"]) == (0, None, [])
    assert schema(irregular_url) == before
    assert query(irregular_url, "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'trial%%'") == [(0,)]


def test_what_cannot_be_tried_out_is_not_said_to_be_proved(owner_url: str, irregular_url: str, server_url: str) -> None:
    name, role = urlsplit(owner_url).path.strip("/"), urlsplit(owner_url).username
    with_server(server_url, f'REVOKE CREATE ON DATABASE "{name}" FROM {role}')

    planned = migrate(owner_url, "adopt", "--plan", *DECISIONS)

    assert planned.process.returncode == 0, planned.output
    assert "Nothing needs a decision" not in planned.output
    assert f"It was not tried out: The role '{role}' may not create schemas" in planned.output
    assert f'GRANT CREATE ON DATABASE "{name}" TO "{role}"' in planned.output
    # A failure of its own, and how to insist after it.
    with_server(irregular_url, ONLY_FOR_GOOD)
    assert migrate(owner_url, "adopt").process.returncode == 13
    with_server(irregular_url, "DROP EVENT TRIGGER no")
    again = migrate(owner_url, "adopt")
    assert again.process.returncode == 15
    assert "manage.py adopt --retry-failed" in again.output
    assert "manage.py migrate" not in again.output
    assert migrate(owner_url, "adopt", "--retry-failed").process.returncode == 0


@pytest.mark.slow
def test_after_a_failure_whose_cause_is_gone_it_goes_on_at_once_but_for_a_sequence_that_is_behind(
    irregular_url: str,
) -> None:
    query(irregular_url, ONLY_FOR_GOOD)
    failed = migrate(irregular_url, "adopt")
    assert failed.process.returncode == 13, failed.output
    assert "start the same command again" in failed.output
    assert "manage.py migrate" not in failed.output
    query(irregular_url, "DROP EVENT TRIGGER no; SELECT setval('django_migrations_id_seq', 1, false)")
    behind = migrate(irregular_url, "adopt")
    assert behind.process.returncode == 14
    assert "django_migrations_pkey" in behind.output
    query(irregular_url, "SELECT setval('django_migrations_id_seq', (SELECT max(id) FROM django_migrations))")

    again = migrate(irregular_url, "adopt")

    assert again.process.returncode == 0, again.output
