"""What somebody declares as intended is known from then on, to everybody who looks, until it changes again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import psycopg2
import pytest

from rupaya.migrator.ledger.acceptance import Sorted, accept, sort
from rupaya.migrator.ledger.snapshots import last_snapshot
from rupaya.migrator.schema import catalog
from rupaya.migrator.schema.diff import Difference, differences, hash_now
from tests.faults.migrator import migrate, query
from tests.server.service import PROJECT, manage

REASON = "the report team's own index, until June"
LONG = "x" * 400


def diff(url: str, *arguments: str, against: str = "snapshot") -> tuple[int, str, str]:
    ran = manage(PROJECT, "schemadiff", "--against", against, *arguments, DATABASE_URL=url)
    return ran.returncode, ran.stdout, ran.stderr


def audit(url: str) -> tuple[int, str]:
    ran = manage(PROJECT, "showmigrations", "--audit", "--check", DATABASE_URL=url)
    return ran.returncode, ran.stderr


SIDE = "in the last snapshot"


def _found(connection: psycopg2.extensions.connection) -> Sorted:
    snapshot = last_snapshot(connection)
    assert snapshot is not None
    with connection.cursor() as cursor:
        live = catalog.read(cursor, catalog.listed(snapshot.catalog))
        return sort(cursor, SIDE, differences(snapshot.catalog, live))


def drift(url: str) -> list[str]:
    """What counts as changed by hand, as audit, runs and pages ask it; in this process, for that is quicker."""
    with closing(psycopg2.connect(url)) as connection:
        return [item.compared(SIDE, "in the database") for item in _found(connection).drift]


def accept_all(url: str) -> None:
    with closing(psycopg2.connect(url)) as connection, connection:
        found = _found(connection).drift
        assert accept(connection, SIDE, found, [item.happened() for item in found], reason=REASON, by="a test") > 0


def function(body: str) -> str:
    return f"CREATE OR REPLACE FUNCTION set_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$"


def test_what_is_accepted_is_no_drift_for_audit_diff_and_the_next_run(migrated_url: str) -> None:
    assert migrate(migrated_url, "migrate", "transactions", "0006").process.returncode == 0
    query(migrated_url, "CREATE INDEX reports ON users (name)")
    assert audit(migrated_url)[0] == 1

    code, shown, said = diff(migrated_url, "--accept", REASON)

    assert code == 0
    assert shown.splitlines() == ["index reports on users: in the database, not in the last snapshot"]
    assert re.search(rf"1 difference accepted by \S+ at \S+: {REASON}", said)
    code, shown, said = diff(migrated_url)
    assert (code, shown) == (0, "The database is the same as the last snapshot.\n")
    assert f"{REASON})" in said
    assert audit(migrated_url) == (0, "")
    ran = migrate(migrated_url, MIGRATE_ON_DRIFT="error")
    assert ran.process.returncode == 0, ran.output
    assert "by hand" not in ran.output


def test_it_counts_again_as_soon_as_it_changes_again(migrated_url: str) -> None:
    query(migrated_url, "CREATE INDEX reports ON users (name)")
    accept_all(migrated_url)
    assert drift(migrated_url) == []
    query(migrated_url, "DROP INDEX reports; CREATE INDEX reports ON users (name, email)")

    assert drift(migrated_url) == ["index reports on users: in the database, not in the last snapshot"]


def test_two_long_bodies_that_part_after_what_is_shown_are_two_differences(migrated_url: str) -> None:
    query(migrated_url, function(f"PERFORM '{LONG}a'; RETURN NEW;"))
    accept_all(migrated_url)
    assert drift(migrated_url) == []
    query(migrated_url, function(f"PERFORM '{LONG}b'; RETURN NEW;"))

    assert len(drift(migrated_url)) == 1


def test_a_difference_is_equal_to_another_only_if_the_whole_values_are() -> None:
    def changed(body: str) -> Difference:
        facts = {"kind": "function", "body": "BEGIN END"}
        (found,) = differences({"functions": {"f()": facts}}, {"functions": {"f()": facts | {"body": body}}})
        return found

    one, other = changed(f"BEGIN {LONG}a END"), changed(f"BEGIN {LONG}b END")

    assert (one.old, one.new) == (other.old, other.new)
    assert one != other
    assert one.new_hash != other.new_hash


def test_it_is_accepted_against_the_code_too_and_stays_so_after_the_next_snapshot(migrated_url: str) -> None:
    assert migrate(migrated_url, "migrate", "transactions", "0006").process.returncode == 0
    query(migrated_url, "CREATE INDEX reports ON users (name)")
    assert diff(migrated_url, "--accept", REASON, against="both")[0] == 0
    assert migrate(migrated_url).process.returncode == 0

    code, shown, _said = diff(migrated_url, against="both")

    assert code == 0, shown


def test_machines_are_told_who_accepted_what_and_why(migrated_url: str) -> None:
    query(migrated_url, "CREATE INDEX reports ON users (name)")
    accept_all(migrated_url)

    (comparison,) = json.loads(diff(migrated_url, "--format", "json")[1])

    assert comparison["differences"] == []
    (known,) = comparison["accepted"]
    assert (known["name"], known["reason"]) == ("reports", REASON)


def test_without_a_reason_nothing_is_accepted(migrated_url: str) -> None:
    query(migrated_url, "CREATE INDEX reports ON users (name)")

    ran = manage(PROJECT, "schemadiff", "--accept", " ", DATABASE_URL=migrated_url)

    assert "--accept needs a reason" in ran.stderr
    assert len(drift(migrated_url)) == 1


@pytest.mark.parametrize("sql", ["UPDATE {} SET reason = 'x'", "DELETE FROM {}", "TRUNCATE {}"])
def test_an_acceptance_is_for_good(migrated_url: str, sql: str) -> None:
    with pytest.raises(psycopg2.errors.RestrictViolation, match="append-only"):
        query(migrated_url, sql.format("migrator_accepted_drift"))


@pytest.fixture
def role(migrated_url: str) -> Iterator[str]:
    name = "app_" + urlsplit(migrated_url).path.strip("/")
    query(migrated_url, f"CREATE ROLE {name} LOGIN")
    try:
        yield name
    finally:
        query(migrated_url, f"REASSIGN OWNED BY {name} TO CURRENT_USER; DROP OWNED BY {name}; DROP ROLE {name}")


def test_grants_are_accepted_one_role_at_a_time(migrated_url: str, role: str) -> None:
    query(migrated_url, f"GRANT SELECT ON users TO {role}")
    accept_all(migrated_url)
    query(migrated_url, "GRANT SELECT ON users TO PUBLIC")

    assert drift(migrated_url) == [
        "table users: granted nothing to PUBLIC in the last snapshot, granted SELECT to PUBLIC in the database"
    ]
    query(migrated_url, f"REVOKE SELECT ON users FROM PUBLIC; GRANT DELETE ON users TO {role}")
    assert len(drift(migrated_url)) == 1


def runbook_sql(heading: str) -> str:
    """The SQL of one section of the runbook, without psql's own commands."""
    section = (PROJECT / "docs" / "runbook.md").read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    script = "\n".join(re.findall(r"```sql\n(.*?)```", section, re.DOTALL))
    return re.sub(r"(?m)^\\.*$", "", script)


def test_what_the_runbook_tells_to_grant_is_no_drift(migrated_url: str, role: str) -> None:
    ((owner,),) = query(migrated_url, "SELECT tableowner FROM pg_tables WHERE tablename = 'users'")
    script = re.sub(r"CREATE ROLE rupaya_app[^;]*;", "", runbook_sql("Two database roles"))
    # The suite's own role is a superuser already.
    script = re.sub(
        r"(GRANT (pg_read_all_stats|SET ON)|CREATE EXTENSION)[^;]*;", "", script.replace("rupaya_app", role)
    )
    script = re.sub(r"FOR ROLE rupaya\b", f'FOR ROLE "{owner}"', script)
    query(migrated_url, script)

    code, shown, said = diff(migrated_url)

    assert (code, shown) == (0, "The database is the same as the last snapshot.\n"), said
    assert "left out: as the default privileges of the role that migrates say" in said
    assert audit(migrated_url) == (0, "")


@pytest.mark.parametrize(
    "by_hand",
    [
        "GRANT TRUNCATE ON users TO {role}",
        "GRANT DELETE ON users TO {role} WITH GRANT OPTION",
        "GRANT SELECT ON users TO PUBLIC",
        "REVOKE INSERT ON users FROM {role}",
        "GRANT INSERT ON django_migrations TO {role}",
    ],
)
def test_more_or_less_than_the_rule_is_drift(migrated_url: str, role: str, by_hand: str) -> None:
    for rights, what in (("SELECT, INSERT, UPDATE, DELETE", "TABLES"), ("USAGE", "SEQUENCES")):
        query(migrated_url, f"GRANT {rights} ON ALL {what} IN SCHEMA public TO {role}")
        query(migrated_url, f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT {rights} ON {what} TO {role}")
    query(migrated_url, f"REVOKE INSERT, UPDATE, DELETE ON django_migrations FROM {role}")
    assert drift(migrated_url) == []

    query(migrated_url, by_hand.format(role=role))

    assert len(drift(migrated_url)) == 1


def test_the_owner_that_migrations_run_as_is_no_drift_and_any_other_is(migrated_url: str, role: str) -> None:
    query(migrated_url, f"ALTER TABLE users OWNER TO {role}")
    assert len(drift(migrated_url)) > 0
    query(migrated_url, f"ALTER TABLE django_migrations OWNER TO {role}")

    shown = drift(migrated_url)

    assert not [line for line in shown if line.startswith(("table users: owner", "table django_mig"))]


def test_the_places_of_columns_do_not_change_an_acceptance() -> None:
    def made(position: int) -> str:
        table = {"kind": "table", "columns": {"a": {"position": position, "type": "integer"}}}
        (found,) = differences({}, {"relations": {"t": table}})
        return found.new_hash

    assert made(1) == made(2)
    assert catalog.without_positions({"position": 1}) == {}


def test_an_older_ledger_is_brought_up_to_date_first(migrated_url: str) -> None:
    query(
        migrated_url,
        "DROP TABLE migrator_accepted_drift, migrator_progress, migrator_use_baselines, migrator_paid_in_use; "
        "DELETE FROM migrator_versions WHERE version = 7",
    )
    query(migrated_url, "CREATE INDEX reports ON users (name)")
    assert len(drift(migrated_url)) == 1

    assert diff(migrated_url, "--accept", REASON)[0] == 0

    assert drift(migrated_url) == []


BY_HAND = (
    "CREATE INDEX reports ON users (name); ALTER TABLE devices ADD COLUMN by_hand text; "
    "ALTER TABLE devices ALTER COLUMN device_name SET DEFAULT 'a phone', ALTER COLUMN device_type TYPE text; "
    "ALTER TABLE users ADD CONSTRAINT sane CHECK (name <> '') NOT VALID; DROP TABLE revoked_tokens; "
    "ALTER FUNCTION set_updated_at() STRICT; GRANT SELECT ON users TO PUBLIC; CREATE SEQUENCE counting; "
    "DROP TRIGGER users_set_updated_at ON users; ALTER TABLE users ENABLE ROW LEVEL SECURITY"
)


@pytest.mark.parametrize("portable", [False, True])
def test_what_a_difference_was_about_is_found_again_and_known_by_its_hash(migrated_url: str, portable: bool) -> None:
    query(migrated_url, BY_HAND)
    with closing(psycopg2.connect(migrated_url)) as connection, connection.cursor() as cursor:
        snapshot = last_snapshot(connection)
        assert snapshot is not None
        live = catalog.read(cursor)

    found = differences(snapshot.catalog, live, portable=portable)

    assert len(found) >= 9
    for one in found:
        about = (one.kind, one.on, one.name, one.fact, one.role)
        assert hash_now(live, about, portable=portable) == one.new_hash, one
        assert hash_now(snapshot.catalog, about, portable=portable) == one.old_hash, one
