"""The schema's story, read from the home page on."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.accessibility import violations
from tests.browser.layout import faults
from tests.browser.visitor import Visitor
from tests.story.conftest import far, run_under_way_in

pytestmark = pytest.mark.browser


def test_the_home_page_leads_with_one_line_about_the_schema(visit: Callable[..., Visitor]) -> None:
    page = visit("inspector").page

    page.goto("/admin/")

    lead = page.get_by_role("main").get_by_role("region", name="The schema")
    expect(lead).to_contain_text("In step")
    lead.get_by_role("link", name="Overview").click()
    expect(page.get_by_role("row").filter(has_text="transactions.0006_inspection_indexes")).to_contain_text("applied")


def test_a_run_shows_what_it_changed_its_sql_and_how_long_it_took(visit: Callable[..., Visitor]) -> None:
    page = visit("inspector").page

    page.goto("/admin/story/run/")
    page.locator("#result_list tbody tr").filter(has_text="v6-0a1b2c3").first.get_by_role("link").first.click()

    main = page.get_by_role("main")
    expect(main).to_contain_text("Succeeded")
    expect(main.get_by_role("region", name=re.compile(r"Added \(\d+\)"))).to_contain_text("idx_transactions_latest")
    attempt = page.get_by_role("region", name=re.compile("transactions.0006_inspection_indexes")).first
    expect(attempt).to_contain_text(re.compile(r"1 try, \d"))
    attempt.get_by_text(re.compile(r"^\d+ statements?")).click()
    expect(
        attempt.get_by_role("cell", name=re.compile("CREATE INDEX CONCURRENTLY.*idx_transactions_latest")).first
    ).to_be_visible()


def test_a_run_under_way_is_seen_to_go_on_without_anybodys_asking(visit: Callable[..., Visitor]) -> None:
    """Its page, and the overview, renew themselves; the content security policy has nothing against it."""
    visitor = visit("inspector")
    page, url = visitor.page, visitor.site.database_url
    with run_under_way_in(url, "transactions", "0008_index_merchant") as run_id:
        far(url, run_id, "transactions.0008_index_merchant", 42)
        page.goto(f"/admin/schema/runs/{run_id}/")
        shown = page.get_by_role("status", name="Under way")
        expect(shown).to_contain_text("42 % by the server's figures")
        far(url, run_id, "transactions.0008_index_merchant", 57)
        expect(shown).to_contain_text("57 % by the server's figures")
        assert violations(page) == []

        page.goto("/admin/schema/")
        expect(page.get_by_role("main")).to_contain_text("Under way")
    expect(page.get_by_role("main")).not_to_contain_text("Under way", timeout=30_000)


def test_the_timeline_draws_each_run_and_leads_to_it(visit: Callable[..., Visitor]) -> None:
    page = visit("inspector").page

    page.goto("/admin/schema/timeline/")
    chart = page.get_by_role("region", name="Chart of runs")
    expect(chart.locator("svg").first).to_be_visible()
    rows = page.get_by_role("region", name="Table of runs").get_by_role("row")
    expect(chart.locator("svg a")).to_have_count(rows.count() - 1)
    chart.locator("svg a").first.click()

    expect(page).to_have_url(re.compile(r"/admin/schema/runs/\d+/$"))


def test_a_change_by_hand_is_told_and_so_is_its_end(visit: Callable[..., Visitor]) -> None:
    visitor = visit("inspector")
    page = visitor.page
    page.goto("/admin/schema/drift/")
    expect(page.get_by_text("No drift")).to_be_visible()

    visitor.site.query("CREATE INDEX by_hand ON users (timezone)")
    try:
        page.reload()
        expect(page.get_by_text("Drifted")).to_be_visible()
        expect(page.get_by_role("listitem").filter(has_text="by_hand")).to_be_visible()
    finally:
        visitor.site.query("DROP INDEX by_hand")
    page.goto("/admin/schema/drift/")

    expect(page.get_by_text("No drift")).to_be_visible()


def test_from_the_diagram_to_a_table_and_from_there_to_its_rows(visit: Callable[..., Visitor]) -> None:
    page = visit("inspector").page

    page.goto("/admin/schema/diagram/")
    picture = page.get_by_role("region", name="Diagram, to be scrolled").locator("svg")
    expect(picture).to_be_visible()
    picture.locator("a", has_text="budgets").first.click()
    expect(page).to_have_url(re.compile("/admin/schema/tables/budgets/$"))
    expect(
        page.get_by_role("region", name="Columns").get_by_role("row").filter(has_text="alert_threshold")
    ).to_be_visible()
    page.get_by_role("link", name="Its rows").click()

    expect(page.locator("#result_list tbody tr")).to_have_count(2)


def test_the_tables_page_has_sizes_and_leads_to_each_table(visit: Callable[..., Visitor]) -> None:
    page = visit("inspector").page

    page.goto("/admin/schema/tables/")
    row = page.get_by_role("region", name="Tables", exact=True).get_by_role("row").filter(has_text="revoked_tokens")
    expect(row).to_contain_text("KB")
    row.get_by_role("link").click()

    expect(page.get_by_role("region", name="Indexes")).to_contain_text("idx_revoked_tokens_user_id")


def test_drift_is_accepted_and_what_is_owed_is_told_on_pages_that_are_as_they_should_be(
    visit: Callable[..., Visitor],
) -> None:
    visitor = visit("administrator")
    page, query = visitor.page, visitor.site.query
    query("CREATE INDEX by_hand ON users (timezone)")
    query(
        "INSERT INTO migrator_debts (app, migration, operation, action, kind, table_name, object, payment, breaks, "
        "details, release, run_id) VALUES ('accounts', '0001_initial', '0', 'Remove field', 'column', 'users', "
        """'timezone', '[{"how": "attic", "sql": ["ALTER TABLE users DROP COLUMN timezone CASCADE"]}]', 'read it', """
        "'{}', 'v7', 1)"
    )
    try:
        page.goto("/admin/schema/release/?use=1")
        expect(page.get_by_role("heading", name=re.compile("column users.timezone"))).to_be_visible()
        assert (violations(page), faults(page)) == ([], [])
        page.goto("/admin/schema/drift/")
        assert (violations(page), faults(page)) == ([], [])
        page.get_by_label(re.compile("index by_hand on users")).check()
        page.get_by_label(re.compile("Why is it intended")).fill("a report of a test")
        page.get_by_role("button", name="Accept the chosen ones").click()
        row = page.get_by_role("region", name="Accepted as intended").get_by_role("row").nth(1)
        expect(row).to_contain_text("as accepted")
        expect(row).to_contain_text("a report of a test")
        assert (violations(page), faults(page)) == ([], [])
    finally:
        query(
            "DROP INDEX by_hand; ALTER TABLE migrator_debts DISABLE TRIGGER USER; DELETE FROM migrator_debts; "
            "ALTER TABLE migrator_debts ENABLE TRIGGER USER"
        )
