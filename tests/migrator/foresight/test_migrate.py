"""`migrate` and `migrate --dry-run` on rows that a migration cannot live with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import new_database
from tests.faults.migrator import query
from tests.migrator.releases import CREATE, Release, migration

V1 = {"0001_initial": migration(CREATE)}
NOT_NULL = migration(
    'migrations.RunSQL("ALTER TABLE shop_item ALTER colour SET NOT NULL", migrations.RunSQL.noop)',
    "0001_initial",
    'phase = "expand"',
)
FIX = migration(
    "migrations.RunSQL(\"UPDATE shop_item SET colour = 'red' WHERE {}\", migrations.RunSQL.noop)",
    "0001_initial",
    'phase = "expand"',
)
AFTER_FIX = NOT_NULL.replace("0001_initial", "0002_fix")
SETTINGS = """
from pathlib import Path

MIGRATOR_PRESUMPTIONS = Path(__file__).parent / "presumptions.json"
"""


def release(folder: Path, url: str, name: str, migrations: dict[str, str]) -> Release:
    """A release with the file of what its migrations presume."""
    made = Release(folder, name, migrations)
    settings = made.folder / "release_settings.py"
    settings.write_text(settings.read_text() + SETTINGS)
    written = made.run(url, "presumptions", "--write", str(made.folder / "presumptions.json"))
    assert written.returncode == 0, written.stderr
    return made


@pytest.fixture
def live(database_url: str, tmp_path: Path) -> str:
    """The first release is applied, and five rows are there; two of them have no colour."""
    assert Release(tmp_path, "v1", V1).run(database_url).returncode == 0
    query(
        database_url,
        "INSERT INTO shop_item (name, colour) SELECT 'x', CASE WHEN n NOT IN (2, 4) THEN 'red' END "
        "FROM generate_series(1, 5) n",
    )
    return database_url


def test_what_will_surely_fail_is_refused_before_anything_is_locked(live: str, tmp_path: Path) -> None:
    v2 = release(tmp_path, live, "v2", V1 | {"0002_not_null": NOT_NULL})

    shown = v2.run(live, "migrate", "--dry-run")
    refused = v2.run(live)
    replaced = v2.run(live)

    line = "shop.0002_not_null presumes no NULL in shop_item.colour: 2 rows (2, 4); it will fail"
    assert f"  - {line}" in shown.stdout
    assert (refused.returncode, replaced.returncode) == (13, 15)
    assert "shop.0002_not_null was not begun, for rows are in its way" in refused.stderr
    assert "2 rows (2, 4)" in refused.stderr
    ((outcome, statements),) = query(
        live,
        "SELECT outcome, (SELECT json_array_length(statements) FROM migrator_traces t WHERE t.attempt_id = "
        "a.attempt_id) FROM migrator_attempts a WHERE name = '0002_not_null'",
    )
    assert (outcome, statements) == ("failed", 0)

    query(live, "UPDATE shop_item SET colour = 'red'")
    fixed = v2.run(live, "migrate", "--retry-failed")
    assert fixed.returncode == 0, fixed.stderr
    assert "1 presumption asked of the live rows" in fixed.stdout


def test_rows_that_the_plan_mends_are_told_and_it_goes_on(live: str, tmp_path: Path) -> None:
    fix = FIX.replace("{}", "colour IS NULL")
    v2 = release(tmp_path, live, "v2", V1 | {"0002_fix": fix, "0003_not_null": AFTER_FIX})

    ran = v2.run(live)

    assert ran.returncode == 0, ran.stderr
    assert "2 rows (2, 4); the plan itself changes these rows before, so it is looked at again then" in ran.stdout


def test_what_is_not_mended_after_all_is_found_right_before_its_step(live: str, tmp_path: Path) -> None:
    fix = FIX.replace("{}", "id = 2")
    v2 = release(tmp_path, live, "v2", V1 | {"0002_fix": fix, "0003_not_null": AFTER_FIX})

    ran = v2.run(live)

    assert ran.returncode == 13
    assert "shop.0003_not_null was not begun, for rows are in its way" in ran.stderr
    assert "1 row (4)" in ran.stderr
    assert query(live, "SELECT name FROM django_migrations WHERE app = 'shop' ORDER BY id") == [
        ("0001_initial",),
        ("0002_fix",),
    ]


def test_what_is_owed_is_told_and_refused_when_it_is_to_be_paid(live: str, tmp_path: Path) -> None:
    alter = migration('migrations.AlterField("item", "colour", models.CharField(max_length=20))', "0001_initial")
    v2 = release(tmp_path, live, "v2", V1 | {"0002_alter": alter})

    ran = v2.run(live)
    assert ran.returncode == 0, ran.stderr
    assert "2 rows (2, 4); that is owed, and 'migrate --contract' will stop there" in ran.stdout
    unpaid = v2.run(live, "migrate", "--contract")

    assert unpaid.returncode == 13
    assert "cannot be paid because rows are in its way: no NULL in shop_item.colour: 2 rows (2, 4)" in unpaid.stderr


def test_a_file_that_is_older_than_the_migration_is_noticed(live: str, tmp_path: Path) -> None:
    v2 = release(tmp_path, live, "v2", V1 | {"0002_not_null": NOT_NULL})
    v2.write("0002_not_null", NOT_NULL + "\n")

    shown = v2.run(live, "migrate", "--dry-run")

    assert "What they presume of rows is not known: shop.0002_not_null" in shown.stdout
    assert v2.run(live).returncode == 13


def test_no_look_where_it_is_switched_off_or_nothing_is_run_or_there(
    live: str, server_url: str, tmp_path: Path
) -> None:
    v2 = release(tmp_path, live, "v2", V1 | {"0002_not_null": NOT_NULL})

    ran = v2.run(live, MIGRATE_LOOK_S="0")
    faked = v2.run(live, "migrate", "--fake")
    with new_database(server_url) as url:
        first = v2.run(url)

    assert ran.returncode == 13
    assert "was not begun" not in ran.stderr
    for each in (faked, first):
        assert each.returncode == 0, each.stderr
        assert "presum" not in each.stdout


@pytest.mark.parametrize("is_known", [True, False])
def test_a_rehearsal_tells_live_rows_too_and_finds_out_what_no_file_knows(
    live: str, tmp_path: Path, is_known: bool
) -> None:
    migrations = V1 | {"0002_not_null": NOT_NULL}
    v2 = release(tmp_path, live, "v2", migrations) if is_known else Release(tmp_path, "v2", migrations)

    texts = {style: v2.run(live, "migrate", "--rehearse", "--format", style) for style in ("text", "json", "markdown")}

    line = "shop.0002_not_null presumes no NULL in shop_item.colour: 2 rows (2, 4); it will fail"
    for style, ran in texts.items():
        assert ran.returncode == 0, ran.stderr
        assert line in ran.stdout, (style, ran.stdout)
    assert query(live, "SELECT count(*) FROM shop_item WHERE colour IS NULL") == [(2,)]
