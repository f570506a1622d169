"""How far a statement is, while it is at work; the observer never waits for the table."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from django.core.management.color import no_style

from rupaya.migrator.foresight import progress as module
from rupaya.migrator.foresight.progress import BY_GROWTH, BY_ROWS, BY_SERVER, BY_TIME, Progress, Reading
from rupaya.migrator.ledger.ledger import Ledger
from rupaya.migrator.output import Output
from tests.faults.migrator import Migrator, query, wait_for

Connection = psycopg2.extensions.connection

SLOW = """
    CREATE FUNCTION slowly(integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_sleep(0.0005); RETURN $1; END $$;
    CREATE TABLE big (id integer, filler text);
    INSERT INTO big SELECT n, repeat('x', 700) FROM generate_series(1, 4000) n;
    ANALYZE big
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def observed(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Connection]]:
    """A table that is worked on slowly, and a connection to observe that on."""
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(module, "SIZE_THAT_TELLS_BYTES", 1024 * 1024)
    query(database_url, SLOW)
    with closing(psycopg2.connect(database_url, options="-c lock_timeout=1s")) as connection:
        connection.autocommit = True
        Ledger(connection).ensure_schema()
        yield database_url, connection


def readings(
    url: str, observer: Connection, sql: str, progress: Progress, each: Callable[[], None] = lambda: None
) -> list[Reading]:
    """All that was read while a statement ran; `each` is called after each look."""
    worker = psycopg2.connect(url)
    worker.autocommit = True
    thread = threading.Thread(target=lambda: worker.cursor().execute(sql))
    progress.begin("shop.0002_big")
    found = []
    thread.start()
    while thread.is_alive():
        progress.look(observer, worker.info.backend_pid)
        each()
        if progress.last is not None:
            found.append(progress.last)
        thread.join(0.02)
    worker.close()
    return found


def new_progress(stream: io.StringIO | None = None, *, as_json: bool = False) -> Progress:
    return Progress(Output(stream or io.StringIO(), no_style(), as_json=as_json), lambda: 7)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["", "CONCURRENTLY"])
def test_an_index_grows_by_the_servers_figures(observed: tuple[str, Connection], how: str) -> None:
    found = readings(*observed, f"CREATE INDEX {how} ON big (slowly(id))", new_progress())

    percents = [reading.percent for reading in found if reading.percent is not None and reading.basis == BY_SERVER]
    assert percents == sorted(percents), "it never goes back"
    assert any(0 < percent < 50 for percent in percents)
    assert any(reading.phase == "building index: scanning table on big" for reading in found)


@pytest.mark.slow
def test_an_index_of_a_partitioned_table_grows_partition_by_partition(observed: tuple[str, Connection]) -> None:
    query(
        observed[0],
        "CREATE TABLE parted (id integer) PARTITION BY RANGE (id); "
        "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (1) TO (1001); "
        "CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (1001) TO (2001); "
        "CREATE TABLE parted_3 PARTITION OF parted FOR VALUES FROM (2001) TO (3001); "
        "INSERT INTO parted SELECT generate_series(1, 3000)",
    )

    found = readings(*observed, "CREATE INDEX ON parted (slowly(id))", new_progress())

    percents = [reading.percent for reading in found if reading.percent is not None and reading.basis == BY_SERVER]
    assert percents == sorted(percents), "it never goes back"
    for third in (0, 33, 66):
        assert any(third < percent < third + 16 for percent in percents), percents


@pytest.mark.slow
def test_a_rewrite_is_told_by_growth_and_its_lock_is_not_waited_for(observed: tuple[str, Connection]) -> None:
    found = readings(*observed, "ALTER TABLE big ALTER id TYPE bigint USING slowly(id)", new_progress())

    grown = [reading for reading in found if reading.basis == BY_GROWTH]
    assert any(10 < (reading.percent or 0) < 95 for reading in grown), found
    assert grown[0].phase == "rewriting big"


@pytest.mark.slow
def test_what_the_server_has_no_figure_for_is_told_as_time(observed: tuple[str, Connection]) -> None:
    found = readings(*observed, "SELECT sum(slowly(id)) FROM big", new_progress())

    assert {(reading.percent, reading.basis, reading.phase) for reading in found} == {(None, BY_TIME, "working")}


def test_waiting_for_a_lock_is_told_as_that(observed: tuple[str, Connection]) -> None:
    url, observer = observed
    progress = new_progress()
    with closing(psycopg2.connect(url)) as holder:
        holder.cursor().execute("LOCK TABLE big")
        release = threading.Timer(1.0, holder.rollback)
        release.start()
        found = readings(url, observer, "ALTER TABLE big ADD more text", progress)
        release.join()

    assert "waiting for a lock" in {reading.phase for reading in found}


def test_a_backfill_is_told_by_its_position(observed: tuple[str, Connection]) -> None:
    url, observer = observed
    query(
        url,
        "CREATE TABLE migrator_backfills (id text, app text, table_name text, last_key text, rows_read bigint, "
        "rows_set bigint, updated_at timestamptz DEFAULT now()); "
        "INSERT INTO migrator_backfills VALUES ('a', 'shop', 'big', '1000', 1000, 900)",
    )
    progress = new_progress()
    progress.begin("shop.0002_big")

    progress.look(observer, observer.info.backend_pid)

    assert progress.last is not None
    assert (progress.last.percent, progress.last.basis) == (25, BY_ROWS)


@pytest.mark.slow
def test_a_log_has_a_line_now_and_then_and_machines_its_fields(
    observed: tuple[str, Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAY_EVERY_S", 0.0)
    stream = io.StringIO()

    readings(*observed, "CREATE INDEX ON big (slowly(id))", new_progress(stream, as_json=True))

    line = next(line for line in map(json.loads, stream.getvalue().splitlines()) if line["percent"])
    assert line["migration"] == "shop.0002_big"
    assert line["basis"] == BY_SERVER
    assert line["message"].startswith("shop.0002_big: ")
    assert {"phase", "running_s", "estimated_s"} <= line.keys()


@pytest.mark.slow
def test_the_ledger_has_how_far_it_is(observed: tuple[str, Connection]) -> None:
    url, observer = observed
    with observer.cursor() as cursor:
        cursor.execute(
            "INSERT INTO migrator_runs (command, release, git_sha, environment, task, python_version, django_version) "
            "VALUES ('migrate', 'v2', '', 'test', 'one', '', '') RETURNING run_id"
        )
        ((run_id,),) = cursor.fetchall()
        cursor.execute(
            "INSERT INTO migrator_attempts (run_id, batch, app, name, direction, phase, atomic, fingerprint, file_hash)"
            " VALUES (%s, 1, 'shop', '0002_big', 'apply', 'expand', true, '', '')",
            [run_id],
        )
    progress = Progress(Output(io.StringIO(), no_style()), lambda: run_id)

    said: list[str] = []
    ledger = Ledger(observer)
    readings(url, observer, "CREATE INDEX ON big (slowly(id))", progress, lambda: said.append(str(ledger.under_way())))

    assert all(doing.startswith("release v2, task one, on shop.0002_big since ") for doing in said)
    assert any("building index" in doing and "%" in doing for doing in said)


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    progress = new_progress(Terminal())
    progress.begin("shop.0002_big")
    progress.last = Reading("building index: scanning table on big", 42.0, BY_SERVER, 3.0)

    bar = progress.bar()

    assert bar.startswith("shop.0002_big:  42%|")
    assert "█" in bar
    assert bar.endswith("| 00:03, building index: scanning table on big")
    progress.last = Reading("working", None, BY_TIME, 3.0, 20.0)
    assert progress.bar() == "shop.0002_big: working, 3 s of about 20 s so far"


@pytest.mark.parametrize("columns", [60, 80, 110, 300])
def test_a_bar_stays_a_bar_and_fits_on_one_line(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    progress = new_progress(Terminal())
    progress.begin("transactions.0008_index_merchant")
    progress.last = Reading("building index: scanning table on {transactions}", 42.0, BY_SERVER, 31.0)

    bar = progress.bar()

    assert len(f"… {bar}") < min(columns, module.MOST_COLUMNS)
    assert len(bar.split("|")[1]) >= (module.LEAST_BAR if columns > 60 else 2)
    assert bar.startswith("transactions.0008_index_merchant:  42%|")
    assert ("00:31, building index: scanning table on {transactions}" in bar) == (columns == 300)


def test_a_run_keeps_how_far_it_is(database_url: str, tmp_path: Path) -> None:
    gate = tmp_path / "between_statement_and_history_row"
    gate.touch()
    migrator = Migrator(database_url, apps="points", gates=tmp_path)
    try:
        wait_for(
            lambda: (
                query(database_url, "SELECT to_regclass('migrator_progress')") != [(None,)]
                and query(database_url, "SELECT what FROM migrator_progress")
            ),
            "a row about it",
        )
    finally:
        gate.unlink()
        assert migrator.end() == 0, migrator.output

    ((what, basis),) = query(database_url, "SELECT what, basis FROM migrator_progress")
    assert what.startswith("points.000")
    assert basis == BY_TIME
