"""Statements of six clients' styles that were made after the probe was: each is in use, not, or not to be told.

They name the column as a prototype would not see it. None may be taken for not using it that does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest

from rupaya.localdb import LocalPostgres
from rupaya.migrator.foresight.dependents import Dependents
from rupaya.migrator.foresight.probe import UNKNOWN, USES, USES_NOT
from rupaya.migrator.foresight.relations import RelationProbe, Target
from tests.conftest import new_database
from tests.faults.migrator import query
from tests.migrator.foresight.statistics_server import statistics_server
from tests.migrator.foresight.test_use import send

Connection = psycopg2.extensions.connection

TABLES = """
    CREATE TABLE "Orders" (id integer PRIMARY KEY, "customerId" integer, total numeric, "shopName" text UNIQUE,
                           note text DEFAULT '', at timestamptz DEFAULT now(), data jsonb DEFAULT '{}',
                           "upperName" text GENERATED ALWAYS AS (upper("shopName")) STORED);
    CREATE TABLE shops (id integer PRIMARY KEY, "shopName" text, city text, total numeric);
    CREATE VIEW open_orders AS SELECT o.id, o."shopName" AS where_from FROM "Orders" o;
    CREATE VIEW order_totals AS SELECT id, total FROM "Orders";
    CREATE TABLE events (id bigint, kind text, "shopName" text, at date) PARTITION BY RANGE (at);
    CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
    CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    INSERT INTO "Orders" (id, "customerId", total, "shopName") SELECT n, n, n, 's' || n FROM generate_series(1, 9) n;
    INSERT INTO shops SELECT n, 's' || n, 'c' || n, n FROM generate_series(1, 3) n
"""
ORDERS, EVENTS = Target("Orders", "shopName"), Target("events", "shopName")
LONG = "SELECT id, " + ", ".join(f"total + {n} AS t{n}" for n in range(200))
STATEMENTS: dict[str, str] = {
    # Django
    'SELECT "Orders"."id", CASE WHEN "Orders"."shopName" = \'a\' THEN 1 ELSE 2 END AS "k" FROM "Orders" '
    "ORDER BY 2": USES,
    'SELECT "Orders"."id", "Orders"."at" AT TIME ZONE \'UTC\' AS "t" FROM "Orders" WHERE "Orders"."at" >= '
    '\'2026-01-01 00:00:00+00:00\'::timestamptz ORDER BY "Orders"."at" DESC': USES_NOT,
    'UPDATE "Orders" SET "total" = (SELECT U0."total" FROM "shops" U0 WHERE U0."shopName" = ("Orders"."shopName") '
    "LIMIT 1)": USES,
    'DECLARE "_django_curs_1_sync_1" NO SCROLL CURSOR WITH HOLD FOR SELECT "Orders"."shopName" FROM "Orders"': USES,
    # SQLAlchemy
    'INSERT INTO "Orders" (id, total) VALUES (50, 5) RETURNING "Orders".id, "Orders"."shopName"': USES,
    'WITH anon_1 AS (SELECT "Orders".* FROM "Orders"), anon_2 AS (SELECT id FROM anon_1) SELECT id FROM anon_2': USES,
    'SELECT o.id FROM "Orders" AS o JOIN shops USING ("shopName")': USES,
    'SELECT o.id FROM "Orders" AS o JOIN shops USING (id)': USES_NOT,
    'SELECT anon.id FROM "Orders" AS o, LATERAL (SELECT o."shopName" || s.city AS x, s.id FROM shops s) AS anon': USES,
    # Knex
    'select "id" from "Orders" where "id" = 1 union all select "id" from "Orders" where "shopName" ilike \'x%\'': USES,
    'insert into "Orders" ("id", "shopName") values (1, \'s1\') on conflict ("id") do update set "note" = '
    'excluded."note"': USES,
    'insert into "Orders" ("id", "total") values (61, 2) on conflict on constraint "Orders_shopName_key" '
    "do nothing": USES,
    'insert into "Orders" ("id", "total") values (62, 2) on conflict do nothing': USES_NOT,
    # TypeORM, Sequelize
    'SELECT "Order"."id" AS "Order_id", "Order"."shopName" AS "Order_shopName" FROM "Orders" "Order"': USES,
    'SELECT "id", "total" AS "shopName" FROM "Orders" AS "Order" WHERE "Order"."customerId" = 3': USES_NOT,
    'SELECT COUNT(DISTINCT("Order"."shopName")) AS "cnt" FROM "Orders" "Order"': USES,
    # Hibernate, JDBC
    '/* select generatedAlias0 from Order */ select o1_0.id,o1_0."upperName" from "Orders" o1_0': USES_NOT,
    'select max(o1_0.total) over (partition by o1_0."shopName" order by o1_0.at rows 3 preceding) '
    'from "Orders" o1_0': USES,
    'delete from "Orders" o where o.id = 77 returning o.*': USES,
    'update "Orders" set total=1 from shops s where s."shopName"="Orders"."shopName" and s.id=99': USES,
    'with d as (delete from "Orders" where id = 88 returning "shopName") select count(*) from d': USES,
    # Go: pgx, sqlc
    '-- name: ListOrders :many\nSELECT row_to_json(t) FROM (SELECT * FROM "Orders") t': USES,
    '-- name: Sum :one\nSELECT coalesce(sum(total), 0)::bigint /* of "shopName" */ FROM "Orders"': USES_NOT,
    'SELECT json_agg(o ORDER BY o.id) FROM "Orders" o': USES,
    'MERGE INTO "Orders" o USING shops s ON o.id = s.id WHEN MATCHED THEN UPDATE SET "shopName" = s.city': USES,
    'MERGE INTO "Orders" o USING shops s ON o.id = s.id WHEN MATCHED AND s.id = 99 '
    "THEN UPDATE SET total = s.total": USES_NOT,
    # psql, reports
    'SELECT * FROM "Orders" NATURAL JOIN shops': USES,
    'SELECT id, total FROM "Orders" ORDER BY 2, id': USES_NOT,
    'COPY "Orders" (id, "shopName") TO STDOUT WITH (FORMAT csv, HEADER)': USES,
    'COPY "Orders" (ID, total) TO STDOUT': USES_NOT,
    'COPY (SELECT id, \'--\' AS dashes, "shopName" FROM "Orders") TO STDOUT': USES,
    "SELECT where_from FROM open_orders": USES,
    "SELECT sum(total) FROM order_totals": USES_NOT,
    'SELECT o FROM "Orders" o WHERE id = 1': USES,
    'SELECT count(*) FROM "Orders" WHERE "Orders" IS NOT NULL': USES,
    'SELECT (SELECT string_agg(x, \',\') FROM unnest(ARRAY[o."shopName"]) x) FROM "Orders" o': USES,
    'SELECT id INTO TEMP TABLE kept FROM "Orders" WHERE "shopName" <> \'\'': USES,
    'CREATE TEMP TABLE "kept too" ON COMMIT DROP AS TABLE "Orders"': USES,
    "SELECT total FROM \"Orders\" WHERE at > now() - interval '1' day AND id = ANY(ARRAY[1, 2, 3])": USES_NOT,
    'SELECT o1.id FROM "Orders" o1 WHERE o1.total > ALL (SELECT o2.total FROM "Orders" o2 WHERE o2."shopName" = '
    "'a')": USES,
    'SELECT U&"\\0073hopName" FROM U&"\\004Frders"': USES,
    'SELECT id FROM "Orders" GROUP BY GROUPING SETS ((id), ("shopName", id))': USES,
    f'{LONG}, "shopName" FROM "Orders"': USES,
    f'{LONG} FROM "Orders"': USES_NOT,
}
HOSTILE: dict[str, str] = {
    "SELECT name'\\'; SELECT \"shopName\" FROM \"Orders\" WHERE note = 'x'": USES,
    "CREATE TABLE snapshot_of_it AS EXECUTE prepared_before(1)": UNKNOWN,
    "EXPLAIN (ANALYZE, BUFFERS) EXECUTE prepared_before": UNKNOWN,
    "EXPLAIN SELECT 'EXECUTE' FROM shops": USES_NOT,
    'SELECT id FROM "Orders"; SELECT "shopName" FROM "Orders"': USES,
    'BEGIN; SELECT "shopName" FROM "Orders"; COMMIT': USES,
    'SELECT id FROM "Orders"; COMMIT; RESET ROLE; CREATE TABLE public.owned (); '
    'GRANT ALL ON "Orders" TO PUBLIC': USES_NOT,
    "SELECT ';', id FROM \"Orders\"; COMMIT": USES_NOT,
    'SELECT $q$ \' ; $q$, id FROM "Orders"': USES_NOT,
    'SELECT E\'\\\';\', "shopName" FROM "Orders"': USES,
    'SELECT /* /* nested */ ; */ "shopName" FROM "Orders"': USES,
    'SELECT \'/*\', "shopName" FROM "Orders" -- \'*/': USES,
    'DO $$ BEGIN PERFORM "shopName" FROM "Orders"; END $$': UNKNOWN,
    "DO $$ BEGIN EXECUTE 'SELECT ' || chr(42) || ' FROM ' || chr(34) || 'Ord' || 'ers' || chr(34); END $$": UNKNOWN,
    f'{LONG}, "shopN': UNKNOWN,
    'SELECT \'never ended, "shopName" FROM "Orders"': UNKNOWN,
}


ONLY_18: dict[str, str] = {
    'UPDATE "Orders" SET total = 1 RETURNING WITH (OLD AS o, NEW AS n) o."shopName"': USES,
    'UPDATE "Orders" SET total = 1 RETURNING old.total, new.total': USES_NOT,
    'MERGE INTO "Orders" o USING shops s ON o.id = s.id WHEN NOT MATCHED BY SOURCE THEN DELETE RETURNING o.*': USES,
    'SELECT id FROM "Orders" WHERE id IN ($1 /*, ... */)': USES_NOT,
}


@pytest.fixture(scope="module")
def server() -> Iterator[LocalPostgres]:
    with statistics_server(TABLES) as started:
        yield started


def worst(probe: RelationProbe, texts: list[str]) -> str:
    answers = [probe.ask(text)[0] for text in texts]
    return next((answer for answer in (USES, UNKNOWN) if answer in answers), USES_NOT)


def test_thirty_statements_that_the_probe_was_not_made_for(server: LocalPostgres) -> None:
    wrong: dict[str, object] = {}
    for sql, expected in STATEMENTS.items():
        server.psql("SELECT pg_stat_statements_reset()", database="rupaya")
        send(server.url(), sql)
        found = query(server.url(), "SELECT query FROM pg_stat_statements WHERE query !~ '_reset'")
        with closing(psycopg2.connect(server.url())) as connection:
            connection.autocommit = True
            probe = RelationProbe(connection, ORDERS)
            with probe.rights_taken_away() as why:
                assert why == ""
                if worst(probe, [text for (text,) in found]) != expected:
                    wrong[sql] = [(text, probe.ask(text)) for (text,) in found]

    assert wrong == {}, "\n".join(map(str, wrong.items()))


@pytest.mark.parametrize("user", ["rupaya", "postgres"])
def test_texts_that_would_do_harm_do_none(server: LocalPostgres, user: str) -> None:
    rights = "SELECT relname, relacl::text FROM pg_class WHERE relname IN ('Orders', 'owned')"
    before = query(server.url(), rights)
    with closing(psycopg2.connect(server.url(user=user))) as connection:
        connection.autocommit = True
        probe = RelationProbe(connection, ORDERS)
        with probe.rights_taken_away() as why:
            assert why == ""
            answers = {sql: probe.ask(sql)[0] for sql in HOSTILE}

    assert {sql: answer for sql, answer in answers.items() if answer != HOSTILE[sql]} == {}
    assert query(server.url(), rights) == before


def test_on_18_they_are_answered_likewise(server_url: str) -> None:
    """The embedded server counts no statements; its texts are those that a client sends."""
    with new_database(server_url) as url, closing(psycopg2.connect(url)) as connection:
        query(url, TABLES)
        connection.autocommit = True
        only_18 = ONLY_18 if connection.server_version >= 180000 else {}
        probe = RelationProbe(connection, ORDERS)
        with probe.rights_taken_away() as why:
            assert why == ""
            answers = {sql: probe.ask(sql)[0] for sql in STATEMENTS | only_18}

    assert {sql: answer for sql, answer in answers.items() if answer != (STATEMENTS | only_18)[sql]} == {}


def asked(url: str, target: Target, *texts: str) -> list[str]:
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        probe = RelationProbe(connection, target)
        with probe.rights_taken_away() as why:
            assert why == ""
            return [probe.ask(text)[0] for text in texts]


def test_partitions_and_what_they_are_parts_of_are_the_table(server_url: str) -> None:
    texts = [
        'SELECT "shopName" FROM events_2026',
        'COPY events_2025 (id, "shopName") TO STDOUT',
        "SELECT id FROM events_2026 WHERE kind = 'x'",
        'SELECT count("shopName") FROM events',
    ]
    with new_database(server_url) as url:
        query(url, TABLES)
        assert asked(url, EVENTS, *texts) == [USES, USES, USES_NOT, USES]
        assert asked(url, Target("events_2026", "shopName"), *texts) == [USES, USES_NOT, USES_NOT, USES]


def test_a_name_that_is_another_tables_on_another_search_path_is_not_taken_for_unused(server_url: str) -> None:
    with new_database(server_url) as url:
        query(url, TABLES)
        query(url, 'CREATE SCHEMA archive; CREATE VIEW archive.shops AS SELECT id, "shopName" FROM "Orders"')
        query(url, 'CREATE VIEW archive.reports AS SELECT id, "shopName" FROM "Orders"')

        found = asked(url, ORDERS, "SELECT city FROM shops", 'SELECT "shopName" FROM shops', "TABLE archive.shops")

        # The first cannot be about the view, which has no city; of the second nobody knows.
        assert found == [USES_NOT, UNKNOWN, USES]
        assert asked(url, ORDERS, "SELECT id FROM reports") == [UNKNOWN]


def test_no_function_of_another_role_is_executed_for_it(server_url: str) -> None:
    with new_database(server_url) as url:
        query(url, TABLES)
        role = "mallory_" + url.rpartition("/")[2].partition("?")[0]
        query(url, f"CREATE ROLE {role}; CREATE SCHEMA evil AUTHORIZATION {role}; GRANT USAGE ON SCHEMA evil TO PUBLIC")
        query(
            url,
            f"SET ROLE {role}; CREATE FUNCTION evil.f(integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS "
            "'BEGIN PERFORM pg_advisory_lock(4711); RETURN 1; END'; "
            "CREATE OPERATOR evil.### (FUNCTION = evil.f, RIGHTARG = integer); "
            "CREATE DOMAIN evil.number AS integer CHECK (evil.f(VALUE) > 0)",
        )
        texts = [
            'SELECT id FROM "Orders" WHERE id = evil.f(1)',
            'SELECT id FROM "Orders" WHERE id = OPERATOR(evil.###) 1',
            'SELECT id FROM "Orders" WHERE id = 1::evil.number',
        ]
        with closing(psycopg2.connect(url)) as connection:
            connection.autocommit = True
            probe = RelationProbe(connection, ORDERS)
            with probe.rights_taken_away():
                answers = [probe.ask(text)[0] for text in texts]
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
                assert cursor.fetchone() == (0,)
        query(url, f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")

    assert answers == [UNKNOWN] * 3


def test_a_superusers_probe_cannot_be_left_for_another_role(server_url: str) -> None:
    """A function that this role trusts, for it is its own, still gets no rights that planning does not need."""
    with new_database(server_url) as url:
        query(url, TABLES)
        query(
            url,
            "CREATE FUNCTION leave() RETURNS integer IMMUTABLE LANGUAGE plpgsql AS "
            "$$ BEGIN EXECUTE 'RESET ROLE'; PERFORM pg_advisory_lock(4711); RETURN 1; END $$",
        )
        assert query(url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == [(True,)]

        assert asked(url, ORDERS, 'SELECT id FROM "Orders" WHERE id = leave()') == [UNKNOWN]


def test_a_role_that_does_not_own_the_table_is_told_so(server: LocalPostgres) -> None:
    """As the one that serves the site does not."""
    server.psql("CREATE ROLE serving LOGIN")
    server.psql('GRANT SELECT ON "Orders" TO serving', database="rupaya")
    with closing(psycopg2.connect(server.url(user="serving"))) as connection:
        connection.autocommit = True
        with RelationProbe(connection, ORDERS).rights_taken_away() as why:
            assert why == "this role does not own Orders, so that it cannot be asked without rights on it"


@pytest.mark.parametrize("kind", ["STORED", "VIRTUAL"])
def test_a_generated_column_is_a_use_of_what_it_is_made_of(server_url: str, kind: str) -> None:
    with new_database(server_url) as url, closing(psycopg2.connect(url)) as connection:
        if kind == "VIRTUAL" and connection.server_version < 180000:
            pytest.skip("virtual columns are of PostgreSQL 18")
        query(url, f"CREATE TABLE t (a text, b text GENERATED ALWAYS AS (upper(a)) {kind}, c text DEFAULT 'x')")

        found = {column: Dependents(connection, Target("t", column)).uses for column in "abc"}

    assert found == {"a": ["generated column b"], "b": [], "c": []}


def test_a_view_that_only_counts_rows_is_no_use_and_one_of_whole_rows_is(server_url: str) -> None:
    with new_database(server_url) as url:
        query(url, TABLES)
        query(
            url,
            'CREATE VIEW counts AS SELECT count(*) AS n FROM "Orders"; CREATE VIEW counts_of_them AS TABLE counts; '
            'CREATE VIEW rows_of_them AS SELECT row_to_json(o) AS row FROM "Orders" o; '
            "CREATE VIEW rows_again AS TABLE rows_of_them; "
            'CREATE RULE kept AS ON UPDATE TO shops DO ALSO INSERT INTO events SELECT count(*) FROM "Orders"',
        )
        with closing(psycopg2.connect(url)) as connection:
            connection.autocommit = True
            probe = RelationProbe(connection, ORDERS)
            with probe.rights_taken_away() as why:
                assert why == ""
                texts = ("TABLE counts_of_them", "TABLE counts", "TABLE rows_again", "TABLE order_totals")
                answers = [probe.ask(text)[0] for text in texts]

    assert sorted(probe.views) == ["open_orders", "rows_again", "rows_of_them", "shops"]
    assert answers == [USES_NOT, USES_NOT, USES, USES_NOT]


def test_truncating_or_locking_a_table_is_a_use_of_it_and_of_no_column(server_url: str) -> None:
    with new_database(server_url) as url:
        query(url, TABLES)
        texts = ['TRUNCATE shops, "Orders" CASCADE', 'LOCK TABLE ONLY "Orders" IN SHARE MODE', "TRUNCATE shops"]

        assert asked(url, Target("Orders"), *texts) == [USES, USES, USES_NOT]
        assert asked(url, ORDERS, *texts) == [USES_NOT] * 3


def test_a_member_of_the_role_that_owns_the_table_is_asked_as_that_role(server_url: str) -> None:
    with new_database(server_url) as url:
        name = url.rpartition("/")[2].partition("?")[0]
        query(url, TABLES)
        query(url, f"CREATE ROLE owners_{name}; CREATE ROLE deploy_{name} LOGIN IN ROLE owners_{name}")
        query(
            url, f'GRANT USAGE, CREATE ON SCHEMA public TO owners_{name}; ALTER TABLE "Orders" OWNER TO owners_{name}'
        )
        try:
            with closing(psycopg2.connect(url, user=f"deploy_{name}")) as connection:
                connection.autocommit = True
                probe = RelationProbe(connection, ORDERS)
                with probe.rights_taken_away() as why:
                    assert why == ""
                    answers = [probe.ask(sql)[0] for sql in ('TABLE "Orders"', 'SELECT id FROM "Orders"')]
                with connection.cursor() as cursor:
                    cursor.execute("SELECT current_user")
                    assert cursor.fetchone() == (f"deploy_{name}",)
        finally:
            query(url, f"DROP OWNED BY owners_{name} CASCADE; DROP ROLE owners_{name}, deploy_{name}")

    assert answers == [USES, USES_NOT]
