"""From whatever a person gives to support, to everything that is theirs."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser import sample
from tests.browser.visitor import Visitor

pytestmark = pytest.mark.browser

ROWS = "#result_list tbody tr"


def search(page: Page, term: str) -> None:
    page.get_by_role("searchbox", name="Search", exact=True).fill(term)
    page.get_by_role("button", name="Search").click()


@pytest.mark.parametrize("spelling", ["+44 7700 900123", "0044-7700-900-123", "+44 (0)7700 900 123", "+447700900123"])
def test_a_person_is_found_by_any_spelling_of_their_number(visit: Callable[..., Visitor], spelling: str) -> None:
    page = visit("operator").page
    page.goto("/admin/accounts/user/")

    search(page, spelling)

    expect(page.locator(ROWS)).to_have_count(1)
    expect(page.locator(ROWS)).to_contain_text("Meera Nair")


def test_from_a_person_to_all_that_is_theirs_and_back(visit: Callable[..., Visitor]) -> None:
    visitor = visit("operator")
    page = visitor.page
    page.goto("/admin/accounts/user/")
    search(page, sample.MEERAS_EMAIL)
    page.locator(ROWS).get_by_role("link").first.click()
    home = page.url.partition("?")[0]
    belongings = page.get_by_role("region", name="What belongs to them")

    for what, number in (
        ("Devices", 3), ("Phone one-time passwords", 2), ("Revoked tokens", 2), ("Accounts", 2), ("Budgets", 2),
    ):  # fmt: skip
        expect(belongings.get_by_role("listitem").filter(has_text=what)).to_contain_text(str(number))
        belongings.get_by_role("link", name=what, exact=True).click()
        expect(page.locator(ROWS)).to_have_count(number)
        page.goto(home)

    expect(belongings.get_by_role("listitem").filter(has_text="Transactions").first).to_contain_text("130")
    belongings.get_by_role("link", name="Transactions", exact=True).click()
    expect(page.get_by_text(f"Only those of user {sample.MEERAS_EMAIL}.")).to_be_visible()
    page.locator(ROWS).get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("View transaction")
    expect(page.get_by_text("2026-06-30", exact=True)).to_be_visible()
    page.get_by_role("main").get_by_role("link", name=sample.MEERAS_EMAIL).click()

    expect(page).to_have_url(home)


def test_a_search_that_finds_nothing_says_what_can_be_searched_for(visit: Callable[..., Visitor]) -> None:
    page = visit("inspector").page
    page.goto("/admin/transactions/transaction/")

    search(page, "zebra")

    expect(page.get_by_text("Nothing is found for “zebra”")).to_be_visible()
    expect(page.locator(".empty-state")).to_contain_text("the beginning of a merchant")
    page.get_by_role("link", name="Show all").click()
    expect(page.locator(ROWS)).to_have_count(50)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("transactions/recurringtransaction/", "There are no recurring transactions yet."),
        ("transactions/budget/?is_deleted__exact=1", "No budgets are like that."),
        ("transactions/monthlyexpensesummary/", "Search above for that person's e-mail address"),
    ],
)
def test_an_empty_list_says_why_and_what_to_do(visit: Callable[..., Visitor], path: str, said: str) -> None:
    page = visit("inspector").page

    page.goto(f"/admin/{path}")

    expect(page.locator(".empty-state")).to_contain_text(said)


def test_pages_of_a_list_lead_forward_back_and_to_both_ends(visit: Callable[..., Visitor]) -> None:
    page = visit("operator").page
    page.goto(f"/admin/transactions/transaction/?user__id__exact={sample.MEERA}")
    pages = page.get_by_role("navigation", name="Pages")

    def dates() -> list[str]:
        return page.locator(f"{ROWS} .field-transaction_date").all_inner_texts()

    def go(name: str) -> list[str]:
        pages.get_by_role("link", name=name).click()
        return dates()

    first = dates()
    expect(pages.get_by_role("link")).to_have_text(["Next ›", "Last »"])
    expect(page.get_by_role("main")).to_contain_text("130 transactions")
    second = go("Next")
    expect(pages.get_by_role("link")).to_have_text(["‹ Previous", "Next ›", "« First", "Last »"])
    third = go("Next")
    expect(pages.get_by_role("link")).to_have_text(["« First", "‹ Previous"])

    everything = first + second + third
    assert (len(first), len(second), len(third)) == (50, 50, 30)
    assert everything == sorted(set(everything), reverse=True)
    assert go("Previous") == second
    assert go("First") == first
    assert go("Last") == everything[-50:]
    assert go("Previous") == everything[-100:-50]


def test_a_month_is_drilled_down_to_its_days(visit: Callable[..., Visitor]) -> None:
    page = visit("operator").page
    page.goto(f"/admin/transactions/transaction/?user__id__exact={sample.MEERA}")

    for name in ("2026", "May", "17"):
        page.get_by_role("main").get_by_role("link", name=name, exact=True).click()

    expect(page.locator(f"{ROWS} .field-transaction_date")).to_have_text(["2026-05-17"])


def test_the_one_search_answers_while_one_types_and_by_keys_alone(visit: Callable[..., Visitor]) -> None:
    page = visit("operator").page
    page.goto("/admin/transactions/category/")

    page.keyboard.press("/")
    expect(page.get_by_role("searchbox", name="Search everything")).to_be_focused()
    page.keyboard.type(sample.MEERAS_PHONE)
    found = page.locator("#site-search-found")
    expect(found.get_by_role("region", name="Users").get_by_role("link")).to_contain_text(sample.MEERAS_EMAIL)
    page.keyboard.press("ArrowDown")
    expect(found.get_by_role("link").first).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(page.get_by_role("searchbox", name="Search everything")).to_be_focused()
    page.keyboard.press("Escape")
    expect(found).to_be_hidden()
    page.keyboard.press("Control+A")
    page.keyboard.type("phone_otps")
    expect(found.get_by_role("region", name="Tables")).to_contain_text("phone_otps")
    found.get_by_role("region", name="Tables").get_by_role("link").first.focus()
    page.keyboard.press("Enter")

    expect(page).to_have_url(f"{visit('operator').site.url}/admin/schema/tables/phone_otps/")


def test_a_list_is_gone_through_by_keys(visit: Callable[..., Visitor]) -> None:
    page = visit("operator").page
    page.goto("/admin/transactions/transaction/")
    links = page.locator(ROWS).get_by_role("link")
    first = links.first

    page.keyboard.press("j")
    expect(first).to_be_focused()
    page.keyboard.press("j")
    page.keyboard.press("k")
    expect(first).to_be_focused()
    page.keyboard.press("n")
    expect(page).to_have_url(re.compile("after="))
    page.keyboard.press("p")
    expect(page).to_have_url(re.compile("before="))


def test_columns_and_views_are_chosen_and_kept(visit: Callable[..., Visitor]) -> None:
    page = visit("operator").page
    page.goto("/admin/accounts/user/?account_status__exact=suspended")
    columns = page.locator("details.columns")
    columns.locator("summary").click()
    columns.get_by_label("Country code").check()
    columns.get_by_label("Name", exact=True).uncheck()
    columns.get_by_role("button", name="Show these").click()

    headings = page.locator("#result_list thead th")
    expect(headings.filter(has_text="Country code")).to_have_count(1)
    expect(headings.filter(has_text="Name")).to_have_count(0)
    page.locator("details.views summary").click()
    page.get_by_label("Name of this view").fill("Suspended, with country")
    page.get_by_role("button", name="Keep").click()
    page.goto("/admin/accounts/user/")
    page.locator("details.views summary").click()
    page.get_by_role("link", name="Suspended, with country").click()
    expect(page).to_have_url(re.compile("account_status__exact=suspended.*columns=.*country_code"))
    expect(page.locator(".chips")).to_contain_text("Suspended")

    columns.locator("summary").click()
    columns.get_by_role("button", name="As at first").click()
    expect(headings.filter(has_text="Name")).to_have_count(1)
