"""`adopt --plan` looks at everything, tells every row that breaks a rule, and writes nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rupaya.localdb import OWNER, SUPERUSER, LocalPostgres
from tests.adoption.original import DECISIONS, UNTOUCHED, build, checksums, columns, schema, uid
from tests.faults.migrator import migrate, query
from tests.faults.servers import SETTINGS, server_root, streaming_replica

# By rule: rows, undecided rows; those that need no decision have none.
BROKEN = {
    "users.email_verified": (2, 0),
    "users.country_code": (1, 0),
    "users.currency_preference": (1, 0),
    "users.theme_preference": (1, 0),
    "users.account_status": (1, 0),
    "users.login_attempt_count": (2, 0),
    "users.created_at": (2, 0),
    "users.updated_at": (1, 0),
    "users_account_status_check": (1, 1),
    "users_currency_preference_check": (1, 1),
    "users_theme_preference_check": (1, 1),
    "users_phone_number_check.readable": (2, 2),
    "users_phone_number_check.unreadable": (1, 1),
    "users_phone_number_check.taken": (1, 1),
    "users_email_unique": (2, 2),
    "devices.is_active": (1, 0),
    "devices.created_at": (1, 0),
    "accounts.currency": (1, 0),
    "accounts.current_balance": (1, 0),
    "accounts_color_check": (1, 1),
    "accounts_type_check": (1, 1),
    "accounts_is_default_unique": (2, 2),
    "categories.is_system": (1, 0),
    "categories.created_at": (1, 0),
    "categories_type_check": (1, 1),
    "transactions.created_at": (2, 0),
    "transactions.updated_at": (1, 0),
    "transactions.currency": (1, 0),
    "transactions.account_id": (2, 2),
    "transactions.amount": (3, 3),
    "transactions.transaction_type": (2, 2),
    "transactions.transaction_date": (2, 2),
    "transactions_currency_check": (1, 1),
    "transactions_transfer_check.transfer": (1, 1),
    "revoked_tokens.created_at": (1, 0),
    "revoked_tokens_type_check": (1, 1),
}


# How the steps end by which decisions are carried out.
DECIDED = (".merged", ".cleared", ".normalised", ".mapped", ".settled", ".quarantined")


def surveyed(url: str, *options: str) -> tuple[int, dict[str, Any]]:
    planned = migrate(url, "adopt", "--plan", "--format=json", *options)
    assert planned.output.startswith("{"), planned.output
    return planned.process.returncode, json.loads(planned.output)


def findings(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {found["rule"]: found for table in document["tables"].values() for found in table["findings"]}


def test_every_row_that_breaks_a_rule_is_told_by_rule_with_counts_and_examples(irregular_url: str) -> None:
    status, document = surveyed(irregular_url)

    found = findings(document)
    assert {rule: (its["rows"], its["undecided"]) for rule, its in found.items()} == BROKEN
    assert found["users_email_unique"]["examples"] == [uid("user", 2), uid("user", 3)]
    assert found["users_phone_number_check.readable"]["examples"] == [uid("user", 4), uid("user", 7)]
    assert found["transactions_transfer_check.transfer"]["examples"] == [uid("early", 1)]
    assert (status, document["needs_decision"]) == (1, True)
    assert set(document["untouched"]) == set(UNTOUCHED)


def test_with_every_decision_given_nothing_is_undecided(irregular_url: str) -> None:
    status, document = surveyed(irregular_url, *DECISIONS)

    assert status == 0
    assert {its["undecided"] for its in findings(document).values()} == {0}


def test_what_happens_is_what_was_planned(irregular_url: str, finished_url: str) -> None:
    _status, document = surveyed(irregular_url, *DECISIONS)

    planned = {
        (change["stage"], f"{table}.{change['name']}")
        for table, its in document["tables"].items()
        for change in its["changes"]
    }
    done = query(
        finished_url,
        "SELECT CASE WHEN r.command = 'adopt' THEN 'adopt' ELSE 'finish' END, a.name FROM migrator_attempts a "
        "JOIN migrator_runs r USING (run_id) WHERE a.app = 'adoption'",
    )
    decided = {name for stage, name in done if stage == "finish" and name.endswith(DECIDED)}
    assert len(decided) == len(DECISIONS)
    assert {(stage, name) for stage, name in done if name not in decided} == planned
    assert len(done) == len(set(done))


def test_a_plan_works_where_nothing_can_be_written_and_changes_nothing(irregular_url: str) -> None:
    before = schema(irregular_url), checksums(irregular_url, columns(irregular_url))

    joint = "&" if "?" in irregular_url else "?"
    planned = migrate(f"{irregular_url}{joint}options=-c%20default_transaction_read_only=on", "adopt", "--plan")

    assert planned.process.returncode == 1
    for line in (
        "users: 9 rows",
        "  adopt   column is_staff added: boolean DEFAULT false NOT NULL",
        "  adopt   index idx_transactions_to_account_id built concurrently: btree (to_account_id)",
        "  adopt   default of current_balance set to 0",
        "  finish  NOT NULL: is_active, created_at",
        "  finish  unique index users_email_unique built concurrently: btree (lower(email::text)) in place of "
        "UNIQUE (email)",
        "To be decided before 'adopt --finish': 18 rules, broken by 26 rows",
    ):
        assert line in planned.output
    assert (schema(irregular_url), checksums(irregular_url, columns(irregular_url))) == before


def test_a_database_without_rows_needs_no_decision(empty_url: str) -> None:
    planned = migrate(empty_url, "adopt", "--plan")

    assert planned.process.returncode == 0, planned.output
    assert "Nothing needs a decision" in planned.output


def test_a_mapping_to_what_the_contract_does_not_have_either_is_refused(irregular_url: str) -> None:
    planned = migrate(irregular_url, "adopt", "--plan", *DECISIONS, "--map=users.account_status:BLOCKED=blocked")

    assert planned.process.returncode == 1
    assert "BLOCKED=blocked breaks users_account_status_check" in planned.output


def test_rows_of_another_system_that_a_moved_transaction_would_take_along_are_named(irregular_url: str) -> None:
    query(irregular_url, "CREATE TABLE receipts (transaction_id uuid REFERENCES transactions ON DELETE CASCADE)")

    planned = migrate(irregular_url, "adopt", "--plan", *DECISIONS)

    assert planned.process.returncode == 1
    assert "would change receipts, whose receipts_transaction_id_fkey follows" in planned.output


def test_people_whose_e_mails_differ_in_case_are_not_merged_where_nobody_or_everybody_proved_it(
    irregular_url: str,
) -> None:
    query(irregular_url, "UPDATE users SET email_verified = true WHERE lower(email) = 'ravi@example.com'")
    query(irregular_url, "INSERT INTO users (email) VALUES ('Zoe@example.com'), ('zoe@example.com')")

    _status, document = surveyed(irregular_url, *DECISIONS)

    assert findings(document)["users_email_unique"]["undecided"] == 4


def test_system_categories_that_are_there_twice_are_for_a_person_to_settle(irregular_url: str) -> None:
    query(
        irregular_url, "INSERT INTO categories (name, category_type, is_system) VALUES ('Groceries', 'expense', true)"
    )

    status, document = surveyed(irregular_url, *DECISIONS)

    assert status == 1
    assert findings(document)["system_categories_twice"]["undecided"] == 2


def test_an_index_and_a_constraint_of_another_name_are_renamed(empty_url: str) -> None:
    query(empty_url, 'ALTER INDEX idx_transactions_date RENAME TO "By date"')
    query(empty_url, "ALTER INDEX idx_transactions_type RENAME TO transactions_by_type")
    query(empty_url, "ALTER TABLE devices RENAME CONSTRAINT devices_user_id_foreign TO devices_user_id_fkey")

    _status, document = surveyed(empty_url)

    told = [change["message"] for table in document["tables"].values() for change in table["changes"]]
    assert "index transactions_by_type renamed to idx_transactions_type" in told
    assert "constraint devices_user_id_fkey renamed to devices_user_id_foreign" in told
    assert "index By date renamed to idx_transactions_date" in told
    assert (document["left_over"], document["obstacles"]) == ([], [])


@pytest.mark.slow
def test_on_a_standby_nothing_is_an_obstacle_for_being_one() -> None:
    with server_root() as root:
        primary = LocalPostgres(root / "data", root / "socket", SETTINGS)
        primary.start()
        try:
            primary.psql(f"CREATE DATABASE original OWNER {OWNER}")
            build(primary.url("original", SUPERUSER), "CREATE PUBLICATION everything FOR ALL TABLES")
            with streaming_replica(primary, root / "standby", root / "standby-socket") as standby:
                planned = migrate(standby.url("original", SUPERUSER), "adopt", "--plan")
        finally:
            primary.stop("immediate")

    assert "Refused" not in planned.output
    assert "It was not tried out" in planned.output
