"""A list narrowed to days and amounts, added up, with the columns that somebody wants."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from rupaya.inspection import totals
from tests.inspection.conftest import As
from tests.inspection.test_lists import keys
from tests.transactions.rows import ACCOUNT, USER, insert

pytestmark = pytest.mark.usefixtures("person")

LIST = "/admin/transactions/transaction/"
USERS = "/admin/accounts/user/"


@pytest.fixture
def days(person: None) -> None:
    """An expense of as many rupees as the day of January 2026."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO transactions (user_id, account_id, amount, transaction_type, transaction_date) "
            "SELECT %s, %s, n, 'expense', date '2025-12-31' + n FROM generate_series(1, 31) n",
            [USER, ACCOUNT],
        )


def text_of(response: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def amounts_of(client: Client, **query: str) -> list[int]:
    return sorted(int(row.amount) for row in client.get(LIST, query).context["cl"].result_list)


@pytest.mark.usefixtures("days")
def test_days_and_amounts_narrow_both_ends_included(staff_of: As) -> None:
    client = staff_of("inspector")
    assert amounts_of(client, **{"from": "2026-01-10", "to": "2026-01-12"}) == [10, 11, 12]
    assert amounts_of(client, **{"from": "2026-01-10", "to": "2026-01-20", "least": "18.5"}) == [19, 20]
    assert amounts_of(client, user__id__exact=USER, most="2") == [1, 2]
    assert amounts_of(client, q="asha@example.com", most="1,0.00", least="9") == [9, 10]


@pytest.mark.usefixtures("days")
def test_amounts_of_everybody_at_all_times_are_refused_in_words(staff_of: As) -> None:
    response = staff_of("inspector").get(LIST, {"least": "30"})
    assert response.context["cl"].result_count == 31
    assert "Amounts are looked for among one person's rows" in text_of(response).replace("&#x27;", "'")


@pytest.mark.usefixtures("days")
@pytest.mark.parametrize("query", [{"from": "x"}, {"to": "9999-12-31"}, {"least": "NaN"}, {"most": "1e999"}])
def test_nonsense_narrows_nothing(staff_of: As, query: dict[str, str]) -> None:
    assert staff_of("inspector").get(LIST, {**query, "user__id__exact": USER}).context["cl"].result_count == 31


@pytest.mark.usefixtures("days")
def test_ranges_filters_and_pages_keep_each_other(staff_of: As) -> None:
    client = staff_of("inspector")
    html = client.get(LIST, {"from": "2026-01-02", "is_deleted__exact": "0"}).content.decode()
    assert 'href="?from=2026-01-02"' in html  # without the filter
    assert '<input type="hidden" name="from" value="2026-01-02">' in html
    assert '<input type="hidden" name="is_deleted__exact" value="0">' in html
    assert "from 2026-01-02" in html


def test_a_moments_last_day_is_whole(staff_of: As) -> None:
    client = staff_of("inspector")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE users SET created_at = '2026-03-04T23:59:59Z' WHERE user_id = %s", [USER])
    day = {"from": "2026-03-04", "to": "2026-03-04"}
    assert [str(key) for key in keys(client.get(USERS, day))] == [USER]


@pytest.mark.usefixtures("days")
def test_what_a_list_adds_up_to_is_told_by_direction(staff_of: As) -> None:
    insert("transactions", amount="500", transaction_type="income", transaction_date="2026-01-01")
    shown = text_of(staff_of("inspector").get(LIST, {"from": "2026-01-01", "to": "2026-01-02"}))
    assert "Together: \N{MINUS SIGN}3.00 INR · +500.00 INR" in shown


@pytest.mark.usefixtures("days")
def test_too_much_to_add_up_is_said(staff_of: As, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(totals, "MANY", 3)
    assert "Too many rows to add up" in text_of(staff_of("inspector").get(LIST))


def test_a_sum_that_takes_too_long_is_given_up_and_the_page_keeps_its_own_limit(
    staff_of: As, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert("transactions")
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION dawdle(text) RETURNS text LANGUAGE sql VOLATILE AS 'SELECT pg_sleep(0.3)::text'"
        )
        cursor.execute("ALTER TABLE transactions RENAME TO all_of_them")
        cursor.execute("CREATE VIEW transactions AS SELECT * FROM all_of_them WHERE dawdle('x') IS NOT NULL")
    monkeypatch.setattr(totals, "STATEMENT_TIMEOUT_MS", 50)
    response = staff_of("inspector").get(LIST)
    assert response.status_code == 200
    assert "Too many rows to add up" in text_of(response)


def test_columns_are_chosen_and_remembered_and_forgotten(staff_of: As) -> None:
    client = staff_of("inspector")

    def headings() -> list[str]:
        found = re.findall(r'<th scope="col"[^>]*>(.*?)</th>', client.get(USERS).content.decode(), re.DOTALL)
        return [re.sub(r"<[^>]+>|[↑↓]", "", heading).strip() for heading in found]

    at_first = headings()
    answer = client.post(f"{USERS}columns/?account_status__exact=active", {"column": ["email", "country_code"]})
    assert answer.headers["Location"] == f"{USERS}?account_status__exact=active"
    assert answer.cookies["columns-accounts.user"]["httponly"]
    assert headings() == ["Email", "Country code"]
    client.post(f"{USERS}columns/", {"_default": "1"})
    assert headings() == at_first


@pytest.mark.parametrize("columns", ["password", "mfa_secret.user_permissions", "zebra", "__class__", ""])
def test_no_column_is_shown_that_is_not_offered(staff_of: As, columns: str) -> None:
    html = staff_of("inspector").get(USERS, {"columns": columns}).content.decode()
    assert "field-email" in html
    assert "field-password" not in html
    assert "field-mfa_secret" not in html


def test_chosen_columns_are_masked_like_any_other(staff_of: As) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE users SET oauth_provider_id = 'g-12345' WHERE user_id = %s", [USER])
    html = staff_of("inspector").get(USERS, {"columns": "email.oauth_provider_id"}).content.decode()
    assert "field-oauth_provider_id" in html
    assert "g-12345" not in html


def test_the_link_to_a_row_is_never_within_another_link(staff_of: As) -> None:
    insert("recurring_transactions")
    html = staff_of("inspector").get("/admin/transactions/recurringtransaction/").content.decode()
    body = html[html.index("<tbody>") : html.index("</tbody>")]
    assert "/change/" in body
    assert not re.search(r"<a [^>]*>(?:(?!</a>).)*<a ", body, re.DOTALL)
