"""Lists of any length: forwards, backwards, from both ends, and counted as far as it is cheap."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils.http import urlsafe_base64_encode

from rupaya.inspection import counting
from tests.inspection.conftest import As
from tests.transactions.rows import ACCOUNT, STRANGER, USER, insert

pytestmark = pytest.mark.usefixtures("person")

LIST = "/admin/transactions/transaction/"


@pytest.fixture
def many(person: None) -> int:
    """So many transactions, several of them on each day."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO transactions (user_id, account_id, amount, transaction_type, transaction_date, merchant) "
            "SELECT %s, %s, n, 'expense', date '2026-01-01' + n / 7, 'Shop ' || n FROM generate_series(1, 180) n",
            [USER, ACCOUNT],
        )
    return 180


def keys(response: Any) -> list[Any]:
    return [row.pk for row in response.context["cl"].result_list]


def follow(client: Client, response: Any, what: str) -> Any:
    link = {"next": "older", "previous": "newer", "first": "first", "last": "last"}[what]
    address = getattr(response.context["cl"], link)
    assert address, what
    return client.get(LIST + address)


def test_every_row_is_on_one_page_and_in_order(staff_of: As, many: int) -> None:
    client = staff_of("inspector")
    page = client.get(LIST)
    pages = [keys(page)]
    while page.context["cl"].older:
        page = follow(client, page, "next")
        pages.append(keys(page))
    with connection.cursor() as cursor:
        cursor.execute("SELECT transaction_id FROM transactions ORDER BY transaction_date DESC, transaction_id DESC")
        expected = [key for (key,) in cursor.fetchall()]
    assert [len(found) for found in pages] == [50, 50, 50, 30]
    assert [key for found in pages for key in found] == expected

    back = [keys(page)]
    while page.context["cl"].newer:
        page = follow(client, page, "previous")
        back.insert(0, keys(page))
    assert [key for found in back for key in found] == expected

    assert keys(follow(client, page, "last"))[-1] == expected[-1]
    assert keys(follow(client, follow(client, page, "last"), "first")) == expected[:50]


def test_rows_that_come_meanwhile_shift_no_page(staff_of: As, many: int) -> None:
    client = staff_of("inspector")
    first = client.get(LIST)
    for _ in range(5):
        insert("transactions", transaction_date="2026-12-31")
    second = follow(client, first, "next")
    assert not set(keys(first)) & set(keys(second))


NOWHERE = (
    "nonsense", "WyIyMDI2LTAxLTAxIl0", "W10", "WyJ4IiwieSJd", "W1tb" * 1000,
    urlsafe_base64_encode(b'["2026-01-01", "\\u0000"]'), urlsafe_base64_encode(b'["\\ud800", "\\ud800"]'),
)  # fmt: skip


def test_a_text_that_no_row_can_have_is_no_place(staff_of: As) -> None:
    client = staff_of("operator", is_superuser=True)
    for text in (b"\\u0000", b"\\ud800"):
        place = urlsafe_base64_encode(b'["%b", "1"]' % text)
        assert client.get("/admin/auth/group/", {"after": place}).headers.get("Location") == "/admin/auth/group/?e=1"


@pytest.mark.parametrize("place", NOWHERE)
def test_a_place_that_is_none_leads_back_to_the_list(staff_of: As, many: int, place: str) -> None:
    response = staff_of("inspector").get(LIST, {"after": place})
    assert (response.status_code, response.headers.get("Location")) == (302, f"{LIST}?e=1")


def test_few_rows_are_counted_and_many_are_estimated(staff_of: As, many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    client = staff_of("inspector")
    assert "180 transactions" in re.sub(r"\s+", " ", client.get(LIST).content.decode())
    monkeypatch.setattr(counting, "EXACT_UP_TO", 20)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE transactions")
    assert "about 180 transactions (PostgreSQL's estimate)" in re.sub(
        r"\s+", " ", client.get(LIST).content.decode().replace("&#x27;", "'")
    )


def test_a_filter_and_a_search_keep_each_other_and_no_place(staff_of: As, many: int) -> None:
    client = staff_of("inspector")
    page = follow(client, client.get(LIST, {"transaction_type__exact": "expense"}), "next")
    html = page.content.decode()
    assert '<input type="hidden" name="transaction_type__exact" value="expense">' in html
    assert '<input type="hidden" name="after"' not in html
    for link in re.findall(r'href="(\?[^"]*is_deleted[^"]*)"', html):
        assert "after=" not in link
        assert "transaction_type__exact=expense" in link


def test_years_months_and_days_are_drilled_into(staff_of: As, many: int) -> None:
    client = staff_of("inspector")
    insert("transactions", transaction_date="2024-02-29")
    years = client.get(LIST).content.decode()
    for year in (2024, 2025, 2026):
        assert f'href="?transaction_date__year={year}"' in years
    leap = {"transaction_date__year": "2024", "transaction_date__month": "2"}
    assert len(keys(client.get(LIST, leap))) == 1
    assert "transaction_date__day=29" in client.get(LIST, leap).content.decode()
    assert len(keys(client.get(LIST, {**leap, "transaction_date__day": "29"}))) == 1
    assert keys(client.get(LIST, {**leap, "transaction_date__day": "28"})) == []
    for nonsense in ("x", "0", "99999", "-1"):
        assert client.get(LIST, {"transaction_date__year": nonsense}).status_code in (200, 302)


@pytest.mark.parametrize(
    "term",
    ["asha@example.com", "ASHA@Example.com", "asha@", "+91 98765 41234", "9876541234", "098765-41234",
     "(0091) 98765 41234", USER],
)  # fmt: skip
def test_a_person_is_found_however_they_are_written(staff_of: As, many: int, term: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE users SET phone_number = '+919876541234' WHERE user_id = %s", [USER])
    insert("users", user_id=STRANGER, email="ravi@example.com", phone_number="+919000000001")
    client = staff_of("inspector")
    assert [str(key) for key in keys(client.get("/admin/accounts/user/", {"q": term}))] == [USER]
    assert client.get(LIST, {"q": term}).context["cl"].result_count == many


def test_merchants_names_and_ids_are_found(staff_of: As, many: int) -> None:
    client = staff_of("inspector")
    assert len(keys(client.get(LIST, {"q": "SHOP 17"}))) == 11
    assert len(keys(client.get(LIST, {"q": "shop 17%"}))) == 0
    key = keys(client.get(LIST))[7]
    assert keys(client.get(LIST, {"q": f" {key} "})) == [key]
    with connection.cursor() as cursor:
        cursor.execute("UPDATE users SET name = 'Asha Kulkarni' WHERE user_id = %s", [USER])
    operator = staff_of("operator")
    assert [str(key) for key in keys(operator.get("/admin/accounts/user/", {"q": "asha k"}))] == [USER]


@pytest.mark.parametrize(
    ("page", "query", "said"),
    [
        ("/admin/accounts/phoneotp/", {}, "There are no phone one-time passwords yet"),
        ("/admin/accounts/device/", {"q": "nobody@example.com"}, "Nothing is found for “nobody@example.com”"),
        ("/admin/transactions/account/", {"is_deleted__exact": "1"}, "No accounts are like that"),
        ("/admin/transactions/monthlyexpensesummary/", {}, "Search above for that person"),
    ],
)
def test_an_empty_list_says_what_to_do(staff_of: As, page: str, query: dict[str, str], said: str) -> None:
    assert said in re.sub(r"\s+", " ", staff_of("inspector").get(page, query).content.decode())


def test_a_person_leads_to_what_is_theirs_and_it_leads_back(staff_of: As, many: int) -> None:
    client = staff_of("inspector")
    page = client.get(f"/admin/accounts/user/{USER}/change/").content.decode()
    links = dict(re.findall(r'<li><a href="([^"]+\?[^"]+)">([^<]+)</a>', page))
    assert {"Devices", "Revoked tokens", "Accounts", "Categories", "Transactions", "Budgets"} <= set(links.values())
    (theirs,) = [address for address, what in links.items() if what == "Transactions"]
    listed = client.get(theirs)
    assert listed.context["cl"].result_count == many
    html = re.sub(r"\s+", " ", listed.content.decode())
    assert "Only those of user a•••@example.com" in html
    assert f'href="/admin/accounts/user/{USER}/change/"' in html
    assert "180</span>" in page


def test_times_are_told_in_utc_and_in_the_viewers_zone(staff_of: As) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE users SET created_at = '2026-01-02T20:00:00Z'")
    html = staff_of("inspector", timezone="Asia/Kolkata").get(f"/admin/accounts/user/{USER}/change/").content.decode()
    assert '<time datetime="2026-01-02T20:00:00+00:00">2026-01-02 20:00:00 UTC</time>' in html
    assert "03 Jan 01:30 Asia/Kolkata" in html


def test_a_page_that_would_take_too_long_is_stopped_and_says_so(
    staff_of: As, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rupaya.inspection import listing

    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION dawdle(text) RETURNS text LANGUAGE sql VOLATILE AS 'SELECT pg_sleep(0.1)::text'"
        )
        cursor.execute("ALTER TABLE transactions RENAME TO all_of_them")
        cursor.execute("CREATE VIEW transactions AS SELECT * FROM all_of_them WHERE dawdle('x') IS NOT NULL")
    monkeypatch.setattr(listing, "STATEMENT_TIMEOUT_MS", 100)
    response = staff_of("inspector").get(LIST)
    assert response.status_code == 503
    assert "The database was stopped" in response.content.decode()
