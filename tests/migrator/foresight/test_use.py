"""Whether a column is still used: each statement resolved by the server; a nightly job; and no false "not seen"."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest

from rupaya.localdb import LocalPostgres
from rupaya.migrator.debts.debt import COLUMN, OPERATION, TABLE, Debt
from rupaya.migrator.foresight.probe import UNKNOWN, USES, USES_NOT
from rupaya.migrator.foresight.relations import RelationProbe, Target
from rupaya.migrator.foresight.use import CANNOT_SAY, IN_USE, NOT_SEEN, Use, keep_baseline, uses
from rupaya.migrator.ledger.ledger import Ledger
from tests.conftest import new_database
from tests.faults.migrator import query, wait_for
from tests.migrator.foresight.statistics_server import statistics_server
from tests.migrator.foresight.test_migrate import release
from tests.migrator.releases import CREATE, Release, migration

Connection = psycopg2.extensions.connection

TABLES = """
    CREATE TABLE people (id integer PRIMARY KEY, name text);
    CREATE TABLE payments (id integer PRIMARY KEY, person_id integer REFERENCES people, amount numeric, merchant text,
                           note text, at timestamptz DEFAULT now());
    CREATE TABLE merchants (id integer PRIMARY KEY, merchant text, label text);
    CREATE VIEW shops AS SELECT id, merchant FROM payments;
    CREATE VIEW busy_shops AS SELECT merchant, count(*) AS n FROM shops GROUP BY merchant;
    CREATE VIEW sums AS SELECT person_id, sum(amount) AS total FROM payments GROUP BY person_id;
    INSERT INTO people VALUES (1, 'a'), (2, 'b');
    INSERT INTO payments SELECT n, 1, n, 'm', 'x' FROM generate_series(1, 20) n;
    INSERT INTO merchants VALUES (1, 'm', 'l')
"""
# As clients of six styles send them: Django, Hibernate, Knex, Rails, a report by hand, psql and pg_dump.
STATEMENTS: dict[str, str] = {
    'SELECT "payments"."id", "payments"."merchant" FROM "payments" WHERE "payments"."id" = 3 LIMIT 21': USES,
    'SELECT "payments"."id", "payments"."amount" FROM "payments" ORDER BY "payments"."at" DESC LIMIT 5': USES_NOT,
    'SELECT COUNT(*) AS "__count" FROM "payments"': USES_NOT,
    'SELECT (1) AS "a" FROM "payments" WHERE "payments"."merchant" IN (\'m\', \'n\') LIMIT 1': USES,
    'INSERT INTO "payments" ("id", "person_id", "amount") VALUES (101, 1, 5) RETURNING "payments"."id"': USES_NOT,
    'INSERT INTO "payments" ("id", "person_id", "amount", "merchant") VALUES (102, 1, 5, \'shop\')': USES,
    'UPDATE "payments" SET "merchant" = \'x\' WHERE "payments"."id" = 1': USES,
    'UPDATE "payments" SET "amount" = 7 WHERE "payments"."id" = 1': USES_NOT,
    'DELETE FROM "payments" WHERE "payments"."id" IN (101)': USES_NOT,
    "DELETE FROM payments WHERE merchant = 'gone'": USES,
    "select p1_0.id, p1_0.amount, p1_0.merchant from payments p1_0 where p1_0.person_id = 1": USES,
    "select p1_0.id from payments p1_0 join people p2_0 on p2_0.id = p1_0.person_id where p2_0.name = 'a'": USES_NOT,
    "select m1_0.merchant from merchants m1_0 join payments p1_0 on p1_0.id = m1_0.id": USES_NOT,
    'select * from "payments" where "id" = 4 limit 1': USES,
    'select "amount" from "payments" where "note" like \'%x%\'': USES_NOT,
    'SELECT "payments".* FROM "payments" WHERE "payments"."amount" > 3 ORDER BY "payments"."id" ASC LIMIT 2': USES,
    'SELECT SUM("payments"."amount") FROM "payments" GROUP BY "payments"."person_id"': USES_NOT,
    "SELECT p FROM payments p WHERE id = 1": USES,
    "SELECT row_to_json(p) FROM payments p LIMIT 1": USES,
    "SELECT (p).merchant FROM payments p": USES,
    "SELECT count(merchant) FILTER (WHERE amount > 3) FROM payments": USES,
    "SELECT date_trunc('month', at), sum(amount) FROM payments GROUP BY date_trunc('month', at)": USES_NOT,
    "SELECT date_trunc('day', at), merchant FROM payments GROUP BY date_trunc('day', at), merchant": USES,
    "SELECT extract(year FROM at) FROM payments WHERE at > now() - interval '1 day'": USES_NOT,
    "WITH recent AS (SELECT * FROM payments WHERE id > 3) SELECT sum(amount) FROM recent": USES,
    "WITH recent AS (SELECT id, amount FROM payments WHERE id > 3) SELECT sum(amount) FROM recent": USES_NOT,
    "SELECT * FROM busy_shops": USES,
    "SELECT id FROM shops": USES,
    "SELECT total FROM sums WHERE person_id = 1": USES_NOT,
    "SELECT id FROM people WHERE EXISTS (SELECT FROM payments WHERE payments.merchant = people.name)": USES,
    "SELECT id FROM people WHERE EXISTS (SELECT FROM payments WHERE payments.person_id = people.id)": USES_NOT,
    "SELECT merchant FROM merchants -- of payments.merchant": USES_NOT,
    "TABLE payments": USES,
    "INSERT INTO payments VALUES (103, 1, 4, 'm')": USES,
    "INSERT INTO merchants SELECT id + 1000, merchant, note FROM payments WHERE id = 2": USES,
    "INSERT INTO payments (id, merchant) VALUES (1, 'm') ON CONFLICT (id) DO UPDATE SET note = excluded.merchant": USES,
    "SELECT rank() OVER (PARTITION BY merchant ORDER BY amount) FROM payments": USES,
    'SELECT id FROM payments ORDER BY merchant COLLATE "C" LIMIT 1': USES,
    "SELECT a.id FROM payments a NATURAL JOIN merchants b": USES,
    "SELECT id FROM payments FOR UPDATE SKIP LOCKED": USES_NOT,
    "COPY payments TO STDOUT": USES,
    "COPY payments (id, amount) TO STDOUT": USES_NOT,
    "COPY (SELECT merchant FROM payments) TO STDOUT": USES,
    "COPY (SELECT amount FROM payments) TO STDOUT": USES_NOT,
    "EXPLAIN SELECT merchant FROM payments": USES,
    "LOCK TABLE payments IN SHARE MODE": USES_NOT,
    "CREATE TEMP TABLE snapshot_of_them AS SELECT id, merchant FROM payments": USES,
    "VACUUM payments": USES_NOT,
}


@pytest.fixture(scope="module")
def server() -> Iterator[LocalPostgres]:
    with statistics_server(TABLES) as started:
        started.psql("CREATE ROLE nightly LOGIN", database="rupaya")
        query(started.url(), "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO nightly")
        with closing(psycopg2.connect(started.url())) as connection:
            connection.autocommit = True
            Ledger(connection).ensure_schema()
        yield started


@pytest.fixture
def connection(server: LocalPostgres) -> Iterator[Connection]:
    with closing(psycopg2.connect(server.url())) as made:
        made.autocommit = True
        with made.cursor() as cursor:
            cursor.execute("TRUNCATE migrator_use_baselines")
        yield made
    server.psql("SELECT pg_stat_statements_reset()", database="rupaya")


def send(url: str, sql: str) -> None:
    """As a client does; what it changes is undone."""
    with closing(psycopg2.connect(url)) as client, client.cursor() as cursor:
        client.autocommit = sql.startswith("VACUUM")
        if sql.startswith("COPY"):
            with open("/dev/null", "w") as nowhere:
                cursor.copy_expert(sql, nowhere)
        else:
            cursor.execute(sql, None)


def debt(kind: str = COLUMN, table: str = "payments", name: str = "merchant", number: int = 1) -> Debt:
    return Debt("shop", "0002_drop", "0", "Remove field", kind, table, name, [], "", {}, id=number)


def age(connection: Connection, hours: float) -> None:
    """Let what was kept so far have been kept earlier."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE migrator_use_baselines SET taken_at = taken_at - %s * interval '1 hour'", [hours])


def use(connection: Connection, owed: Debt | None = None) -> Use:
    (found,) = uses(connection, [owed or debt()], watch_s=25 * 3600)
    return found


def test_each_statement_is_resolved_as_the_server_does(server: LocalPostgres, connection: Connection) -> None:
    wrong: dict[str, Any] = {}
    for sql, expected in STATEMENTS.items():
        server.psql("SELECT pg_stat_statements_reset()", database="rupaya")
        send(server.url(), sql)
        found = query(server.url(), "SELECT query FROM pg_stat_statements WHERE query !~ '_reset'")
        probe = RelationProbe(connection, Target("payments", "merchant"))
        with probe.rights_taken_away() as why:
            assert why == ""
            answers = {text: probe.ask(text) for (text,) in found}
        worst = next((a for a in (USES, UNKNOWN) if any(answer[0] == a for answer in answers.values())), USES_NOT)
        if worst != expected:
            wrong[sql] = answers

    assert wrong == {}


def test_a_superuser_gets_the_same_answers(server: LocalPostgres) -> None:
    with closing(psycopg2.connect(server.url(user="postgres"))) as superuser:
        superuser.autocommit = True
        probe = RelationProbe(superuser, Target("payments", "merchant"))
        with probe.rights_taken_away() as why:
            assert why == ""
            answers = {sql: probe.ask(sql)[0] for sql in STATEMENTS}

    assert {sql: answer for sql, answer in answers.items() if answer != STATEMENTS[sql]} == {}


def test_nothing_is_changed_by_asking(server: LocalPostgres, connection: Connection) -> None:
    rights = "SELECT relacl::text FROM pg_class WHERE relname = 'payments'"
    before = query(server.url(), rights)

    use(connection)

    assert query(server.url(), rights) == before
    assert query(server.url(), "SELECT count(*) FROM pg_prepared_statements") == [(0,)]


def test_a_nightly_job_is_seen_and_let_go_after_its_next_night_without_it(
    server: LocalPostgres, connection: Connection
) -> None:
    query(server.url(), "DROP VIEW busy_shops; DROP VIEW shops")
    try:
        job = "SELECT merchant, sum(amount) FROM payments GROUP BY merchant"
        nightly = server.url(user="nightly")
        keep_baseline(connection, [debt()])
        send(nightly, job)
        seen = use(connection)
        assert seen.answer == IN_USE
        assert seen.lines[0].startswith("nightly, 1 call since ")
        assert "merchant" in seen.lines[0]

        keep_baseline(connection, [debt()])
        age(connection, 10)
        assert use(connection).answer == IN_USE, "the first night is within the watch still"

        age(connection, 16)
        gone = use(connection)
        assert gone.answer == NOT_SEEN, gone.lines
        assert gone.lines[0].startswith("not seen since ")

        send(nightly, job)
        assert use(connection).answer == IN_USE
    finally:
        query(
            server.url(),
            "CREATE VIEW shops AS SELECT id, merchant FROM payments; "
            "CREATE VIEW busy_shops AS SELECT merchant, count(*) AS n FROM shops GROUP BY merchant",
        )


@pytest.fixture
def unseen(server: LocalPostgres, connection: Connection) -> Debt:
    """A column that nobody has used for long."""
    owed = debt(table="merchants", name="label", number=2)
    keep_baseline(connection, [owed])
    age(connection, 26)
    assert use(connection, owed).answer == NOT_SEEN
    return owed


def test_it_cannot_be_said_after_a_reset(server: LocalPostgres, connection: Connection, unseen: Debt) -> None:
    server.psql("SELECT pg_stat_statements_reset()", database="rupaya")

    found = use(connection, unseen)

    assert (found.answer, "were reset" in found.lines[0]) == (CANNOT_SAY, True)


def test_it_cannot_be_said_before_it_was_watched_long_enough(connection: Connection) -> None:
    owed = debt(table="merchants", name="label", number=3)
    keep_baseline(connection, [owed])

    found = use(connection, owed)

    assert (found.answer, "watched for 0.0 h only" in found.lines[0]) == (CANNOT_SAY, True)


def test_it_cannot_be_said_of_what_was_never_watched(server: LocalPostgres, connection: Connection) -> None:
    server.psql("SELECT pg_stat_statements_reset()", database="rupaya")

    assert use(connection, debt(table="merchants", name="label", number=4)).answer == CANNOT_SAY


def test_it_cannot_be_said_of_a_text_that_nobody_can_resolve(
    server: LocalPostgres, connection: Connection, unseen: Debt
) -> None:
    query(server.url(), "DO $$ BEGIN EXECUTE 'SELECT ' || 'lab' || 'el FROM merchants'; END $$")

    found = use(connection, unseen)

    assert found.answer == CANNOT_SAY
    assert "may use it" in found.lines[0]


def test_a_count_that_was_reset_by_itself_hides_nothing(
    server: LocalPostgres, connection: Connection, unseen: Debt
) -> None:
    job = "SELECT label FROM merchants"
    for _ in range(3):
        send(server.url(user="nightly"), job)
    keep_baseline(connection, [unseen])
    age(connection, 26)
    assert use(connection, unseen).answer == NOT_SEEN
    server.psql(
        "SELECT pg_stat_statements_reset(userid, dbid, queryid) FROM pg_stat_statements WHERE query ~ '^SELECT label'",
        database="rupaya",
    )

    forgotten = use(connection, unseen)
    send(server.url(user="nightly"), job)
    again = use(connection, unseen)

    assert (forgotten.answer, forgotten.lines) == (CANNOT_SAY, ("somebody reset the counts of single statements",))
    assert again.answer == IN_USE


@pytest.mark.parametrize("setting", ["track = 'none'", "track_utility = off"])
def test_it_cannot_be_said_where_a_role_is_not_counted(
    server: LocalPostgres, connection: Connection, unseen: Debt, setting: str
) -> None:
    server.psql(f"ALTER ROLE nightly SET pg_stat_statements.{setting}")
    try:
        found = use(connection, unseen)
    finally:
        server.psql("ALTER ROLE nightly RESET ALL")

    assert (found.answer, "role nightly" in found.lines[0]) == (CANNOT_SAY, True)


@contextmanager
def under_way(url: str, sql: str) -> Iterator[None]:
    """Somebody executes this, and has not ended."""
    with closing(psycopg2.connect(url)) as client:
        thread = threading.Thread(target=_until_cancelled, args=(client, sql))
        thread.start()
        try:
            pid = client.info.backend_pid
            wait_for(
                lambda: query(url, "SELECT pid FROM pg_stat_activity WHERE pid = %s AND wait_event = 'PgSleep'", pid),
                "the statement to run",
            )
            yield
        finally:
            client.cancel()
            thread.join()


def _until_cancelled(client: Connection, sql: str) -> None:
    with suppress(psycopg2.errors.QueryCanceled), client.cursor() as cursor:
        cursor.execute(sql, None)


@pytest.mark.parametrize(
    ("sql", "answer", "told"),
    [
        ("SELECT label, pg_sleep(600) FROM merchants", IN_USE, "running now, by nightly"),
        ("SELECT 1; SELECT label, pg_sleep(600) FROM merchants", IN_USE, "running now, by nightly"),
        (f"SELECT {'1 + ' * 400} 1, pg_sleep(600) FROM merchants", CANNOT_SAY, "its text was cut"),
        ("DO $$ BEGIN PERFORM label, pg_sleep(600) FROM merchants; END $$", CANNOT_SAY, "cannot be prepared"),
    ],
)
def test_what_is_under_way_is_seen_though_it_is_not_counted_yet(
    server: LocalPostgres, connection: Connection, unseen: Debt, sql: str, answer: str, told: str
) -> None:
    with under_way(server.url(user="nightly"), sql):
        found = use(connection, unseen)

    assert (found.answer, told in found.lines[-1]) == (answer, True), found.lines


def test_a_text_that_was_cut_is_known_by_an_earlier_call(
    server: LocalPostgres, connection: Connection, unseen: Debt
) -> None:
    sql = f"SELECT {'1 + ' * 400} %s, pg_sleep(%s) FROM merchants"
    send(server.url(user="nightly"), sql % (1, 0))
    with under_way(server.url(user="nightly"), sql % (2, 600)):
        assert use(connection, unseen).answer == NOT_SEEN


def test_a_statement_that_names_the_migrator_is_somebodys_all_the_same(
    server: LocalPostgres, connection: Connection, unseen: Debt
) -> None:
    send(server.url(user="nightly"), "SELECT label AS migrator_label FROM merchants")

    assert use(connection, unseen).answer == IN_USE


def test_it_cannot_be_said_where_texts_are_hidden(server: LocalPostgres, connection: Connection, unseen: Debt) -> None:
    server.psql("REVOKE pg_read_all_stats FROM rupaya")
    try:
        send(server.url(user="nightly"), "SELECT id FROM merchants")
        found = use(connection, unseen)
    finally:
        server.psql("GRANT pg_read_all_stats TO rupaya")

    assert (found.answer, "GRANT pg_read_all_stats" in found.lines[-1]) == (CANNOT_SAY, True)


def test_it_cannot_be_said_where_the_role_keeps_its_rights(
    server: LocalPostgres, connection: Connection, unseen: Debt
) -> None:
    server.psql("GRANT pg_read_all_data TO rupaya")
    try:
        found = use(connection, unseen)
    finally:
        server.psql("REVOKE pg_read_all_data FROM rupaya")

    assert (found.answer, "keeps rights" in found.lines[0]) == (CANNOT_SAY, True)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (
            "FUNCTION f() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT max(label) FROM merchants); END'",
            "function f()",
        ),
        (
            "FUNCTION f() RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT max(label) FROM merchants; END",
            "function f()",
        ),
        ("VIEW v AS SELECT upper(label) FROM merchants", "view v"),
        ("VIEW v AS SELECT id FROM (SELECT id, label FROM merchants) m WHERE label <> ''", "view v"),
        ("POLICY v ON merchants USING (label <> '')", "policy v on table merchants"),
        ("POLICY v ON people USING (name IN (SELECT label FROM merchants))", "policy v on table people"),
        (
            "TRIGGER v BEFORE UPDATE ON merchants FOR EACH ROW WHEN (new.label <> '') "
            "EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "trigger v on table merchants",
        ),
    ],
)
def test_what_the_catalog_shows_is_a_use(
    server: LocalPostgres, connection: Connection, unseen: Debt, made: str, told: str
) -> None:
    query(server.url(), f"CREATE {made}")
    try:
        found = use(connection, unseen)
    finally:
        kind, name = made.split()[:2]
        on = re.search(r" ON (\w+)", made) if kind in ("POLICY", "TRIGGER") else None
        query(server.url(), f"DROP {kind} {name}" + (on[0] if on else ""))

    assert found.answer == IN_USE
    assert told in found.lines


@pytest.mark.parametrize(
    ("body", "is_doubtful"),
    [
        ("RETURN QUERY SELECT id FROM merchants WHERE id > 1", False),
        ("SELECT count(*) INTO n FROM merchants m WHERE m.id > 1", False),
        ("INSERT INTO merchants (id, merchant) VALUES (1, 'm')", False),
        ("UPDATE merchants AS m SET merchant = upper(m.merchant) FROM people p WHERE p.id = m.id", False),
        ("DELETE FROM public.merchants WHERE merchants.id * 2 > 4", False),
        ("SELECT * INTO r FROM merchants", True),
        ("SELECT m INTO r FROM merchants m", True),
        ("SELECT to_jsonb(merchants) FROM merchants", True),
        ("INSERT INTO merchants VALUES (1, 'm', 'l')", True),
        ("INSERT INTO merchants SELECT 1, 'm', 'l'", True),
        ("DECLARE r merchants%ROWTYPE; BEGIN r := NULL", True),
        ("EXECUTE 'SELECT ' || quote_ident(what) || ' FROM ' || quote_ident(where_from)", True),
        ("EXECUTE format('SELECT %I FROM merchants', what)", True),
    ],
)
def test_it_cannot_be_said_of_a_function_that_may_take_whole_rows_or_makes_its_own_texts(
    server: LocalPostgres, connection: Connection, unseen: Debt, body: str, is_doubtful: bool
) -> None:
    """What it sends is not counted, for `pg_stat_statements.track` is `top`."""
    made = f"CREATE FUNCTION f(what text) RETURNS void LANGUAGE plpgsql AS $f$ BEGIN {body}; END $f$"
    query(server.url(), f"SET check_function_bodies = off; {made}")
    try:
        found = use(connection, unseen)
    finally:
        query(server.url(), "DROP FUNCTION f")

    assert found.answer == (CANNOT_SAY if is_doubtful else NOT_SEEN), found.lines


def test_what_functions_and_blocks_send_is_seen_where_it_was_counted_all_the_time(
    server: LocalPostgres, connection: Connection, unseen: Debt
) -> None:
    query(
        server.url(),
        "CREATE FUNCTION f(what text) RETURNS void LANGUAGE plpgsql AS "
        "$f$ BEGIN EXECUTE format('SELECT %I FROM merchants', what); END $f$",
    )
    server.psql("ALTER SYSTEM SET pg_stat_statements.track = 'all'")
    server.psql("SELECT pg_reload_conf()")
    try:
        with closing(psycopg2.connect(server.url())) as fresh:
            fresh.autocommit = True
            not_all_the_time = use(fresh, unseen)
            keep_baseline(fresh, [unseen])
            age(fresh, 26)
            send(server.url(user="nightly"), "DO $$ BEGIN PERFORM f('id'); EXECUTE 'SELECT id FROM merchants'; END $$")
            harmless = use(fresh, unseen)
            send(server.url(user="nightly"), "SELECT f('la' || 'bel')")
            used = use(fresh, unseen)
    finally:
        query(server.url(), "DROP FUNCTION f")
        server.psql("ALTER SYSTEM RESET ALL")
        server.psql("SELECT pg_reload_conf()")

    assert not_all_the_time.answer == CANNOT_SAY
    assert harmless.answer == NOT_SEEN, harmless.lines
    assert (used.answer, "SELECT label FROM merchants" in used.lines[0]) == (IN_USE, True), used.lines


def test_a_whole_table_is_used_by_whoever_reads_it_at_all(server: LocalPostgres, connection: Connection) -> None:
    owed = debt(TABLE, "merchants", "merchants", 5)
    keep_baseline(connection, [owed])
    send(server.url(user="nightly"), "SELECT count(*) FROM merchants")

    assert use(connection, owed).answer == IN_USE


CREATE_SHOP = {"0001_initial": migration(CREATE)}
DROP = migration('migrations.RemoveField("item", "colour")', "0001_initial")


@pytest.mark.slow
def test_contract_waits_for_a_night_without_the_job_that_uses_the_column(server: LocalPostgres, tmp_path: Path) -> None:
    """A night passes by the ledger's own clock: what it kept is made so much older."""
    with counting_database(server) as url:
        assert Release(tmp_path, "v1", CREATE_SHOP).run(url).returncode == 0
        query(url, "GRANT SELECT ON shop_item TO nightly")
        v2 = Release(tmp_path, "v2", CREATE_SHOP | {"0002_drop": DROP})
        assert v2.run(url).returncode == 0
        pay = ("migrate", "--contract")
        a_night = "UPDATE migrator_use_baselines SET taken_at = taken_at - interval '25 hours'"

        send(url.replace("//rupaya@", "//nightly@"), "SELECT colour, count(*) FROM shop_item GROUP BY colour")
        query(url, a_night)
        after_the_first = v2.run(url, *pay, MIGRATE_ON_USE="refuse")
        at_once = v2.run(url, *pay, MIGRATE_ON_USE="refuse")
        send(url.replace("//rupaya@", "//nightly@"), "SELECT colour, count(*) FROM shop_item GROUP BY colour")
        query(url, a_night)
        after_the_second = v2.run(url, *pay, MIGRATE_ON_USE="refuse")
        query(url, a_night)
        after_one_without = v2.run(url, *pay, MIGRATE_ON_USE="refuse")

        for refused in (after_the_first, at_once, after_the_second):
            assert refused.returncode == 14, refused.stderr
            assert "in use: nightly, 1 call since " in refused.stderr or refused is at_once, refused.stderr
        assert after_one_without.returncode == 0, after_one_without.stderr
        assert "not seen since " in after_one_without.stdout
        assert query(url, "SELECT state FROM migrator_debts") == [("paid",)]


@contextmanager
def counting_database(server: LocalPostgres) -> Iterator[str]:
    """A database of a test's own on the server that counts."""
    with new_database(server.url()) as url:
        query(server.url(urlsplit(url).path[1:], user="postgres"), "CREATE EXTENSION pg_stat_statements")
        yield url


OWN_SQL = {
    "0002_sql": migration(
        "migrations.RunSQL('DROP VIEW shop_names; ALTER TABLE shop_item DROP COLUMN colour', migrations.RunSQL.noop)",
        "0001_initial",
        'phase = "contract"',
    )
}
VIEW = {
    "0001_initial": migration(
        CREATE + "migrations.RunSQL('CREATE VIEW shop_names AS SELECT name FROM shop_item', 'DROP VIEW shop_names')"
    )
}


@pytest.mark.slow
def test_sql_of_ones_own_that_is_owed_whole_is_asked_about_what_it_takes_away(
    server: LocalPostgres, tmp_path: Path
) -> None:
    with counting_database(server) as url:
        assert Release(tmp_path, "v1", VIEW).run(url).returncode == 0
        query(url, "GRANT SELECT ON shop_item, shop_names TO nightly")
        v2 = release(tmp_path, url, "v2", VIEW | OWN_SQL)
        assert v2.run(url).returncode == 0
        nightly = url.replace("//rupaya@", "//nightly@")

        send(nightly, "SELECT name FROM shop_names")
        refused = v2.run(url, "migrate", "--contract", MIGRATE_ON_USE="refuse")
        query(url, "UPDATE migrator_use_baselines SET taken_at = taken_at - interval '26 hours'")
        send(nightly, "SELECT id, colour FROM shop_item")
        again = v2.run(url, "migrate", "--contract", MIGRATE_ON_USE="refuse")
        query(url, "UPDATE migrator_use_baselines SET taken_at = taken_at - interval '26 hours'")
        paid = v2.run(url, "migrate", "--contract", MIGRATE_ON_USE="refuse")

        assert (refused.returncode, again.returncode) == (14, 14), refused.stderr + again.stderr
        assert "shop_names: nightly, 1 call since " in refused.stderr
        assert "shop_item.colour: nightly, 1 call since " in again.stderr
        assert "shop_names: nightly" not in again.stderr
        assert paid.returncode == 0, paid.stderr
        assert query(url, "SELECT state FROM migrator_debts") == [("paid",)]


def test_it_cannot_be_said_what_unknown_sql_takes_away(connection: Connection) -> None:
    found = use(connection, Debt("shop", "0009_sql", "0", "Raw SQL", OPERATION, "", "0", [], "", {}, id=9))

    assert (found.answer, "what it takes away is not known" in found.lines[0]) == (CANNOT_SAY, True)


def test_what_is_owed_apart_of_the_same_migration_is_not_asked_twice(
    connection: Connection, settings: Any, tmp_path: Path
) -> None:
    """It may be paid long since, and then nobody could ask for it any more."""
    settings.MIGRATOR_PRESUMPTIONS = tmp_path / "presumptions.json"
    settings.MIGRATOR_PRESUMPTIONS.write_text(
        '{"shop.0009_sql": {"hash": "", "removed": {"merchants": ["gone", "label"]}}}'
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO migrator_debts (app, migration, operation, action, kind, table_name, object, payment, breaks,"
            " release, run_id, state, settled_at) VALUES ('shop', '0009_sql', '0', '', 'column', 'merchants', 'gone', "
            "'[]', '', '', 1, 'paid', now())"
        )
    operation = Debt("shop", "0009_sql", "1", "Raw SQL", OPERATION, "", "1", [], "", {}, id=9)

    found = use(connection, operation)

    assert found.lines == ("nothing was kept from the time when it came to be owed",)


@pytest.mark.usefixtures("connection")
def test_contract_refuses_what_is_in_use_and_pays_it_anyway_for_a_reason(server: LocalPostgres, tmp_path: Path) -> None:
    url = server.url()
    assert Release(tmp_path, "v1", CREATE_SHOP).run(url).returncode == 0
    query(url, "GRANT SELECT ON shop_item TO nightly")
    v2 = Release(tmp_path, "v2", CREATE_SHOP | {"0002_drop": DROP})
    assert v2.run(url).returncode == 0
    send(server.url(user="nightly"), "SELECT colour FROM shop_item")

    refused = v2.run(url, "migrate", "--contract", MIGRATE_ON_USE="refuse")
    assert refused.returncode == 14, refused.stderr
    assert "in use: nightly, 1 call since " in refused.stderr
    assert query(url, "SELECT count(*) FROM migrator_use_baselines") == [(2,)]
    assert query(url, "SELECT state FROM migrator_debts WHERE object = 'colour'")[-1] == ("owed",)

    paid = v2.run(url, "migrate", "--contract", "--in-use-anyway", "the job is off", MIGRATE_ON_USE="refuse")
    assert paid.returncode == 0, paid.stderr
    ((reason, answer),) = query(url, "SELECT reason, evidence ->> 0 FROM migrator_paid_in_use")
    assert (reason, answer) == ("the job is off", IN_USE)


def test_our_own_runs_push_nobodys_statements_out(server: LocalPostgres, tmp_path: Path) -> None:
    server.psql("GRANT SET ON PARAMETER pg_stat_statements.track TO rupaya")
    server.psql("SELECT pg_stat_statements_reset()", database="rupaya")
    later = migration('migrations.AddField("item", "size", models.IntegerField(null=True))', "0001_initial")

    ran = Release(tmp_path, "v3", CREATE_SHOP | {"0003_size": later}).run(server.url(), "schemasql")

    assert ran.returncode == 0, ran.stderr
    assert query(server.url(), "SELECT count(*) FROM pg_stat_statements WHERE query ~ 'CREATE TABLE'") == [(0,)]


def test_without_the_extension_it_cannot_be_said(database_url: str) -> None:
    query(database_url, TABLES)
    with closing(psycopg2.connect(database_url)) as bare:
        bare.autocommit = True
        Ledger(bare).ensure_schema()
        found = use(bare, debt(table="merchants", name="label"))

    assert found.answer == CANNOT_SAY
    assert "pg_stat_statements" in found.lines[0]


CRON = """
    CREATE SCHEMA cron; GRANT USAGE ON SCHEMA cron TO nightly;
    CREATE TABLE cron.job (jobid bigint, command text, database text DEFAULT current_database(),
                           username text DEFAULT current_user, active boolean DEFAULT true);
    ALTER TABLE cron.job ENABLE ROW LEVEL SECURITY;
    CREATE POLICY cron_job_policy ON cron.job USING (username = current_user)
"""


def test_a_job_that_pg_cron_sends_once_a_month_is_a_use(
    server: LocalPostgres, connection: Connection, unseen: Debt
) -> None:
    """Its table as pg_cron makes it."""
    query(server.url(), CRON)
    try:
        query(server.url(), "INSERT INTO cron.job VALUES (1, 'SELECT id FROM merchants'), (2, 'VACUUM merchants')")
        harmless = use(connection, unseen)
        query(server.url(), "INSERT INTO cron.job VALUES (3, 'COPY merchants TO PROGRAM ''archive''')")
        monthly = use(connection, unseen)
        query(server.url(), "UPDATE cron.job SET active = false WHERE jobid = 3")
        switched_off = use(connection, unseen)
        query(server.url(), "ALTER TABLE cron.job FORCE ROW LEVEL SECURITY")
        hidden = use(connection, unseen)
    finally:
        query(server.url(), "DROP SCHEMA cron CASCADE")

    assert (harmless.answer, switched_off.answer) == (NOT_SEEN, NOT_SEEN), harmless.lines
    assert (monthly.answer, monthly.lines[0][:33]) == (IN_USE, "scheduled by pg_cron, as rupaya: ")
    assert (hidden.answer, "the jobs of pg_cron cannot be read" in hidden.lines[0]) == (CANNOT_SAY, True)


def test_the_migrators_own_triggers_are_nobodys_use(
    server: LocalPostgres, connection: Connection, unseen: Debt
) -> None:
    query(
        server.url(),
        "CREATE FUNCTION migrator_in_step_1() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN NEW.label := NEW.merchant; RETURN NEW; END'; "
        "CREATE TRIGGER migrator_in_step_1 BEFORE UPDATE ON merchants FOR EACH ROW "
        "WHEN (OLD.label IS DISTINCT FROM NEW.label) EXECUTE FUNCTION migrator_in_step_1()",
    )
    try:
        found = use(connection, unseen)
    finally:
        query(server.url(), "DROP FUNCTION migrator_in_step_1 CASCADE")

    assert found.answer == NOT_SEEN, found.lines


def test_it_cannot_be_said_of_what_is_sent_to_subscribers(
    server: LocalPostgres, connection: Connection, unseen: Debt
) -> None:
    server.psql("CREATE PUBLICATION everything FOR ALL TABLES", database="rupaya")
    try:
        nobody_subscribes = use(connection, unseen)
        server.psql("SELECT pg_create_logical_replication_slot('theirs', 'pgoutput')", database="rupaya")
        somebody_does = use(connection, unseen)
        server.psql("SELECT pg_drop_replication_slot('theirs')", database="rupaya")
    finally:
        server.psql("DROP PUBLICATION everything", database="rupaya")

    assert nobody_subscribes.answer == NOT_SEEN, nobody_subscribes.lines
    assert somebody_does.answer == CANNOT_SAY
    assert somebody_does.lines == ("publication everything sends it to its subscribers",)


def test_a_read_that_no_counted_statement_explains_leaves_it_unsaid(
    server: LocalPostgres, connection: Connection
) -> None:
    query(server.url(), "CREATE TABLE lonely (id integer, label text); INSERT INTO lonely VALUES (1, 'l'), (2, 'm')")
    query(server.url(), "CREATE INDEX lonely_label ON lonely (label)")
    built = "SELECT 1 FROM pg_stat_user_tables WHERE relname = 'lonely' AND seq_scan > 0"
    wait_for(lambda: query(server.url(), built), "the statistics to have the building of the index")
    table, column = debt(TABLE, "lonely", "lonely", 21), debt(table="lonely", name="label", number=22)
    keep_baseline(connection, [table, column])
    age(connection, 26)
    unread = use(connection, table), use(connection, column)
    server.psql("SET pg_stat_statements.track = 'none'; SELECT count(*) FROM lonely; SET enable_seqscan = off; "
                "SELECT id FROM lonely WHERE label = 'l'", database="rupaya")  # fmt: skip
    wait_for(
        lambda: (
            query(server.url(), "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'lonely_label'")
            == [(1,)]
        ),
        "the statistics to have it",
    )
    read = use(connection, table), use(connection, column)
    query(server.url(), "DROP TABLE lonely")

    assert [found.answer for found in unread] == [NOT_SEEN, NOT_SEEN]
    assert [found.lines for found in read] == [
        ("lonely was read 2 times by a statement that was not counted",),
        ("lonely_label was read 1 time by a statement that was not counted",),
    ]
