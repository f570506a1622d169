"""What is said is what happened: a migration that ends its own transaction is never recorded, and nobody is misled."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from tests.faults.migrator import applied, query, wait_for
from tests.migrator.releases import CREATE, Deployed, Release, migration

FIRST = {"0001_initial": migration(CREATE)}


def python(body: str) -> str:
    """A migration whose Python has this body, indented by four; `connection` is Django's."""
    function = (
        f"def change(apps, schema_editor):\n    connection = schema_editor.connection\n{body}\n\n\nclass Migration"
    )
    text = migration("migrations.RunPython(change, migrations.RunPython.noop)", "0001_initial", 'phase = "expand"')
    return text.replace("class Migration", function, 1)


def sql(text: str) -> str:
    return migration(f"migrations.RunSQL({text!r}, migrations.RunSQL.noop)", "0001_initial", 'phase = "expand"')


CURSOR = "    cursor = connection.cursor()\n"
ENDS_ITS_TRANSACTION = {
    "swallows an error and rolls back": python(
        CURSOR
        + "    cursor.execute('CREATE TABLE zz (i int)')\n    try:\n        cursor.execute('SELECT 1/0')\n"
        + "    except Exception:\n        cursor.execute('ROLLBACK')"
    ),
    "ROLLBACK in SQL": sql("CREATE TABLE zz (i int); ROLLBACK;"),
    "ABORT in SQL": sql("CREATE TABLE zz (i int); ABORT;"),
    "BEGIN and COMMIT in SQL": sql("BEGIN; CREATE TABLE zz (i int); COMMIT;"),
    "END in SQL": sql("BEGIN; CREATE TABLE zz (i int); END;"),
    "the driver's commit": python(
        CURSOR + "    cursor.execute('CREATE TABLE zz (i int)')\n    connection.connection.commit()"
    ),
    "the driver's rollback": python(
        CURSOR + "    cursor.execute('CREATE TABLE zz (i int)')\n    connection.connection.rollback()"
    ),
    "the driver's close": python(
        CURSOR + "    cursor.execute('CREATE TABLE zz (i int)')\n    connection.connection.close()"
    ),
    "COMMIT AND CHAIN": sql("CREATE TABLE zz (i int); COMMIT AND CHAIN;"),
    "a new connection": python(
        "    connection.connection.close()\n    connection.connection = None\n    connection.connect()\n"
        + CURSOR
        + "    cursor.execute('CREATE TABLE zz (i int)')"
    ),
    "another session in its place": python(
        "    import psycopg2\n    connection.connection = psycopg2.connect(**connection.get_connection_params())\n"
        + CURSOR
        + "    cursor.execute('CREATE TABLE zz (i int)')"
    ),
}


IS_SAID = {
    "the server has rolled it back": ("rolls back", "ROLLBACK in SQL", "ABORT in SQL", "the driver's rollback"),
    "the server has committed it": ("COMMIT in SQL", "END in SQL", "the driver's commit", "COMMIT AND CHAIN"),
    "this process closed the connection": ("the driver's close", "a new connection"),
    "another session (backend pid": ("another session in its place",),
}


@pytest.mark.parametrize("way", ENDS_ITS_TRANSACTION)
def test_a_migration_that_ends_its_transaction_fails_and_is_not_recorded(
    deployed: Deployed, release: Release, way: str
) -> None:
    database_url = deployed(release)
    release.write("0002_ends", ENDS_ITS_TRANSACTION[way])

    failed = release.run(database_url)
    again = release.run(database_url)

    assert failed.returncode == 13, failed.stdout + failed.stderr
    assert again.returncode == 15, again.stdout + again.stderr
    assert "Traceback" not in failed.stderr
    assert [told for told in IS_SAID if told in failed.stderr] == [
        told for told, ways in IS_SAID.items() if way.endswith(ways)
    ], failed.stderr
    assert applied(database_url) == ["shop.0001_initial"]
    is_there = query(database_url, "SELECT to_regclass('zz') IS NOT NULL")[0][0]
    if is_there:
        assert "rolled back whole" not in failed.stderr
    audited = release.run(database_url, "showmigrations", "--audit", "--check")
    assert audited.returncode == 1
    assert "shop.0002_ends is failed" in audited.stderr
    assert query(
        database_url, "SELECT outcome FROM migrator_attempts WHERE name = '0002_ends' AND outcome <> 'failed'"
    ) == [] or query(database_url, "SELECT outcome FROM migrator_attempts WHERE name = '0002_ends'") == [("failed",)]


def test_only_where_nobody_can_be_waiting_a_statement_may_take_as_long_as_it_likes(
    database_url: str, release: Release
) -> None:
    limit = {"MIGRATE_LOCK_TIMEOUT_MS": "50", "MIGRATE_STATEMENT_TIMEOUT_MS": "100"}
    release.write("0002_long", sql("SELECT pg_sleep(0.3)"))

    assert release.run(database_url, **limit).returncode == 0, "nothing was there before"

    release.write("0003_long", sql("SELECT pg_sleep(0.3)").replace("0001_initial", "0002_long"))
    ran = release.run(database_url, **limit)
    assert ran.returncode == 13, ran.stdout + ran.stderr
    assert "canceling statement due to statement timeout" in ran.stderr


def test_a_batch_in_one_transaction_is_not_believed_either(database_url: str, tmp_path: Path) -> None:
    release = Release(tmp_path, "v1", FIRST | {"0002_ends": ENDS_ITS_TRANSACTION["BEGIN and COMMIT in SQL"]})

    failed = release.run(database_url, MIGRATE_BATCH="all")

    assert failed.returncode == 13, failed.stdout + failed.stderr
    remaining = applied(database_url)
    assert ("Nothing of this batch remains applied" in failed.stderr) == (remaining == [])
    assert "shop.0002_ends" not in remaining


def test_a_lock_that_a_migration_lets_go_is_taken_again_before_the_next(database_url: str, release: Release) -> None:
    holds = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid()"
    release.write("0002_lets_go", sql("SELECT pg_advisory_unlock_all()"))
    release.write(
        "0003_looks",
        python(CURSOR + f'    cursor.execute("{holds}")\n    assert cursor.fetchone()[0] == 1').replace(
            "0001_initial", "0002_lets_go"
        ),
    )

    ran = release.run(database_url)

    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_each_attempt_of_a_batch_in_one_transaction_has_its_own_times(database_url: str, tmp_path: Path) -> None:
    release = Release(tmp_path, "v1", FIRST | {"0002_slow": sql("SELECT pg_sleep(0.2)")})
    release.write("0003_next", sql("SELECT 1").replace("0001_initial", "0002_slow"))

    assert release.run(database_url, MIGRATE_BATCH="all").returncode == 0

    times = query(
        database_url,
        "SELECT name, started_at, finished_at FROM migrator_attempts WHERE app = 'shop' ORDER BY attempt_id",
    )
    assert [name for name, _started, _finished in times] == ["0001_initial", "0002_slow", "0003_next"]
    assert (times[1][2] - times[1][1]).total_seconds() >= 0.2
    assert times[0][2] <= times[1][1]
    assert times[1][2] <= times[2][1]


def test_what_a_batch_recorded_before_its_transaction_was_committed_is_in_the_ledger(
    database_url: str, tmp_path: Path
) -> None:
    table = 'migrations.CreateModel("Made", [("id", models.BigAutoField(primary_key=True))])'
    commits = ENDS_ITS_TRANSACTION["the driver's commit"].replace("0001_initial", "0002_table")
    release = Release(tmp_path, "v1", FIRST | {"0002_table": migration(table, "0001_initial"), "0003_commits": commits})

    failed = release.run(database_url, MIGRATE_BATCH="all")

    assert failed.returncode == 13, failed.stdout + failed.stderr
    assert applied(database_url) == ["shop.0001_initial", "shop.0002_table"]
    assert query(
        database_url, "SELECT name, outcome FROM migrator_attempts WHERE app = 'shop' ORDER BY attempt_id"
    ) == [("0001_initial", "succeeded"), ("0002_table", "succeeded"), ("0003_commits", "failed")]


def test_each_migration_of_a_batch_holds_its_locks_no_longer_than_its_own_limit(
    deployed: Deployed, tmp_path: Path
) -> None:
    release = Release(tmp_path, "v1", FIRST)
    database_url = deployed(release)
    unbounded = 'phase = "expand"\n    statement_timeout_ms = 0'
    release.write("0002_unbounded", migration('migrations.RunSQL("SELECT 1")', "0001_initial", unbounded))
    slow = CURSOR + (
        "    cursor.execute('LOCK TABLE shop_item IN ACCESS EXCLUSIVE MODE')\n"
        "    for _ in range(100):\n        cursor.execute('SELECT pg_sleep(0.1)')"
    )
    release.write("0003_holds", python(slow).replace("0001_initial", "0002_unbounded"))

    failed = release.run(
        database_url, MIGRATE_BATCH="all", MIGRATE_LOCK_TIMEOUT_MS="500", MIGRATE_STATEMENT_TIMEOUT_MS="1000"
    )

    assert failed.returncode == 13, failed.stdout + failed.stderr
    assert "shop_item" in failed.stderr
    assert applied(database_url) == ["shop.0001_initial"]


def test_the_history_that_a_batch_keeps_locked_counts_for_no_migration(deployed: Deployed, tmp_path: Path) -> None:
    release = Release(tmp_path, "v1", FIRST)
    database_url = deployed(release)
    before = "0001_initial"
    for number in range(2, 8):
        release.write(f"{number:04}_sleeps", sql("SELECT pg_sleep(0.4)").replace("0001_initial", before))
        before = f"{number:04}_sleeps"

    ran = release.run(database_url, MIGRATE_BATCH="all", MIGRATE_STATEMENT_TIMEOUT_MS="1500")

    assert ran.returncode == 0, ran.stdout + ran.stderr


LEAVES_SETTINGS = {
    "search_path": "CREATE SCHEMA reporting; SET search_path TO reporting, public",
    "read only": "SET default_transaction_read_only = on",
    "dates": "SET datestyle = 'German'; SET intervalstyle = 'sql_standard'",
    "isolation": "SET default_transaction_isolation = 'serializable'",
}


@pytest.mark.parametrize("left", LEAVES_SETTINGS.values(), ids=LEAVES_SETTINGS.keys())
def test_no_setting_leaks_into_the_next_migration(deployed: Deployed, release: Release, left: str) -> None:
    database_url = deployed(release)
    release.write("0002_sets", sql(left))
    release.write(
        "0003_next",
        migration('migrations.CreateModel("Next", [("id", models.BigAutoField(primary_key=True))])', "0002_sets"),
    )

    ran = release.run(database_url)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "changed settings of the session and left them" in ran.stdout
    assert query(database_url, "SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname = 'shop_next'") == [
        ("public",)
    ]


HELD_BACK = {
    "a view in the way": (
        sql("CREATE VIEW items AS SELECT name FROM shop_item"),
        migration('migrations.RunSQL("ALTER TABLE shop_item ALTER name TYPE text")', "0002_first", 'phase = "expand"'),
    ),
    "concurrently in a transaction": (
        sql("SELECT 1"),
        migration(
            'migrations.RunSQL("CREATE INDEX CONCURRENTLY ix ON shop_item (name)")', "0002_first", 'phase = "expand"'
        ),
    ),
    "RAISE": (
        sql("SELECT 1"),
        migration("migrations.RunSQL(\"DO $$ BEGIN RAISE EXCEPTION 'no'; END $$\")", "0002_first", 'phase = "expand"'),
    ),
}


@pytest.mark.parametrize("texts", HELD_BACK.values(), ids=HELD_BACK.keys())
def test_what_cannot_pass_by_itself_is_not_tried_again_at_once(
    deployed: Deployed, release: Release, texts: tuple[str, str]
) -> None:
    database_url = deployed(release)
    release.write("0002_first", texts[0])
    release.write("0003_fails", texts[1])

    assert [release.run(database_url).returncode for _ in range(2)] == [13, 15]


def test_what_may_pass_by_itself_is_tried_again(deployed: Deployed, release: Release) -> None:
    database_url = deployed(release)
    release.write("0002_no_room", sql("DO $$ BEGIN RAISE 'full' USING ERRCODE = 'out_of_memory'; END $$"))

    first = release.run(database_url)

    assert "This may pass by itself: start again." in first.stderr
    assert [first.returncode, release.run(database_url).returncode] == [13, 13]


def test_what_somebody_cancelled_is_tried_again_and_what_took_too_long_is_not(
    deployed: Deployed, release: Release
) -> None:
    database_url = deployed(release)
    release.write("0002_slow", sql("SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(9)"))
    cancelled = [release.run(database_url).returncode for _ in range(2)]
    release.write("0002_slow", sql("SELECT pg_sleep(9)"))
    took_too_long = [
        release.run(database_url, MIGRATE_STATEMENT_TIMEOUT_MS="400", MIGRATE_LOCK_TIMEOUT_MS="300").returncode
        for _ in range(2)
    ]

    assert cancelled == [13, 13]
    assert took_too_long == [13, 15]


def test_a_table_that_is_locked_for_a_while_is_tried_again_within_the_deadline(
    database_url: str, release: Release
) -> None:
    assert release.run(database_url).returncode == 0
    release.write("0002_add", sql("ALTER TABLE shop_item ADD size integer"))

    def somebody_waits() -> bool:
        return query(database_url, "SELECT count(*) FROM pg_locks WHERE NOT granted") != [(0,)]

    with (
        ThreadPoolExecutor() as pool,
        closing(psycopg2.connect(database_url)) as holder,
        holder.cursor() as cursor,
    ):
        cursor.execute("LOCK TABLE shop_item IN ACCESS SHARE MODE")
        run = pool.submit(release.run, database_url, MIGRATE_LOCK_TIMEOUT_MS="200", MIGRATE_RETRIES="50")
        wait_for(somebody_waits, "the first try")
        wait_for(lambda: not somebody_waits(), "its end")
        holder.rollback()
        ran = run.result()

    assert ran.returncode == 0, ran.stderr
    ((tries,),) = query(database_url, "SELECT tries FROM migrator_attempts WHERE name = '0002_add'")
    assert tries > 1


@pytest.mark.parametrize("text", ["bad \\x00 byte", "\\udcff"], ids=["NUL", "a surrogate"])
def test_an_error_whose_text_no_database_can_keep_is_still_that_error(
    deployed: Deployed, release: Release, text: str
) -> None:
    database_url = deployed(release)
    release.write("0002_fails", python(f'    raise ValueError("{text}")'))

    failed = release.run(database_url, "migrate", "--traceback")

    assert failed.returncode == 1, failed.stderr  # what Django ends with where somebody wants to see it all
    assert "shop.0002_fails failed: ValueError" in failed.stderr
    assert "The above exception was the direct cause" in failed.stderr
    assert query(database_url, "SELECT outcome FROM migrator_attempts WHERE name = '0002_fails'") == [("failed",)]


def test_schema_and_rows_in_one_transaction_do_not_keep_traffic_away_for_long(
    deployed: Deployed, release: Release
) -> None:
    database_url = deployed(release)
    loop = python("    for _ in range(100):\n        connection.cursor().execute('SELECT pg_sleep(0.1)')")
    release.write(
        "0002_mixed",
        loop.replace(
            "operations = [", 'operations = [migrations.AddField("item", "x", models.TextField(null=True)), ', 1
        ),
    )

    failed = release.run(database_url, MIGRATE_STATEMENT_TIMEOUT_MS="1100", MIGRATE_LOCK_TIMEOUT_MS="500")

    assert failed.returncode == 13, failed.stdout + failed.stderr
    assert "kept traffic from shop_item for more than 1.1 s" in failed.stderr
    assert applied(database_url) == ["shop.0001_initial"]


FIRST_DEPLOYMENTS = {
    "an enum's new value is used by the next migration": {
        "0001_initial": migration(CREATE),
        "0002_type": migration("migrations.RunSQL(\"CREATE TYPE mood AS ENUM ('ok')\")", "0001_initial"),
        "0003_value": migration("migrations.RunSQL(\"ALTER TYPE mood ADD VALUE 'glad'\")", "0002_type"),
        "0004_use": migration(
            "migrations.RunSQL(\"ALTER TABLE shop_item ADD mood mood DEFAULT 'glad'\")", "0003_value"
        ),
    },
    "rows, and then another column type": {
        "0001_initial": migration(
            CREATE
            + 'migrations.CreateModel("Part", [("id", models.BigAutoField(primary_key=True)), '
            + '("item", models.ForeignKey("shop.item", models.CASCADE))]),'
        ),
        "0002_rows": migration(
            "migrations.RunSQL(\"INSERT INTO shop_item (id, name) VALUES (1, 'a'); "
            'INSERT INTO shop_part (id, item_id) VALUES (1, 1)")',
            "0001_initial",
        ),
        "0003_alter": migration('migrations.RunSQL("ALTER TABLE shop_part ADD n integer")', "0002_rows"),
    },
    "Python in a session of its own": {
        **FIRST,
        "0002_rows": python(
            "    import psycopg2\n    other = psycopg2.connect(**connection.get_connection_params())\n"
            "    other.cursor().execute('INSERT INTO shop_item (id, name) VALUES (1, %s)', ['a'])\n    other.commit()"
        ),
    },
    "Python in threads": {
        **FIRST,
        "0002_rows": python(
            "    from concurrent.futures import ThreadPoolExecutor\n    Item = apps.get_model('shop', 'Item')\n"
            "    with ThreadPoolExecutor() as pool:\n"
            "        list(pool.map(lambda n: Item.objects.create(id=n, name='a'), range(3)))"
        ),
    },
    "a program with a session of its own": {
        **FIRST,
        "0002_rows": python(
            "    import subprocess, sys\n"
            "    code = 'import psycopg2, sys; psycopg2.connect(sys.argv[1]).cursor().execute(\"TABLE shop_item\")'\n"
            "    subprocess.run([sys.executable, '-c', code, connection.connection.dsn], check=True)"
        ),
    },
    "two temporary tables that go with their transactions": {
        "0001_initial": migration(CREATE),
        "0002_one": migration('migrations.RunSQL("CREATE TEMP TABLE found (n int) ON COMMIT DROP")', "0001_initial"),
        "0003_two": migration('migrations.RunSQL("CREATE TEMP TABLE found (n int) ON COMMIT DROP")', "0002_one"),
    },
}


@pytest.mark.parametrize("texts", FIRST_DEPLOYMENTS.values(), ids=FIRST_DEPLOYMENTS.keys())
def test_an_empty_database_is_brought_up_wherever_django_can(
    database_url: str, tmp_path: Path, texts: dict[str, str]
) -> None:
    ran = Release(tmp_path, "v1", texts).run(database_url)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert [name.partition(".")[2] for name in applied(database_url)] == list(texts)
    assert query(database_url, "SELECT count(*) FROM migrator_attempts WHERE outcome = 'started'") == [(0,)]


def test_a_table_that_is_made_twice_leaves_nothing_of_the_first_deployment(database_url: str, tmp_path: Path) -> None:
    """Committing what was before it would help only where that were a temporary one."""
    texts = {
        "0001_initial": migration(CREATE),
        "0002_one": migration('migrations.RunSQL("CREATE TABLE found (n int)")', "0001_initial"),
        "0003_two": migration('migrations.RunSQL("CREATE TABLE found (n int)")', "0002_one"),
    }

    failed = Release(tmp_path, "v1", texts).run(database_url)

    assert failed.returncode == 13, failed.stdout + failed.stderr
    assert "Nothing of this batch remains applied." in failed.stderr
    assert applied(database_url) == []
    assert query(database_url, "SELECT to_regclass('found'), to_regclass('shop_item')") == [(None, None)]


FAILS_AFTER_ITS_COMMIT = python(
    "    from django.db import transaction\n    def late():\n        raise ValueError('too late')\n"
    "    transaction.on_commit(late)"
)


@pytest.mark.parametrize("is_first", [True, False], ids=["first deployment", "live"])
def test_what_fails_after_the_commit_stops_this_start_and_not_the_next(
    database_url: str, tmp_path: Path, is_first: bool
) -> None:
    release = Release(tmp_path, "v1", FIRST)
    if not is_first:
        assert release.run(database_url).returncode == 0
    release.write("0002_late", FAILS_AFTER_ITS_COMMIT)
    release.write(
        "0003_more", migration('migrations.AddField("item", "n", models.IntegerField(null=True))', "0002_late")
    )

    failed = release.run(database_url, RELEASE="v2")
    audited = release.run(database_url, "showmigrations", "--audit")
    again = release.run(database_url, RELEASE="v2")

    assert failed.returncode == 13, failed.stdout + failed.stderr
    assert "ValueError: too late at " in failed.stderr
    assert "0002_late.py" in failed.stderr
    assert "committed all the same" in failed.stderr
    assert "do it by hand" in failed.stderr
    assert "contradicted" not in audited.stdout
    assert again.returncode == 0, again.stdout + again.stderr
    assert applied(database_url)[-2:] == ["shop.0002_late", "shop.0003_more"]
    assert query(database_url, "SELECT DISTINCT outcome FROM migrator_attempts") == [("succeeded",)]


FAILS_WITHOUT_ANOTHER_SESSION = {
    "its own session's": (
        "    from django.db import transaction\n    with transaction.atomic():\n"
        "        connection.cursor().execute('SELECT FROM nowhere')"
    ),
    "another database's": (
        "    import psycopg2\n    there = {**connection.get_connection_params(), 'dbname': 'postgres'}\n"
        "    psycopg2.connect(**there).cursor().execute('SELECT FROM nowhere')"
    ),
}


@pytest.mark.parametrize("body", FAILS_WITHOUT_ANOTHER_SESSION.values(), ids=FAILS_WITHOUT_ANOTHER_SESSION.keys())
def test_a_failure_that_no_commit_would_help_leaves_nothing_of_the_first_deployment(
    database_url: str, tmp_path: Path, body: str
) -> None:
    failed = Release(tmp_path, "v1", {**FIRST, "0002_fails": python(body)}).run(database_url)

    assert failed.returncode == 13, failed.stdout + failed.stderr
    assert "Nothing of this batch remains applied." in failed.stderr
    assert applied(database_url) == []


def test_rows_that_wait_for_their_check_do_not_split_the_first_deployment(database_url: str, tmp_path: Path) -> None:
    """They are checked where a commit would have checked them; all of it is one transaction."""
    texts = FIRST_DEPLOYMENTS["rows, and then another column type"]

    ran = Release(tmp_path, "v1", texts).run(database_url)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert query(database_url, "SELECT DISTINCT outcome FROM migrator_attempts") == [("succeeded",)]
    assert query(database_url, "SELECT count(DISTINCT xmin::text) FROM django_migrations") == [(1,)]


def test_rows_that_a_deferred_constraint_refuses_fail_the_migration_that_wrote_them(
    database_url: str, tmp_path: Path
) -> None:
    texts = dict(FIRST_DEPLOYMENTS["rows, and then another column type"])
    texts["0002_rows"] = texts["0002_rows"].replace("VALUES (1, 1)", "VALUES (1, 7)")
    assert "VALUES (1, 7)" in texts["0002_rows"]

    failed = Release(tmp_path, "v1", texts).run(database_url)

    assert failed.returncode == 13, failed.stdout + failed.stderr
    assert "shop.0002_rows failed: " in failed.stderr
    assert "violates foreign key constraint" in failed.stderr


def test_a_constraint_that_is_checked_at_once_stays_so_after_rows_were_written(
    database_url: str, tmp_path: Path
) -> None:
    """Deferrable is not deferred: a migration that catches what it refuses must meet it at once."""
    texts = {
        "0001_initial": migration(CREATE),
        "0002_unique": migration(
            'migrations.AddConstraint("item", models.UniqueConstraint(fields=["name"], name="one_name", '
            "deferrable=models.Deferrable.IMMEDIATE))",
            "0001_initial",
        ),
        "0003_rows": migration(
            "migrations.RunSQL(\"INSERT INTO shop_item (id, name) VALUES (1, 'a')\")", "0002_unique"
        ),
        "0004_again": migration(
            "migrations.RunSQL(\"DO $$ BEGIN INSERT INTO shop_item (id, name) VALUES (2, 'a'); "
            'EXCEPTION WHEN unique_violation THEN NULL; END $$")',
            "0003_rows",
        ),
    }

    ran = Release(tmp_path, "v1", texts).run(database_url)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert query(database_url, "SELECT count(*) FROM shop_item") == [(1,)]


BROKEN_FILES = {
    "a conflict marker": "<<<<<<< HEAD\n",
    "an import of what is gone": "from nowhere import anything\n",
    "an exit": "import sys\nsys.exit(0)\n",
}


@pytest.mark.parametrize("text", BROKEN_FILES.values(), ids=BROKEN_FILES.keys())
def test_a_file_that_cannot_be_loaded_is_refused_in_a_sentence(deployed: Deployed, release: Release, text: str) -> None:
    database_url = deployed(release)
    release.write("0002_broken", text)

    refused = release.run(database_url)

    assert refused.returncode == 14, refused.stdout + refused.stderr
    assert "0002_broken.py:" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_crash_is_no_verdict(deployed: Deployed, release: Release) -> None:
    database_url = deployed(release)
    for damage, code in (
        ("ALTER TABLE migrator_snapshots ALTER catalog TYPE text USING 'not a catalog'", 17),
        ("ALTER TABLE migrator_runs DROP COLUMN release", 16),
    ):
        query(database_url, damage)
        for command in (("schemadiff",), ("showmigrations", "--audit", "--check")):
            ran = release.run(database_url, *command)
            assert ran.returncode == code, ran.stdout + ran.stderr
            assert "Traceback" not in ran.stderr


MARKED = "carol@secret.example"


def test_peoples_data_is_kept_out_of_log_and_ledger(deployed: Deployed, release: Release) -> None:
    database_url = deployed(release)
    query(database_url, "INSERT INTO shop_item (name) VALUES (%s)", MARKED)
    release.write("0002_type", sql("ALTER TABLE shop_item ALTER name TYPE integer USING name::integer"))
    said = release.run(database_url)
    release.write(
        "0002_type",
        python(CURSOR + f"    cursor.execute(\"UPDATE nowhere SET name = '{MARKED}' WHERE name = '{MARKED}'\")"),
    )
    again = release.run(database_url)

    assert said.returncode == again.returncode == 13
    for text in (said.stdout, said.stderr, again.stdout, again.stderr):
        assert MARKED not in text
    for table in ("migrator_runs", "migrator_attempts", "migrator_traces"):
        assert query(database_url, f"SELECT count(*) FROM {table} t WHERE t::text LIKE %s", f"%{MARKED}%") == [(0,)]


def test_a_record_that_contradicts_the_ledger_is_named(deployed: Deployed, release: Release) -> None:
    database_url = deployed(release)
    release.write("0002_fails", sql("SELECT 1 / 0"))
    assert release.run(database_url).returncode == 13
    query(database_url, "INSERT INTO django_migrations (app, name, applied) VALUES ('shop', '0002_fails', now())")

    audited = release.run(database_url, "showmigrations", "--audit", "--check")

    assert audited.returncode == 1
    assert "shop.0002_fails is contradicted" in audited.stderr
