"""Somebody else at the same time, who takes no lock of ours; sessions that end: nothing twice, nothing left open."""

from __future__ import annotations

from contextlib import closing

import psycopg2
import pytest

from rupaya.migrator.session.lock import FIRST_KEY
from tests.faults.migrator import applied, query
from tests.migrator.releases import Deployed, Release, migration
from tests.migrator.test_atomicity import python, sql

ANOTHER = """
    import psycopg2
    parameters = connection.get_connection_params()
    parameters.pop("cursor_factory", None)
    other = psycopg2.connect(**parameters)
    other.autocommit = True
    somebody = other.cursor()
"""
RECORD = "INSERT INTO django_migrations (app, name, applied) VALUES ('shop', '0002_theirs', now())"
DEAD = """
    INSERT INTO migrator_runs (command, release, git_sha, environment, task, python_version, django_version)
    VALUES ('migrate', 'v1', '', 'test', 'dead', '', '')
"""
# Reports a lock that was not obtained, the first time.
BUSY_ONCE = """
    CREATE SEQUENCE closings;
    CREATE FUNCTION busy_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.outcome = 'succeeded' AND nextval('closings') = 1 THEN
            RAISE EXCEPTION 'busy' USING ERRCODE = 'lock_not_available';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER busy_once BEFORE UPDATE ON migrator_attempts FOR EACH ROW EXECUTE FUNCTION busy_once()
"""


@pytest.fixture
def database_url(deployed: Deployed, release: Release) -> str:
    """The database of a release that is deployed."""
    return deployed(release)


def add_handler(release: Release, code: str) -> None:
    """Let a receiver of post_migrate do something."""
    (release.folder / "shop" / "models.py").touch()  # Django sends its signals for apps with models alone
    (release.folder / "shop" / "management").mkdir()
    (release.folder / "shop" / "management" / "__init__.py").write_text(
        f"from django.db import connection\nfrom django.db.models.signals import post_migrate\n\n\n"
        f"def handle(**_):\n    {code}\n\n\npost_migrate.connect(handle)\n"
    )


@pytest.mark.parametrize("batch", ["each", "all"])
def test_what_somebody_else_records_meanwhile_is_rolled_back_here(
    release: Release, database_url: str, batch: str
) -> None:
    theirs = python(
        f"    cursor = connection.cursor()\n    cursor.execute('CREATE TABLE ours (i int)'){ANOTHER}"
        f'    somebody.execute("CREATE TABLE theirs (i int)")\n    somebody.execute("{RECORD}")'
    )
    release.write("0002_theirs", theirs)
    release.write("0003_next", sql("CREATE TABLE next (i int)").replace("0001_initial", "0002_theirs"))

    ran = release.run(database_url, MIGRATE_BATCH=batch)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "shop.0002_theirs was applied by somebody else meanwhile; what this run did of it was rolled" in ran.stdout
    assert applied(database_url) == ["shop.0001_initial", "shop.0002_theirs", "shop.0003_next"]
    assert query(database_url, "SELECT to_regclass('ours') IS NULL, to_regclass('theirs') IS NOT NULL") == [
        (True, True)
    ]
    assert release.run(database_url, "showmigrations", "--audit", "--check").returncode == 0


@pytest.mark.parametrize("is_recorded", [True, False])
def test_what_fails_here_because_somebody_else_did_it_is_done_only_if_the_history_has_it(
    release: Release, database_url: str, is_recorded: bool
) -> None:
    theirs = f"CREATE TABLE same (i int); {RECORD if is_recorded else ''}"
    ours = "    connection.cursor().execute('CREATE TABLE same (i int)')"
    release.write("0002_theirs", python(f'{ANOTHER}    somebody.execute("{theirs}")\n{ours}'))
    then = 'migrations.AddField("item", "then", models.IntegerField(null=True))'
    release.write("0003_then", migration(then, "0002_theirs"))

    ran = release.run(database_url)

    said = "shop.0002_theirs was applied by somebody else meanwhile; what this run did of it was rolled back"
    assert (ran.returncode, said in ran.stdout) == ((0, True) if is_recorded else (13, False)), ran.stdout + ran.stderr
    theirs_and_then = ["shop.0002_theirs", "shop.0003_then"] if is_recorded else []
    assert applied(database_url) == ["shop.0001_initial", *theirs_and_then]


def test_a_plan_that_somebody_else_carries_out_is_read_again(release: Release, database_url: str) -> None:
    release.write(
        "0002_theirs", migration('migrations.AddField("item", "size", models.IntegerField(null=True))', "0001_initial")
    )
    (release.folder / "checks.py").write_text(
        "calls = []\n\n\ndef check(connection, plan):\n    calls.append(plan)\n"
        "    if len(calls) == 2:  # under the lock\n"
        f"        cursor = connection.cursor()\n        cursor.execute('ALTER TABLE shop_item ADD size integer')\n"
        f'        cursor.execute("{RECORD}")\n'
    )
    settings = release.folder / "release_settings.py"
    settings.write_text(settings.read_text() + '\nMIGRATOR_HISTORY_CHECKS = ["checks.check"]\n')

    ran = release.run(database_url)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert applied(database_url) == ["shop.0001_initial", "shop.0002_theirs"]
    assert "shop.0002_theirs" not in ran.stdout


def test_one_that_is_not_atomic_is_recorded_together_with_its_end_in_the_ledger(
    release: Release, database_url: str
) -> None:
    query(database_url, BUSY_ONCE)
    release.write(
        "0002_again",
        python("    connection.cursor().execute('SELECT 1')").replace(
            'phase = "expand"', 'phase = "expand"; atomic = False; idempotent = True'
        ),
    )

    ran = release.run(database_url)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "shop.0002_again was interrupted: busy" in ran.stdout
    assert applied(database_url) == ["shop.0001_initial", "shop.0002_again"]
    assert query(database_url, "SELECT outcome FROM migrator_attempts WHERE name = '0002_again'") == [("succeeded",)]


def test_a_migration_that_closes_its_connection_is_not_told_to_have_changed_settings(
    release: Release, database_url: str
) -> None:
    release.write(
        "0002_closes",
        python("    connection.close()\n    connection.cursor().execute('SELECT 1')").replace(
            'phase = "expand"', 'phase = "expand"; atomic = False'
        ),
    )

    ran = release.run(database_url)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "changed settings" not in ran.stdout


def test_the_ledger_is_not_left_without_its_rows_end_by_whoever_changes_it(release: Release, database_url: str) -> None:
    query(database_url, "ALTER TABLE migrator_attempts DISABLE TRIGGER USER")
    release.write(
        "0002_forgets",
        python("    connection.cursor().execute('DELETE FROM migrator_attempts WHERE finished_at IS NULL')"),
    )

    failed = release.run(database_url)

    assert failed.returncode == 13, failed.stdout + failed.stderr
    assert "the ledger's row of this attempt is gone, or closed already" in failed.stderr
    assert "Its transaction was rolled back whole" in failed.stderr
    assert applied(database_url) == ["shop.0001_initial"]


def test_what_is_half_done_and_lost_its_row_is_not_done_again(release: Release, database_url: str) -> None:
    """The next run knows of it although somebody took the record of the attempt away."""
    query(database_url, "ALTER TABLE migrator_attempts DISABLE TRIGGER USER")
    forgets = python("    connection.cursor().execute('DELETE FROM migrator_attempts WHERE finished_at IS NULL')")
    release.write("0002_forgets", forgets.replace('phase = "expand"', 'phase = "expand"; atomic = False'))

    failed, again = release.run(database_url), release.run(database_url)

    assert failed.returncode == 13, failed.stdout + failed.stderr
    assert "The next run will stop and ask" in failed.stderr
    assert again.returncode == 14, again.stdout + again.stderr
    assert "shop.0002_forgets failed half-way, and it is not atomic" in again.stderr
    assert "--retry-failed" in again.stderr


DAMAGES = {
    "a column": "ALTER TABLE migrator_runs DROP COLUMN release",
    "a column of attempts": "ALTER TABLE migrator_attempts DROP COLUMN tries",
    "the attempts": "DROP TABLE migrator_attempts CASCADE",
    "what is settled": "DROP TABLE migrator_settled_releases",
    "the traces": "DROP TABLE migrator_traces",
    "the debts": "DROP TABLE migrator_debts",
    "the versions": "DROP TABLE migrator_versions",
    "the versions' rows": "DELETE FROM migrator_versions",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_ledger_is_named_and_nothing_is_migrated(release: Release, database_url: str, damage: str) -> None:
    query(database_url, damage)
    release.write("0002_table", sql("CREATE TABLE made (i int)"))

    refused = release.run(database_url)

    assert refused.returncode == 16, refused.stdout + refused.stderr
    assert "The migrator's own tables are not as it made them" in refused.stderr
    assert applied(database_url) == ["shop.0001_initial"]


def test_a_ledger_that_was_dropped_whole_is_made_anew(release: Release, database_url: str) -> None:
    query(
        database_url,
        "DO $$ DECLARE t text; BEGIN FOR t IN SELECT relname FROM pg_class WHERE relname LIKE 'migrator\\_%' "
        "AND relkind = 'r' LOOP EXECUTE 'DROP TABLE ' || t || ' CASCADE'; END LOOP; END $$",
    )
    release.write("0002_table", sql("CREATE TABLE made (i int)"))

    assert release.run(database_url).returncode == 0
    assert applied(database_url) == ["shop.0001_initial", "shop.0002_table"]


def test_the_run_is_closed_although_its_session_was_ended(release: Release, database_url: str) -> None:
    release.write("0002_table", sql("CREATE TABLE made (i int)"))
    add_handler(
        release,
        'connection.cursor().execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '
        "current_database() AND application_name LIKE 'migrate%%' AND pid <> pg_backend_pid()\")",
    )

    ended = release.run(database_url)

    assert ended.returncode == 10, ended.stdout + ended.stderr
    assert query(database_url, "SELECT count(*) FROM migrator_runs WHERE finished_at IS NULL") == [(0,)]


def test_a_run_that_died_is_closed_by_whoever_has_nothing_to_do(release: Release, database_url: str) -> None:
    query(database_url, DEAD)
    outcome = "SELECT outcome FROM migrator_runs WHERE task = 'dead'"
    with closing(psycopg2.connect(database_url)) as alive, alive.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [FIRST_KEY])
        assert "Nothing to migrate" in release.run(database_url).stdout
        assert query(database_url, outcome) == [("started",)]  # it may be the one that has the lock

    assert "Nothing to migrate" in release.run(database_url).stdout

    assert query(database_url, outcome) == [("interrupted",)]


def test_what_a_run_that_died_was_at_is_told_by_whoever_has_something_to_do(
    release: Release, database_url: str
) -> None:
    query(
        database_url,
        f"WITH dead AS ({DEAD} RETURNING run_id) INSERT INTO migrator_attempts (run_id, batch, app, name, direction, "
        "phase, atomic, fingerprint, file_hash) "
        "SELECT run_id, 2, 'shop', '0002_table', 'apply', 'expand', true, '', '' FROM dead",
    )
    release.write("0002_table", sql("CREATE TABLE made (i int)"))

    ran = release.run(database_url)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "shop.0002_table was interrupted: its process died" in ran.stdout
    assert query(database_url, "SELECT outcome FROM migrator_attempts WHERE name = '0002_table' ORDER BY 1") == [
        ("interrupted",),
        ("succeeded",),
    ]


def test_what_a_failure_on_the_way_back_leaves_is_said_the_right_way_round(release: Release, database_url: str) -> None:
    release.write("0002_table", sql("CREATE TABLE made (i int)"))
    release.write(
        "0003_stays",
        migration('migrations.RunSQL("CREATE TABLE more (i int)", "SELECT 1 / 0")', "0002_table", 'phase = "expand"'),
    )
    release.write("0004_goes", sql("SELECT 1").replace("0001_initial", "0003_stays"))
    assert release.run(database_url).returncode == 0

    failed = release.run(database_url, "migrate", "shop", "0001")

    assert failed.returncode == 13, failed.stdout + failed.stderr
    assert "Its transaction was rolled back whole. Unapplied before it, and so it stays: shop.0004_goes." in (
        failed.stderr
    )
    assert applied(database_url) == ["shop.0001_initial", "shop.0002_table", "shop.0003_stays"]


def test_what_cannot_be_rolled_back_is_not_begun_once_somebody_else_has_done_it(
    release: Release, database_url: str
) -> None:
    record = RECORD.replace("0002_theirs", "0003_twice")
    release.write("0002_waits", python(f'    {ANOTHER.strip()}\n    somebody.execute("{record}")'))
    release.write(
        "0003_twice",
        migration(
            'migrations.RunSQL("CREATE TABLE twice (i int)")', "0002_waits", 'phase = "expand"\n    atomic = False'
        ),
    )
    then = 'migrations.AddField("item", "then", models.IntegerField(null=True))'
    release.write("0004_then", migration(then, "0003_twice"))

    ran = release.run(database_url)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "shop.0003_twice was applied by somebody else meanwhile; this run did nothing of it" in ran.stdout
    assert query(database_url, "SELECT to_regclass('twice')") == [(None,)]
    assert sorted(applied(database_url)) == [
        "shop.0001_initial",
        "shop.0002_waits",
        "shop.0003_twice",
        "shop.0004_then",
    ]
    assert release.run(database_url, "showmigrations", "--audit", "--check").returncode == 0
