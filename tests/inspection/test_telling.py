"""How figures, moments, yes and no are told: so that they are read at a glance, and are true."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client, RequestFactory

from accounts.models import User
from rupaya import urls
from rupaya.inspection import amounts
from rupaya.inspection.amounts import Direction
from rupaya.inspection.charts import share
from tests.inspection.conftest import As
from tests.transactions.rows import GROCERIES, USER, insert

pytestmark = pytest.mark.usefixtures("person")

LIST = "/admin/transactions/transaction/"


def cells(client: Client, address: str, name: str) -> list[str]:
    """The text of one column."""
    html = client.get(address).content.decode()
    found = re.findall(rf'<t[dh][^>]*class="[^"]*\bfield-{name}\b[^"]*"[^>]*>(.*?)</t[dh]>', html, re.DOTALL)
    return [re.sub(r"<[^>]+>", "", cell).strip() for cell in found]


@pytest.mark.parametrize(
    ("value", "currency", "direction", "told"),
    [
        (Decimal(52000), "INR", Direction.IN, "+52,000.00 INR"),
        (Decimal("1234567.8"), "INR", Direction.OUT, "\N{MINUS SIGN}1,234,567.80 INR"),
        (Decimal("-12.5"), "", Direction.NONE, "\N{MINUS SIGN}12.50"),
        (Decimal(3), "EUR", Direction.MOVED, "3.00 EUR"),
    ],
)
def test_money_has_separators_a_sign_and_its_currency(
    value: Decimal, currency: str, direction: Direction, told: str
) -> None:
    assert amounts.text(value, currency, direction) == told
    assert re.sub(r"<[^>]+>", "", str(amounts.html(value, currency, direction))) == told


def test_an_amount_is_aligned_and_knows_its_heading_and_its_direction(staff_of: As) -> None:
    insert("transactions", amount="2192.63", transaction_type="expense")
    insert("transactions", amount="52000", transaction_type="income", transaction_date="2020-01-01")
    client = staff_of("inspector")

    assert cells(client, LIST, "amount") == ["\N{MINUS SIGN}2,192.63 INR", "+52,000.00 INR"]
    html = client.get(LIST).content.decode()
    assert re.search(r'<td data-label="Amount" class="number field-amount', html)
    assert "money-out" in html
    assert "money-in" in html


def test_only_the_telling_one_of_yes_and_no_is_told(staff_of: As) -> None:
    client = staff_of("inspector")
    insert("devices", is_active=True)
    insert("devices", is_active=False)

    assert sorted(cells(client, "/admin/accounts/device/", "is_active")) == ["Inactive", "yes"]
    assert sorted(cells(client, "/admin/accounts/user/", "is_staff")) == ["Staff", "no"]
    html = client.get("/admin/accounts/device/").content.decode()
    assert '<span class="visually-hidden">yes</span>' in html
    for page in ("device", "user"):
        assert "icon-no" not in client.get(f"/admin/accounts/{page}/").content.decode()


def test_a_list_tells_a_moment_once_and_its_zone_in_the_heading(staff_of: As) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE users SET created_at = '2026-01-02T20:00:00Z' WHERE user_id = %s", [USER])
    client = staff_of("inspector", timezone="Asia/Kolkata")

    assert "2026-01-02 20:00" in cells(client, "/admin/accounts/user/", "created_at")
    html = client.get("/admin/accounts/user/").content.decode()
    assert "Created at (UTC)" in html
    assert 'title="2026-01-02 20:00:00 UTC, 03 Jan 01:30 Asia/Kolkata"' in html


def test_a_month_is_a_month_and_a_budget_without_a_name_is_called_something(staff_of: As) -> None:
    insert("transactions", category_id=GROCERIES, transaction_date="2026-06-11")
    insert("budgets", name=None, period="monthly")
    client = staff_of("inspector")

    assert cells(client, "/admin/transactions/monthlyexpensesummary/?q=asha@example.com", "month_name") == ["June 2026"]
    for page in ("budget", "budgetprogress"):
        assert cells(client, f"/admin/transactions/{page}/", "title") == ["Monthly budget"]


@pytest.mark.parametrize(("percent", "level"), [(12.0, "good"), (80.0, "warning"), (130.0, "failed")])
def test_a_budget_is_coloured_by_its_threshold(percent: float, level: str) -> None:
    assert f"level-{level}" in share(percent, 80.0)


def test_an_empty_list_offers_no_export(staff_of: As) -> None:
    assert "Export" not in staff_of("inspector").get("/admin/accounts/device/").content.decode()


@pytest.mark.parametrize(("group", "told"), [("operator", "other@example.com"), ("inspector", "o•••@example.com")])
def test_a_history_names_who_did_it_as_the_viewer_may_see_them(staff_of: As, group: str, told: str) -> None:
    other = User.objects.create(email="other@example.com")
    LogEntry.objects.create(
        user=other,
        content_type=ContentType.objects.get_for_model(User),
        object_id=USER,
        object_repr="x",
        action_flag=CHANGE,
        change_message="Changed name.",
    )

    html = staff_of(group).get(f"/admin/accounts/user/{USER}/history/").content.decode()

    assert f'<a href="/admin/accounts/user/{other.pk}/change/">{told}</a>' in html


def test_a_fault_of_the_site_is_told_with_the_requests_id() -> None:
    request = RequestFactory().get("/admin/")
    request.META["rupaya.request_id"] = "1-67891233-abc"

    response = urls.handler500(request)

    assert response.status_code == 500
    assert "1-67891233-abc" in response.content.decode()  # type: ignore[attr-defined]
