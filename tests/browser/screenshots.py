"""Pictures of the main pages for the README, written by `make screenshots`: the same made-up people each time."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page

from tests.browser import sample
from tests.browser.terminal import page_of, screen_of
from tests.browser.visitor import DESK, ON_A_PHONE, Visitor, open_ready
from tests.faults.migrator import query
from tests.migrator.releases import CREATE, Release, migration
from tests.processes import inherited
from tests.story.conftest import far, run_under_way_in

pytestmark = pytest.mark.browser

IMAGES = Path(__file__).parents[2] / "docs" / "images"
COLOURS = 128
MEERA = f"/admin/accounts/user/{sample.MEERA}/change/"


def save(picture: bytes, name: str) -> None:
    """Few colours, and a picture of text is a quarter as big, and looks the same."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
        IMAGES / f"{name}.png", optimize=True
    )


def _change_something(page: Page) -> None:
    """So that the log has something to tell."""
    page.goto("/admin/accounts/user/?q=diya.iyer@example.com")
    page.locator("#result_list tbody").get_by_role("link").first.click()
    page.get_by_role("link", name="Edit").click()
    page.get_by_label("Account status").select_option("suspended")
    page.get_by_label("Timezone").fill("Europe/London")
    page.get_by_role("button", name="Look at the change").click()
    page.get_by_label("Why?").fill("Their phone was stolen; ticket 4711")
    page.get_by_role("button", name="Yes, change it").click()


OWED = """
    INSERT INTO migrator_debts (app, migration, operation, action, kind, table_name, object, payment, breaks, details,
        release, run_id)
    VALUES ('accounts', '0005_inspection_indexes', '0', 'Remove field', 'column', 'users', 'language_preference',
        '[{"how": "attic", "sql": ["ALTER TABLE users DROP COLUMN language_preference CASCADE"]}]',
        'read or write users.language_preference', '{}', 'v6-0a1b2c3', 1)
"""
PUT_AWAY = """
    ALTER TABLE users ADD COLUMN migrator_attic_7f3a text;
    UPDATE users SET migrator_attic_7f3a = 'put away, and kept with its values';
    CREATE SCHEMA IF NOT EXISTS migrator_attic;
    CREATE TABLE migrator_attic.migrator_attic_c04e AS SELECT * FROM transactions;
    INSERT INTO migrator_attic (item_id, kind, table_name, object, app, migration, reason, fingerprint, release, run_id,
        put_away_at)
    VALUES ('7f3a', 'column', 'users', 'nickname', 'accounts', '0006_remove_nickname', 'debt', '', 'v6-0a1b2c3', 1,
            now() - interval '2 days'),
           ('c04e', 'table', 'receipts', 'receipts', 'transactions', '0007_drop_receipts', 'debt', '', 'v6-0a1b2c3', 1,
            now() - interval '12 days');
    ANALYZE users, migrator_attic.migrator_attic_c04e
"""
EMPTIED = """
    ALTER TABLE migrator_attic DISABLE TRIGGER USER; DELETE FROM migrator_attic;
    DROP SCHEMA migrator_attic CASCADE; ALTER TABLE users DROP COLUMN migrator_attic_7f3a
"""
PAID = "ALTER TABLE migrator_debts DISABLE TRIGGER USER; DELETE FROM migrator_debts"


def test_write_them(visit: Callable[..., Visitor], production_release: Path) -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    _change_something(visit("operator").page)
    visitor = visit("auditor", viewport=DESK, color_scheme="light")
    light = visitor.page

    def shot(name: str, path: str, height: int = 720) -> None:
        light.set_viewport_size({"width": DESK["width"], "height": height})
        open_ready(visitor, path)
        save(light.screenshot(animations="disabled"), name)

    for name, path, height in (
        ("home", "/admin/", 760),
        ("users", "/admin/accounts/user/", 620),
        ("user", MEERA, 900),
        ("budgets", "/admin/transactions/budgetprogress/", 480),
        ("log", "/admin/admin/logentry/", 480),
        ("overview", "/admin/schema/", 900),
        ("timeline", "/admin/schema/timeline/", 620),
        ("tables", "/admin/schema/tables/", 620),
        ("user-history", f"{MEERA}../history/", 480),
        ("found", "/admin/search/?q=user", 760),
        ("sign-ins", "/admin/axes/accessattempt/", 480),
        ("summaries", f"/admin/transactions/monthlyexpensesummary/?q={sample.MEERAS_EMAIL}", 620),
        ("runs", "/admin/story/run/", 620),
        ("attempts", "/admin/story/attempt/", 620),
        ("table", "/admin/schema/tables/transactions/", 900),
        ("password", "/admin/password_change/", 480),
        ("column", "/admin/schema/tables/users/columns/phone_number/", 620),
        ("diagram", "/admin/schema/diagram/", 800),
        ("status", "/health/", 620),
    ):
        shot(name, path, height)

    visitor.site.query(PUT_AWAY)
    try:
        shot("attic", "/admin/schema/attic/", 620)
    finally:
        visitor.site.query(EMPTIED)

    visitor.site.query("CREATE INDEX by_hand ON users (timezone)")
    try:
        shot("drift", "/admin/schema/drift/")
    finally:
        visitor.site.query("DROP INDEX by_hand")

    drawn = production_release / "schema.sql"
    drawn.write_text(re.sub(r"\n    language_preference [^\n]*", "", drawn.read_text()))
    visitor.site.query(OWED)
    try:
        shot("release", "/admin/schema/release/", 980)
    finally:
        visitor.site.query(PAID)

    editor = visit("operator", viewport=DESK | {"height": 900}, color_scheme="light").page
    editor.goto(f"{MEERA}?edit=1")
    save(editor.screenshot(animations="disabled"), "user-edit")

    stranger = visit(viewport=DESK | {"height": 480}, color_scheme="light").page
    stranger.goto("/admin/")
    save(stranger.screenshot(animations="disabled"), "sign-in")

    light.set_viewport_size({"width": DESK["width"], "height": 760})
    light.goto("/admin/story/run/")
    light.locator("#result_list tbody tr").filter(has_text="v6-0a1b2c3").first.get_by_role("link").first.click()
    attempt = light.get_by_role("region", name=re.compile("transactions.0006_inspection_indexes")).first
    attempt.evaluate("attempt => { attempt.querySelector('details').open = true; attempt.scrollIntoView() }")
    save(light.screenshot(animations="disabled"), "run")

    light.set_viewport_size({"width": DESK["width"], "height": 620})
    light.goto("/admin/transactions/transaction/")
    light.locator("details.filters summary").click()
    save(light.screenshot(animations="disabled"), "filter")
    light.goto("/admin/")
    light.get_by_role("searchbox", name="Search everything").press_sequentially("users")
    light.locator("#site-search-found").get_by_role("region", name="Tables").wait_for()
    save(light.screenshot(animations="disabled"), "search")

    dark = visit("operator", viewport=DESK | {"height": 620}, color_scheme="dark").page
    dark.goto(f"/admin/transactions/transaction/?user__id__exact={sample.MEERA}")
    save(dark.screenshot(animations="disabled"), "transactions-dark")

    phone = visit("operator", **ON_A_PHONE, color_scheme="light").page
    for name, path in (
        ("user-phone", MEERA),
        ("transactions-phone", f"/admin/transactions/transaction/?user__id__exact={sample.MEERA}"),
    ):
        phone.goto(path)
        save(phone.screenshot(animations="disabled"), name)


SLOWLY = """
    CREATE FUNCTION slowly(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_sleep(0.002); RETURN $1; END $$;
    INSERT INTO shop_item (name) SELECT 'x' FROM generate_series(1, 3500) n;
    ANALYZE shop_item
"""
INDEX = migration(
    'migrations.RunSQL("CREATE INDEX CONCURRENTLY item_name ON shop_item (slowly(name))", migrations.RunSQL.noop)',
    "0001_initial",
    'atomic = False; phase = "expand"',
)


def test_write_the_terminal(visit: Callable[..., Visitor], database_url: str, tmp_path: Path) -> None:
    """The bar of an index that takes some seconds, by the server's figures."""
    releases = {"0001_initial": migration(CREATE)}
    assert Release(tmp_path, "v1", releases).run(database_url).returncode == 0
    query(database_url, SLOWLY)
    release = Release(tmp_path, "v2", releases | {"0002_index_name": INDEX})
    env = inherited(**release.environment(database_url))

    lines = screen_of(
        [sys.executable, "-m", "django", "migrate"],
        env,
        until=lambda line: bool(re.search(r"\b(?:2[4-9]|[3-6]\d)%\|", line)),
    )

    page = visit(viewport={"width": 1000, "height": 100}).page
    page.set_content(page_of("python manage.py migrate", lines))
    save(page.locator("body").screenshot(), "bar")


def test_write_a_run_under_way(visit: Callable[..., Visitor]) -> None:
    visitor = visit("auditor", viewport=DESK | {"height": 560}, color_scheme="light")
    url = visitor.site.database_url
    with run_under_way_in(url, "transactions", "0008_index_merchant", release="v8-5d4c3b2") as run_id:
        far(url, run_id, "transactions.0008_index_merchant", 42)
        visitor.page.goto(f"/admin/schema/runs/{run_id}/")
        save(visitor.page.screenshot(animations="disabled"), "run-under-way")
