"""`migrate --rehearse --rows N`: how long statements take on made-up rows, and may take on the live table."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from statistics import median

import psycopg2
import pytest

from rupaya.migrator.analysis.gate.alike import IN_ORDER, read_statistics
from rupaya.migrator.analysis.gate.madeuprows import fill
from rupaya.migrator.analysis.rehearsal import Timing
from rupaya.migrator.analysis.timing import _Size, estimate
from tests.conftest import new_database
from tests.faults.migrator import query
from tests.migrator.releases import CREATE, Release, migration

V1 = {"0001_initial": migration(CREATE)}
LARGE = 200_000
TIMES = 400
MIGRATIONS = V1 | {
    "0002_widen": migration(
        'migrations.RunSQL("ALTER TABLE shop_item ADD note text", migrations.RunSQL.noop),'
        'migrations.RunSQL("ALTER TABLE shop_item ALTER colour TYPE char(20)", migrations.RunSQL.noop)',
        "0001_initial",
        'phase = "expand"',
    ),
    "0003_index": migration(
        'migrations.RunSQL("CREATE INDEX CONCURRENTLY shop_item_name ON shop_item (name)", migrations.RunSQL.noop)',
        "0002_widen",
        'phase = "expand"; atomic = False',
    ),
    "0004_rename": migration(
        'migrations.RunSQL("ALTER TABLE shop_item RENAME TO shop_ware", migrations.RunSQL.noop)',
        "0003_index",
        'phase = "expand"',
    ),
    "0005_update": migration(
        'migrations.RunSQL("UPDATE shop_ware SET name = name", migrations.RunSQL.noop)',
        "0004_rename",
        'phase = "expand"',
    ),
    "0006_loop": migration(
        "migrations.RunPython(lambda apps, editor: [editor.execute('SELECT count(*) FROM generate_series(1, 5000)')"
        f" for _ in range({TIMES})], migrations.RunPython.noop)",
        "0005_update",
        'phase = "expand"',
    ),
}


MADE_UP_BYTES = 100 * 100_000


def tried(fewer_s: float = 0.2, more_s: float = 2.0) -> Timing:
    return Timing("shop.0002", "VALIDATE", "shop_item", 10_000, fewer_s, 100_000, more_s)


def test_an_estimate_is_a_range_around_the_line_and_the_proportion() -> None:
    timing = tried()

    estimate(timing, {"shop_item": _Size(1_000_000, 100_000_000)}, MADE_UP_BYTES, 2**30)

    assert (timing.live_rows, timing.low_s, timing.high_s) == (1_000_000, pytest.approx(10), pytest.approx(40))
    assert timing.basis == "cached, nobody else at work"


def test_a_fixed_part_makes_the_range_wider_and_so_do_wider_rows() -> None:
    fixed, wide = tried(fewer_s=1.1), tried()

    estimate(fixed, {"shop_item": _Size(1_000_000, 100_000_000)}, MADE_UP_BYTES, 2**30)
    estimate(wide, {"shop_item": _Size(1_000_000, 300_000_000)}, MADE_UP_BYTES, 2**20)

    assert (fixed.low_s, fixed.high_s) == (pytest.approx(5.5), pytest.approx(40))
    assert (wide.low_s, wide.high_s) == (pytest.approx(10), pytest.approx(120))
    assert "larger than shared_buffers" in wide.basis


def test_narrower_rows_make_the_lower_end_lower() -> None:
    narrow = tried()

    estimate(narrow, {"shop_item": _Size(1_000_000, 50_000_000)}, MADE_UP_BYTES, 2**30)

    assert (narrow.low_s, narrow.high_s) == (pytest.approx(5), pytest.approx(40))


def test_of_two_tables_the_rows_of_both_count() -> None:
    timing = tried()
    timing.fewer_rows, timing.more_rows = 20_000, 200_000

    estimate(timing, {"child": _Size(1_000_000, 10**8), "parent": _Size(50_000, 5 * 10**6)}, 2 * MADE_UP_BYTES, 2**30)

    assert (timing.live_rows, timing.low_s) == (1_050_000, pytest.approx(5.25))


STATISTICS = """
    CREATE TABLE wares (id bigint PRIMARY KEY, note text, data jsonb, code varchar(12), at timestamptz, n integer,
                        kind text CHECK (length(kind) < 5));
    INSERT INTO wares SELECT n, repeat('live ', 40), jsonb_build_object('k', repeat('y', 100)), 'c' || n,
        now() + n % 97 * interval '1 day', n, NULL FROM generate_series(1, 2000) n;
    UPDATE wares SET kind = 'k';
    ANALYZE wares
"""


def test_made_up_values_are_as_wide_as_live_ones_and_as_much_in_order(server_url: str) -> None:
    with new_database(server_url) as url:
        query(url, STATISTICS)
        with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            alike = read_statistics(cursor, ["wares"])
            cursor.execute("TRUNCATE wares")
            filled = fill(cursor, ["wares"], 500, alike)
            made = read_statistics(cursor, ["wares"])["wares"]

        assert (filled.empty, filled.counts) == ({}, {"wares": 500})
        for name in ("note", "data"):
            assert made[name].width_bytes == pytest.approx(alike["wares"][name].width_bytes, rel=0.1)
        assert query(url, "SELECT bool_and(note !~ 'live'), max(length(code)) <= 12 FROM wares") == [(True, True)]
        assert abs(alike["wares"]["at"].correlation) < IN_ORDER > abs(made["at"].correlation)
        assert made["n"].correlation == 1


def test_without_statistics_there_is_no_estimate_and_it_is_said_why() -> None:
    unknown, gone = tried(), tried()

    estimate(unknown, {"shop_item": _Size(-1, 0)}, MADE_UP_BYTES, 2**30)
    estimate(gone, {"shop_item": None}, MADE_UP_BYTES, 2**30)

    assert (unknown.low_s, gone.low_s) == (None, None)
    assert "ANALYZE shop_item" in unknown.basis
    assert "has no table shop_item" in gone.basis


@pytest.mark.slow
def test_statements_are_timed_on_two_numbers_of_rows_and_reckoned_for_the_live_table(
    database_url: str, tmp_path: Path
) -> None:
    assert Release(tmp_path, "v1", V1).run(database_url).returncode == 0
    query(
        database_url,
        f"INSERT INTO shop_item (name, colour) SELECT 'x' || n, 'red' FROM generate_series(1, {LARGE}) n",
    )
    query(database_url, "ANALYZE shop_item")
    v2 = Release(tmp_path, "v2", MIGRATIONS)

    ran = v2.run(database_url, "migrate", "--rehearse", "--rows", "20000", "--format", "json")
    text = v2.run(database_url, "migrate", "--rehearse", "--rows", "2000")

    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout)
    times = {one["sql"]: one for one in document["times"]}
    # What adds a column goes through no row.
    assert list(times) == [
        "ALTER TABLE shop_item ALTER colour TYPE char(20)",
        "CREATE INDEX CONCURRENTLY shop_item_name ON shop_item (name)",
        "UPDATE shop_ware SET name = name",
    ]
    assert "several times as long" in times["UPDATE shop_ware SET name = name"]["basis"]
    for one in times.values():
        assert (one["table"], one["fewer_rows"], one["more_rows"]) == ("shop_item", 2_000, 20_000)
        assert one["live_rows"] == LARGE
        assert 0 < one["low_s"] < one["high_s"]
    assert document["untimed"] == []
    # What comes too often to be looked at each time is timed nevertheless.
    *looked_at, counted = document["steps"][-1]["statements"]
    assert counted["times"] == TIMES - len(looked_at)
    assert counted["duration_s"] > 10 * median(one["duration_s"] for one in looked_at)
    assert f"on about {LARGE:,} live rows of shop_item (cached" in text.stdout, text.stdout + text.stderr
    assert query(database_url, "SELECT count(*), count(colour) FROM shop_item") == [(LARGE, LARGE)]


@pytest.mark.slow
def test_what_made_up_rows_refuse_is_said_and_what_came_before_is_timed(database_url: str, tmp_path: Path) -> None:
    assert Release(tmp_path, "v1", V1).run(database_url).returncode == 0
    query(database_url, "INSERT INTO shop_item (name) SELECT 'x' || n FROM generate_series(1, 500) n; ANALYZE")
    added = "migrations.RunSQL('{}', migrations.RunSQL.noop)"
    sql = ("CREATE INDEX plain ON shop_item (name)", "CREATE UNIQUE INDEX once ON shop_item ((length(name) > 0))")
    later = {
        f"000{number}_step": migration(added.format(one), before, 'phase = "expand"')
        for number, one, before in ((2, sql[0], "0001_initial"), (3, sql[1], "0002_step"))
    }
    v2 = Release(tmp_path, "v2", V1 | later)

    ran = v2.run(database_url, "migrate", "--rehearse", "--rows", "1000", "--format", "json")

    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout)
    assert [one["sql"] for one in document["times"]] == [sql[0]]
    assert [line.partition(" made-up rows")[0] for line in document["untimed"]] == [
        "shop.0003_step did not go through on 100",
        "shop.0003_step did not go through on 1,000",
    ]


def test_a_number_of_rows_that_tells_nothing_is_refused(database_url: str, tmp_path: Path) -> None:
    v1 = Release(tmp_path, "v1", V1)

    few = v1.run(database_url, "migrate", "--rehearse", "--rows", "10")
    alone = v1.run(database_url, "migrate", "--rows", "5000")

    assert "--rows must be from 1,000 to 1,000,000" in few.stderr
    assert "Give --rehearse with it" in alone.stderr
    assert query(database_url, "SELECT count(*) FROM pg_class WHERE relname ~ '^(django|migrator|shop)_'") == [(0,)]
