"""The way in."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.accessibility import violations
from tests.browser.site import PASSWORD
from tests.browser.visitor import ON_A_PHONE, PHONE, Visitor
from tests.server.browser import code

pytestmark = pytest.mark.browser


def test_a_password_and_a_code_lead_to_the_page_that_was_asked_for(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    page = visitor.page

    page.goto("/admin/transactions/budget/")
    expect(page).to_have_title("Log in | Rupaya production")
    assert violations(page) == []
    page.get_by_label("Email").fill("newcomer@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page).to_have_title("Second factor | Rupaya production")
    expect(page.get_by_label("Code")).to_be_focused()
    assert violations(page) == []
    page.get_by_label("Code").fill(code(visitor.site.secrets["newcomer"]))
    page.keyboard.press("Enter")

    expect(page).to_have_url(f"{visitor.site.url}/admin/transactions/budget/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Budgets")


def test_a_wrong_code_leads_nowhere_and_says_so(visit: Callable[..., Visitor]) -> None:
    page = visit().page

    page.goto("/admin/")
    page.get_by_label("Email").fill("auditor@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_label("Code").fill("12345")
    page.keyboard.press("Enter")
    expect(page.get_by_text("The code has six digits.")).to_be_visible()
    page.goto("/admin/accounts/user/")

    expect(page).to_have_title("Second factor | Rupaya production")


def test_somebody_without_a_second_factor_is_shown_one_that_fits_their_phone(
    visit: Callable[..., Visitor],
) -> None:
    visitor = visit(**ON_A_PHONE)
    page = visitor.page
    visitor.site.query(
        "DELETE FROM otp_totp_totpdevice USING users u WHERE u.user_id = otp_totp_totpdevice.user_id AND email = %s",
        "beginner@example.com",
    )

    page.goto("/admin/")
    assert visitor.width == PHONE["width"]
    page.get_by_label("Email").fill("beginner@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    picture = page.get_by_role("img", name="QR code of the secret below")
    expect(picture).to_be_visible()
    assert visitor.width == PHONE["width"]
    assert picture.evaluate("image => image.naturalWidth") > 100
    assert violations(page) == []
    page.get_by_label("Code").fill(code(page.locator("code").inner_text()))
    page.keyboard.press("Enter")

    expect(page.get_by_role("banner").get_by_role("button", name="Menu")).to_be_visible()


def test_logging_out_leaves_no_way_back(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    visitor.sign_in("leaver")
    page = visitor.page

    page.get_by_role("banner").get_by_text("leaver@example.com").first.click()
    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_title("Logged out | Rupaya production")
    assert violations(page) == []
    page.goto("/admin/accounts/user/")

    expect(page).to_have_title("Log in | Rupaya production")
