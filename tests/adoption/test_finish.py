"""After `adopt --finish` the contract's rules hold, and no row and no value is lost on the way."""

from __future__ import annotations

from uuid import UUID

import pytest

from rupaya.adoption.original import ADOPTED
from tests.adoption.original import DECISIONS, HASH_2A, Rows, build, checksums, columns, regular, rows, schema, uid
from tests.adoption.test_adopt import schema_of_others, sign_in
from tests.faults.migrator import migrate, query

ROWS = 6000  # more than a batch
MOVED = {("users", uid("user", 3))} | {
    ("transactions", uid(kind, number)) for kind, number in (("bare", 1), ("bare", 2), ("early", 1), ("early", 2))
}


def finished(url: str, *options: str) -> str:
    run = migrate(url, "adopt", "--finish", *options)
    assert run.process.returncode == 0, run.output
    return run.output


def assert_nothing_differs(url: str) -> None:
    """From what the migrations build, and nothing is left to migrate."""
    compared = migrate(url, "schemadiff")
    assert compared.process.returncode == 0, compared.output
    assert_nothing_is_left_to_migrate(url)
    compared = migrate(url, "schemadiff")
    assert compared.process.returncode == 0, compared.output
    assert query(url, "SELECT count(*) FROM migrator_runs WHERE finished_at IS NULL") == [(0,)]


def assert_nothing_is_left_to_migrate(url: str) -> None:
    """But migrations that are newer than the adopted ones."""
    newer = migrate(url)
    assert newer.process.returncode == 0, newer.output
    assert not [f"{app}.{name}" for app, name in ADOPTED if f"✓ {app}.{name} " in newer.output]
    assert "Nothing to migrate" in migrate(url).output


def assert_nothing_is_lost(before: Rows, url: str) -> None:
    """Each row is there with its values, or kept as it was; what was null may have been filled."""
    after = rows(url)
    kept = {
        (table, row_key): original
        for table, row_key, original in query(
            url, "SELECT table_name, row_key, original FROM adoption_quarantine ORDER BY quarantine_id DESC"
        )
    }
    for table, its_rows in before.items():
        for row_key, row in its_rows.items():
            if original := kept.get((table, row_key)):
                assert {name: original[name] for name in row} == row
            else:
                now = after[table][row_key]
                assert {name: now[name] for name, value in row.items() if value is not None} == {
                    name: value for name, value in row.items() if value is not None
                }
    gone = {(table, row_key) for table in before for row_key in before[table].keys() - after[table].keys()}
    moved = query(url, "SELECT table_name, row_key FROM adoption_quarantine WHERE kept = 'moved'")
    assert gone == set(moved)


def test_what_is_not_decided_refuses_before_anything_changes(adopted_url: str) -> None:
    for left_out in ("--normalise-phones", DECISIONS[-1]):
        before = schema(adopted_url), checksums(adopted_url, columns(adopted_url))

        run = migrate(adopted_url, "adopt", "--finish", *(option for option in DECISIONS if option != left_out))

        assert run.process.returncode == 14, run.output
        assert left_out.partition(":")[0] in run.output
        assert "nothing was changed" in run.output
        assert (schema(adopted_url), checksums(adopted_url, columns(adopted_url))) == before
    assert query(
        adopted_url, "SELECT DISTINCT outcome, exit_code FROM migrator_runs WHERE command LIKE '%%finish%%'"
    ) == [("failed", 14)]


def test_every_row_is_there_or_kept_as_it_was_and_nothing_differs_from_the_contract(
    adopted_url: str, finished_copy_url: str
) -> None:
    before = rows(adopted_url)
    untouched = {table: names for table, names in columns(adopted_url).items() if table not in before}
    sums, others = checksums(adopted_url, untouched), schema_of_others(adopted_url)
    url = finished_copy_url

    assert_nothing_differs(url)
    assert_nothing_is_lost(before, url)
    assert set(query(url, "SELECT table_name, row_key FROM adoption_quarantine WHERE kept = 'moved'")) == MOVED
    assert (checksums(url, untouched), schema_of_others(url)) == (sums, others)
    assert sign_in(url) == ["True", "False"]
    ((command,),) = query(url, "SELECT command FROM migrator_runs WHERE command LIKE 'adopt --finish%%'")
    assert command == f"adopt --finish {' '.join(DECISIONS)}"


def test_each_decision_does_what_it_says(finished_url: str) -> None:
    def one(sql: str, row_key: str) -> tuple[object, ...]:
        (row,) = query(finished_url, sql, row_key)
        return row

    phone = "SELECT phone_number FROM users WHERE user_id = %s"
    assert one(phone, uid("user", 4)) == ("+919876543211",)
    assert one(phone, uid("user", 7)) == ("+14155552671",)
    assert one(phone, uid("user", 5)) == one(phone, uid("user", 6)) == (None,)
    assert one(
        "SELECT account_status, theme_preference, currency_preference FROM users WHERE user_id = %s", uid("user", 7)
    ) == ("suspended", "system", "INR")
    owner = "SELECT user_id::text, is_default FROM accounts WHERE account_id = %s"
    assert one(owner, uid("account", 3)) == (uid("user", 2), True)
    assert one(owner, uid("account", 4)) == (uid("user", 2), False)
    assert one(owner, uid("account", 1)) == (uid("user", 1), True)
    assert one(owner, uid("account", 2)) == (uid("user", 1), False)
    assert one("SELECT user_id::text FROM transactions WHERE transaction_id = %s", uid("fine", 3)) == (uid("user", 2),)
    assert one("SELECT password_hash FROM users WHERE user_id = %s", uid("user", 2)) == (HASH_2A,)
    assert query(finished_url, "SELECT tags FROM transactions WHERE transaction_id = %s", uid("fine", 1)) == [
        (["food", 'a "quoted" tag'],)
    ]


def test_rows_that_were_mended_keep_the_time_of_their_last_change(adopted_url: str, finished_url: str) -> None:
    changed = "SELECT user_id, updated_at FROM users WHERE updated_at IS NOT NULL ORDER BY 1"

    before, after = dict(query(adopted_url, changed)), dict(query(finished_url, changed))

    assert {user: at for user, at in after.items() if before.get(user) not in (None, at)} == {}
    assert after.keys() > before.keys() - {UUID(uid("user", 3))}
    query(adopted_url, "UPDATE users SET name = 'changed otherwise' WHERE user_id = %s", uid("user", 1))
    assert dict(query(adopted_url, changed)) != before


@pytest.mark.slow
def test_a_database_without_rows_is_adopted_and_finished_by_its_owner_alone(empty_url: str, owner_url: str) -> None:
    for url, options in ((empty_url, ()), (owner_url, DECISIONS)):
        assert migrate(url, "adopt").process.returncode == 0
        finished(url, *options)
    assert_nothing_differs(empty_url)
    compared = migrate(owner_url, "schemadiff")
    assert compared.process.returncode == 0, compared.output
    assert query(owner_url, "SELECT count(*) FROM pg_roles WHERE rolname = current_user AND rolcreatedb") == [(0,)]


@pytest.mark.slow
def test_tables_and_columns_that_somebody_dropped_are_made_anew(irregular_url: str) -> None:
    query(irregular_url, "DROP TABLE revoked_tokens")
    query(irregular_url, "ALTER TABLE categories DROP COLUMN updated_at, DROP COLUMN is_deleted, DROP COLUMN color")
    query(irregular_url, "ALTER TABLE users DROP COLUMN phone_number")
    query(irregular_url, "ALTER TABLE accounts DROP CONSTRAINT accounts_pkey CASCADE")
    before = rows(irregular_url, ("users", "categories", "transactions"))

    assert migrate(irregular_url, "adopt").process.returncode == 0
    after = rows(irregular_url, ("users", "categories", "transactions"))
    for table, its_rows in before.items():
        for row_key, row in its_rows.items():
            assert {name: after[table][row_key][name] for name in row} == row
    finished(irregular_url, *(option for option in DECISIONS if "revoked" not in option and "phone" not in option))

    assert_nothing_differs(irregular_url)


def test_it_is_finished_although_knex_tables_are_gone(adopted_url: str) -> None:
    query(adopted_url, "DROP TABLE knex_migrations, knex_migrations_lock")

    planned = migrate(adopted_url, "adopt", "--plan", *DECISIONS)
    assert planned.process.returncode == 0, planned.output
    assert "Knex's tables are gone since" in planned.output
    finished(adopted_url, *DECISIONS)
    assert "Nothing to do: the adoption was finished" in finished(adopted_url)


def test_finishing_comes_after_adopting_and_once(irregular_url: str, finished_url: str) -> None:
    before = migrate(irregular_url, "adopt", "--finish", *DECISIONS)
    assert before.process.returncode == 14
    assert "not adopted yet" in before.output

    assert "Nothing to do: the adoption was finished" in finished(finished_url)
    assert "State: finished" in migrate(finished_url, "adopt", "--plan").output


def test_a_person_whose_rows_are_elsewhere_too_is_not_merged(adopted_url: str) -> None:
    query(adopted_url, "INSERT INTO auth_group (name) VALUES ('staff')")
    query(
        adopted_url, "INSERT INTO users_groups (user_id, group_id) SELECT %s::uuid, id FROM auth_group", uid("user", 3)
    )

    run = migrate(adopted_url, "adopt", "--finish", *DECISIONS)

    assert run.process.returncode == 14
    assert "e-mails that differ in case alone" in run.output


def test_nulls_are_filled_in_batches_and_no_other_value_changes(database_url: str) -> None:
    build(database_url, regular(ROWS))
    its_columns = columns(database_url)
    its_columns["transactions"].remove("updated_at")
    before = checksums(database_url, its_columns)

    assert migrate(database_url, "adopt").process.returncode == 0
    finished(database_url)

    del its_columns["categories"], before["categories"]
    assert checksums(database_url, its_columns) == before
    assert query(
        database_url,
        "SELECT count(*) FILTER (WHERE updated_at = created_at), count(*) FILTER (WHERE updated_at = '2024-01-02Z') "
        "FROM transactions",
    ) == [(ROWS // 20, ROWS - ROWS // 20)]
