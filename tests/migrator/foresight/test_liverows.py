"""What SQL presumes of rows is read off the catalog, asked of live rows, and true: each case is then carried out."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import ExitStack

import psycopg2
import pytest
from django.db.backends.postgresql.base import DatabaseWrapper

from rupaya.migrator.foresight.delta import cannot_fail, presumed, read_facts
from rupaya.migrator.foresight.look import RowFinding, look
from rupaya.migrator.foresight.presumed import KnownPresumptions
from rupaya.migrator.foresight.presumption import KINDS, Presumed
from tests.conftest import new_database
from tests.faults.migrator import query
from tests.migrator.foresight.connected import connected
from tests.migrator.foresight.statistics_server import statistics_server

TABLES = """
    CREATE TABLE parents (id integer PRIMARY KEY, code text, UNIQUE (id, code));
    CREATE TABLE items (
        id integer PRIMARY KEY, name varchar(20), amount integer, price numeric(12, 2), text text, day text,
        parent_id integer, parent_code text, at timestamptz, "Odd ""name" text, tags text[], big bigint
    );
    CREATE TABLE keyless (word text);
    CREATE TABLE long (id integer PRIMARY KEY, n integer, value text, repeated text);
    CREATE TABLE pairs (a integer, b text, value text, PRIMARY KEY (a, b));
    CREATE DOMAIN short AS varchar(3);
    CREATE DOMAIN even AS integer CHECK (VALUE % 2 = 0);
    CREATE TABLE lessened (a integer, b integer CHECK (b > 0));
    ALTER TABLE lessened DROP a;
    CREATE DOMAIN code AS text;
    CREATE TYPE mood AS ENUM ('ok', 'sad');
    CREATE TABLE kinds (id integer PRIMARY KEY, words text[], bits bit varying(8), n integer, d integer, doc json,
                        day date, mood text, code text, a integer, b text,
                        "own Code" code);
    CREATE TABLE log (id integer, at date) PARTITION BY RANGE (at);
    CREATE TABLE log_rest PARTITION OF log DEFAULT;
    CREATE TABLE log_old (id integer PRIMARY KEY, at date NOT NULL);
    CREATE TABLE hashed (id integer, at date) PARTITION BY HASH (id);
"""
LATER = "ALTER TABLE items ADD CONSTRAINT later CHECK (amount < 900) NOT VALID"
ROWS = """
    INSERT INTO parents VALUES (1, 'a'), (2, 'b');
    INSERT INTO items SELECT n, 'name ' || n, n, n, n::text, '2026-01-01', 1 + n % 2, 'a', now(), 'odd', '{x}', n
        FROM generate_series(1, 1000) n;
    UPDATE items SET name = NULL WHERE id IN (7, 9);
    UPDATE items SET name = 'twice' WHERE id IN (11, 12);
    UPDATE items SET text = 'abc' WHERE id = 700;
    UPDATE items SET day = '2026-02-30' WHERE id = 500;
    UPDATE items SET parent_id = 99 WHERE id = 13;
    UPDATE items SET parent_code = NULL WHERE id = 14;
    UPDATE items SET "Odd ""name" = NULL WHERE id = 3;
    UPDATE items SET tags = '{}' WHERE id = 5;
    UPDATE items SET big = 5000000000 WHERE id = 600;
    INSERT INTO long SELECT n, n, 'short', repeat('a', 20000) FROM generate_series(1, 5) n;
    UPDATE long SET value = (SELECT string_agg(md5(x::text), '') FROM generate_series(1, 200) x) WHERE id = 3;
    UPDATE long SET value = (SELECT string_agg(md5(x::text), '') FROM generate_series(1, 60) x) WHERE id = 4;
    INSERT INTO keyless VALUES ('a'), ('a'), (NULL), ('b');
    INSERT INTO pairs VALUES (1, 'x', 'y'), (1, 'z', NULL);
    INSERT INTO kinds SELECT n, '{a,bcd}', B'101', n, 1, '{"a": 1}', '2026-01-01', 'ok', 'abc', 1, 'a', 'AB'
        FROM generate_series(1, 300) n;
    UPDATE kinds SET words = '{a,bcde}', bits = B'1011', d = 0 WHERE id = 250;
    UPDATE kinds SET doc = '{"a": "\\u0000"}', day = '300000-01-01', mood = 'bad', code = 'abcd' WHERE id = 251;
    UPDATE kinds SET a = NULL, "own Code" = 'ab' WHERE id = 252;
    UPDATE kinds SET "own Code" = NULL WHERE id = 253;
    INSERT INTO log VALUES (1, '2026-05-05'), (2, '2027-05-05');
    INSERT INTO log_old VALUES (1, '2025-01-01'), (2, '2024-12-31');
"""
# SQL, and the rows that it fails for: None where it does not; the keys that are told otherwise.
CASES: dict[str, tuple[str, list[str] | None]] = {
    "not null": ("ALTER TABLE items ALTER name SET NOT NULL", ["7", "9"]),
    "not null, fine": ("ALTER TABLE items ALTER amount SET NOT NULL", None),
    "not null, odd name": ('ALTER TABLE items ALTER "Odd ""name" SET NOT NULL', ["3"]),
    "not null of a key of two": ("ALTER TABLE pairs ALTER value SET NOT NULL", ["(1, z)"]),
    "not null without a key": ("ALTER TABLE keyless ALTER word SET NOT NULL", ["at (0,3)"]),
    "not null after a rename": (
        "ALTER TABLE items RENAME name TO title; ALTER TABLE items RENAME TO things;"
        " ALTER TABLE things ALTER title SET NOT NULL",
        ["7", "9"],
    ),
    "check": ("ALTER TABLE items ADD CONSTRAINT c CHECK (amount <> 21 AND amount <> 22)", ["21", "22"]),
    "check that NULL passes": ("ALTER TABLE items ADD CHECK (name <> 'nobody')", None),
    "check with an array": ("ALTER TABLE items ADD CHECK (cardinality(tags) > 0)", ["5"]),
    "check with percent": ("ALTER TABLE items ADD CHECK (name NOT LIKE '%twi%')", ["11", "12"]),
    "check not valid": ("ALTER TABLE items ADD CHECK (amount < 5) NOT VALID", None),
    "validate": ("ALTER TABLE items VALIDATE CONSTRAINT later", ["900", "901", "902", "903", "904"]),
    "check of a renamed column": (
        "ALTER TABLE items RENAME amount TO quantity; ALTER TABLE items ADD CHECK (quantity > 1)",
        ["1"],
    ),
    "unique": ("CREATE UNIQUE INDEX ON items (name)", ["11 = 12"]),
    "unique constraint": ("ALTER TABLE items ADD UNIQUE (name)", ["11 = 12"]),
    "unique, fine": ("CREATE UNIQUE INDEX ON items (amount)", None),
    "unique expression": ("CREATE UNIQUE INDEX ON items (upper(name))", ["11 = 12"]),
    "unique where": ("CREATE UNIQUE INDEX ON items (name) WHERE amount > 11", None),
    "unique where it matters": ("CREATE UNIQUE INDEX ON items (name) WHERE amount > 10", ["11 = 12"]),
    "unique of two": ("CREATE UNIQUE INDEX ON items (name, amount)", None),
    "unique including": ("CREATE UNIQUE INDEX ON items (name) INCLUDE (amount)", ["11 = 12"]),
    "unique with NULLs alike": ("CREATE UNIQUE INDEX ON items (nullif(amount, amount)) NULLS NOT DISTINCT", ["…"]),
    "unique without a key": ("CREATE UNIQUE INDEX ON keyless (word)", ["at (0,1) = at (0,2)"]),
    "primary key": ("ALTER TABLE keyless ADD PRIMARY KEY (word)", ["at (0,1) = at (0,2)", "at (0,3)"]),
    "foreign key": ("ALTER TABLE items ADD FOREIGN KEY (parent_id) REFERENCES parents", ["13"]),
    "foreign key of two": (
        "ALTER TABLE items ADD FOREIGN KEY (parent_id, parent_code) REFERENCES parents (id, code)",
        ["2", "4", "6", "8", "10"],
    ),
    "foreign key not valid": ("ALTER TABLE items ADD FOREIGN KEY (parent_id) REFERENCES parents NOT VALID", None),
    "shorter": ("ALTER TABLE items ALTER name TYPE varchar(7)", ["100", "101", "102", "103", "104"]),
    "shorter, cut": ("ALTER TABLE items ALTER name TYPE varchar(7) USING name::varchar(7)", None),
    "longer": ("ALTER TABLE items ALTER name TYPE varchar(40)", None),
    "text to integer": ("ALTER TABLE items ALTER text TYPE integer USING text::integer", ["700"]),
    "text to date": ("ALTER TABLE items ALTER day TYPE date USING day::date", ["500"]),
    "text by an expression": ("ALTER TABLE items ALTER text TYPE integer USING (text || '0')::integer", ["700"]),
    "text by an expression that takes all": (
        "ALTER TABLE items ALTER text TYPE integer USING nullif(text, 'abc')::integer",
        None,
    ),
    "bigint to integer": ("ALTER TABLE items ALTER COLUMN big SET DATA TYPE integer", ["600"]),
    "two columns at once": (
        "ALTER TABLE items ALTER amount TYPE smallint, ALTER text TYPE integer USING coalesce(text, '1,2')::integer",
        ["700"],
    ),
    "numeric with fewer digits": ("ALTER TABLE items ALTER price TYPE numeric(4, 2)", ["100"]),
    "to timestamptz, fine": ("ALTER TABLE items ALTER at TYPE date", None),
    "new column that is not null": ("ALTER TABLE items ADD flag boolean NOT NULL", ["1", "2", "3", "4", "5"]),
    "new column with a default": ("ALTER TABLE items ADD flag boolean NOT NULL DEFAULT false", None),
    "new column whose default goes": (
        "ALTER TABLE items ADD flag boolean NOT NULL DEFAULT false; ALTER TABLE items ALTER flag DROP DEFAULT",
        None,
    ),
    "number to a short text": ("ALTER TABLE kinds ALTER n TYPE varchar(2)", ["100", "101", "102", "103", "104"]),
    "number to a long text": ("ALTER TABLE kinds ALTER n TYPE varchar(3)", None),
    "array of shorter": ("ALTER TABLE kinds ALTER words TYPE varchar(3)[]", ["250"]),
    "array of longer": ("ALTER TABLE kinds ALTER words TYPE varchar(4)[]", None),
    "bits": ("ALTER TABLE kinds ALTER bits TYPE bit varying(3)", ["250"]),
    "fixed bits": ("ALTER TABLE kinds ALTER bits TYPE bit(3)", ["250"]),
    "json to jsonb": ("ALTER TABLE kinds ALTER doc TYPE jsonb", ["251"]),
    "date to timestamptz": ("ALTER TABLE kinds ALTER day TYPE timestamptz", ["251"]),
    "domain over a length": ("ALTER TABLE kinds ALTER code TYPE short", ["251"]),
    "domain with a CHECK": ("ALTER TABLE kinds ALTER d TYPE even USING (d * 2)", None),
    "domain whose CHECK fails": ("ALTER TABLE kinds ALTER n TYPE even", ["1"]),
    "rule of a domain": ("ALTER DOMAIN code ADD CHECK (VALUE = upper(VALUE))", ["252"]),
    "rule of a domain, not valid": ("ALTER DOMAIN code ADD CHECK (VALUE = upper(VALUE)) NOT VALID", None),
    "rule of a domain, fine": ("ALTER DOMAIN code ADD CHECK (length(VALUE) = 2)", None),
    "domain that is not null": ("ALTER DOMAIN code SET NOT NULL", ["253"]),
    "enum": ("ALTER TABLE kinds ALTER mood TYPE mood USING mood::mood", ["251"]),
    "a type by another column": ("ALTER TABLE kinds ALTER code TYPE integer USING (n / d)", ["250"]),
    "generated column": ("ALTER TABLE kinds ADD part integer GENERATED ALWAYS AS (n / d) STORED", ["250"]),
    "generated column, fine": ("ALTER TABLE kinds ADD part integer GENERATED ALWAYS AS (n * d) STORED", None),
    "index of an expression": ("CREATE INDEX ON kinds ((n / d), id)", ["250"]),
    "index of some rows": ("CREATE INDEX ON kinds ((n / d)) WHERE d > 0", None),
    "index whose condition fails": ("CREATE INDEX ON kinds (id) WHERE n / d > 0", ["250"]),
    "index of long values": ("CREATE INDEX ON long (value)", ["3"]),
    "index of long values, among others": ("CREATE INDEX ON long (id, value, n)", ["3"]),
    "index that includes long values": ("CREATE INDEX ON long (id) INCLUDE (value)", ["3"]),
    "index of long values of other rows": ("CREATE INDEX ON long (value) WHERE n < 3", None),
    "index of long values of these rows": ("CREATE INDEX ON long (value) WHERE n > 2", ["3"]),
    "index of long values, renamed": (
        "ALTER TABLE long RENAME value TO text; CREATE INDEX ON long (text)",
        ["3"],
    ),
    "index of long values that compress well": ("CREATE INDEX ON long (repeated)", None),
    "index of another kind": ("CREATE INDEX ON long USING hash (value)", None),
    "index of what cannot be long": ("CREATE INDEX ON items (name)", None),
    "match full": (
        "ALTER TABLE kinds ADD FOREIGN KEY (a, b) REFERENCES parents (id, code) MATCH FULL",
        ["252"],
    ),
    "match simple": ("ALTER TABLE kinds ADD FOREIGN KEY (a, b) REFERENCES parents (id, code)", None),
    "a partition": (
        "ALTER TABLE log ATTACH PARTITION log_old FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')",
        ["2"],
    ),
    "a partition, fine": (
        "ALTER TABLE log ATTACH PARTITION log_old FOR VALUES FROM ('2024-01-01') TO ('2026-01-01')",
        None,
    ),
    "beside the default partition": (
        "CREATE TABLE log_2026 PARTITION OF log FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
        ["at (0,1)"],
    ),
    "beside the default partition, fine": (
        "CREATE TABLE log_2028 PARTITION OF log FOR VALUES FROM ('2028-01-01') TO ('2029-01-01')",
        None,
    ),
    "another table": ("CREATE TABLE others (id integer NOT NULL UNIQUE CHECK (id > 0))", None),
}


@pytest.fixture(scope="module", params=["embedded", pytest.param("installed", marks=pytest.mark.slow)])
def databases(
    request: pytest.FixtureRequest, server_url: str, _unblocked: None
) -> Iterator[tuple[str, DatabaseWrapper]]:
    """The same tables twice: without rows, to see what SQL does to the catalog, and with.

    On the embedded PostgreSQL, and on the system's: Debian's 15 cannot be asked whether a text is a valid value.
    """
    with ExitStack() as stack:
        if request.param == "installed":
            server_url = stack.enter_context(statistics_server()).url()
        empty, live = stack.enter_context(new_database(server_url)), stack.enter_context(new_database(server_url))
        query(empty, TABLES + LATER)
        query(live, TABLES + ROWS + LATER)
        query(live, "ANALYZE")
        yield empty, stack.enter_context(connected(live))


@functools.cache
def what_it_presumes(empty: str, *scripts: str, writes: tuple[tuple[str, ...], ...] = ()) -> KnownPresumptions:
    """What each script presumes, one after the other; in a transaction that is rolled back."""
    steps = []
    connection = psycopg2.connect(empty)
    try:
        with connection.cursor() as cursor:
            before = read_facts(cursor)
            for number, script in enumerate(scripts):
                cursor.execute(script, None)
                after = read_facts(cursor)
                written = list(writes[number]) if writes else []
                steps.append(presumed(before, after, [script], file_hash="", writes=written))
                before = after
    finally:
        connection.close()
    return KnownPresumptions(tuple(f"step {number}" for number in range(len(steps))), tuple(steps), ())


def findings(connection: DatabaseWrapper, known: KnownPresumptions) -> list[RowFinding]:
    return list(look(connection, known, budget_s=60, here_only=True).findings)


def fails(connection: DatabaseWrapper, sql: str) -> bool:
    """Whether the live rows refuse it; it is rolled back in any case."""
    connection.ensure_connection()
    raw = connection.connection
    with raw.cursor() as cursor:
        cursor.execute("BEGIN")
        try:
            cursor.execute(sql, None)
        except (psycopg2.DataError, psycopg2.IntegrityError, psycopg2.errors.ProgramLimitExceeded):
            return True
        else:
            return False
        finally:
            cursor.execute("ROLLBACK")


@pytest.mark.parametrize("name", CASES)
def test_rows_that_are_in_the_way_are_found_and_no_others(databases: tuple[str, DatabaseWrapper], name: str) -> None:
    empty, connection = databases
    sql, keys = CASES[name]

    found = findings(connection, what_it_presumes(empty, sql))

    against = [finding.answer for finding in found if finding.answer.is_against]
    assert bool(against) == fails(connection, sql) == (keys is not None)
    assert all(finding.answer.count is not None for finding in found), [str(finding) for finding in found]
    if keys and keys != ["…"]:
        told = [key for answer in against for key in answer.keys]
        assert len(told) == len(keys)
        if len(keys) < 5:
            assert sorted(told) == sorted(keys)
    assert all(finding.stops for finding in found if finding.answer.is_against)


@pytest.mark.parametrize(
    ("expression", "is_safe"),
    [
        ("is_staff", True),
        ("NOT is_staff AND name IS NOT NULL", True),
        ("ROW(lower(name::text))", True),
        ("(name || '/'::text) <> ALL (ARRAY['a'::character varying, 'b; c'::character varying]::text[])", True),
        ("n > 5", True),
        ("ROW(n / d)", False),
        ("ROW(n * d)", False),
        ("name::integer > 0", False),
        ("ROW(somebodys(name))", False),
        ("ROW((data ->> 'at'::text)::date)", False),
        ("ROW(substring(name FROM 1 FOR n))", False),
    ],
)
def test_rows_are_not_read_for_what_can_be_computed_of_any(expression: str, is_safe: bool) -> None:
    assert cannot_fail(expression, ["is_staff", "name", "n", "d", "data"]) is is_safe


def test_every_kind_is_among_the_cases_or_said_not_to_be_asked(databases: tuple[str, DatabaseWrapper]) -> None:
    empty, connection = databases
    sql = "ALTER TABLE items ADD EXCLUDE USING btree (amount WITH =)"

    (excluded,) = findings(connection, what_it_presumes(empty, sql))

    assert excluded.answer.count is None
    assert "there is no bounded question for it" in str(excluded)
    seen = {item.kind for sql, _keys in CASES.values() for item in what_it_presumes(empty, sql).steps[0].presumptions}
    assert seen | {"exclusion"} == set(KINDS)


def test_a_column_that_the_plan_makes_is_not_asked_and_that_is_said(databases: tuple[str, DatabaseWrapper]) -> None:
    empty, connection = databases
    known = what_it_presumes(
        empty,
        "ALTER TABLE items ADD label text",
        "ALTER TABLE items ALTER label SET NOT NULL",
        writes=((), ()),
    )

    (finding,) = findings(connection, known)

    assert str(finding) == "step 1 presumes no NULL in items.label: not asked, because label is not there yet"


def test_a_table_that_the_plan_makes_has_no_rows_to_ask(databases: tuple[str, DatabaseWrapper]) -> None:
    empty, connection = databases
    known = what_it_presumes(
        empty, "CREATE TABLE fresh (id integer)", "ALTER TABLE fresh ALTER id SET NOT NULL", writes=((), ())
    )

    assert findings(connection, known) == []


@pytest.mark.parametrize("written", ["items", "*"])
def test_what_an_earlier_step_may_mend_is_told_and_refuses_nothing(
    databases: tuple[str, DatabaseWrapper], written: str
) -> None:
    empty, connection = databases
    sql = "ALTER TABLE items ALTER name SET NOT NULL"
    known = what_it_presumes(empty, "UPDATE items SET name = '' WHERE name IS NULL", sql, writes=((written,), ()))

    (finding,) = findings(connection, known)

    assert finding.answer.count == 2
    assert not finding.stops
    assert "looked at again then" in str(finding)
    elsewhere = what_it_presumes(empty, "UPDATE keyless SET word = ''", sql, writes=(("keyless",), ()))
    assert findings(connection, elsewhere)[0].stops


def test_names_go_back_through_the_whole_plan(databases: tuple[str, DatabaseWrapper]) -> None:
    empty, connection = databases
    known = what_it_presumes(
        empty,
        "ALTER TABLE items RENAME name TO middle",
        "ALTER TABLE items RENAME TO wares",
        "ALTER TABLE wares RENAME middle TO title",
        "ALTER TABLE wares ALTER title SET NOT NULL",
        writes=((), (), (), ()),
    )

    (finding,) = findings(connection, known)

    assert (finding.answer.count, finding.answer.table) == (2, "items")


def test_it_survives_being_written_down(databases: tuple[str, DatabaseWrapper]) -> None:
    empty, _connection = databases
    for sql, _keys in CASES.values():
        (step,) = what_it_presumes(empty, sql).steps
        assert Presumed.from_dict(step.as_dict()) == step


def test_row_security_hides_nothing(databases: tuple[str, DatabaseWrapper], server_url: str) -> None:
    with new_database(server_url) as url:
        role = "clerk_" + url.rpartition("/")[2].partition("?")[0]
        query(url, TABLES + ROWS)
        query(
            url,
            f"CREATE ROLE {role} LOGIN; GRANT SELECT ON items TO {role}; ALTER TABLE items ENABLE ROW LEVEL SECURITY; "
            f"CREATE POLICY own ON items TO {role} USING (amount > 100)",
        )
        try:
            known = what_it_presumes(databases[0], "ALTER TABLE items ALTER name SET NOT NULL")
            with connected(url, "clerk", USER=role) as connection:
                (finding,) = findings(connection, known)
        finally:
            query(url, f"DROP OWNED BY {role}; DROP ROLE {role}")

    assert finding.answer.count is None
    assert "this role may not read all of its rows" in str(finding)


def test_a_question_has_an_end_and_a_locked_table_is_said(databases: tuple[str, DatabaseWrapper]) -> None:
    empty, connection = databases
    known = what_it_presumes(empty, "ALTER TABLE items ADD CHECK (pg_sleep(0.1) IS NOT NULL OR amount > 0)")
    late = look(connection, known, budget_s=0.05, here_only=True)
    assert "it was not answered in time" in next(late.lines())

    known = what_it_presumes(empty, "ALTER TABLE items ALTER name SET NOT NULL")
    with connected(_url(connection), "other") as other:
        with other.cursor() as cursor:
            cursor.execute("BEGIN; LOCK TABLE items IN ACCESS EXCLUSIVE MODE")
        locked = look(connection, known, budget_s=60, here_only=True)
    assert "the table is locked" in next(locked.lines())


def test_nothing_is_changed_and_nothing_is_left_in_the_session(databases: tuple[str, DatabaseWrapper]) -> None:
    empty, connection = databases
    for url in (empty, _url(connection)):
        query(
            url,
            "CREATE OR REPLACE FUNCTION writes() RETURNS boolean LANGUAGE sql AS "
            "$$ INSERT INTO keyless VALUES ('w'); SELECT true $$",
        )
    before = query(_url(connection), "SELECT count(*) FROM keyless")

    known = what_it_presumes(empty, "ALTER TABLE items ADD CHECK (writes())")
    look(connection, known, budget_s=60, here_only=True)

    assert query(_url(connection), "SELECT count(*) FROM keyless") == before
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('statement_timeout'), current_setting('row_security')")
        assert cursor.fetchone() == ("0", "on")


def _url(connection: DatabaseWrapper) -> str:
    return str(connection.settings_dict["TEST_URL"])
