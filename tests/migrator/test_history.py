"""Histories that must not be built upon, the audit, and the way back."""

from __future__ import annotations

import csv
import io
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg2
import pytest

from rupaya.migrator.session.lock import FIRST_KEY, MigrationLock
from tests.faults.migrator import applied, query, wait_for
from tests.migrator.releases import CREATE, Deployed, Release, migration
from tests.patience import HANGING_S

ADD = 'migrations.AddField("item", "size", models.IntegerField(null=True))'
V1 = {"0001_initial": migration(CREATE)}
V2 = V1 | {"0002_add_size": migration(ADD, "0001_initial")}
V3 = V2 | {"0003_add_weight": migration(ADD.replace("size", "weight"), "0002_add_size")}


@pytest.fixture
def v1(tmp_path: Path) -> Release:
    return Release(tmp_path, "v1", V1)


@pytest.fixture
def v2(tmp_path: Path) -> Release:
    return Release(tmp_path, "v2", V2)


@pytest.fixture
def v3(tmp_path: Path) -> Release:
    return Release(tmp_path, "v3", V3)


# When it is said


def test_what_no_run_may_go_on_from_is_refused_before_anybody_is_waited_for(
    database_url: str, lock: MigrationLock, v3: Release
) -> None:
    """A release that cannot start at all must say so while a long migration of another one is under way."""
    assert v3.run(database_url).returncode == 0
    v3.write("0003_add_weight", V3["0003_add_weight"].replace("weight", "width"))
    with lock.lock_connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_advisory_lock({FIRST_KEY})")

    refused = v3.run(database_url, MIGRATE_LOCK_WAIT_S="600")

    assert refused.returncode == 14, refused.stderr
    assert "shop.0003_add_weight" in refused.stderr


def test_who_waits_leaves_once_somebody_else_has_done_it(database_url: str, lock: MigrationLock, v1: Release) -> None:
    assert v1.run(database_url).returncode == 0
    (settled,) = query(database_url, "DELETE FROM migrator_settled_releases RETURNING digest, run_id, held, history")
    with lock.lock_connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_advisory_lock({FIRST_KEY})")
    with ThreadPoolExecutor(1) as waiter:
        ran = waiter.submit(v1.run, database_url, MIGRATE_LOCK_WAIT_S="600")
        waits = (
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'migrate v1%' "
            "HAVING count(*) = 2"
        )
        wait_for(lambda: query(database_url, waits), "somebody who waits, on both connections")
        columns = "digest, run_id, held, history"
        query(database_url, f"INSERT INTO migrator_settled_releases ({columns}) VALUES (%s, %s, %s, %s)", *settled)

        assert ran.result(HANGING_S).returncode == 0, "the lock is still held"
    assert "Nothing to migrate: the only migration is applied" in ran.result().stdout


def test_the_projects_own_checks_may_refuse_a_plan_and_are_asked_nothing_where_there_is_none(
    database_url: str, v1: Release, v2: Release
) -> None:
    for release in (v1, v2):
        settings = release.folder / "release_settings.py"
        settings.write_text(settings.read_text() + 'MIGRATOR_HISTORY_CHECKS = ["shop.checks.refuse"]\n')
        (release.folder / "shop" / "checks.py").write_text(
            "from rupaya.migrator.errors import HistoryRefused\n\n\n"
            "def refuse(connection, plan):\n"
            "    if len(plan.steps) == 1:\n"
            "        raise HistoryRefused('One alone is too few.', 'Nothing was changed.', 'Add another.')\n"
        )

    assert v2.run(database_url).returncode == 0, "two are enough"
    assert v2.run(database_url).returncode == 0, "there is no plan"
    v2.write("0003_add_weight", V3["0003_add_weight"])
    refused = v2.run(database_url)

    assert refused.returncode == 14
    assert "HistoryRefused: One alone is too few." in refused.stderr
    assert applied(database_url) == ["shop.0001_initial", "shop.0002_add_size"]


@pytest.mark.parametrize("number", [5, 7])  # six: tests/migrator/test_lines.py
def test_what_is_owed_is_named_as_far_as_a_line_goes(database_url: str, tmp_path: Path, number: int) -> None:
    names = [f"spare_{each}" for each in range(number)]
    spare = "".join(f'migrations.AddField("item", "{name}", models.IntegerField(null=True)), ' for name in names)
    release = Release(tmp_path, "v1", V1 | {"0002_spare": migration(spare, "0001_initial")})
    assert release.run(database_url).returncode == 0
    gone = "".join(f'migrations.RemoveField("item", "{name}"), ' for name in names)
    release.write("0003_gone", migration(gone, "0002_spare"))

    said = release.run(database_url).stdout

    (owed,) = [line for line in said.splitlines() if line.startswith("Owed until")]
    assert owed.count("column shop_item.spare_") == min(number, 5)
    assert owed.endswith({5: "spare_4", 7: "; and 2 more"}[number]), owed


# Edited


def test_an_edited_migration_is_refused_with_when_and_by_whom(deployed: Deployed, v2: Release) -> None:
    database_url = deployed(v2)
    v2.write("0002_add_size", migration(ADD.replace("IntegerField", "BigIntegerField"), "0001_initial"))

    refused = v2.run(database_url)

    assert refused.returncode == 14
    assert "Applied migrations were edited since: shop.0002_add_size (applied " in refused.stderr
    assert "by release v2" in refused.stderr


def test_a_reformatted_migration_is_not_edited(deployed: Deployed, v2: Release) -> None:
    database_url = deployed(v2)
    v2.write("0002_add_size", "# Sizes.\n" + V2["0002_add_size"].replace("[mig", "[\n        mig"))

    assert v2.run(database_url).returncode == 0


def test_an_edit_can_be_a_warning_or_be_accepted(deployed: Deployed, v2: Release) -> None:
    database_url = deployed(v2)
    v2.write("0002_add_size", migration(ADD.replace("IntegerField", "BigIntegerField"), "0001_initial"))

    warned = v2.run(database_url, MIGRATE_ON_EDITED="warn")
    assert (warned.returncode, "shop.0002_add_size was edited" in warned.stdout) == (0, True)

    accepted = v2.run(database_url, "migrate", "--accept-edited")
    assert (accepted.returncode, "✓ shop.0002_add_size recorded as it is now" in accepted.stdout) == (0, True)
    after = v2.run(database_url)
    assert (after.returncode, "edited" in after.stdout) == (0, False)


# Tables without a history


def test_tables_without_a_history_are_named_and_left_alone(database_url: str, v1: Release) -> None:
    query(database_url, "CREATE TABLE shop_item (id bigint, name varchar(50), colour varchar(20))")

    refused = v1.run(database_url)

    assert refused.returncode == 14
    assert "The history (django_migrations) is empty" in refused.stderr
    assert "shop.0001_initial would create shop_item" in refused.stderr
    assert "--fake-initial" in refused.stderr
    assert "already exists" not in refused.stderr
    assert query(database_url, "SELECT to_regclass('migrator_runs')") == [(None,)]
    assert v1.run(database_url, "migrate", "--fake-initial").returncode == 0


def test_half_a_history_names_the_column_that_is_there(deployed: Deployed, v1: Release, v2: Release) -> None:
    database_url = deployed(v1)
    query(database_url, "ALTER TABLE shop_item ADD COLUMN size integer")

    refused = v2.run(database_url)

    assert refused.returncode == 14
    assert "has 1 migration, but not these" in refused.stderr
    assert "shop.0002_add_size would create shop_item.size" in refused.stderr
    assert v2.run(database_url, "migrate", "--fake").returncode == 0


# Audit


def test_the_audit_tells_state_batch_release_and_role(
    deployed: Deployed, v1: Release, v2: Release, v3: Release
) -> None:
    database_url = deployed(v1)
    assert v2.run(database_url).returncode == 0

    rows = json.loads(v3.run(database_url, "showmigrations", "--audit", "--format", "json").stdout)

    assert [(row["migration"], row["state"], row["phase"], row["batch"], row["release"]) for row in rows] == [
        ("0001_initial", "applied", "expand", 1, "v1"),
        ("0002_add_size", "applied", "expand", 2, "v2"),
        ("0003_add_weight", "pending", "expand", None, ""),
    ]
    assert rows[0]["by"] == "postgres"
    assert rows[0]["applied_at"].endswith("+00:00")
    assert rows[0]["duration_s"] >= 0
    assert rows[0]["tries"] == 1
    assert rows[0]["task"]


def test_the_audit_is_a_table_for_people_and_csv_for_machines(deployed: Deployed, v2: Release) -> None:
    database_url = deployed(v2)

    table = v2.run(database_url, "showmigrations", "--audit").stdout.splitlines()
    assert table[0].split() == "migration phase state applied at batch release by duration tries".split()
    assert table[2].startswith("shop.0002_add_size  expand  applied  20")
    assert table[-1] == "2 applied migrations."
    read = list(
        csv.DictReader(io.StringIO(v2.run(database_url, "showmigrations", "--audit", "--format", "csv").stdout))
    )
    assert [row["migration"] for row in read] == ["0001_initial", "0002_add_size"]


def test_the_audit_fits_the_terminal_and_says_that_all_is_well(deployed: Deployed, v2: Release) -> None:
    database_url = deployed(v2)

    narrow = v2.run(database_url, "showmigrations", "--audit", "--check", "--force-color", COLUMNS="50")
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in narrow.stdout.splitlines()]
    assert max(len(line) for line in lines[:-4]) <= 50
    assert lines[0].split() == "migration state applied at".split()
    assert "Left out here: phase, batch, release, by, duration, tries." in narrow.stdout
    assert "All is well: 2 applied migrations, and nothing was changed by hand." in lines[-1]
    assert "\x1b[32" in narrow.stdout
    assert narrow.returncode == 0
    wide = v2.run(database_url, "showmigrations", "--audit", COLUMNS="200").stdout.splitlines()
    assert wide[0].split()[-1] == "tries"


def test_the_audit_names_what_only_the_database_knows(deployed: Deployed, v1: Release, v2: Release) -> None:
    database_url = deployed(v2)

    rows = json.loads(v1.run(database_url, "showmigrations", "--audit", "--format", "json").stdout)

    assert [(row["migration"], row["state"], row["release"]) for row in rows] == [
        ("0001_initial", "applied", "v2"),
        ("0002_add_size", "unknown", "v2"),
    ]


def test_the_audits_exit_status_tells_an_edit_and_a_failure(deployed: Deployed, v2: Release) -> None:
    database_url = deployed(v2)
    assert v2.run(database_url, "showmigrations", "--audit", "--check").returncode == 0

    v2.write("0002_add_size", migration(ADD.replace("IntegerField", "BigIntegerField"), "0001_initial"))
    checked = v2.run(database_url, "showmigrations", "--audit", "--check")
    assert (checked.returncode, "shop.0002_add_size is edited" in checked.stderr) == (1, True)

    v2.write("0002_add_size", V2["0002_add_size"])
    v2.write("0003_fails", migration('migrations.RunSQL("SELECT 1/0")', "0002_add_size", 'phase = "expand"'))
    assert v2.run(database_url).returncode == 13
    checked = v2.run(database_url, "showmigrations", "--audit", "--check")
    assert (checked.returncode, "shop.0003_fails is failed" in checked.stderr) == (1, True)


def test_the_audits_exit_status_tells_a_change_by_hand(deployed: Deployed, v2: Release) -> None:
    database_url = deployed(v2)
    query(database_url, "ALTER TABLE shop_item ALTER COLUMN name TYPE text")

    checked = v2.run(database_url, "showmigrations", "--audit", "--check")

    assert checked.returncode == 1
    assert "column shop_item.name: varchar(50) in the last snapshot, text in the database" in checked.stderr


def test_without_the_flag_the_output_is_djangos(deployed: Deployed, v2: Release) -> None:
    database_url = deployed(v2)

    assert v2.run(database_url, "showmigrations").stdout == "shop\n [X] 0001_initial\n [X] 0002_add_size\n"


# The ledger


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE migrator_attempts SET outcome = 'failed'",
        "UPDATE migrator_runs SET release = 'forged'",
        "DELETE FROM migrator_attempts",
        "DELETE FROM migrator_runs",
        "TRUNCATE migrator_attempts",
        "TRUNCATE migrator_runs CASCADE",
    ],
)
def test_a_finished_record_is_never_changed(deployed: Deployed, v1: Release, statement: str) -> None:
    database_url = deployed(v1)

    with pytest.raises(psycopg2.Error, match="append-only"):
        query(database_url, statement)


def test_a_run_says_which_release_ran_it_and_how_it_ended(database_url: str, v1: Release) -> None:
    assert v1.run(database_url, GIT_SHA="abc1234").returncode == 0

    assert query(
        database_url,
        "SELECT command, release, git_sha, environment, outcome, exit_code, finished_at >= started_at "
        "FROM migrator_runs",
    ) == [("migrate", "v1", "abc1234", "test", "succeeded", 0, True)]


# Rollback


def test_a_rollback_undoes_the_last_batch_and_records_it(
    deployed: Deployed, v1: Release, v2: Release, v3: Release
) -> None:
    database_url = deployed(v1)
    flag = "migrations.AddField('item', 'flag', models.BooleanField(default=True))"
    passing = f"{ADD}, {flag}, {ADD.replace('size', 'gone')}, migrations.RemoveField('item', 'gone')"
    for release in (v2, v3):
        release.write("0002_add_size", migration(passing, "0001_initial"))
    assert v3.run(database_url).returncode == 0
    assert v3.run(database_url, "migrate", "--contract").returncode == 0
    query(database_url, "INSERT INTO shop_item (name, flag) VALUES ('before', false)")

    planned = v3.run(database_url, "rollback", "--plan")
    assert [line.split(",")[0] for line in planned.stdout.splitlines()] == [
        "Batch 2: shop.0003_add_weight",
        "Batch 2: shop.0002_add_size",
        "  column shop_item.weight is put away with 0 values",
        "  Remove field gone from item: comes back empty: the migration ran to its end and dropped it",
        "  column shop_item.size is put away with 0 values",
        "  column shop_item.flag is put away with 1 value",
    ]
    assert len(applied(database_url)) == 3

    undone = v3.run(database_url, "rollback")
    assert undone.returncode == 0
    assert "✓ shop.0003_add_weight unapplied" in undone.stdout
    assert applied(database_url) == ["shop.0001_initial"]
    assert query(database_url, "SELECT command, outcome FROM migrator_runs ORDER BY run_id DESC LIMIT 1") == [
        ("rollback", "succeeded")
    ]
    query(database_url, "INSERT INTO shop_item (name) VALUES ('meanwhile')")
    assert v2.run(database_url).returncode == 0
    assert query(database_url, "SELECT name, flag FROM shop_item ORDER BY id") == [
        ("before", False),
        ("meanwhile", True),
    ]
    assert query(database_url, "SELECT attnotnull FROM pg_attribute WHERE attname = 'flag'") == [(True,)]
    assert applied(database_url) == ["shop.0001_initial", "shop.0002_add_size"]


def test_a_rollback_to_a_batch_undoes_every_later_one(database_url: str, v1: Release, v2: Release, v3: Release) -> None:
    for release in (v1, v2, v3):
        assert release.run(database_url).returncode == 0

    assert v3.run(database_url, "rollback", "--to", "1").returncode == 0

    assert applied(database_url) == ["shop.0001_initial"]
    told = v3.run(database_url, "rollback", "--to", "1").stdout
    assert "Nothing to roll back: no batch is applied after 1\n" in told


def test_an_irreversible_batch_is_refused_whole(deployed: Deployed, v1: Release, v3: Release) -> None:
    database_url = deployed(v1)
    v3.write("0002_add_size", migration('migrations.RunSQL("SELECT 1")', "0001_initial", 'phase = "expand"'))
    assert v3.run(database_url).returncode == 0

    refused = v3.run(database_url, "rollback")

    assert refused.returncode == 14
    assert "shop.0002_add_size is irreversible" in refused.stderr
    assert len(applied(database_url)) == 3


def test_a_rollback_is_refused_while_a_release_that_needs_it_is_connected(
    deployed: Deployed, v1: Release, v2: Release
) -> None:
    database_url = deployed(v1)
    assert v2.run(database_url).returncode == 0
    old = psycopg2.connect(database_url, application_name="release v1")
    new = psycopg2.connect(database_url, application_name="release v2 health")

    refused = v2.run(database_url, "rollback")
    assert refused.returncode == 14
    assert "of release v2" in refused.stderr
    assert "of release v1" not in refused.stderr

    new.close()
    assert v2.run(database_url, "rollback").returncode == 0
    old.close()


def test_a_batch_of_a_newer_release_must_be_undone_from_its_image(deployed: Deployed, v1: Release, v2: Release) -> None:
    database_url = deployed(v1)
    assert v2.run(database_url).returncode == 0

    refused = v1.run(database_url, "rollback")

    assert refused.returncode == 14
    assert "does not have every migration of the batch: shop.0002_add_size (release v2)" in refused.stderr
