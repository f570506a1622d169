"""The pages of the schema's story, in each state that a database can be in."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import psycopg2
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from rupaya.story import live, state
from tests.faults.migrator import PROJECT, query
from tests.security.test_headers import assert_needs_nothing_inline
from tests.story.conftest import add_attempt, add_run, rewrite, run_under_way_in, somebody

PAGES = (
    "/admin/",
    "/admin/schema/",
    "/admin/story/run/",
    "/admin/story/attempt/",
    "/admin/schema/runs/1/",
    "/admin/schema/timeline/",
    "/admin/schema/drift/",
    "/admin/schema/release/",
    "/admin/schema/attic/",
    "/admin/schema/tables/",
    "/admin/schema/tables/users/",
    "/admin/schema/tables/users/columns/email/",
    "/admin/schema/diagram/",
    "/admin/schema/diagram/?all=1",
    "/admin/schema/diagram/?app=accounts",
    "/admin/schema/diagram/?tables=accounts,users",
)
STORY = [page for page in PAGES if page != "/admin/"]
LAST = ("transactions", "0005_summary_views")


def words_of(html: str) -> str:
    """What a page, or a part of it, says, in one line."""
    html = re.sub(r'\s*<button [^>]*class="copy".*?</button>', "", html)
    apart = re.sub(r"</?(td|th|tr|li|p|h\d|section|div|summary|pre|dt|dd)\b[^>]*>", " ", html)
    return " ".join(unescape(re.sub(r"<[^>]+>", "", apart)).split())


def text(client: Client, path: str, status: int = 200) -> str:
    """What a page says, asked anew."""
    state.forget()
    response = client.get(path)
    assert response.status_code == status, response.content.decode()[:2000]
    return words_of(response.content.decode())


def headline(client: Client) -> str:
    """The first fact of the home page."""
    state.forget()
    page = client.get("/admin/").content.decode()
    found = re.search(r'<div class="story-fact[^"]*">(.*?)</div>', page, re.DOTALL)
    assert found, page
    assert page.index('class="story-fact') < page.index('class="cards"')
    return words_of(found[1])


def unapply(url: str, app: str, name: str) -> None:
    query(url, "DELETE FROM django_migrations WHERE app = %s AND name = %s", app, name)


def drawings(html: str) -> list[ET.Element]:
    found = re.findall(r'<svg xmlns="[^"]+" class="story-picture.*?</svg>', html, re.DOTALL)
    return [ET.fromstring(svg) for svg in found]  # noqa: S314 - this service's own


# Every page


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_there_needs_nothing_inline_and_few_queries(viewer: Client, path: str) -> None:
    state.forget()
    with CaptureQueriesContext(connection) as queries:
        response = viewer.get(path)

    html = response.content.decode()
    assert response.status_code == 200
    # The home page has the figures of several pages; what they read is kept for a while.
    assert len(queries) <= (65 if path == "/admin/" else 40), [q["sql"] for q in queries]
    assert_needs_nothing_inline(html)
    headings = [int(level) for level in re.findall(r"<h([1-6])\b", html)]
    assert 1 in headings
    assert all(after <= before + 1 for before, after in pairwise(headings)), headings
    assert (
        len(re.findall(r"<table", html)) == len(re.findall(r"<caption", html)) or "story/" in path or path == "/admin/"
    )
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    for drawing in drawings(html):
        assert drawing.findtext("{http://www.w3.org/2000/svg}title")
        assert drawing.findtext("{http://www.w3.org/2000/svg}desc")


@pytest.mark.parametrize("path", STORY)
def test_a_page_reads_no_rows_of_a_table_of_the_projects(viewer: Client, path: str) -> None:
    with CaptureQueriesContext(connection) as queries:
        viewer.get(path)

    for asked in queries:
        if 'FROM "users" WHERE "users"."user_id" = ' not in asked["sql"]:  # who asks
            assert not re.search(r'(FROM|JOIN) "?(users|devices|transactions|accounts|categories)\b', asked["sql"])


@pytest.mark.parametrize("path", STORY)
@pytest.mark.usefixtures("viewer")
def test_only_staff_who_may_view_runs_see_it(path: str) -> None:
    nobody, viewer = somebody(), somebody("view_run", "view_attempt")

    assert nobody.get(path).status_code == 403
    assert viewer.get(path).status_code == 200
    anonymous = Client().get(path)
    assert (anonymous.status_code, anonymous["Location"].startswith("/admin/login/")) == (302, True)
    assert "story-fact" not in nobody.get("/admin/").content.decode()
    assert "story-fact" in viewer.get("/admin/").content.decode()


def test_the_pages_change_nothing(client: Client) -> None:
    for path in STORY:
        assert client.post(path, {"action": "delete_selected", "_selected_action": "1"}).status_code in (200, 302, 403)
    assert query_count(client) >= 1
    assert client.get("/admin/story/run/add/").status_code == 403
    assert client.post("/admin/story/run/1/delete/", {"post": "yes"}).status_code == 403
    assert client.get("/admin/story/run/1/change/")["Location"] == "/admin/schema/runs/1/"
    assert client.get("/admin/story/attempt/1/change/")["Location"] == "/admin/schema/runs/1/"


def query_count(client: Client) -> int:
    return len(re.findall(r"/admin/schema/runs/\d+/", client.get("/admin/story/run/").content.decode()))


@pytest.mark.parametrize(
    "path", ["/admin/schema/runs/999/", "/admin/schema/tables/nowhere/", "/admin/schema/tables/a/b'%22--/"]
)
def test_what_is_not_there_is_not_found(viewer: Client, path: str) -> None:
    assert viewer.get(path).status_code == 404


@pytest.mark.parametrize("query_string", ["?before=0", "?before=x", "?before=99999999999999999999", "?before=1"])
def test_a_strange_address_of_the_timeline_is_answered(viewer: Client, query_string: str) -> None:
    assert viewer.get(f"/admin/schema/timeline/{query_string}").status_code == 200


# The headline, state by state


SQUASHED = """
from django.db import migrations
from importlib import import_module

REPLACED = ["0004_complete_transactions_table", "0005_summary_views"]


class Migration(migrations.Migration):
    replaces = [("transactions", name) for name in REPLACED]
    dependencies = import_module("transactions.migrations." + REPLACED[0]).Migration.dependencies
    operations = [one for name in REPLACED for one in
                  import_module("transactions.migrations." + name).Migration.operations]
"""


@pytest.mark.parametrize("is_recorded", [False, True])
def test_a_squash_breaks_no_page(
    client: Client, url: str, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_recorded: bool
) -> None:
    folder = tmp_path / "with_a_squash"
    shutil.copytree(PROJECT / "transactions" / "migrations", folder)
    (folder / "0004_squashed_0005.py").write_text(SQUASHED)
    monkeypatch.syspath_prepend(tmp_path)
    settings.MIGRATION_MODULES = {"transactions": "with_a_squash"}
    if is_recorded:
        query(url, "INSERT INTO django_migrations VALUES (DEFAULT, 'transactions', '0004_squashed_0005', now())")

    for path in PAGES:
        assert text(client, path), path
    assert "Traceback" not in headline(client)


def test_the_first_page_finds_read_what_its_worker_read_ahead(client: Client) -> None:
    """The catalog, which is compared with the last snapshot, takes longest."""
    state.forget()
    state.read_ahead()

    with CaptureQueriesContext(connection) as queries:
        page = client.get("/admin/").content.decode()

    assert "In step" in page
    assert not [query["sql"] for query in queries if "FROM pg_attribute" in query["sql"]]


def test_in_step(viewer: Client) -> None:
    said = headline(viewer)

    assert re.fullmatch(
        r"In step The database is in step with this release: all \d+ migrations are applied, and nothing was changed "
        r"by hand\.",
        said,
    ), said
    assert "What to do" not in said


def test_behind(client: Client, url: str) -> None:
    unapply(url, *LAST)

    said = headline(client)

    assert "Behind The database is behind this release by 1 migration: transactions.0005_summary_views." in said
    assert "What to do: Run manage.py migrate" in said
    overview = text(client, "/admin/schema/")
    assert "1 pending" in overview
    assert "transactions.0005_summary_views pending" in overview


def test_ahead(client: Client, url: str) -> None:
    query(url, "INSERT INTO django_migrations (app, name, applied) VALUES ('accounts', '0099_future', now())")
    add_attempt(url, 1, "accounts", "0099_future", "succeeded")

    assert "Ahead The database is ahead of this release by 1 migration: accounts.0099_future." in headline(client)
    assert "accounts.0099_future unknown" in text(client, "/admin/schema/")


def test_ahead_by_what_nobody_keeps_a_record_of(client: Client, url: str) -> None:
    query(url, "INSERT INTO django_migrations (app, name, applied) VALUES ('accounts', '0099_future', now())")

    assert "Breaking This release is older than migrations that somebody applied without the migrator" in headline(
        client
    )


def test_ahead_by_a_breaking_migration(client: Client, url: str) -> None:
    query(url, "INSERT INTO django_migrations (app, name, applied) VALUES ('accounts', '0099_future', now())")
    attempt_id = add_attempt(url, 1, "accounts", "0099_future", "succeeded")
    rewrite(
        url, "migrator_attempts", f"UPDATE migrator_attempts SET phase = 'contract' WHERE attempt_id = {attempt_id}"
    )

    said = headline(client)

    assert "Breaking This release is older than a breaking migration: accounts.0099_future (release" in said
    assert "manage.py rollback" in said


def test_owed(client: Client, url: str) -> None:
    query(
        url,
        "INSERT INTO migrator_debts (app, migration, operation, action, kind, table_name, object, payment, breaks, "
        "details, release, run_id) VALUES ('accounts', '0002_add_phone_number_to_users', '0', 'Remove field', "
        "'column', 'users', 'nickname', '[]', 'read it', '{}', 'v7', 1)",
    )

    said = headline(client)
    overview = text(client, "/admin/schema/")

    name = "accounts.0002_add_phone_number_to_users"
    assert f"Owed Owed: what an older release would not survive of 1 migration: {name}." in said
    assert "manage.py migrate --contract, once no older release runs" in said
    assert "1 owed" in overview
    assert "In step" in overview


def test_edited(client: Client, url: str) -> None:
    rewrite(
        url,
        "migrator_attempts",
        "UPDATE migrator_attempts SET fingerprint = 'x', file_hash = 'x' WHERE name = '0005_summary_views'",
    )

    said = headline(client)

    assert "Edited Applied migrations were edited since: transactions.0005_summary_views (applied " in said
    assert "manage.py migrate --accept-edited" in said


def test_failed_with_what_it_means_and_what_to_do(client: Client, url: str) -> None:
    unapply(url, *LAST)
    error = "transactions.0005_summary_views failed: DataError: division by <zero>"
    run_id = add_run(url, "failed", 13, error)
    attempt_id = add_attempt(url, run_id, *LAST, "failed", error, "22012")
    query(
        url,
        "INSERT INTO migrator_traces VALUES (%s, %s, 7, %s)",
        attempt_id,
        json.dumps([{"sql": "SELECT 1 / 0 -- <b>", "times": 3, "ms": 12.5}]),
        json.dumps([{"table": "users", "waited_s": 1.4, "session": "backend pid 7, user app"}]),
    )

    said = headline(client)
    assert f"Failed Run {run_id} (migrate, release v7" in said
    assert "division by <zero>" in said
    assert "What it means: A migration or a handler failed;" in said
    assert "What to do: Fix the migration" in said

    page = text(client, f"/admin/schema/runs/{run_id}/")
    assert re.search("transactions.0005_summary_views failed .*apply, expand, one transaction, batch 9; 3 tries", page)
    assert "Error 22012: transactions.0005_summary_views failed: DataError: division by <zero>" in page
    assert "users, for about 1.4 s: backend pid 7, user app" in page
    assert "1 statement, and 7 more that were not kept" in page
    assert "SELECT 1 / 0 -- <b> 3 12.5 ms" in page
    assert "Exit code 13" in page
    assert "What to do: Fix the migration" in page
    assert "failed" in text(client, "/admin/schema/")


def test_a_failure_that_was_mended_since_is_no_alarm(client: Client, url: str) -> None:
    run_id = add_run(url, "failed", 10, "no server")

    assert headline(client).startswith("In step")
    assert f"Last run failed Run {run_id}" in text(client, "/admin/schema/")


def test_drifted(client: Client, url: str) -> None:
    query(url, "ALTER TABLE users ADD COLUMN by_hand text; DROP INDEX idx_devices_user_id")

    said = headline(client)
    page = text(client, "/admin/schema/drift/")

    assert "Drifted Somebody changed the schema by hand:" in said
    assert "column users.by_hand: in the database, not in the last snapshot" in said
    assert "manage.py migrate --fake" in said
    assert "index idx_devices_user_id on devices: in the last snapshot, not in the database" in page
    assert "Drifted 2 differences between the last snapshot and the database, since run 1 of release" in page
    assert "changed table devices +0" in page
    assert "CREATE INDEX idx_devices_user_id ON devices" in page


def test_no_drift_is_told_where_a_run_left_no_snapshot(client: Client, url: str) -> None:
    query(url, "ALTER TABLE users ADD COLUMN by_migration text")
    add_attempt(url, 1, "accounts", "0001_initial", "succeeded")

    assert "Somebody changed the schema by hand" not in text(client, "/admin/schema/")
    page = text(client, "/admin/schema/drift/")
    assert "Differs 1 difference" in page
    assert "Migrations ran since without leaving a snapshot" in page


@pytest.fixture
def run_under_way(url: str) -> Iterator[int]:
    with run_under_way_in(url, "accounts", "0098_slow") as run_id:
        yield run_id


def test_a_run_under_way(client: Client, run_under_way: int) -> None:
    said = headline(client)

    assert f"Under way Run {run_under_way} (migrate, release v7" in said
    assert "release v7, task task-1, on accounts.0098_slow since" in said
    assert "under way" in text(client, f"/admin/schema/runs/{run_under_way}/")
    assert "Not looked for" not in text(client, "/admin/schema/drift/")
    renews = '<meta http-equiv="refresh" content="5">'
    assert renews in client.get("/admin/schema/").content.decode()
    assert renews not in client.get("/admin/schema/drift/").content.decode()


def test_a_run_under_way_shows_how_far_it_is(client: Client, url: str, run_under_way: int) -> None:
    html = client.get(f"/admin/schema/runs/{run_under_way}/").content.decode()
    assert "data-live" in html
    assert "0 migrations done; now accounts.0098_slow" in words_of(html)
    query(
        url,
        "INSERT INTO migrator_progress (run_id, what, phase, percent, basis, running_s, estimated_s) "
        "VALUES (%s, 'accounts.0098_slow', 'building index', 40, 'blocks', 12, 30)",
        run_under_way,
    )
    page = text(client, f"/admin/schema/runs/{run_under_way}/")
    assert "accounts.0098_slow: building index, 40 % by blocks, for 12.0 s of about 30.0 s." in page
    assert "data-live" not in client.get("/admin/schema/runs/1/").content.decode()


def test_a_run_whose_process_died(client: Client, url: str) -> None:
    unapply(url, *LAST)
    add_run(url, "started", None, backend_pid=1)

    said = headline(client)

    assert "Interrupted Run" in said
    assert "its process died" in said


# Ledgers that are not there, or older


def test_without_a_ledger_each_page_says_what_to_do(client: Client, url: str) -> None:
    query(url, "DROP TABLE migrator_traces, migrator_snapshots, migrator_settled, migrator_attempts, migrator_runs")

    for path in ("/admin/story/run/", "/admin/story/attempt/", "/admin/schema/timeline/"):
        assert "What to do: Run manage.py migrate" in text(client, path)
    assert "There is no snapshot of the schema yet" in text(client, "/admin/schema/drift/")
    overview = text(client, "/admin/schema/")
    assert "In step The database is in step with this release: all" in overview
    assert "by hand." not in overview.partition("The last run")[0]
    assert "None is recorded." in overview
    text(client, "/admin/schema/runs/1/", 404)


def test_with_an_empty_ledger_too(client: Client, url: str) -> None:
    query(url, "TRUNCATE migrator_settled")
    for table in ("migrator_snapshots", "migrator_traces", "migrator_attempts", "migrator_runs"):
        rewrite(url, table, f"DELETE FROM {table}")

    assert "None is recorded yet" in text(client, "/admin/story/run/")
    assert "None is recorded yet" in text(client, "/admin/story/attempt/")
    assert "Nothing yet" in text(client, "/admin/schema/timeline/")


def test_a_ledger_of_the_first_version_tells_what_it_has(client: Client, url: str) -> None:
    query(url, "DROP TABLE migrator_traces, migrator_snapshots; DELETE FROM migrator_versions WHERE version > 1")

    page = text(client, "/admin/schema/runs/1/")
    assert "Not known: there is no snapshot" in page
    assert "What it executed is not known: the ledger was older then" in page
    for path in PAGES:
        assert client.get(path).status_code == 200, path


def test_a_role_that_may_not_read_the_ledger_gets_no_error(client: Client, url: str) -> None:
    query(url, "CREATE ROLE story_reader_test")
    try:
        query(url, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO story_reader_test")
        query(url, "REVOKE ALL ON migrator_runs, migrator_attempts, migrator_traces FROM story_reader_test")
        with connection.cursor() as cursor:
            cursor.execute("SET ROLE story_reader_test")
        assert "this role may not read" in text(client, "/admin/story/run/")
        assert "could not be read" not in headline(client)
        with connection.cursor() as cursor:
            cursor.execute("RESET ROLE")
    finally:
        query(url, "DROP OWNED BY story_reader_test; DROP ROLE story_reader_test")


def test_an_empty_database_has_a_headline(empty_url: str) -> None:
    said, _ = state.lead()

    assert said.kind == "empty"
    assert said.text.startswith("This database has no history (django_migrations)")
    assert "manage.py migrate" in said.remedy


# Busy databases


def test_a_locked_table_keeps_no_page_waiting(client: Client, url: str) -> None:
    holder = psycopg2.connect(url)
    try:
        with holder.cursor() as cursor:
            cursor.execute("LOCK TABLE transactions IN ACCESS EXCLUSIVE MODE")

        assert "Not now The database did not answer within this page's limits" in text(
            client, "/admin/schema/tables/", 503
        )
        overview = text(client, "/admin/schema/")
        assert "In step" in overview
        assert "Could not check for changes by hand: canceling statement due to lock timeout." in overview
        assert "Not now" not in text(client, "/admin/schema/diagram/")
    finally:
        holder.close()


def test_the_headline_is_asked_of_the_database_every_few_seconds_alone(viewer: Client) -> None:
    state.forget()
    viewer.get("/admin/")
    with CaptureQueriesContext(connection) as queries:
        viewer.get("/admin/")

    assert not [q for q in queries if "django_migrations" in q["sql"] or "migrator_" in q["sql"]]


# What a run did


def test_the_first_runs_page_tells_what_it_built(viewer: Client) -> None:
    page = text(viewer, "/admin/schema/runs/1/")

    assert "table users" in page
    assert "function " in page
    assert re.search(r"accounts.0001_initial succeeded \d+ m?s apply, expand, one transaction, batch 1; 1 try", page)
    assert 'CREATE TABLE "users"' in page
    assert "+0530" not in page  # a zone is named, not counted
    assert "Asia/Kolkata" in page


def test_a_runs_page_tells_added_removed_and_changed(client: Client, url: str) -> None:
    ((catalog,),) = query(url, "SELECT catalog FROM migrator_snapshots ORDER BY snapshot_id DESC LIMIT 1")
    users = catalog["relations"]["users"]
    users["columns"]["nickname"] = {"type": "text", "nullable": True, "position": 99}
    users["columns"]["name"]["nullable"] = False
    del catalog["relations"]["devices"]["indexes"]["idx_devices_user_id"]
    run_id = add_run(url)
    query(
        url,
        "INSERT INTO migrator_snapshots (run_id, server_version_num, hash, catalog, drift) "
        "SELECT %s, server_version_num, '', %s, '[\"column users.x: by hand\"]' FROM migrator_snapshots LIMIT 1",
        run_id,
        json.dumps(catalog),
    )

    page = text(client, f"/admin/schema/runs/{run_id}/")

    assert "Added (1) column users.nickname" in page
    assert "Removed (1) index idx_devices_user_id on devices" in page
    assert "Changed (1) column users.name: nullable, now not null" in page
    assert "column users.x: by hand" in page
    assert "It attempted no migration" in page


def test_runs_are_searched_by_migration_and_filtered(client: Client, url: str) -> None:
    run_id = add_run(url, "failed", 13, "x", release="v8")
    add_attempt(url, run_id, "transactions", "0042_answer", "failed", "x")

    def found(query_string: str, model: str = "run") -> set[str]:
        page = client.get(f"/admin/story/{model}/?{query_string}").content.decode()
        return set(re.findall(r'<th [^>]*class="field-\w+"><a href="/admin/schema/runs/(\d+)/', page))

    both = {"1", str(run_id)}
    assert found("") >= both
    assert found("q=0042_answer") == {str(run_id)}
    assert "1" in found("q=summary_views")
    assert found("outcome=failed") == {str(run_id)}
    assert found("outcome__exact=failed") == {str(run_id)}
    assert found("release=v8") == {str(run_id)}
    assert found("started_at__gte=2100-01-01 00:00:00%2B00:00") == set()
    assert found("q=0042_answer", "attempt") == found("outcome__exact=failed", "attempt") == {str(run_id)}
    assert found("release=v8", "attempt") == {str(run_id)}
    assert "No migration runs match" in text(client, "/admin/story/run/?q=nothing-like-this")


# Timeline


def test_the_timeline_draws_each_run_as_a_link_with_its_outcome_in_words(client: Client, url: str) -> None:
    failed = add_run(url, "failed", 13, "x", started_at="2026-01-01 10:00+00")
    for _ in range(45):
        add_run(url)
    html = client.get("/admin/schema/timeline/").content.decode()

    (drawing,) = drawings(html)
    links = [link.attrib for link in drawing.iter("{http://www.w3.org/2000/svg}a")]
    assert len(links) == 40
    assert all("succeeded" in link["aria-label"] for link in links)
    older = re.search(r'href="(\?before=\d+)">Older', html)
    assert older
    (drawing,) = drawings(client.get("/admin/schema/timeline/" + older[1]).content.decode())
    links = {link.attrib["href"]: link for link in drawing.iter("{http://www.w3.org/2000/svg}a")}
    bar = links[f"/admin/schema/runs/{failed}/"]
    assert "failed" in bar.attrib["aria-label"]
    shape = list(bar.iter("{http://www.w3.org/2000/svg}rect"))[-1]
    assert shape.attrib["fill"] == "url(#runs-migrate-hatching)"  # told apart without colour


def test_the_axis_of_the_timeline_is_time(client: Client, url: str) -> None:
    days = [add_run(url, started_at=f"2026-01-{day} 10:00+00") for day in ("01", "02", "11")]
    html = client.get("/admin/schema/timeline/").content.decode()
    (drawing,) = drawings(html)
    at = {}
    for link in drawing.iter("{http://www.w3.org/2000/svg}a"):
        at[link.attrib["href"]] = float(list(link.iter("{http://www.w3.org/2000/svg}rect"))[-1].attrib["x"])
    first, second, third = (at[f"/admin/schema/runs/{run}/"] for run in days)
    assert second > first
    assert third - first == pytest.approx(10 * (second - first), abs=1)


def test_rollbacks_and_payments_have_lanes_of_their_own(client: Client, url: str) -> None:
    add_run(url)
    undone = add_run(url)
    add_attempt(url, undone, "accounts", "0001_initial", "succeeded", direction="unapply")
    shown = text(client, "/admin/schema/timeline/")
    assert "Batches applied" in shown
    assert "Rolled back" in shown
    assert "Debts paid" not in shown
    paid = add_run(url)
    query(
        url,
        "INSERT INTO migrator_debts (app, migration, operation, action, kind, table_name, object, payment, breaks, "
        "state, release, run_id, settled_run_id, settled_at) VALUES ('a', 'b', 'c', 'd', 'e', 'f', 'g', '[]', '', "
        "'paid', 'v', 1, %s, now())",
        paid,
    )
    assert "Debts paid" in text(client, "/admin/schema/timeline/")


# Tables


def test_a_table_tells_its_size_its_keys_and_where_its_rows_are(client: Client, url: str) -> None:
    query(url, "ANALYZE users")
    page = text(client, "/admin/schema/tables/users/")
    html = client.get("/admin/schema/tables/users/").content.decode()

    assert "Rows about 1 In all" in page
    assert "email varchar(255) no" in page
    assert 'href="/admin/schema/tables/devices/"' in html
    assert 'href="/admin/accounts/user/"' in html
    assert "update_updated_at" in page or "EXECUTE FUNCTION" in page
    assert "on delete cascade" in page


def test_unused_and_invalid_indexes_are_named(client: Client, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Statistics are younger than 35 days" in text(client, "/admin/schema/tables/")
    monkeypatch.setattr(live, "UNUSED_AFTER", timedelta(0))
    query(url, "CREATE INDEX idle ON users (timezone); CREATE INDEX broken ON users (currency_preference)")
    query(url, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'broken'::regclass")

    page = text(client, "/admin/schema/tables/")

    assert "Invalid indexes broken on users." in page
    assert "REINDEX INDEX CONCURRENTLY" in page
    unused = page.partition("Unused indexes Nothing has read these")[2]
    assert "idle users" in unused
    assert "broken" not in unused
    assert "users_pkey" not in unused
    assert re.search(r"counted since (\d{4}-\d\d-\d\d|the database was made)", page)
    assert re.search(r" broken [\d.]+ KB 0 INVALID", text(client, "/admin/schema/tables/users/"))


def test_a_table_without_a_model_has_no_link_to_rows(client: Client, url: str) -> None:
    query(url, 'CREATE TABLE "Strange ""name/%" (id int); CREATE SCHEMA other; CREATE TABLE other.users (id int)')

    names = re.findall(r'href="(/admin/schema/tables/[^"]+/)"', client.get("/admin/schema/tables/").content.decode())
    for path in names:
        assert client.get(unescape(path)).status_code == 200, path
    assert "Its rows" not in text(client, "/admin/schema/tables/other.users/")


# Columns


def test_a_column_tells_who_made_and_changed_it_and_what_uses_it(client: Client, url: str) -> None:
    page = text(client, "/admin/schema/tables/users/columns/phone_number/")
    assert "made: varchar(20)" in page
    assert "accounts.0002_add_phone_number_to_users" in page
    assert "idx_users_phone" in page
    assert "users_phone_number_check" in page
    text(client, "/admin/schema/tables/users/columns/zebra/", 404)
    text(client, "/admin/schema/tables/zebra/columns/id/", 404)


def test_no_value_of_a_column_is_shown(client: Client, url: str) -> None:
    query(
        url,
        "INSERT INTO users (email, name) SELECT 'p' || n || '@example.com', 'Rare Name' FROM generate_series(1, 50) n",
    )
    query(url, "ANALYZE users")
    page = text(client, "/admin/schema/tables/users/columns/name/")
    assert "Different values about 1" in page
    assert "Rare Name" not in page


def test_the_overview_folds_others_migrations_filters_and_leads_to_attempts(client: Client, url: str) -> None:
    state.forget()
    html = client.get("/admin/schema/").content.decode()
    assert re.search(r"<details class=\"story-group\"><summary><strong>auth<", html)
    assert re.search(r"<details class=\"story-group\" open><summary><strong>accounts<", html)
    assert re.search(r'href="/admin/schema/runs/\d+/#attempt-\d+">accounts.0001_initial</a>', html)
    assert "No migration is failed" in text(client, "/admin/schema/?state=failed")


@pytest.mark.parametrize("by", ["size", "rows", "name", "zebra"])
def test_tables_are_sorted_as_asked(client: Client, url: str, by: str) -> None:
    names = re.findall(
        r'<th scope="row"><a href="/admin/schema/tables/([^/]+)/"',
        client.get(f"/admin/schema/tables/?by={by}").content.decode(),
    )
    assert len(names) > 10
    assert (names == sorted(names)) == (by == "name")
