"""`migrate` keeps every flag and habit of Django's command."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.management import load_command_class
from django.core.management.base import CommandParser
from django.core.management.commands.migrate import Command as StockCommand

from rupaya.migrator.management.commands.migrate import Command
from rupaya.migrator.run.procedure import Request
from tests.faults.migrator import applied, migrate, query
from tests.migrator.releases import Deployed, Release, migration
from tests.server.service import PROJECT, copy_release, manage


def arguments(command: StockCommand) -> dict[str, tuple[object, ...]]:
    """Everything that a caller can see of a command's arguments, by destination."""
    parser = command.create_parser("manage.py", "migrate")
    assert isinstance(parser, CommandParser)
    return {
        action.dest: (tuple(action.option_strings), action.nargs, action.default, action.const, action.choices)
        for action in parser._actions
    }


def test_every_argument_of_djangos_command_is_there_and_means_the_same() -> None:
    stock, ours = arguments(StockCommand()), arguments(Command())

    assert {dest: ours.get(dest) for dest in stock} == stock


@pytest.mark.parametrize("name", ["makemigrations", "migrate", "showmigrations"])
def test_help_shows_ours_apart_from_djangos(name: str) -> None:
    stock = load_command_class("django.core", name).create_parser("manage.py", name)
    parser = load_command_class("rupaya.migrator", name).create_parser("manage.py", name)
    titles = {group.title for group in stock._action_groups}
    djangos = {tuple(action.option_strings) for action in stock._actions}
    ours = {tuple(action.option_strings) for action in parser._actions} - djangos

    apart = [group for group in parser._action_groups if group.title not in titles]

    assert {tuple(action.option_strings) for group in apart for action in group._group_actions} == ours != set()


def test_no_option_of_ours_is_handed_to_djangos_command() -> None:
    command = Command()
    given = arguments(command)

    assert command.of_django(given).keys() == arguments(StockCommand()).keys()


def test_a_run_knows_of_each_option_of_ours_that_is_about_it() -> None:
    command = Command()
    given = arguments(command)
    told = {"retry_failed": True, "contract": True, "accept_edited": True, "in_use_anyway": "why"}

    assert told.keys() < given.keys() - command.of_django(given).keys()
    assert Request.of({**given, **told}) == Request(
        retry_failed=True, contract=True, accept_edited=True, in_use_anyway="why"
    )


def test_plan_prints_djangos_plan_and_changes_nothing(database_url: str) -> None:
    shown = manage(PROJECT, "migrate", "--plan", DATABASE_URL=database_url)

    assert shown.stdout.startswith("Planned operations:\n")
    assert "accounts.0001_initial" in shown.stdout
    assert query(database_url, "SELECT count(*) FROM pg_class WHERE relname ~ '^(django|migrator)_'") == [(0,)]


@pytest.mark.parametrize(("name", "status"), [("database_url", 1), ("migrated_url", 0)])
def test_check_tells_by_its_exit_status_whether_something_is_pending(
    request: pytest.FixtureRequest, name: str, status: int
) -> None:
    url = request.getfixturevalue(name)

    assert manage(PROJECT, "migrate", "--check", DATABASE_URL=url).returncode == status


def test_an_app_can_be_taken_to_a_migration_to_zero_and_back(database_url: str) -> None:
    assert migrate(database_url, apps="points").process.returncode == 0
    backwards = migrate(database_url, "migrate", "points", "0002", apps="points")
    assert backwards.process.returncode == 0
    assert "✓ points.0003_double_every_order unapplied" in backwards.output
    assert applied(database_url) == ["points.0001_initial", "points.0002_inside_ddl"]

    assert migrate(database_url, "migrate", "points", "zero", apps="points").process.returncode == 0
    assert applied(database_url) == []

    assert migrate(database_url, apps="points").process.returncode == 0
    assert len(applied(database_url)) == 6


def test_fake_records_and_runs_nothing(database_url: str) -> None:
    faked = migrate(database_url, "migrate", "--fake", "points", "0001", apps="points")

    assert "✓ points.0001_initial" in faked.output
    assert "faked" in faked.output
    assert applied(database_url) == ["points.0001_initial"]
    assert query(database_url, "SELECT to_regclass('points_order') IS NULL, (SELECT faked FROM migrator_attempts)") == [
        (True, True)
    ]


def test_fake_initial_takes_an_existing_table_for_applied(database_url: str) -> None:
    query(database_url, "CREATE TABLE points_order (id bigint, total int, doubled int, done boolean, filled int)")

    assert migrate(database_url, "migrate", "--fake-initial", "points", "0001", apps="points").process.returncode == 0
    assert applied(database_url) == ["points.0001_initial"]
    assert query(database_url, "SELECT count(*) FROM points_order") == [(0,)]


def test_prune_deletes_what_no_file_stands_for(migrated_url: str, tmp_path: Path) -> None:
    query(migrated_url, "INSERT INTO django_migrations (app, name, applied) VALUES ('sessions', '0000_gone', now())")

    pruned = manage(PROJECT, "migrate", "--prune", "sessions", DATABASE_URL=migrated_url)

    assert "Pruning sessions.0000_gone OK" in pruned.stdout
    assert applied(migrated_url).count("sessions.0000_gone") == 0
    assert query(migrated_url, "SELECT outcome FROM migrator_runs WHERE command = 'migrate --prune'") == [
        ("succeeded",)
    ]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("nonsense",), "No installed app with label 'nonsense'"),
        (("messages",), "App 'messages' does not have migrations"),
        (("accounts", "0009"), "Cannot find a migration matching '0009' from app 'accounts'"),
        (("accounts", "000"), "More than one migration matches '000' in app 'accounts'"),
        (("accounts", "--run-syncdb"), "Can't use run_syncdb with app 'accounts' as it has migrations"),
    ],
)
def test_wrong_arguments_are_answered_in_djangos_words(
    migrated_url: str, arguments: tuple[str, ...], text: str
) -> None:
    refused = manage(PROJECT, "migrate", *arguments, DATABASE_URL=migrated_url)

    assert refused.returncode == 1
    assert text in refused.stderr


def test_a_batch_is_told_in_the_originals_lines(database_url: str) -> None:
    lines = migrate(database_url, apps="points").output.splitlines()

    assert lines[:2] == ["Using environment: test", "Batch 1 run: 6 migrations"]
    told = [line.split(" (")[0] for line in lines if line.startswith("✓")]
    assert told == [f"✓ {name}" for name in applied(database_url)]


def test_the_database_is_ahead_after_a_newer_release(migrated_url: str, tmp_path: Path) -> None:
    tree = copy_release(tmp_path / "older")
    (tree / "rupaya" / "inspection" / "migrations" / "0001_groups.py").unlink()

    ran = manage(tree, "migrate", "--noinput", DATABASE_URL=migrated_url)

    assert ran.returncode == 0
    assert "ahead of this release by 1 migration: inspection.0001_groups" in ran.stdout


def test_what_cannot_be_unapplied_is_called_by_its_name(deployed: Deployed, release: Release) -> None:
    release.write(
        "0002_code",
        migration("migrations.RunPython(print)", "0001_initial", header="phase = 'expand'"),
    )
    url = deployed(release)

    back = release.run(url, "migrate", "shop", "0001")

    assert back.returncode == 13
    assert "IrreversibleError: Operation <RunPython <built-in function print>> in shop.0002_code" in back.stderr
