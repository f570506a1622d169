"""Changing a row: for those who may, after a second look, and never over somebody else's change."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser import sample
from tests.browser.accessibility import violations
from tests.browser.visitor import Visitor

pytestmark = pytest.mark.browser

MEERA = f"/admin/accounts/user/{sample.MEERA}/change/"


def address_of(visitor: Visitor, email: str) -> str:
    ((user_id,),) = visitor.site.query("SELECT user_id FROM users WHERE email = %s", email)
    return f"/admin/accounts/user/{user_id}/change/"


def test_an_inspector_is_offered_no_edit_and_refused_one(visit: Callable[..., Visitor]) -> None:
    visitor = visit("inspector")
    visitor.expects("403")
    page = visitor.page

    page.goto(MEERA)
    expect(page.get_by_role("link", name="History")).to_be_visible()
    expect(page.get_by_role("link", name="Edit")).to_have_count(0)
    page.goto(f"{MEERA}?edit=1")
    expect(page.get_by_role("heading", level=1)).to_have_text("Not for you")

    token = next(cookie["value"] for cookie in visitor.context.cookies() if cookie["name"] == "csrftoken")
    for address in (MEERA, f"{MEERA}?edit=1"):
        posted = visitor.context.request.post(
            address, form={"csrfmiddlewaretoken": token, "name": "Mallory", "_confirm": "1"},
            headers={"Referer": f"{visitor.site.url}{address}"},
        )  # fmt: skip
        assert posted.status == 403
        assert "Your account may not" in posted.text()  # and not that the form was forged
    assert visitor.site.query("SELECT name FROM users WHERE user_id = %s", str(sample.MEERA)) == [("Meera Nair",)]


def test_an_operators_edit_is_shown_once_more_and_stays_in_the_history(visit: Callable[..., Visitor]) -> None:
    visitor = visit("operator")
    page = visitor.page
    address = address_of(visitor, "diya.iyer@example.com")
    before = visitor.site.query("SELECT name, account_status FROM users WHERE email = 'diya.iyer@example.com'")

    page.goto(address)
    page.get_by_role("link", name="Edit").click()
    page.get_by_label("Account status").select_option("suspended")
    page.get_by_role("button", name="Look at the change").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Change this user?")
    told = page.get_by_role("main").get_by_role("row")
    expect(told).to_have_count(2)
    expect(told.last.locator("th, td")).to_have_text(["account status", "active", "suspended"])
    assert violations(page) == []
    email = "SELECT name, account_status FROM users WHERE email = 'diya.iyer@example.com'"
    assert visitor.site.query(email) == before
    page.get_by_role("button", name="Yes, change it").click()
    assert visitor.site.query(email) == before  # the browser asks for a reason
    page.get_by_label("Why?").fill("They asked for it")
    page.get_by_role("button", name="Yes, change it").click()

    expect(page.get_by_text("Changed: account status.")).to_be_visible()
    expect(page.locator(".field-account_status .readonly")).to_have_text("Suspended")
    assert visitor.site.query(email) == [("Diya Iyer", "suspended")]
    page.get_by_role("link", name="History").click()
    expect(page.get_by_role("main").get_by_role("row").last).to_contain_text("account status: active → suspended")
    expect(page.get_by_role("main").get_by_role("row").last).to_contain_text("UTC")
    expect(page.get_by_role("main").get_by_role("row").last).to_contain_text("They asked for it")
    assert violations(page) == []


def test_a_form_that_somebody_else_overtook_changes_nothing(visit: Callable[..., Visitor]) -> None:
    visitor = visit("operator")
    page = visitor.page
    address = address_of(visitor, "kavya.iyer@example.com")

    page.goto(f"{address}?edit=1")
    visitor.site.query("UPDATE users SET timezone = 'Asia/Dubai' WHERE email = 'kavya.iyer@example.com'")
    page.get_by_label("Language preference").fill("hi")
    page.get_by_role("button", name="Look at the change").click()

    expect(page.get_by_text("Nothing was changed: somebody else has changed this row")).to_be_visible()
    expect(page.locator(".field-timezone .readonly")).to_have_text("Asia/Dubai")
    assert visitor.site.query("SELECT language_preference FROM users WHERE email = 'kavya.iyer@example.com'") == [
        ("en",)
    ]


def test_a_category_is_looked_for_while_its_name_is_typed(visit: Callable[..., Visitor]) -> None:
    visitor = visit("operator")
    page = visitor.page
    ((row, category),) = visitor.site.query(
        "SELECT transaction_id, c.name FROM transactions t JOIN categories c USING (category_id) "
        "WHERE t.user_id = %s AND t.transaction_type = 'expense' AND c.name <> 'Education' "
        "ORDER BY transaction_date LIMIT 1",
        str(sample.MEERA),
    )

    page.goto(f"/admin/transactions/transaction/{row}/change/?edit=1")
    # What is beside it shows the category, and does not offer to change it.
    expect(page.locator(".field-category a")).to_have_count(1)
    expect(page.get_by_role("link", name="View selected category")).to_be_visible()
    page.locator(".field-category").get_by_role("combobox").click()
    page.locator(".select2-search__field").fill("Educ")
    page.get_by_role("option", name="Education").click()
    page.get_by_role("button", name="Look at the change").click()

    told = page.get_by_role("main").get_by_role("row").last.locator("th, td")
    expect(told).to_have_text(["category", str(category), "Education"])
    page.get_by_role("link", name="No, leave it as it is").click()
    expect(page.locator(".field-category .readonly")).to_have_text(str(category))


def test_what_is_wrong_in_a_form_is_said_beside_the_field(visit: Callable[..., Visitor]) -> None:
    visitor = visit("operator")
    page = visitor.page
    address = address_of(visitor, "rohan.iyer@example.com")

    page.goto(f"{address}?edit=1")
    page.get_by_label("Currency preference").fill("rup")
    page.get_by_role("button", name="Look at the change").click()

    expect(page.locator(".errornote")).to_be_visible()
    assert violations(page) == []
