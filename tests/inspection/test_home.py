"""The home page and the navigation: what came in, and where one can go."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.http import HttpRequest
from django.test import RequestFactory

from accounts.models import User
from rupaya.inspection import home, navigation
from tests.inspection.conftest import As
from tests.transactions.rows import insert

pytestmark = pytest.mark.usefixtures("person")


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    home.forget()


def request_of(**fields: Any) -> HttpRequest:
    request = RequestFactory().get("/admin/transactions/transaction/")
    request.user = User.objects.create(email="x@example.com", is_staff=True, **fields)
    return request


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_money_is_added_up_by_direction_in_one_currency(staff_of: As) -> None:
    insert("transactions", amount="100.50", transaction_type="income", transaction_date="2026-01-05")
    insert("transactions", amount="40", transaction_type="expense", transaction_date="2026-01-05")
    insert("transactions", amount="60", transaction_type="expense", transaction_date="2026-01-04")
    insert("transactions", amount="7", transaction_type="expense", transaction_date="2025-11-01")
    insert("transactions", amount="9", transaction_type="expense", transaction_date="2026-01-04", is_deleted=True)

    shown = text_of(staff_of("inspector").get("/admin/").content.decode())

    assert "came in +100.50 INR" in shown
    assert "went out \N{MINUS SIGN}100.00 INR" in shown
    assert "transactions 3" in shown
    assert "07 Dec 2025" in shown
    assert "05 Jan 2026" in shown


def test_a_figure_that_takes_too_long_is_left_out_and_the_page_is_there(
    staff_of: As, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert("transactions")
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION dawdle(text) RETURNS text LANGUAGE sql VOLATILE AS 'SELECT pg_sleep(0.2)::text'"
        )
        cursor.execute("ALTER TABLE transactions RENAME TO all_of_them")
        cursor.execute("CREATE VIEW transactions AS SELECT * FROM all_of_them WHERE dawdle('x') IS NOT NULL")
    monkeypatch.setattr(home, "STATEMENT_TIMEOUT_MS", 50)

    response = staff_of("inspector").get("/admin/")

    assert response.status_code == 200
    assert "too many to add up" in response.content.decode()


def test_a_figure_is_kept_for_a_while(staff_of: As) -> None:
    client = staff_of("inspector")
    assert "Nobody has registered yet" not in client.get("/admin/").content.decode()
    insert("users", email="later@example.com")
    assert "in 30 days 2" not in text_of(client.get("/admin/").content.decode())
    home.forget()
    assert "in 30 days 2" in text_of(client.get("/admin/").content.decode())


def test_who_may_not_see_a_table_sees_no_figure_of_it(staff_of: As) -> None:
    shown = text_of(staff_of().get("/admin/").content.decode())
    for title in ("New people", "Money", "Failed sign-ins", "Last changes", "Biggest tables"):
        assert title not in shown


def test_every_list_is_in_the_navigation_once_and_none_under_more() -> None:
    found = navigation.sections(request_of(is_superuser=True))
    assert [section.title for section in found] == list(navigation.SECTIONS)
    places = [place.address for section in found for place in section.places]
    assert len(places) == len(set(places))
    for model in admin.site._registry:
        address = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        assert address in places or model._meta.label == "story.Attempt"
    assert [place.title for section in found for place in section.places if place.is_current] == ["Transactions"]


def test_the_navigation_has_what_one_may_see() -> None:
    assert navigation.sections(request_of()) == []
