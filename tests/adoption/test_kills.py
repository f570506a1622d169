"""An adoption that is killed at each of its steps goes on from there, and ends as if nobody had killed it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
import pytest

from tests.adoption.original import DECISIONS, checksums, columns, rows, schema, uid
from tests.adoption.test_finish import assert_nothing_is_left_to_migrate, assert_nothing_is_lost
from tests.faults.migrator import Migrator, invalid_indexes, migrate, query, wait_for

# pg_stat_activity cuts what is longer than track_activity_query_size; and a default may be the time of day.
SHOWN = "regexp_replace(left({}, 1000), '[0-9]+', '', 'g')"
# Of all statements of DDL every so-manieth, chosen by its text. With 1, every one's turn comes.
SAMPLE = int(os.environ.get("ADOPTION_KILL_SAMPLE", "40"))
GATE = f"""
CREATE SCHEMA gate;
CREATE TABLE gate.passed (statement text);
CREATE FUNCTION gate.look() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE shown text := {SHOWN.format("current_query()")};
BEGIN
    -- In a trial, whose names are others each time, a kill leaves nothing to go on from.
    IF current_setting('application_name') LIKE 'migrate%' AND current_schema() = 'public'
        AND shown NOT LIKE 'CREATE SCHEMA trial%' AND abs(hashtext(shown)) % {SAMPLE} = 0
        AND NOT EXISTS (SELECT FROM gate.passed WHERE statement = shown)
    THEN
        PERFORM pg_sleep(600);
    END IF;
END $$;
CREATE EVENT TRIGGER gate ON ddl_command_end EXECUTE FUNCTION gate.look();
"""
HELD = f"""
    SELECT {SHOWN.format("query")} FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event = 'PgSleep' AND application_name LIKE 'migrate%'
"""


def killed_until_it_gets_through(url: str, *arguments: str) -> list[str]:
    """Run a command again and again, killed once at each statement; returns these."""
    query(url, GATE)
    killed_at: list[str] = []
    while True:
        with started(url, *arguments) as run:
            wait_for(lambda run=run: run.process.poll() is not None or query(url, HELD), "the gate, or the end")
            if not (held := query(url, HELD)):
                status = run.end()
                assert status == 0, run.output
                query(url, "DROP EVENT TRIGGER gate; DROP SCHEMA gate CASCADE")
                return killed_at
            run.kill()
        wait_for(lambda: not query(url, HELD), "the server to notice the death")
        ((statement,),) = held
        assert statement not in killed_at
        query(url, "INSERT INTO gate.passed VALUES (%s)", statement)
        killed_at.append(statement)


@contextmanager
def started(url: str, *arguments: str, **variables: str) -> Iterator[Migrator]:
    """`adopt --finish`, or another command, that does not outlive the block."""
    run = Migrator(url, *(arguments or ("adopt", "--finish", *DECISIONS)), **variables)
    try:
        yield run
    finally:
        if run.process.poll() is None:
            run.kill()
        run.end()


def is_waiting(url: str) -> bool:
    return bool(
        query(
            url,
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' "
            "AND query LIKE '%%DELETE FROM transactions%%' AND pid <> pg_backend_pid()",
        )
    )


def is_held(url: str) -> bool:
    return bool(
        query(
            url,
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep' "
            "AND application_name LIKE 'migrate%%'",
        )
    )


@pytest.mark.slow
def test_killed_at_each_step_it_goes_on_and_ends_as_if_nobody_had(
    irregular_url: str, adopted_url: str, finished_url: str
) -> None:
    before, sums = rows(irregular_url), checksums(irregular_url, columns(irregular_url))

    killed_at = killed_until_it_gets_through(irregular_url, "adopt")

    assert len(killed_at) >= max(1, 60 // SAMPLE), killed_at
    assert schema(irregular_url) == schema(adopted_url)
    assert checksums(irregular_url, {"users": columns(irregular_url)["users"][:-2]})["users"] == sums["users"]

    killed_at = killed_until_it_gets_through(irregular_url, "adopt", "--finish", *DECISIONS)

    assert len(killed_at) >= max(1, 60 // SAMPLE), killed_at
    assert schema(irregular_url) == schema(finished_url)
    assert invalid_indexes(irregular_url) == []
    assert_nothing_is_lost(before, irregular_url)
    assert_nothing_is_left_to_migrate(irregular_url)


def test_killed_while_an_index_is_built_concurrently_it_leaves_no_invalid_one(irregular_url: str) -> None:
    writer = psycopg2.connect(irregular_url)
    with writer.cursor() as cursor:
        cursor.execute("UPDATE transactions SET notes = 'the build waits for the end of this'")
        with started(irregular_url, "adopt") as run:
            wait_for(lambda: invalid_indexes(irregular_url), "an unfinished index")
            run.kill()
    writer.close()

    assert migrate(irregular_url, "adopt").process.returncode == 0

    assert invalid_indexes(irregular_url) == []
    assert query(irregular_url, "SELECT relname::text FROM pg_class WHERE relname LIKE '%%adopting%%'") == []


def test_killed_while_rows_are_moved_no_row_is_there_twice_or_not_at_all(adopted_url: str) -> None:
    before = rows(adopted_url)
    blocker = psycopg2.connect(adopted_url)
    with blocker.cursor() as cursor:
        cursor.execute("SELECT * FROM transactions WHERE transaction_id = %s FOR UPDATE", [uid("early", 2)])
        with started(adopted_url, MIGRATE_LOCK_TIMEOUT_MS="4900") as run:
            wait_for(lambda: is_waiting(adopted_url), "the batch")
            run.kill()
    blocker.close()

    assert migrate(adopted_url, "adopt", "--finish", *DECISIONS).process.returncode == 0

    assert_nothing_is_lost(before, adopted_url)
    assert query(adopted_url, "SELECT count(*) FROM adoption_quarantine WHERE kept = 'moved'") == [(5,)]
    assert query(adopted_url, "SELECT outcome FROM migrator_runs WHERE command LIKE '%%finish%%' ORDER BY run_id") == [
        ("interrupted",),
        ("succeeded",),
    ]


@pytest.mark.slow
def test_killed_after_each_decision_before_it_is_recorded_it_carries_none_out_twice(
    adopted_url: str, finished_url: str
) -> None:
    steps = "'users.merged', 'users.phone_number.normalised', 'accounts.is_default.settled', 'transactions.quarantined'"
    query(
        adopted_url,
        f"""
        CREATE SCHEMA gate;
        CREATE TABLE gate.passed (name text);
        CREATE FUNCTION gate.look() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
            IF NEW.outcome = 'succeeded' AND NEW.name IN ({steps})
                AND NOT EXISTS (SELECT FROM gate.passed p WHERE p.name = NEW.name)
            THEN
                PERFORM pg_sleep(600);
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER gate BEFORE UPDATE ON migrator_attempts FOR EACH ROW EXECUTE FUNCTION gate.look();
        """,
    )
    before = rows(adopted_url)
    for name in steps.replace("'", "").split(", "):
        with started(adopted_url) as run:
            wait_for(lambda: is_held(adopted_url), f"{name} to be done")
            run.kill()
        wait_for(lambda: not is_held(adopted_url), "the server to notice the death")
        query(adopted_url, "INSERT INTO gate.passed VALUES (%s)", name)

    assert migrate(adopted_url, "adopt", "--finish", *DECISIONS).process.returncode == 0

    assert_nothing_is_lost(before, adopted_url)
    kept = "SELECT table_name, row_key, kept, count(*) FROM adoption_quarantine GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    assert query(adopted_url, kept) == query(finished_url, kept)


def test_terminated_it_says_so_and_leaves_with_143(adopted_url: str) -> None:
    blocker = psycopg2.connect(adopted_url)
    with blocker.cursor() as cursor:
        cursor.execute("LOCK TABLE users IN ACCESS SHARE MODE")
        with started(adopted_url) as run:
            wait_for(lambda: run.says("Try 2 of"), "a try that met the lock")
            run.kill(signal.SIGTERM)
            status = run.end(timeout_s=10)
    blocker.close()

    assert status == 143, run.output
    assert "held by backend pid" in run.output
