"""What a run says, line by line: each in its place, as what it is, and nothing that did not happen."""

from __future__ import annotations

import json
import re

from tests.faults.migrator import query
from tests.migrator.releases import Deployed, Release, migration
from tests.migrator.test_atomicity import python, sql
from tests.migrator.test_others import add_handler

COLOURS = {"": "", "32;1": "good", "33;1": "warning", "31": "hint"}
USING = ("", "Using environment: test")
LEFT = (
    ("warning", "The history still has 1 migration from before a squash was finished: shop.0001_earlier"),
    ("warning", "The history has 1 migration of apps that this release does not install: gone.0001_initial"),
)
RECORD = "INSERT INTO django_migrations (id, app, name, applied) VALUES (%s, %s, %s, now())"


def lines(release: Release, url: str, *arguments: str, **variables: str) -> list[tuple[str, str]]:
    """What each line is, by its colour, and the line, T for how long anything took; Django's own hints left out."""
    ran = release.run(url, *(arguments or ("migrate",)), "--force-color", **variables)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = [re.fullmatch(r"(?:\x1b\[([\d;]+)m)?(.*?)(?:\x1b\[0m)?", line) for line in ran.stdout.splitlines()]
    told = [(COLOURS[line[1] or ""], re.sub(r"\b\d{1,3}\.\d{3} s", "T", line[2])) for line in found if line]
    return [(kind, line) for kind, line in told if kind != "hint"]


def test_only_the_first_start_of_a_release_without_work_is_called_that(database_url: str, release: Release) -> None:
    deployed = lines(release, database_url)
    started_again = lines(release, database_url)
    another_one = lines(release, database_url, RELEASE="v2")

    assert deployed == [USING, ("", "Batch 1 run: 1 migration"), ("good", "✓ shop.0001_initial (T)")]
    assert started_again == [USING, ("good", "Nothing to migrate: the only migration is applied (T)")]
    assert another_one == [
        USING,
        (
            "good",
            "First start of release v2: pre_migrate and post_migrate were sent, and the only migration is applied",
        ),
    ]


def test_what_only_the_database_knows_is_told_after_work_and_without(deployed: Deployed, release: Release) -> None:
    url = deployed(release)
    query(url, RECORD, -2, "gone", "0001_initial")
    query(url, RECORD, -1, "shop", "0001_earlier")
    release.write("0002_newer", sql("CREATE TABLE n2 ()"))

    ran = release.run(url, LOG_FORMAT="json")
    newer = [json.loads(line) for line in ran.stdout.splitlines()]
    (release.migrations_folder / "0002_newer.py").unlink()
    older = lines(release, url)

    assert not [line for line in newer if "First start" in line["message"]]
    assert [(line["level"].lower(), line["message"]) for line in newer[-2:]] == list(LEFT)
    batch, done = newer[1:3]
    assert (batch["batch"], batch["migrations"]) == (2, 1)
    assert (done["migration"], done["tries"]) == ("shop.0002_newer", 1)
    assert f"({done['duration_s']:.3f} s)" in done["message"]
    assert older == [
        USING,
        ("warning", "The database is ahead of this release by 1 migration: shop.0002_newer"),
        *LEFT,
        ("good", "Nothing to migrate: the only migration is applied (T)"),
    ]


def test_what_is_pending_or_owed_is_told_and_of_many_debts_the_first(deployed: Deployed, release: Release) -> None:
    url = deployed(release)
    names = [f"c{number}" for number in range(6)]
    added = ", ".join(f'migrations.AddField("item", "{name}", models.IntegerField(null=True))' for name in names)
    removed = ", ".join(f'migrations.RemoveField("item", "{name}")' for name in names)
    release.write("0002_add", migration(added, "0001_initial"))
    release.write("0003_remove", migration(removed, "0002_add"))

    assert lines(release, url, "migrate", "shop", "0002")[1:] == [
        ("", "Batch 2 run: 1 migration"),
        ("good", "✓ shop.0002_add (T)"),
    ]
    assert lines(release, url, "migrate", "shop", "0002")[1:] == [
        ("good", "Nothing to migrate: 2 migrations are applied, and 1 is pending but not asked for (T)")
    ]
    *_, owed, window = lines(release, url, MIGRATE_CONTRACT_AFTER_H="0.5")
    shown = "; ".join(
        f"shop.0003_remove (Remove field {name} from item): column shop_item.{name}" for name in names[:5]
    )
    assert owed == (
        "warning",
        f"Owed until 'manage.py migrate --contract', once no older release runs: {shown}; and 1 more",
    )
    assert window == ("warning", "  not due before its run is complete: until then the release before can serve again")
    assert lines(release, url)[1:] == [owed, ("good", "Nothing to migrate: all 3 migrations are applied (T)")]


def test_settings_that_a_migration_leaves_are_named_with_their_values(deployed: Deployed, release: Release) -> None:
    url = deployed(release)
    release.write("0002_sets", sql("SET datestyle = 'German'; SET application_name = ''"))
    release.write("0003_waits", python("    pass").replace("0001_initial", "0002_sets"))

    assert lines(release, url)[2:] == [
        (
            "warning",
            "shop.0002_sets changed settings of the session and left them: DateStyle = 'German, DMY', "
            "application_name. They were set back",
        ),
        ("good", "✓ shop.0002_sets (T)"),
        ("good", "✓ shop.0003_waits (T)"),
    ]


def test_signals_that_a_run_did_not_get_to_are_told_by_the_next(deployed: Deployed, release: Release) -> None:
    url = deployed(release)
    query(url, "CREATE TABLE ready ()")
    add_handler(release, "connection.cursor().execute('SELECT 1 / count(*) FROM ready')")
    release.write("0002_table", sql("CREATE TABLE n2 ()"))
    assert release.run(url).returncode == 13
    query(url, "INSERT INTO ready DEFAULT VALUES")

    assert lines(release, url) == [USING, ("good", "Sent post_migrate, which the last run did not get to")]
