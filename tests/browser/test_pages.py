"""The main pages, each looked at by a machine: for those who see badly, on a phone, and by keyboard alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser import sample
from tests.browser.accessibility import violations
from tests.browser.visitor import ON_A_PHONE, PHONE, Visitor

pytestmark = pytest.mark.browser

MEERA = f"/admin/accounts/user/{sample.MEERA}/change/"
PAGES = {
    "home": "/admin/",
    "an app": "/admin/transactions/",
    "users": "/admin/accounts/user/",
    "one user": MEERA,
    "edit form": f"{MEERA}?edit=1",
    "history": f"{MEERA}../history/",
    "nothing found": "/admin/accounts/user/?q=zebra%40example.com",
    "one person's transactions": f"/admin/transactions/transaction/?user__id__exact={sample.MEERA}",
    "edit form with a category": "/admin/transactions/transaction/{transaction}/change/?edit=1",
    "empty list": "/admin/transactions/recurringtransaction/",
    "summaries": f"/admin/transactions/monthlyexpensesummary/?q={sample.MEERAS_EMAIL}",
    "budgets": "/admin/transactions/budgetprogress/",
    "log": "/admin/admin/logentry/",
    "status": "/health/",
    "password": "/admin/password_change/",
    "schema": "/admin/schema/",
    "runs": "/admin/story/run/",
    "attempts": "/admin/story/attempt/",
    "a run": "/admin/schema/runs/1/",
    "timeline": "/admin/schema/timeline/",
    "drift": "/admin/schema/drift/",
    "tables": "/admin/schema/tables/",
    "a table": "/admin/schema/tables/transactions/",
    "diagram": "/admin/schema/diagram/",
}
ANY_PAGE = pytest.mark.parametrize("name", PAGES)


def open_page(visitor: Visitor, name: str) -> Page:
    ((transaction,),) = visitor.site.query("SELECT transaction_id FROM transactions ORDER BY 1 LIMIT 1")
    response = visitor.page.goto(PAGES[name].format(transaction=transaction))
    assert response is not None
    assert response.status == 200
    return visitor.page


@ANY_PAGE
def test_a_page_has_nothing_gravely_wrong_in_light_or_in_dark(visit: Callable[..., Visitor], name: str) -> None:
    page = open_page(visit("operator"), name)

    assert violations(page) == []


@ANY_PAGE
def test_a_page_fits_a_phone(visit: Callable[..., Visitor], name: str) -> None:
    visitor = visit("operator", **ON_A_PHONE)

    open_page(visitor, name)

    assert visitor.width == PHONE["width"]


def test_the_search_box_of_a_phone_has_room_for_an_address(visit: Callable[..., Visitor]) -> None:
    page = open_page(visit("operator", **ON_A_PHONE), "users")

    box = page.get_by_role("searchbox", name="Search", exact=True).bounding_box()

    assert box is not None
    assert box["width"] > 200


def tab_to(page: Page, wanted: Locator, most: int = 60) -> None:
    """Press Tab until it is there; whatever is passed on the way must be seen to have the focus."""
    for _ in range(most):
        page.keyboard.press("Tab")
        seen = page.evaluate(
            "() => { const style = getComputedStyle(document.activeElement);"
            " return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0 }"
        )
        assert seen, page.evaluate("document.activeElement.outerHTML.slice(0, 200)")
        if wanted.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"{wanted} is not reached with {most} presses of Tab")


def test_the_keyboard_alone_finds_a_person_and_opens_their_edit_form(visit: Callable[..., Visitor]) -> None:
    page = open_page(visit("operator"), "users")
    skip = page.get_by_role("link", name="Skip to main content")

    page.keyboard.press("Tab")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    tab_to(page, page.get_by_role("searchbox", name="Search", exact=True), 3)
    page.keyboard.type(sample.MEERAS_EMAIL)
    page.keyboard.press("Enter")
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    tab_to(page, page.get_by_role("main").get_by_role("link", name=sample.MEERAS_EMAIL, exact=True))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("View user: " + sample.MEERAS_EMAIL)
    tab_to(page, page.get_by_role("link", name="Edit"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Change user: " + sample.MEERAS_EMAIL)
    tab_to(page, page.get_by_role("textbox", name="Name"))
