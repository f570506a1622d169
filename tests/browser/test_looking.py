"""What people see: where they are, whose data, and how much of it."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser import sample
from tests.browser.visitor import ON_A_PHONE, STATUS, Visitor, open_ready

pytestmark = pytest.mark.browser

MEERA = f"/admin/accounts/user/{sample.MEERA}/change/"
RED = "rgb(198, 40, 40)"


def test_an_inspector_sees_people_masked_and_an_operator_whole(visit: Callable[..., Visitor]) -> None:
    inspector, operator = visit("inspector").page, visit("operator").page

    for page in (inspector, operator):
        page.goto(MEERA)
    for page, name, email, phone in (
        (inspector, "M••• N•••", "m•••@example.com", "+44 •••• ••0123"),
        (operator, "Meera Nair", sample.MEERAS_EMAIL, sample.MEERAS_PHONE),
    ):
        for field, value in (("name", name), ("email", email), ("phone_number", phone)):
            expect(page.locator(f".field-{field} .readonly")).to_contain_text(value)

    for path in (
        MEERA, "/admin/accounts/user/", f"/admin/transactions/transaction/?user__id__exact={sample.MEERA}",
        f"/admin/accounts/phoneotp/?user={sample.MEERA}", f"{MEERA}../history/",
    ):  # fmt: skip
        inspector.goto(path)
        shown = inspector.content()
        assert "Meera" not in shown, path
        assert "meera.nair" not in shown, path
        assert "7700900" not in shown, path
    for page in (inspector, operator):
        page.goto(MEERA)
        assert sample.HASH not in page.content()


def test_a_moment_is_told_in_utc_with_the_viewers_own_time_beside_it(visit: Callable[..., Visitor]) -> None:
    page = visit("inspector").page

    page.goto(MEERA)

    told = page.locator(".field-created_at .readonly")
    expect(told).to_have_text("2026-06-28 09:30:00 UTC 28 Jun 15:00 Asia/Kolkata")


def test_production_cannot_be_taken_for_anything_else(visit: Callable[..., Visitor]) -> None:
    stranger, inspector = visit(), visit("inspector")

    for visitor, path in ((stranger, "/admin/"), (inspector, "/admin/"), (inspector, MEERA), (inspector, STATUS)):
        open_ready(visitor, path)
        page = visitor.page
        badge = page.get_by_role("banner").get_by_text("production")
        expect(badge).to_be_visible()
        expect(badge).to_have_css("background-color", RED)
        expect(page.get_by_role("banner")).to_have_css("border-top-color", RED)
        expect(page).to_have_title(re.compile("production$"))


def test_an_export_has_every_row_and_the_viewers_masks(visit: Callable[..., Visitor], tmp_path: Path) -> None:
    visitor = visit("inspector")
    page = visitor.page
    page.goto(f"/admin/transactions/transaction/?user__id__exact={sample.MEERA}")

    with page.expect_download() as started:
        page.get_by_role("button", name="Export as CSV").click()
    started.value.save_as(tmp_path / "export.csv")

    assert re.fullmatch(r"transaction-\d{8}T\d{6}Z\.csv", started.value.suggested_filename)
    with open(tmp_path / "export.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sample.MEERAS_TRANSACTIONS
    assert {row["user"] for row in rows} == {str(sample.MEERA)}
    assert {row["description"] for row in rows} == {"", "••• (20 characters)"}

    auditor = visit("auditor").page
    auditor.goto("/admin/admin/logentry/")
    expect(auditor.locator("#result_list tbody tr").first).to_contain_text("Exported as CSV (masked)")


def test_the_menu_opens_and_the_theme_changes_by_scripts_that_the_policy_lets_run(
    visit: Callable[..., Visitor],
) -> None:
    page = visit("inspector", **ON_A_PHONE).page
    page.goto("/admin/accounts/user/")
    menu = page.get_by_role("navigation", name="Site")

    expect(menu).to_be_hidden()
    page.get_by_role("button", name="Menu").click()
    expect(menu.get_by_role("link", name="Budgets")).to_be_visible()
    page.keyboard.press("Escape")
    expect(menu).to_be_hidden()

    colours = set()
    for theme in ("light", "dark"):
        while page.locator("html").get_attribute("data-theme") != theme:
            page.get_by_role("banner").get_by_role("button", name="Toggle theme").click()
        colours.add(page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor"))
    assert len(colours) == 2


def test_the_policy_keeps_a_script_that_somebody_smuggled_in_from_running(visit: Callable[..., Visitor]) -> None:
    visitor = visit("inspector")
    visitor.expects("Content Security Policy")
    page = visitor.page
    page.goto("/admin/")

    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=data:, onerror=\"window.smuggled=1\">')")
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.smuggled = 1'}))"
    )

    assert page.evaluate("window.smuggled") is None


@pytest.mark.parametrize("path", ["/admin/admin/logentry/", "/admin/accounts/zebra/"])
def test_a_refusal_looks_like_the_site_and_leads_back(visit: Callable[..., Visitor], path: str) -> None:
    visitor = visit("inspector")
    visitor.expects("403|404")
    page = visitor.page

    page.goto(path)

    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("Not for you|Nothing here"))
    page.get_by_role("main").get_by_role("link").click()
    expect(page).to_have_url(f"{visitor.site.url}/admin/")
