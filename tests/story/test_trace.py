"""The ledger's third version: what each attempt executed and who kept it waiting, without anybody's data."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg2
import pytest
from psycopg2.sql import SQL

from rupaya.migrator.ledger.trace import MAX_BLOCKERS, MAX_CHARACTERS, MAX_STATEMENT_CHARACTERS, MAX_STATEMENTS, Trace
from tests.faults.migrator import query
from tests.migrator.releases import CREATE, Release, migration

TRACES = """
    SELECT a.app || '.' || a.name, a.outcome, t.statements, t.omitted, t.blockers
    FROM migrator_attempts a LEFT JOIN migrator_traces t USING (attempt_id) ORDER BY a.attempt_id
"""
ADD = 'migrations.AddField("item", "size", models.IntegerField(null=True))'


def sql_of(url: str) -> list[str]:
    return [statement["sql"] for _name, _outcome, statements, *_ in query(url, TRACES) for statement in statements]


def with_python(body: str) -> str:
    operations = (
        'migrations.RunPython(work, migrations.RunPython.noop), migrations.RunSQL("UPDATE shop_item SET colour = '
        "'own words'\")"
    )
    text = migration(operations, "0001_initial")
    return text.replace("\n\n\nclass", f"\n\n\ndef work(apps, schema_editor):\n{body}\n\n\nclass", 1)


def test_an_attempt_keeps_the_statements_that_it_executed(database_url: str, tmp_path: Path) -> None:
    release = Release(tmp_path, "v1", {"0001_initial": migration(CREATE), "0002_size": migration(ADD, "0001_initial")})

    assert release.run(database_url).returncode == 0

    first, second = query(database_url, TRACES)
    (created,) = first[2]
    assert created["sql"].startswith('CREATE TABLE "shop_item" ("id" bigint')
    assert created["times"] == 1
    assert 0 < created["ms"] < 10_000
    assert [statement["sql"] for statement in second[2]] == ['ALTER TABLE "shop_item" ADD COLUMN "size" integer NULL']
    assert first[3:] == second[3:] == (0, [])


def test_no_value_that_python_put_into_a_statement_is_kept(database_url: str, tmp_path: Path) -> None:
    body = """
    Item = apps.get_model("shop", "Item")
    Item.objects.create(name="secret-by-orm")
    cursor = schema_editor.connection.cursor()
    cursor.execute("INSERT INTO shop_item (name) VALUES (%s)", ["secret-parameter"])
    cursor.executemany("INSERT INTO shop_item (name) VALUES (%s)", [["secret-many"]])
    cursor.execute("INSERT INTO shop_item (name) VALUES ('secret-' || 'it''s', 987654) -- x".replace(", 987654", ""))
    cursor.execute("UPDATE shop_item SET name = $a$secret-dollar$a$, colour = E'a\\\\'secret-escape' WHERE id = 424242")
    cursor.execute("UPDATE shop_item SET name = 'x' WHERE name = '" + "y" * 9000 + "secret-late'")
    from psycopg2 import sql
    cursor.execute(sql.SQL("UPDATE shop_item SET name = {}").format(sql.Literal("secret-composed")))"""
    release = Release(tmp_path, "v1", {"0001_initial": migration(CREATE), "0002_work": with_python(body)})

    ran = release.run(database_url)
    assert ran.returncode == 0, ran.stderr

    kept = "\n".join(sql_of(database_url))
    assert "secret" not in kept
    assert "424242" not in kept
    assert "yyy" not in kept
    assert kept.count("INSERT INTO shop_item") == 2  # the one with a parameter, each time, and the one with its value
    assert "UPDATE shop_item SET name = ?, colour = ? WHERE id = ?" in kept
    assert "UPDATE shop_item SET colour = 'own words'" in kept  # the migration's own text


def test_a_hundred_thousand_statements_stay_a_few(database_url: str, tmp_path: Path) -> None:
    body = """
    cursor = schema_editor.connection.cursor()
    for number in range(3000):
        cursor.execute("SELECT %s", [number])
        cursor.execute(f"SELECT 1 AS c{number}")"""
    release = Release(tmp_path, "v1", {"0001_initial": migration(CREATE), "0002_work": with_python(body)})

    ran = release.run(database_url)
    assert ran.returncode == 0, ran.stderr

    *_, (_name, _outcome, statements, omitted, _blockers) = query(database_url, TRACES)
    assert len(statements) == MAX_STATEMENTS
    assert statements[0] | {"ms": 0} == {"sql": "SELECT %s", "times": 3000, "ms": 0}
    assert omitted == 3000 - (MAX_STATEMENTS - 1) + 1


def test_long_statements_are_cut_and_bounded_together() -> None:
    trace = Trace(keeps_literals=True)
    for number in range(100):
        trace.executed(f"SELECT {number}, '" + "x" * 100_000 + "'", None, 0.001)

    assert sum(len(statement["sql"]) for statement in trace.statements) < MAX_CHARACTERS + 100
    assert all(len(statement["sql"]) <= MAX_STATEMENT_CHARACTERS + 4 for statement in trace.statements)
    assert trace.omitted == 100 - len(trace.statements)


def test_a_statement_is_noted_once_with_how_often_and_how_long() -> None:
    trace = Trace(keeps_literals=True)
    for duration_s in (0.00126, 0.0021):
        trace.executed("SELECT 1", None, duration_s)

    assert trace.statements == [{"sql": "SELECT 1", "times": 2, "ms": 3.4}]


def test_only_the_migrations_own_text_keeps_its_literals() -> None:
    own, others, composed = "UPDATE a SET b = 'own'", "UPDATE a SET b = 'others'", SQL("UPDATE a SET b = 'made'")
    trace, plain = Trace(keeps_literals=False, own_sql={own}), Trace(keeps_literals=True)
    for each in (own, others, composed, 'SAVEPOINT "s1"', "INSERT INTO migrator_runs DEFAULT VALUES"):
        trace.executed(each, None, 0.001)
        plain.executed(each, None, 0.001)

    masked = "UPDATE a SET b = ?"
    assert [statement["sql"] for statement in trace.statements] == [own, masked, masked]
    assert [statement["sql"] for statement in plain.statements] == [own, others, masked]
    trace.blocked("item", 7, "pid 7", 0.2)
    trace.begin_try()
    assert (trace.statements, len(trace.blockers)) == ([], 1)


def test_a_session_in_the_way_is_noted_once_a_table_with_how_long_it_was_and_others_are_bounded() -> None:
    trace = Trace(keeps_literals=True)
    for _look in range(3):
        trace.blocked("item", 7, "pid 7", 0.21)
        trace.blocked("note", 7, "pid 7", 0.2)
    for pid in range(100, 100 + 2 * MAX_BLOCKERS):
        trace.blocked("item", pid, f"pid {pid}", 0.2)

    assert trace.blockers[:2] == [
        {"table": "item", "session": "pid 7", "waited_s": 0.6},
        {"table": "note", "session": "pid 7", "waited_s": 0.6},
    ]
    assert len(trace.blockers) == MAX_BLOCKERS


def test_a_failure_keeps_what_it_had_executed_and_a_batch_what_was_rolled_back(
    database_url: str, tmp_path: Path
) -> None:
    fails = migration('migrations.RunSQL("SELECT 1 / 0")', "0001_initial")
    release = Release(tmp_path, "v1", {"0001_initial": migration(CREATE), "0002_fails": fails})

    assert release.run(database_url).returncode == 13

    first, second = query(database_url, TRACES)
    assert first[1] == "rolled back"
    assert first[2][0]["sql"].startswith("CREATE TABLE")
    assert second[1] == "failed"
    assert [statement["sql"] for statement in second[2]] == ["SELECT 1 / 0"]


def test_those_who_were_waited_for_are_kept_over_all_tries(database_url: str, tmp_path: Path) -> None:
    v1 = Release(tmp_path, "v1", {"0001_initial": migration(CREATE)})
    assert v1.run(database_url).returncode == 0
    query(database_url, "INSERT INTO shop_item (name) VALUES ('hush')")
    v2 = Release(tmp_path, "v2", {"0001_initial": migration(CREATE), "0002_size": migration(ADD, "0001_initial")})
    holder = psycopg2.connect(database_url, application_name="holder")
    try:
        with holder.cursor() as cursor:
            cursor.execute("SELECT * FROM shop_item WHERE name = 'hush'")

        assert v2.run(database_url, MIGRATE_RETRIES="1", MIGRATE_LOCK_TIMEOUT_MS="700").returncode == 12
    finally:
        holder.close()

    *_, (_name, outcome, statements, _omitted, blockers) = query(database_url, TRACES)
    assert outcome == "failed"
    assert [statement["times"] for statement in statements] == [1]  # of the last try
    ((blocker,),) = [blockers]
    assert blocker["table"] == "shop_item"
    assert blocker["waited_s"] >= 0.6
    assert "(holder), idle in transaction" in blocker["session"]
    assert "hush" not in json.dumps(blockers)


def test_a_trace_is_never_rewritten(migrated_url: str) -> None:
    assert query(migrated_url, "SELECT count(*) > 20 FROM migrator_traces") == [(True,)]
    for sql in (
        "UPDATE migrator_traces SET omitted = 1",
        "DELETE FROM migrator_traces",
        "TRUNCATE migrator_traces",
    ):
        with pytest.raises(psycopg2.Error, match="append-only"):
            query(migrated_url, sql)


def test_an_older_ledger_is_upgraded_and_an_older_release_writes_to_the_newer_one(
    database_url: str, tmp_path: Path
) -> None:
    v1 = Release(tmp_path, "v1", {"0001_initial": migration(CREATE)})
    assert v1.run(database_url).returncode == 0
    query(database_url, "DROP TABLE migrator_traces; DELETE FROM migrator_versions WHERE version = 3")
    v2 = Release(tmp_path, "v2", {"0001_initial": migration(CREATE), "0002_size": migration(ADD, "0001_initial")})

    assert v2.run(database_url).returncode == 0

    assert [(name, bool(statements)) for name, _outcome, statements, *_ in query(database_url, TRACES)] == [
        ("shop.0001_initial", False),
        ("shop.0002_size", True),
    ]
    # The statements of the release before, which knew the second version.
    query(
        database_url,
        "INSERT INTO migrator_attempts (run_id, batch, app, name, direction, phase, atomic, fingerprint, file_hash) "
        "VALUES (1, 9, 'shop', '0003', 'apply', 'expand', true, '', '')",
    )
    query(
        database_url,
        "UPDATE migrator_attempts SET finished_at = clock_timestamp(), outcome = 'succeeded', tries = 1, faked = false "
        "WHERE name = '0003'",
    )
    assert query(database_url, TRACES)[-1][1:3] == ("succeeded", None)


def test_the_upgrade_waits_for_nobody_who_reads_the_ledger(database_url: str, tmp_path: Path) -> None:
    v1 = Release(tmp_path, "v1", {"0001_initial": migration(CREATE)})
    assert v1.run(database_url).returncode == 0
    query(database_url, "DROP TABLE migrator_traces; DELETE FROM migrator_versions WHERE version = 3")
    backup = psycopg2.connect(database_url)
    try:
        with backup.cursor() as cursor:
            cursor.execute("SELECT * FROM migrator_attempts, migrator_runs")
        v2 = Release(tmp_path, "v2", {"0001_initial": migration(CREATE), "0002_size": migration(ADD, "0001_initial")})
        assert v2.run(database_url).returncode == 0
    finally:
        backup.close()
