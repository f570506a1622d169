"""Functions, procedures and types that own SQL drops: what calls or names them, among statements and functions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from rupaya.localdb import LocalPostgres
from rupaya.migrator.foresight.delta import presumed, read_facts
from rupaya.migrator.foresight.probe import UNKNOWN, USES, USES_NOT
from rupaya.migrator.foresight.routines import Callers, Routine, RoutineProbe, Type, TypeProbe
from tests.faults.migrator import query
from tests.migrator.foresight.statistics_server import statistics_server
from tests.migrator.foresight.test_migrate import release
from tests.migrator.foresight.test_use import counting_database, send
from tests.migrator.releases import CREATE, Release, migration

Connection = psycopg2.extensions.connection

MADE = """
    CREATE TYPE mood AS ENUM ('sad', 'happy');
    CREATE TABLE people (id integer PRIMARY KEY, mood text, total_of integer);
    CREATE FUNCTION total_of(person integer) RETURNS integer LANGUAGE plpgsql STABLE AS 'BEGIN RETURN person; END';
    CREATE FUNCTION total_of(name text) RETURNS integer LANGUAGE sql STABLE AS 'SELECT 1';
    CREATE FUNCTION inlined(n integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT n + 1';
    CREATE PROCEDURE tidy(n integer) LANGUAGE plpgsql AS 'BEGIN NULL; END';
    CREATE FUNCTION old_touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE SCHEMA "Other"; CREATE FUNCTION "Other"."Sum_Of"(n integer) RETURNS integer LANGUAGE sql AS 'SELECT n'
"""
TOTAL = Routine("total_of(integer)")
STATEMENTS: dict[str, dict[str, str]] = {
    "total_of(integer)": {
        "SELECT total_of(id) FROM people": USES,
        "SELECT id FROM people WHERE public.total_of(id) > 3": USES,
        "SELECT id FROM people ORDER BY total_of(4)": UNKNOWN,
        "INSERT INTO people (id, total_of) VALUES (9, 1)": USES_NOT,
        "INSERT INTO people (id, total_of) SELECT 9, total_of(1)": UNKNOWN,
        "SELECT total_of FROM people": USES_NOT,
        "SELECT total_of('a name') FROM people": UNKNOWN,
        "SELECT total_of(mood) FROM people": USES_NOT,
        "UPDATE people SET total_of = total_of(id)": USES,
        "DELETE FROM people WHERE total_of(id) = 3": USES,
        "SELECT count(*) FROM people": USES_NOT,
        "COPY (SELECT total_of(id) FROM people) TO STDOUT": USES,
        "DO $$ DECLARE n integer := total_of(3); BEGIN NULL; END $$": UNKNOWN,
        "DO $$ DECLARE n integer := 3; BEGIN NULL; END $$": USES_NOT,
        "ALTER FUNCTION total_of(integer) COST 5": USES_NOT,
    },
    "inlined(integer)": {
        "SELECT id FROM people WHERE inlined(id) = 3 AND id > 4": USES,
        "SELECT inlined(id) FROM people": USES,
        "SELECT inlined(3)": USES,
        "SELECT 3": USES_NOT,
    },
    "tidy(integer)": {"CALL tidy(3)": USES, "CALL public.tidy(3)": USES, "SELECT 'tidy'": USES_NOT},
    '"Other"."Sum_Of"(integer)': {'SELECT "Other"."Sum_Of"(4)': USES, "SELECT 4": USES_NOT},
}
OF_TYPE = {
    "SELECT 'sad'::mood": UNKNOWN,
    "SELECT CAST(mood AS mood) FROM people": UNKNOWN,
    "SELECT '{sad}'::public.mood[]": UNKNOWN,
    "SELECT mood 'happy'": UNKNOWN,
    "SELECT mood, id FROM people WHERE mood = 'sad'": USES_NOT,
    "UPDATE people SET mood = 'sad'": USES_NOT,
    "DO $$ DECLARE m mood; BEGIN NULL; END $$": UNKNOWN,
    "CREATE TEMP TABLE moods (m mood)": UNKNOWN,
}


@pytest.fixture(scope="module")
def server() -> Iterator[LocalPostgres]:
    with statistics_server(MADE) as started:
        started.psql("CREATE ROLE nightly LOGIN", database="rupaya")
        yield started


@pytest.fixture
def connection(server: LocalPostgres) -> Iterator[Connection]:
    with closing(psycopg2.connect(server.url())) as made:
        made.autocommit = True
        yield made


@pytest.mark.parametrize("signature", STATEMENTS)
def test_each_call_is_resolved_as_the_server_does(
    server: LocalPostgres, connection: Connection, signature: str
) -> None:
    answers = {sql: worst(connection, Routine(signature), as_counted(server, sql)) for sql in STATEMENTS[signature]}

    assert answers == STATEMENTS[signature]


def test_a_superuser_asks_as_a_role_without_rights(server: LocalPostgres) -> None:
    """What belongs to another role is not sent by a superuser, for planning may execute it."""
    server.psql("CREATE FUNCTION half_of(n integer) RETURNS integer LANGUAGE sql AS 'SELECT n / 2'", database="rupaya")
    with closing(psycopg2.connect(server.url(user="postgres"))) as connection:
        connection.autocommit = True
        calls = {"SELECT half_of(id) FROM people": USES, "SELECT id FROM people": USES_NOT}
        assert {sql: worst(connection, Routine("half_of(integer)"), [sql]) for sql in calls} == calls
        assert worst(connection, TOTAL, ["SELECT total_of(id) FROM people"]) == UNKNOWN


def worst(connection: Connection, routine: Routine, statements: list[str]) -> str:
    """What the statements are to a function, where those inside of them are counted as well."""
    probe = RoutineProbe(connection, routine)
    with probe.rights_taken_away() as why:
        assert why == ""
        answers = {probe.ask(statement, has_inner=True)[0] for statement in statements}
    return next(answer for answer in (USES, UNKNOWN, USES_NOT) if answer in answers)


def as_counted(server: LocalPostgres, sql: str) -> list[str]:
    """A statement's text as the server keeps it."""
    server.psql("SELECT pg_stat_statements_reset()", database="rupaya")
    send(server.url(), sql)
    return [text for (text,) in query(server.url(), "SELECT query FROM pg_stat_statements WHERE query !~ '_reset'")]


def test_a_statement_that_names_the_type_may_use_it(server: LocalPostgres, connection: Connection) -> None:
    counted = [(sql, text) for sql in OF_TYPE for text in as_counted(server, sql)]
    probe = TypeProbe(connection, Type("mood"))
    with probe.rights_taken_away() as why:
        assert why == ""
        answers = {sql: probe.ask(text, has_inner=True)[0] for sql, text in counted if text != "BEGIN"}
    assert answers == OF_TYPE


BODIES = {
    "n := total_of(3);": ["function caller()"],
    "n := total_of;": [],
    "EXECUTE 'SELECT ' || what;": [],
}


@pytest.mark.parametrize("body", BODIES)
def test_a_function_that_calls_it_is_a_use(server: LocalPostgres, connection: Connection, body: str) -> None:
    declared = "DECLARE n integer; what text; total_of integer"
    query(
        server.url(),
        f"CREATE FUNCTION caller() RETURNS void LANGUAGE plpgsql AS $$ {declared}; BEGIN {body} END $$",
    )
    try:
        callers = Callers(connection, TOTAL, frozenset())
        going = Callers(connection, TOTAL, frozenset({"caller()"}))
    finally:
        query(server.url(), "DROP FUNCTION caller()")

    assert callers.uses == BODIES[body]
    assert callers.doubtful == (["function caller() executes texts of its own making"] if "EXECUTE" in body else [])
    assert (going.uses, going.doubtful) == ([], []), "it goes with it"


OF_TYPE_IN_BODIES = {
    "BEGIN PERFORM 'sad'::mood; END": (["function caller()"], []),
    "DECLARE m mood; BEGIN NULL; END": ([], ["function caller() has the word mood, and may declare it"]),
    "BEGIN PERFORM 1; END": ([], []),
}


@pytest.mark.parametrize("body", OF_TYPE_IN_BODIES)
def test_a_function_that_has_the_type_may_use_it(server: LocalPostgres, connection: Connection, body: str) -> None:
    query(server.url(), f"CREATE FUNCTION caller() RETURNS void LANGUAGE plpgsql AS $$ {body} $$")
    try:
        callers = Callers(connection, Type("mood"), frozenset())
        assert (callers.uses, callers.unseen) == OF_TYPE_IN_BODIES[body]
    finally:
        query(server.url(), "DROP FUNCTION caller()")


def test_what_goes_is_read_off_the_catalog(server: LocalPostgres) -> None:
    with closing(psycopg2.connect(server.url())) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE FUNCTION again() RETURNS integer LANGUAGE sql AS 'SELECT 1'")
        before = read_facts(cursor)
        cursor.execute(
            "DROP FUNCTION total_of(integer); DROP PROCEDURE tidy; DROP TYPE mood; DROP FUNCTION old_touch; "
            "CREATE OR REPLACE FUNCTION again() RETURNS integer LANGUAGE sql AS 'SELECT 2'"
        )
        found = presumed(before, read_facts(cursor), [], file_hash="", writes=[])
        connection.rollback()

    assert (found.removed_routines, found.removed_types) == (["tidy(integer)", "total_of(integer)"], ["mood"])


@pytest.mark.slow
def test_own_sql_that_drops_a_function_and_a_type_is_asked_about_them(server: LocalPostgres, tmp_path: Path) -> None:
    made = {
        "0001_initial": migration(
            CREATE + "migrations.RunSQL('CREATE FUNCTION double_of(n integer) RETURNS integer LANGUAGE sql AS "
            "$$ SELECT 2 * n $$; CREATE TYPE colours AS ENUM ($$red$$)', migrations.RunSQL.noop)"
        )
    }
    dropping = {
        "0002_sql": migration(
            "migrations.RunSQL('DROP FUNCTION double_of; DROP TYPE colours', migrations.RunSQL.noop)",
            "0001_initial",
            'phase = "contract"',
        )
    }
    a_night = "UPDATE migrator_use_baselines SET taken_at = taken_at - interval '26 hours'"
    with counting_database(server) as url:
        assert Release(tmp_path, "v1", made).run(url).returncode == 0
        v2 = release(tmp_path, url, "v2", made | dropping)
        assert v2.run(url).returncode == 0
        nightly = url.replace("//rupaya@", "//nightly@")

        answers = []
        for sent in ("SELECT double_of(4)", "SELECT 'red'::colours", "SELECT 4"):
            send(nightly, sent)
            query(url, a_night)
            answers.append(v2.run(url, "migrate", "--contract", MIGRATE_ON_USE="refuse"))

        assert [answer.returncode for answer in answers] == [14, 14, 0], [answer.stderr for answer in answers]
        assert "function double_of(integer): nightly, 1 call since " in answers[0].stderr
        assert "type colours: SELECT $1::colours of nightly may use it (it names the type)" in answers[1].stderr
        assert query(url, "SELECT state FROM migrator_debts") == [("paid",)]
