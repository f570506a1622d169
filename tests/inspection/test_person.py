"""A person's page: what belongs together, what is empty folded, and their money and devices in pictures."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client

from accounts.models import User
from rupaya.inspection import panels
from tests.inspection.conftest import As
from tests.transactions.rows import GROCERIES, USER, insert

pytestmark = pytest.mark.usefixtures("person")

PAGE = f"/admin/accounts/user/{USER}/change/"


def section(html: str, heading: str) -> str:
    """The text of the part with this heading."""
    found = re.search(rf"<h2[^>]*>(?:<a [^>]*>)?{heading}(?:</a>)?</h2>(.*?)</(?:section|fieldset)>", html, re.DOTALL)
    assert found, heading
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", found[1]))


def page_of(client: Client) -> str:
    return client.get(PAGE).content.decode()


def test_fields_are_in_groups_and_each_once(staff_of: As) -> None:
    html = page_of(staff_of("operator"))
    assert "asha@example.com" in section(html, "Identity")
    assert "Asia/Kolkata" in section(html, "Preferences")
    assert "Is staff" in section(html, "Rights")
    assert len(re.findall(r'class="form-row field-email"', html)) == 1
    shown = set(re.findall(r'class="form-row field-(\w+)', html))
    folded = " ".join(re.findall(r'class="folded">Empty: ([^<]+)\.', html)).replace(",", "")
    for field in User._meta.fields:
        if field.name not in ("password", "mfa_secret"):
            assert field.name in shown or str(field.verbose_name) in folded, field.name


def test_an_edit_form_has_what_can_be_changed_first_and_lists_to_choose_from(staff_of: As) -> None:
    html = staff_of("operator", is_superuser=True).get(f"{PAGE}?edit=1").content.decode()
    assert html.index("What can be changed") < html.index('name="timezone"') < html.index("What cannot")
    assert '<option value="Asia/Kolkata"></option>' in html
    assert re.search(r'<input type="checkbox" name="groups"', html)
    assert "<select" in html[html.index("field-account_status") :]


def test_id_address_and_number_are_copied_by_who_sees_them_whole(staff_of: As) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE users SET phone_number = '+919876541234' WHERE user_id = %s", [USER])
    assert re.findall(r'data-copy="([^"]+)"', page_of(staff_of("operator"))) == [
        USER, "asha@example.com", "+919876541234",
    ]  # fmt: skip
    assert re.findall(r'data-copy="([^"]+)"', page_of(staff_of("inspector"))) == [USER]


def test_their_money_is_told_by_month_category_and_budget(staff_of: As) -> None:
    insert("transactions", amount="900", category_id=GROCERIES, transaction_date="2026-06-10", merchant="Corner")
    insert("transactions", amount="5000", transaction_type="income", transaction_date="2026-06-01")
    insert("transactions", amount="70", transaction_date="2026-05-01")
    insert("budgets", name="Food", amount="1000", category_id=GROCERIES, start_date="2026-06-01", end_date="2026-06-30")
    html = page_of(staff_of("inspector"))

    assert "June 2026 +5,000.00 INR \N{MINUS SIGN}900.00 INR" in section(html, "By month")
    assert "Groceries \N{MINUS SIGN}900.00 INR" in section(html, "What it went on")
    assert "Food 90 % 1,000.00 INR" in section(html, "Budgets")
    assert "level-warning" in html
    assert "2026-06-10 Corner \N{MINUS SIGN}900.00 INR" in section(html, "Last transactions")


def test_their_devices_and_sign_ins_are_on_a_line(staff_of: As) -> None:
    insert("devices", device_name="Phone", created_at="2026-01-01T00:00Z", last_used_at="2026-02-01T00:00Z")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE users SET last_login_at = '2026-03-01T10:00Z' WHERE user_id = %s", [USER])
    assert "Phone" not in section(page_of(staff_of("inspector")), "Devices and sign-ins")
    told = section(page_of(staff_of("operator")), "Devices and sign-ins")
    assert told.index("Last sign-in 2026-03-01 10:00") < told.index("Phone: last used 2026-02-01 00:00")


def test_somebody_without_money_has_no_pictures_of_it(staff_of: As) -> None:
    html = page_of(staff_of("inspector"))
    shown = re.findall(r'<h2 id="panel-\d+">(?:<a [^>]*>)?([^<]+)<', html)
    assert shown == []


def test_who_may_not_see_money_sees_none_of_it(staff_of: As) -> None:
    insert("transactions", amount="900", category_id=GROCERIES)
    insert("budgets", category_id=GROCERIES)
    client = staff_of()
    User.objects.get(email="nobody@example.com").user_permissions.add(Permission.objects.get(codename="view_user"))
    html = page_of(client)
    assert "INR" not in re.sub(
        r'class="form-row field-currency_preference.*?</div>\s*</div>', "", html, flags=re.DOTALL
    )


def test_a_picture_that_takes_too_long_says_so_and_the_page_is_there(
    staff_of: As, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert("transactions", transaction_type="income", merchant="Corner")
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION dawdle(text) RETURNS text LANGUAGE sql VOLATILE AS 'SELECT pg_sleep(0.2)::text'"
        )
        cursor.execute("ALTER VIEW monthly_income_summary RENAME TO all_of_it")
        cursor.execute(
            "CREATE VIEW monthly_income_summary AS SELECT * FROM all_of_it, dawdle('x') WHERE dawdle IS NULL"
        )
    monkeypatch.setattr(panels, "STATEMENT_TIMEOUT_MS", 50)
    html = page_of(staff_of("inspector"))
    assert panels.TOO_MANY in section(html, "By month")
    assert "Corner" in section(html, "Last transactions")
