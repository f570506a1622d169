"""Each exit code comes from its cause and from nothing else, and its message says what to do."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest

from tests.faults.migrator import PROJECT, Migrator, applied, migrate, query, wait_for

PASSWORD = "correct-horse-battery"


@pytest.fixture
def url(database_url: str) -> str:
    """The test's database, with a password that no output may show; the test server does not ask for it."""
    parts = urlsplit(database_url)
    user = parts.username or "postgres"
    address = parts.netloc.rpartition("@")[2]
    if parts.password is not None:
        return database_url
    return urlunsplit(parts._replace(netloc=f"{user}:{PASSWORD}@{address}"))


def deploy(url: str, *arguments: str, **options: Any) -> tuple[int, str]:
    """Run a migrator to its end; whatever happened, no output shows a traceback or the password."""
    return ended(Migrator(url, *arguments, **options))


def ended(migrator: Migrator) -> tuple[int, str]:
    status = migrator.end()
    assert "Traceback" not in migrator.output
    assert PASSWORD not in migrator.output
    return status, migrator.output


def assert_explained(output: str, error: str, happened: str, meaning: str, remedy: str) -> None:
    """The error has its three parts, and each says what it must."""
    parts = re.search(rf"{error}: (.*)\n  What it means: (.*)\n  What to do: (.*)\n", output, re.DOTALL)
    assert parts, output
    for part, expected in zip(parts.groups(), (happened, meaning, remedy), strict=True):
        assert re.search(expected, part), f"{expected!r} is not in {part!r}"


def copied_fixture(tmp_path: Path, app: str) -> dict[str, Any]:
    """A fixture app in a folder of its own, which a test may edit; options for `Migrator`."""
    shutil.copytree(PROJECT / "tests" / "migrator" / "fixtures" / app, tmp_path / app)
    return {"apps": app, "RUPAYA_FIXTURE_APPS": app, "PYTHONPATH": os.pathsep.join((str(PROJECT), str(tmp_path)))}


@contextmanager
def standing_at(gate: str, url: str, gates: Path, app: str, **variables: str) -> Iterator[Migrator]:
    """A migrator that stands at a gate, which opens when the block ends."""
    (gates / gate).touch()
    migrator = Migrator(url, apps=app, gates=gates, **variables)
    wait_for(lambda: (gates / gate).with_suffix(".reached").exists() or migrator.process.poll() is not None, gate)
    try:
        yield migrator
    finally:
        (gates / gate).unlink()


# 0


def test_applied_and_nothing_to_do_are_both_0_and_say_what_and_how_long(url: str) -> None:
    status, output = deploy(url, apps="points")

    assert status == 0
    assert "Batch 1 run: 6 migrations" in output
    assert len(re.findall(r"✓ points\.000\d_\w+ \(\d+\.\d{3} s\)", output)) == 6

    status, output = deploy(url, apps="points")

    assert status == 0
    assert re.search(r"Nothing to migrate: all 6 migrations are applied \(\d+\.\d{3} s\)", output)


# 10


def test_a_server_that_does_not_answer_is_10_after_the_wait() -> None:
    began = time.monotonic()
    status, output = deploy(
        f"postgresql://rupaya:{PASSWORD}@127.0.0.1:1/rupaya", apps="conflict", MIGRATE_DB_WAIT_S="1"
    )

    assert status == 10
    assert time.monotonic() - began > 1
    assert_explained(
        output,
        "DatabaseUnreachable",
        r"127\.0\.0\.1:1/rupaya could not be reached within 1 s: .*refused",
        "nothing was changed",
        "MIGRATE_DB_WAIT_S",
    )


# 11


def test_a_migrator_that_another_one_keeps_waiting_is_11_and_names_it(url: str, tmp_path: Path) -> None:
    with standing_at("before_the_history_row", url, tmp_path, "points", RELEASE="2026.7.1") as holder:
        ((holder_pid,),) = query(
            url,
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid IN"
            " (SELECT backend_pid FROM migrator_runs) AND database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
        before = query(url, "SELECT count(*) FROM migrator_runs")
        status, output = deploy(url, apps="points", MIGRATE_LOCK_WAIT_S="1")

        assert status == 11
        ((task,),) = query(url, "SELECT task FROM migrator_runs")
        assert_explained(
            output,
            "LockWaitExceeded",
            rf"backend pid {holder_pid}, user \w+, for \d+ s, release 2026\.7\.1, task {re.escape(task)}, "
            r"on points\.0003_double_every_order since \d+ s",
            "changed nothing",
            "MIGRATE_LOCK_WAIT_S",
        )
        assert query(url, "SELECT count(*) FROM migrator_runs") == before
    assert ended(holder)[0] == 0


# 12


def test_a_table_that_stays_locked_is_12(url: str) -> None:
    assert migrate(url, "migrate", "points", "0002", apps="points").process.returncode == 0
    blocker = psycopg2.connect(url)
    blocker_pid = blocker.info.backend_pid
    try:
        with blocker.cursor() as cursor:
            cursor.execute("LOCK TABLE points_order IN ACCESS EXCLUSIVE MODE")
        status, output = deploy(url, apps="points", MIGRATE_RETRIES="1", MIGRATE_LOCK_TIMEOUT_MS="600")
    finally:
        blocker.close()

    assert status == 12
    assert_explained(
        output,
        "TableLocked",
        rf"points\.0003_double_every_order could not lock points_order, held by backend pid {blocker_pid}"
        r".* after 2 tries",
        "Its transaction was rolled back whole",
        "MIGRATE_RETRIES",
    )
    assert applied(url) == ["points.0001_initial", "points.0002_inside_ddl"]


def test_a_whole_batch_that_meets_a_locked_table_is_12_and_names_the_blocker(url: str) -> None:
    assert migrate(url, "migrate", "division", "0001", apps="division").process.returncode == 0
    blocker = psycopg2.connect(url)
    blocker_pid = blocker.info.backend_pid
    try:
        with blocker.cursor() as cursor:
            cursor.execute("SELECT * FROM division_share")
        status, output = deploy(
            url, apps="division", MIGRATE_RETRIES="1", MIGRATE_LOCK_TIMEOUT_MS="600", MIGRATE_BATCH="all"
        )
    finally:
        blocker.close()

    assert status == 12, output
    assert_explained(
        output,
        "TableLocked",
        rf"^division\.0002_add_result .*division_share, held by backend pid {blocker_pid}.*after 2 tries",
        "whole batch was rolled back",
        "MIGRATE_RETRIES",
    )
    assert "The batch was rolled back because a table is locked; trying again" in output
    assert applied(url) == ["division.0001_initial"]


def test_a_table_that_post_migrate_cannot_have_is_12_too_and_the_migrations_stay(url: str) -> None:
    query(url, "CREATE TABLE points_post_migrate (done boolean)")
    blocker = psycopg2.connect(url)
    try:
        with blocker.cursor() as cursor:
            cursor.execute("LOCK TABLE points_post_migrate IN ACCESS EXCLUSIVE MODE")
        status, output = deploy(url, apps="points", MIGRATE_RETRIES="1", MIGRATE_LOCK_TIMEOUT_MS="300")
    finally:
        blocker.close()

    assert status == 12, output
    assert "A handler of post_migrate was interrupted: canceling statement due to lock timeout. Try 2 of 2" in output
    assert_explained(output, "TableLocked", "post_migrate", "migrations are applied", "start again")
    assert len(applied(url)) == 6
    status, output = deploy(url, apps="points")
    assert (status, "post_migrate" in output) == (0, True)


# 13


def test_an_sql_error_is_13_with_the_migration_its_sql_and_what_remains(url: str) -> None:
    status, output = deploy(url, apps="division", MIGRATE_BATCH="each")

    assert status == 13
    assert_explained(
        output,
        "MigrationFailed",
        r"^division\.0003_divide failed: .*division by zero.*\. The statement: UPDATE division_share SET result",
        r"rolled back whole\. Still applied from this batch: division\.0001_initial, division\.0002_add_result\.",
        r"not tried again for 900 s unless 'manage\.py migrate --retry-failed'",
    )
    assert applied(url) == ["division.0001_initial", "division.0002_add_result"]
    assert query(url, "SELECT 1 FROM pg_attribute WHERE attname = 'divided'") == []


def test_a_python_error_is_13_with_file_and_line(url: str) -> None:
    status, output = deploy(url, apps="exception", MIGRATE_BATCH="each")

    assert status == 13
    assert_explained(
        output,
        "MigrationFailed",
        r"exception\.0002_raise failed: ValueError: a note without a text at \S+/0002_raise\.py:5$",
        "Still applied from this batch: exception.0001_initial",
        "Fix the migration or the data",
    )


def test_a_statement_that_takes_too_long_is_13(url: str) -> None:
    assert migrate(url, "migrate", "slow", "0001", apps="slow").process.returncode == 0
    status, output = deploy(url, apps="slow", MIGRATE_STATEMENT_TIMEOUT_MS="1500")

    assert status == 13
    assert_explained(output, "MigrationFailed", r"slow\.0002_slow failed: .*statement timeout", "rolled back", "Fix")


# MIGRATE_BATCH


def test_a_failing_first_deployment_leaves_nothing_applied(url: str) -> None:
    status, output = deploy(url, apps="division")

    assert status == 13
    assert "✓" not in output
    assert "Nothing of this batch remains applied" in output
    assert applied(url) == []
    assert query(url, "SELECT to_regclass('division_share')") == [(None,)]


def test_all_in_one_transaction_is_refused_with_16_where_a_migration_is_not_atomic(url: str) -> None:
    status, output = deploy(url, apps="points", MIGRATE_BATCH="all")

    assert status == 16
    assert_explained(output, "EnvironmentUnfit", "points.0004_add_index", "nothing was changed", "auto or each")
    assert applied(url) == []


# 14


def test_conflicting_migrations_are_14(url: str) -> None:
    status, output = deploy(url, apps="conflict")

    assert status == 14
    assert_explained(output, "HistoryRefused", "0002_left, 0002_right in conflict", "nothing was changed", "--merge")


def test_an_inconsistent_history_is_14(url: str) -> None:
    assert migrate(url, apps="points").process.returncode == 0
    query(url, "DELETE FROM django_migrations WHERE name = '0003_double_every_order'")
    status, output = deploy(url, apps="points")

    assert status == 14
    assert_explained(
        output,
        "HistoryRefused",
        r"points\.0004_add_index is applied before its dependency points\.0003_double_every_order",
        "nothing was changed",
        "django_migrations",
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_a_half_done_migration_is_14_until_somebody_insists(url: str, tmp_path: Path, number: int) -> None:
    with standing_at("half_done", url, tmp_path, "half_done") as migrator:
        migrator.kill(number)
        assert ended(migrator)[0] == (143 if number == signal.SIGTERM else -number)

    for _ in range(2):  # an orchestrator starts it again, and again
        status, output = deploy(url, apps="half_done")
        assert status == 14, output
        assert_explained(
            output,
            "HistoryRefused",
            r"half_done\.0002_pay was interrupted half-way, and it is not atomic",
            "How far it came is unknown",
            r"--retry-failed.*--fake half_done 0002_pay",
        )
        assert query(url, "SELECT count(*) FROM half_done_payment") == [(1,)]

    status, output = deploy(url, "migrate", "--retry-failed", apps="half_done")
    assert status == 0, output
    assert query(url, "SELECT count(*) FROM half_done_payment") == [(2,)]


def test_a_half_done_migration_can_be_recorded_as_done(url: str, tmp_path: Path) -> None:
    with standing_at("half_done", url, tmp_path, "half_done") as migrator:
        migrator.kill()
        ended(migrator)

    assert deploy(url, apps="half_done")[0] == 14
    assert deploy(url, "migrate", "--fake", "half_done", "0002_pay", apps="half_done")[0] == 0
    assert deploy(url, apps="half_done")[0] == 0
    assert query(url, "SELECT count(*) FROM half_done_payment") == [(1,)]


def test_a_half_done_migration_that_lost_its_session_is_14_the_next_time(url: str, tmp_path: Path) -> None:
    with standing_at("half_done", url, tmp_path, "half_done") as migrator:
        query(
            url,
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid NOT IN"
            " (SELECT backend_pid FROM migrator_runs) AND database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
    assert ended(migrator)[0] == 10, migrator.output

    assert deploy(url, apps="half_done")[0] == 14
    assert query(url, "SELECT count(*) FROM half_done_payment") == [(1,)]


# 15


@pytest.fixture
def failed(url: str) -> str:
    """A database on which the last migration of `division` has failed, the others being applied."""
    assert deploy(url, apps="division", MIGRATE_BATCH="each")[0] == 13
    return url


def test_the_same_failure_again_is_15_at_once_and_takes_no_table_lock(failed: str) -> None:
    blocker = psycopg2.connect(failed)
    try:
        with blocker.cursor() as cursor:
            cursor.execute("LOCK TABLE division_share")
        began = time.monotonic()
        status, output = deploy(
            failed, apps="division", MIGRATE_LOCK_TIMEOUT_MS="30000", MIGRATE_STATEMENT_TIMEOUT_MS="0"
        )
    finally:
        blocker.close()

    assert status == 15, output
    assert time.monotonic() - began < 20
    assert_explained(
        output,
        "FailedBefore",
        r"division\.0003_divide failed before in the same way: .*division by zero",
        r"It failed at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC \(release unknown, task \S+\)",
        r"--retry-failed.*900 s",
    )
    assert "Batch" not in output


def test_a_python_error_again_is_15(url: str) -> None:
    assert deploy(url, apps="exception")[0] == 13
    assert deploy(url, apps="exception")[0] == 15


def test_15_can_be_overridden_by_insisting(failed: str) -> None:
    assert deploy(failed, "migrate", "--retry-failed", apps="division")[0] == 13
    query(failed, "UPDATE division_share SET divisor = 4")
    assert deploy(failed, apps="division")[0] == 15
    assert deploy(failed, "migrate", "--retry-failed", apps="division")[0] == 0
    assert query(failed, "SELECT result FROM division_share") == [(25,)]


def test_a_changed_migration_is_a_new_attempt_and_a_reformatted_one_is_not(url: str, tmp_path: Path) -> None:
    options = copied_fixture(tmp_path, "division")
    assert deploy(url, MIGRATE_BATCH="each", **options)[0] == 13
    path = tmp_path / "division" / "migrations" / "0003_divide.py"
    source = path.read_text()

    path.write_text(source.replace("class Migration", "# The same, with a remark.\nclass Migration"))
    assert deploy(url, **options)[0] == 15

    path.write_text(source.replace("100 / divisor", "100 / NULLIF(divisor, 0)"))
    assert deploy(url, **options)[0] == 0


def test_an_exceeded_time_limit_is_held_back(url: str) -> None:
    assert migrate(url, "migrate", "slow", "0001", apps="slow").process.returncode == 0

    assert [deploy(url, apps="slow", MIGRATE_STATEMENT_TIMEOUT_MS="1100")[0] for _ in range(2)] == [13, 15]


# 16


@pytest.mark.parametrize(
    ("name", "value", "fact", "remedy"),
    [
        ("MIGRATE_RETRIES", "many", r"MIGRATE_RETRIES='many' is not a whole number", "Set MIGRATE_RETRIES to"),
        ("MIGRATE_LOCK_WAIT_S", "-1", r"MIGRATE_LOCK_WAIT_S='-1' is not a number", "Set MIGRATE_LOCK_WAIT_S to"),
        ("MIGRATE_BATCH", "some", r"MIGRATE_BATCH='some' is .*auto, each, all", "Set MIGRATE_BATCH to"),
        ("MIGRATE_LOCK_TIMEOUT", "1", "MIGRATE_LOCK_TIMEOUT is not a setting", "MIGRATE_LOCK_TIMEOUT_MS"),
        ("MIGRATE_STATEMENT_TIMEOUT_MS", "700", "not greater than MIGRATE_LOCK_TIMEOUT_MS", "raise it"),
    ],
)
def test_nonsense_in_a_setting_is_16(url: str, name: str, value: str, fact: str, remedy: str) -> None:
    status, output = deploy(url, apps="conflict", **{name: value})

    assert status == 16
    assert_explained(output, "EnvironmentUnfit", fact, "nothing was changed", remedy)
    assert query(url, "SELECT to_regclass('django_migrations')") == [(None,)]


# 143


def test_a_terminated_run_is_143_and_says_what_was_rolled_back(url: str, tmp_path: Path) -> None:
    with standing_at("before_the_history_row", url, tmp_path, "points") as migrator:
        migrator.kill(signal.SIGTERM)
        status, output = ended(migrator)

    assert status == 143
    assert_explained(
        output,
        "Terminated",
        "SIGTERM ended the migration run",
        r"points\.0003_double_every_order was being applied\. Its transaction was rolled back whole\. "
        r"Still applied from this batch: points\.0001_initial, points\.0002_inside_ddl\.",
        "the next start goes on from here",
    )


# LOG_FORMAT=json


@pytest.mark.parametrize(
    ("code", "app", "variables"),
    [
        (0, "points", {}),
        (10, "points", {"MIGRATE_DB_WAIT_S": "1"}),
        (13, "division", {}),
        (13, "exception", {}),
        (14, "conflict", {}),
        (16, "points", {"MIGRATE_BATCH": "some"}),
    ],
)
def test_json_output_is_one_object_a_line_with_the_same_messages(
    url: str, code: int, app: str, variables: dict[str, str]
) -> None:
    if code == 10:
        url = f"postgresql://rupaya:{PASSWORD}@127.0.0.1:1/rupaya"
    status, output = deploy(url, apps=app, LOG_FORMAT="json", **variables)

    assert status == code
    lines = [json.loads(line) for line in output.splitlines()]
    assert lines
    assert all(line["message"] and line["level"] and line["time"] for line in lines)
    if code == 0:
        assert [line["message"] for line in lines[:2]] == ["Using environment: test", "Batch 1 run: 6 migrations"]
        assert lines[2]["migration"] == "points.0001_initial"
        assert lines[2]["duration_s"] >= 0
    else:
        assert lines[-1]["level"] == "ERROR"
        assert "\n  What it means: " in lines[-1]["message"]
        assert "\n  What to do: " in lines[-1]["message"]
