"""The early exit: taken when nothing is pending, and never when anything might be."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2
import pytest
from django.db.migrations.loader import MigrationLoader

from rupaya.installed_apps import INSTALLED_APPS
from rupaya.localdb import LocalPostgres
from rupaya.migrator.plan import manifest
from tests.faults.migrator import query
from tests.patience import HANGING_S
from tests.server.service import PROJECT, copy_release, manage, release_environment


def loaded_django(tree: Path, url: str, *arguments: str) -> tuple[bool, str]:
    """Run `migrate`; whether it imported Django's database layer, and what it printed."""
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", "manage.py", "migrate", *(arguments or ("--noinput",))],
        cwd=tree,
        env=release_environment(PROJECT / "no coverage here", DATABASE_URL=url),
        capture_output=True,
        text=True,
        timeout=HANGING_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return "django.db" in ran.stderr, ran.stdout


def test_it_is_taken_when_nothing_is_pending(migrated_url: str) -> None:
    loaded, output = loaded_django(PROJECT, migrated_url)

    assert not loaded
    assert output.startswith("Using environment: test\nNothing to migrate: all ")


def test_it_needs_one_connection(migrated_url: str, server_url: str) -> None:
    name = urlsplit(migrated_url).path.strip("/")
    log = f"SELECT sessions FROM pg_stat_database WHERE datname = '{name}'"
    query(migrated_url, "SELECT pg_stat_force_next_flush()")
    before = query(server_url, log)[0][0]

    loaded_django(PROJECT, migrated_url)

    query(server_url, "SELECT pg_stat_force_next_flush()")
    assert query(server_url, log)[0][0] - before == 1


def test_a_new_migration_is_applied(migrated_url: str, newer_release: Path) -> None:
    loaded, output = loaded_django(newer_release, migrated_url)

    assert loaded
    assert "✓ accounts.0100_add_nickname_to_users" in output
    assert not loaded_django(newer_release, migrated_url)[0]


def test_an_edited_file_is_looked_at_once(migrated_url: str, tmp_path: Path) -> None:
    tree = copy_release(tmp_path / "edited")
    path = tree / "accounts" / "migrations" / "0004_auth_token_revocation.py"
    path.write_text(path.read_text() + "\n# a comment\n")

    assert loaded_django(tree, migrated_url)[0]
    assert not loaded_django(tree, migrated_url)[0]


def test_a_history_that_others_changed_is_looked_at_once(migrated_url: str) -> None:
    query(migrated_url, "INSERT INTO django_migrations (app, name, applied) VALUES ('theirs', '0001_first', now())")

    assert loaded_django(PROJECT, migrated_url)[0]
    assert not loaded_django(PROJECT, migrated_url)[0]


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM migrator_settled_releases",
        "INSERT INTO django_migrations (app, name, applied) VALUES ('accounts', '0999_from_the_future', now())",
        "DROP TABLE migrator_settled_releases",
    ],
    ids=["an interrupted run", "a newer database", "no ledger"],
)
def test_it_is_not_taken_where_it_cannot_be_sure(migrated_url: str, change: str) -> None:
    query(migrated_url, change)

    ran = manage(PROJECT, "migrate", "--noinput", DATABASE_URL=migrated_url)

    assert "Nothing to migrate" not in ran.stdout or "ahead of this release" in ran.stdout


def test_it_is_not_taken_for_other_arguments(migrated_url: str) -> None:
    assert loaded_django(PROJECT, migrated_url, "--noinput", "-v", "1")[0]


@pytest.mark.parametrize(
    ("variable", "value"),
    [("MIGRATE_PHASE", "bogus"), ("MIGRATE_RETRIES", "abc"), ("MIGRATE_BATCHES", "all"), ("MIGRATE_DEADLINE_S", "-1")],
)
def test_nonsense_is_refused_though_nothing_is_pending(migrated_url: str, variable: str, value: str) -> None:
    """Or it would show with the next release that migrates, at night."""
    ran = manage(PROJECT, "migrate", "--noinput", DATABASE_URL=migrated_url, **{variable: value})

    assert ran.returncode == 16, ran.stdout
    assert variable in ran.stderr


def test_it_finds_the_same_migrations_as_django() -> None:
    loaded = {inspect.getfile(type(migration)) for migration in (MigrationLoader(None).disk_migrations or {}).values()}

    assert set(manifest.migration_files(INSTALLED_APPS)) == loaded


def test_folders_that_settings_name_for_an_app_are_read_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    litter = ("_litter.py", "~0003.py", ".0004.py", "0005.txt")
    for name in (
        "shop/migrations/0001_first.py",
        "shop/other/0002_second.py",
        *(f"shop/other/{name}" for name in litter),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    monkeypatch.syspath_prepend(tmp_path)

    files = manifest.migration_files(["shop.apps.ShopConfig"], {"shop": "shop.other", "gone": "no.such", "off": None})

    assert [Path(file).name for file in files] == ["0001_first.py", "0002_second.py"]


def test_each_installed_app_has_the_folder_of_the_nearest_package_that_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry may name a package, its `AppConfig`, or a package within another one that has migrations as well."""
    for name in ("outer/inner/migrations/0002_b.py", "outer/migrations/0001_a.py", "other/migrations/0003_c.so"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    monkeypatch.syspath_prepend(tmp_path)

    def found(*entries: str) -> list[str]:
        return [str(Path(file).relative_to(tmp_path)) for file in manifest.migration_files(entries)]

    assert found("outer.inner") == found("outer.inner.apps.Config") == ["outer/inner/migrations/0002_b.py"]
    assert found("outer") == found("outer.apps.OuterConfig") == found("outer", "outer.apps.OuterConfig")
    assert found("other", "outer") == ["other/migrations/0003_c.so", "outer/migrations/0001_a.py"]
    assert found("no_such_package", "no_such_package.apps.Config", "json") == []


def test_the_digest_follows_the_release_and_the_content_alone(tmp_path: Path) -> None:
    one, other, edited = (tmp_path / place / "shop" / "migrations" / "0001.py" for place in ("one", "other", "edited"))
    for path, content in ((one, "operations = []"), (other, "operations = []"), (edited, "operations = [1]")):
        path.parent.mkdir(parents=True)
        path.write_text(content)
    os.utime(other, (0, 0))

    assert manifest.digest([str(one)], "v1") == manifest.digest([str(other)], "v1")
    assert manifest.digest([str(one)], "v1") != manifest.digest([str(one)], "v2")
    assert manifest.digest([str(one)], "v1") != manifest.digest([str(edited)], "v1")


def test_the_digest_follows_what_a_file_is_called_and_djangos_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = (
        "a/shop/migrations/0001.py",
        "b/shop/migrations/0001.py",
        "a/shop/migrations/0002.py",
        "a/crm/migrations/0001.py",
    )
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("operations = []")
    one, other, renamed, moved = (manifest.digest([str(tmp_path / name)], "v1") for name in names)
    gone = manifest.digest([str(tmp_path / "a/shop/migrations/0003.py")], "v1")

    assert one == other
    assert len({one, renamed, moved, gone}) == 4
    assert gone == manifest.digest([], "v1")
    (tmp_path / "django").mkdir()
    (tmp_path / "django" / "__init__.py").write_text("VERSION = (99,)")
    monkeypatch.syspath_prepend(tmp_path)
    upgraded = manifest.digest([], "v1")
    monkeypatch.setattr("sys.path", [])
    assert len({gone, upgraded, manifest.digest([], "v1")}) == 3


def test_containers_that_start_together_take_turns(database_url: str, tmp_path: Path) -> None:
    """One imports Django and migrates; the others wait before they import it, and leave when it is done."""
    # Files, for a pipe that nobody reads yet holds up the one that all others wait for.
    outputs = [(tmp_path / f"{number}.out", tmp_path / f"{number}.err") for number in range(6)]
    started = []
    for paths in outputs:
        with paths[0].open("w") as stdout, paths[1].open("w") as stderr:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-X", "importtime", "manage.py", "migrate", "--noinput"],
                    cwd=PROJECT,
                    env=release_environment(PROJECT / "no coverage here", DATABASE_URL=database_url),
                    stdout=stdout,
                    stderr=stderr,
                )
            )
    for process in started:
        process.wait(timeout=HANGING_S)
    ended = [(stdout.read_text(), stderr.read_text()) for stdout, stderr in outputs]

    assert [process.returncode for process in started] == [0] * 6
    assert sum("django.db" in stderr for _stdout, stderr in ended) == 1
    assert sum("Batch 1 run" in stdout for stdout, _stderr in ended) == 1


def test_a_role_that_is_allowed_two_connections_can_migrate(database_url: str, server_url: str) -> None:
    role = f"two_{abs(hash(database_url)) % 10**8}"
    name = urlsplit(database_url).path.strip("/")
    query(server_url, f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 2")
    try:
        query(database_url, f'ALTER DATABASE "{name}" OWNER TO {role}; ALTER SCHEMA public OWNER TO {role}')
        url = database_url.replace("//postgres@", f"//{role}@").replace("//postgres:", f"//{role}:")
        ran = manage(PROJECT, "migrate", "--noinput", DATABASE_URL=url)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert "Batch 1 run" in ran.stdout
    finally:
        query(database_url, f"REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}")
        query(server_url, f"DROP ROLE {role}")


def test_a_role_with_capitals_can_migrate_again_and_again(database_url: str, server_url: str) -> None:
    role = f"ShopOwner{abs(hash(database_url)) % 10**8}"
    name = urlsplit(database_url).path.strip("/")
    query(server_url, f'CREATE ROLE "{role}" LOGIN')
    try:
        query(database_url, f'ALTER DATABASE "{name}" OWNER TO "{role}"; ALTER SCHEMA public OWNER TO "{role}"')
        url = database_url.replace("//postgres@", f"//{role}@").replace("//postgres:", f"//{role}:")
        for _ in range(2):
            ran = manage(PROJECT, "migrate", "--noinput", "-v", "1", DATABASE_URL=url)
            assert ran.returncode == 0, ran.stdout + ran.stderr
    finally:
        query(database_url, f'REASSIGN OWNED BY "{role}" TO postgres; DROP OWNED BY "{role}"')
        query(server_url, f'DROP ROLE "{role}"')


@pytest.mark.slow
def test_a_herd_does_not_starve_itself(server_url: str, tmp_path: Path) -> None:
    """Sixty start at once on a server with thirty connections, of which traffic holds ten."""
    server = LocalPostgres(tmp_path / "data", tmp_path / "socket", {"fsync": "off", "max_connections": "30"})
    tmp_path.chmod(0o755)
    server.start()
    held = []
    try:
        url = server.url()
        held = [psycopg2.connect(url) for _ in range(10)]
        started = [
            subprocess.Popen(
                [sys.executable, "manage.py", "migrate", "--noinput"],
                cwd=PROJECT,
                env=release_environment(PROJECT / "no coverage here", DATABASE_URL=url),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for _ in range(60)
        ]
        ended = [process.communicate(timeout=HANGING_S)[0] for process in started]
    finally:
        for connection in held:
            connection.close()
        server.stop("immediate")

    failed = [output for process, output in zip(started, ended, strict=True) if process.returncode]
    assert failed == []
    assert sum("Batch 1 run" in output for output in ended) == 1
