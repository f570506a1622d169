"""The main pages, each looked at by a machine: for those who see badly, on a phone, and by keyboard alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser import sample
from tests.browser.accessibility import violations
from tests.browser.layout import faults
from tests.browser.visitor import ON_A_PHONE, PHONE, STATUS, Visitor, open_ready

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
    "status": STATUS,
    "password": "/admin/password_change/",
    "schema": "/admin/schema/",
    "runs": "/admin/story/run/",
    "attempts": "/admin/story/attempt/",
    "a run": "/admin/schema/runs/1/",
    "timeline": "/admin/schema/timeline/",
    "drift": "/admin/schema/drift/",
    "this release": "/admin/schema/release/",
    "attic": "/admin/schema/attic/",
    "tables": "/admin/schema/tables/",
    "a table": "/admin/schema/tables/transactions/",
    "diagram": "/admin/schema/diagram/",
    "all tables' diagram": "/admin/schema/diagram/?all=1",
    "a column": "/admin/schema/tables/users/columns/phone_number/",
    "search": "/admin/search/?q=user",
    "sign-ins": "/admin/axes/accessattempt/",
    "narrowed list": "/admin/transactions/transaction/?from=2026-06-01&to=2026-06-30&transaction_type__exact=expense",
}
WIDTHS = (390, 1100, 1440, 2560)
MOST_BYTES = 150_000
ANY_PAGE = pytest.mark.parametrize("name", PAGES)


def open_page(visitor: Visitor, name: str) -> Page:
    ((transaction,),) = visitor.site.query("SELECT transaction_id FROM transactions ORDER BY 1 LIMIT 1")
    open_ready(visitor, PAGES[name].format(transaction=transaction))
    return visitor.page


@ANY_PAGE
def test_a_page_has_nothing_gravely_wrong_in_light_or_in_dark(visit: Callable[..., Visitor], name: str) -> None:
    page = open_page(visit("operator"), name)

    assert violations(page) == []


@ANY_PAGE
def test_a_page_is_as_it_should_be_at_every_width(visit: Callable[..., Visitor], name: str) -> None:
    """Nothing lies over anything else or is cut off without a cue, and the keyboard reaches whatever can be used."""
    visitor = visit("operator")
    page = open_page(visitor, name)
    found = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function(f"innerWidth === {width}")
        # The cues at the edges are put there when sizes have changed.
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        found += [f"{width} px: {fault}" for fault in faults(page)]
    assert found == []


@ANY_PAGE
def test_a_page_weighs_little(visit: Callable[..., Visitor], name: str) -> None:
    page = open_page(visit("operator"), name)

    bytes_sent = page.evaluate(
        "() => [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
        ".filter(entry => !/\\.(svg|png|ico)($|\\?)/.test(entry.name))"
        ".reduce((sum, entry) => sum + entry.encodedBodySize, 0)"
    )

    assert 10_000 < bytes_sent <= MOST_BYTES


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


def test_what_looks_for_faults_finds_them(visit: Callable[..., Visitor]) -> None:
    page = open_page(visit("operator"), "users")
    page.evaluate(
        """() => {
            const first = document.querySelector("h1");
            const over = Object.assign(document.createElement("b"), { textContent: "over it" });
            document.body.append(over);
            const box = first.getBoundingClientRect();
            Object.assign(over.style, { position: "absolute", left: `${box.left}px`, top: `${box.top}px` });
            const cut = Object.assign(document.createElement("p"), { textContent: "cut off ".repeat(40) });
            Object.assign(cut.style, { overflow: "hidden", whiteSpace: "nowrap", width: "9rem" });
            const unreached = Object.assign(document.createElement("button"), { textContent: "x", tabIndex: -1 });
            document.querySelector("main").append(cut, unreached);
        }"""
    )

    found = "\n".join(faults(page, within_ms=100))

    assert "over it" in found
    assert "is cut off by" in found
    assert "is not reached by Tab" in found
