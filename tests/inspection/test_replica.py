"""With a real streaming replica: the admin reads people's rows there, says how far it lags, and does without it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rupaya.localdb import LocalPostgres
from tests.faults.migrator import query, wait_for
from tests.faults.servers import SETTINGS, server_root, streaming_replica
from tests.security.conftest import EMAIL, PASSWORD
from tests.server.browser import Browser
from tests.server.service import PROJECT, Service, manage

USERS = "/admin/accounts/user/"


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    with server_root() as root:
        yield root


@pytest.fixture(scope="module")
def primary(root: Path) -> Iterator[LocalPostgres]:
    server = LocalPostgres(root / "primary", root / "p", SETTINGS)
    server.start()
    migrated = manage(PROJECT, "migrate", "--noinput", DATABASE_URL=server.url())
    assert migrated.returncode == 0, migrated.stderr
    made = manage(PROJECT, "administrator", EMAIL, "--password-stdin", stdin=f"{PASSWORD}\n", DATABASE_URL=server.url())
    assert made.returncode == 0, made.stderr
    query(server.url(), "INSERT INTO users_groups (user_id, group_id) SELECT user_id, id FROM users, auth_group "
                        "WHERE auth_group.name = 'operator'")  # fmt: skip
    yield server
    server.stop("immediate")


@pytest.fixture(scope="module")
def replica(primary: LocalPostgres, root: Path) -> Iterator[LocalPostgres]:
    with streaming_replica(primary, root / "replica", root / "r") as server:
        yield server


@pytest.fixture
def service(primary: LocalPostgres, replica: LocalPostgres) -> Iterator[Service]:
    replica.start()
    urls = {"DATABASE_URL": primary.url(), "REPLICA_DATABASE_URL": replica.url()}
    with Service(**urls, ALLOWED_HOSTS="api.example.com") as service:
        service.wait_until_ready()
        yield service


@pytest.fixture
def browser(service: Service) -> Browser:
    browser = Browser(service)
    assert browser.sign_in(EMAIL, PASSWORD) == 302
    return browser


def page(browser: Browser, path: str = USERS) -> str:
    response = browser.request(path)
    assert response.status == 200, response.body
    return re.sub(r"\s+", " ", response.body.decode())


def note(browser: Browser, path: str = USERS) -> str:
    found = re.search(r'<p class="read-from" role="status">([^<]*)</p>', page(browser, path))
    return found[1] if found else ""


def test_people_are_read_from_the_replica_and_the_page_says_how_far_it_lags(
    browser: Browser, primary: LocalPostgres, replica: LocalPostgres
) -> None:
    wait_for(lambda: re.fullmatch(r"Read from the replica, [0-9.]+ s behind\.", note(browser)))
    replica.psql("SELECT pg_wal_replay_pause()", "rupaya")
    try:
        wait_for(lambda: replica.psql("SELECT pg_get_wal_replay_pause_state()", "rupaya") == "paused")
        query(primary.url(), "INSERT INTO users (email) VALUES ('late@example.com')")
        wait_for(lambda: (found := re.search(r"([0-9.]+) s behind", note(browser))) and float(found[1]) > 0)
        assert "late@example.com" not in page(browser)
    finally:
        replica.psql("SELECT pg_wal_replay_resume()", "rupaya")
    wait_for(lambda: "late@example.com" in page(browser))


def test_sessions_and_changes_go_to_the_primary_and_whoever_changed_sees_it(
    browser: Browser, primary: LocalPostgres, replica: LocalPostgres
) -> None:
    ((key,),) = query(primary.url(), "INSERT INTO users (email) VALUES ('edited@example.com') RETURNING user_id")
    row = f"{USERS}{key}/change/"
    wait_for(lambda: browser.request(row).status == 200)
    replica.psql("SELECT pg_wal_replay_pause()", "rupaya")
    try:
        wait_for(lambda: replica.psql("SELECT pg_get_wal_replay_pause_state()", "rupaya") == "paused")
        form = page(browser, f"{row}?edit=1")
        (seen,) = re.findall(r'name="_seen" value="([^"]+)"', form)
        fields = {
            "name": "Edited", "account_status": "active", "currency_preference": "INR", "timezone": "UTC",
            "language_preference": "en", "_seen": seen, "_confirm": "yes", "_why": "they asked",
        }  # fmt: skip
        changed = browser.post(f"{row}?edit=1", **fields)
        assert changed.status == 302, changed.body.decode()
        assert query(primary.url(), f"SELECT name FROM users WHERE user_id = '{key}'") == [("Edited",)]
        shown = page(browser, row)
        assert "Edited" in shown
        assert "you have just changed something" in shown
    finally:
        replica.psql("SELECT pg_wal_replay_resume()", "rupaya")


def test_a_replica_that_is_gone_is_done_without(browser: Browser, replica: LocalPostgres) -> None:
    assert note(browser).startswith("Read from the replica")
    replica.stop("immediate")
    began = time.monotonic()
    assert note(browser) == "The replica does not answer: read from the primary."
    assert time.monotonic() - began < 5
    assert browser.request("/health/ready").status == 200


def test_a_replica_that_has_not_the_schema_yet_is_not_read(
    browser: Browser, primary: LocalPostgres, replica: LocalPostgres
) -> None:
    wait_for(lambda: note(browser).startswith("Read from the replica"))
    replica.psql("SELECT pg_wal_replay_pause()", "rupaya")
    try:
        wait_for(lambda: replica.psql("SELECT pg_get_wal_replay_pause_state()", "rupaya") == "paused")
        query(primary.url(), "INSERT INTO django_migrations (app, name, applied) VALUES ('later', '0001', now())")
        assert note(browser) == "The replica has not replayed the last migrations yet: read from the primary."
    finally:
        replica.psql("SELECT pg_wal_replay_resume()", "rupaya")
        query(primary.url(), "DELETE FROM django_migrations WHERE app = 'later'")


def test_a_replica_that_is_cut_off_does_not_pass_for_up_to_date(
    browser: Browser, primary: LocalPostgres, replica: LocalPostgres
) -> None:
    wait_for(lambda: note(browser).startswith("Read from the replica"))
    replica.psql("ALTER SYSTEM SET primary_conninfo = 'host=/nowhere'")
    replica.psql("SELECT pg_reload_conf()")
    try:
        wait_for(lambda: "which is cut off from the primary" in note(browser))
    finally:
        replica.psql("ALTER SYSTEM RESET primary_conninfo")
        replica.psql("SELECT pg_reload_conf()")


def test_a_replica_of_another_database_is_refused() -> None:
    ran = manage(PROJECT, "check", DATABASE_URL="postgresql:///one", REPLICA_DATABASE_URL="postgresql:///another")
    assert ran.returncode != 0
    assert "REPLICA_DATABASE_URL names the database 'another'" in ran.stdout + ran.stderr


def test_migrate_touches_no_replica(primary: LocalPostgres, replica: LocalPostgres) -> None:
    ran = manage(
        PROJECT, "migrate", "--noinput", DATABASE_URL=primary.url(), REPLICA_DATABASE_URL="postgresql://x:1/rupaya"
    )
    assert ran.returncode == 0, ran.stderr
    assert "Nothing to migrate" in ran.stdout


GONE_MEANWHILE = f"""
from django.conf import settings
from django.test import Client
from accounts.models import User
from rupaya.inspection import replica
# It answered when it was chosen, and nobody is there any more.
replica._choose = lambda request: replica.Source(replica.REPLICA, "Read from the replica.")
settings.ALLOWED_HOSTS = ["testserver"]
client = Client()
client.force_login(User.objects.get(email="{EMAIL}"), backend="accounts.backends.BcryptBackend")
shown = client.get("{USERS}")
print(shown.status_code, shown.content.decode())
"""


def test_a_replica_that_goes_in_the_middle_of_a_page_is_done_without(primary: LocalPostgres, root: Path) -> None:
    replica_url = primary.url().replace(str(primary.socket_dir), str(root / "gone"))
    assert replica_url != primary.url()
    shown = manage(
        PROJECT, "shell", "-v0", "-c", GONE_MEANWHILE, DATABASE_URL=primary.url(), REPLICA_DATABASE_URL=replica_url
    )
    assert shown.stdout.startswith("200 "), shown.stdout + shown.stderr
    assert EMAIL in shown.stdout
    assert "The replica did not answer this page: read from the primary." in shown.stdout
