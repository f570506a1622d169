"""A list as a CSV file: whole however long, masked as the page is, harmless in a spreadsheet, and logged."""

from __future__ import annotations

import csv
import gc
import io
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection

from rupaya.inspection import export
from tests.inspection.conftest import As
from tests.transactions.rows import ACCOUNT, USER, insert

pytestmark = pytest.mark.usefixtures("person")

TRANSACTIONS = "/admin/transactions/transaction/export/"
USERS = "/admin/accounts/user/export/"


def table(response: Any) -> list[dict[str, str]]:
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(b"".join(response).decode())))


def test_a_file_has_every_row_once(staff_of: As, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "CHUNK", 7)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO transactions (user_id, account_id, amount, transaction_type, transaction_date) "
            "SELECT %s, %s, n, 'expense', date '2026-01-01' + n / 3 FROM generate_series(1, 100) n",
            [USER, ACCOUNT],
        )
    response = staff_of("inspector").post(TRANSACTIONS)
    assert response.streaming
    rows = table(response)
    assert sorted(float(row["amount"]) for row in rows) == [float(n) for n in range(1, 101)]
    assert {row["user"] for row in rows} == {USER}
    assert [row["transaction_date"] for row in rows] == sorted((row["transaction_date"] for row in rows), reverse=True)


def test_a_file_has_what_the_list_is_filtered_to(staff_of: As) -> None:
    insert("transactions")
    wanted = insert("transactions", transaction_type="income")["transaction_id"]
    rows = table(staff_of("inspector").post(f"{TRANSACTIONS}?transaction_type__exact=income"))
    assert [row["id"] for row in rows] == [str(wanted)]


def test_a_file_is_masked_for_an_inspector_and_whole_for_an_operator(staff_of: As) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE users SET mfa_secret = 'JBSWY3DP', phone_number = '+919876541234'")
    (masked,) = [row for row in table(staff_of("inspector").post(USERS)) if row["id"] == USER]
    assert (masked["email"], masked["phone_number"]) == ("a•••@example.com", "'+91 •••• ••1234")
    (whole,) = [row for row in table(staff_of("operator").post(USERS)) if row["id"] == USER]
    assert (whole["email"], whole["phone_number"]) == ("asha@example.com", "'+919876541234")
    assert not {"password", "mfa_secret"} & set(whole)
    assert "JBSWY3DP" not in str(whole)


def test_no_cell_is_a_formula(staff_of: As) -> None:
    insert("transactions", merchant='=HYPERLINK("http://example.com")', description="-1+1")
    (row,) = table(staff_of("operator").post(TRANSACTIONS))
    assert row["merchant"].startswith("'=")
    assert row["description"] == "'-1+1"
    assert row["amount"] == "12.50"


@pytest.mark.parametrize("beginning", ["\n=1+1", "\r=1+1", "\t=1+1", "＝1+1", "＋1", "－1+1", "＠SUM(A1)"])
def test_no_cell_hides_that_it_is_a_formula(staff_of: As, beginning: str) -> None:
    insert("transactions", merchant=beginning)
    (row,) = table(staff_of("operator").post(TRANSACTIONS))
    assert row["merchant"] == f"'{beginning}"


def test_one_file_is_made_at_a_time_and_each_gives_its_place_back(staff_of: As) -> None:
    client = staff_of("inspector")
    first = client.post(TRANSACTIONS)
    second = client.post(f"{TRANSACTIONS}?transaction_type__exact=income")
    assert second.status_code == 302
    assert second.headers["Location"] == "/admin/transactions/transaction/?transaction_type__exact=income"
    assert "Another export is being made" in client.get(second.headers["Location"]).content.decode()
    assert LogEntry.objects.count() == 1
    table(first)
    table(client.post(TRANSACTIONS))
    unread = client.post(TRANSACTIONS)
    del unread
    gc.collect()
    table(client.post(TRANSACTIONS))


def test_a_file_that_takes_too_long_is_cut_off_not_ended(staff_of: As, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "CHUNK", 1)
    monkeypatch.setattr(export, "WHOLE_S", 0)
    insert("transactions")
    insert("transactions")
    with pytest.raises(export.TooLong):
        table(staff_of("inspector").post(TRANSACTIONS))


def test_no_query_of_a_file_runs_for_ever(staff_of: As, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def note(execute: Any, sql: str, *rest: Any) -> Any:
        asked.append(sql)
        return execute(sql, *rest)

    response = staff_of("inspector").post(TRANSACTIONS)
    with connection.execute_wrapper(note):
        table(response)
    for number, sql in enumerate(asked):
        if 'FROM "transactions"' in sql:
            assert "statement_timeout" in asked[number - 1]


def test_who_took_what_is_logged_before_it_is_given(staff_of: As) -> None:
    insert("transactions")
    client = staff_of("inspector")
    client.post(f"{TRANSACTIONS}?transaction_type__exact=expense")
    entry = LogEntry.objects.get()
    assert entry.user.email == "inspector@example.com"
    assert entry.get_change_message() == "Exported as CSV (masked): transaction_type__exact=expense"
    assert entry.object_repr == "transactions"


def test_the_log_does_not_tell_whom_somebody_looked_for(staff_of: As) -> None:
    insert("transactions")
    assert len(table(staff_of("inspector").post(f"{TRANSACTIONS}?q=asha%40example.com&is_deleted__exact=0"))) == 1
    assert LogEntry.objects.get().get_change_message() == "Exported as CSV (masked): q=***&is_deleted__exact=0"


def test_a_file_is_only_for_those_who_may_look_and_ask_for_it(staff_of: As) -> None:
    assert staff_of().post(TRANSACTIONS).status_code == 403
    client = staff_of("inspector")
    response = client.get(TRANSACTIONS)
    assert (response.status_code, response.headers["Location"]) == (302, "/admin/transactions/transaction/")
    assert client.post(f"{USERS}?email__startswith=a").status_code == 400
    assert client.post(f"{TRANSACTIONS}?after=nonsense").headers["Location"].endswith("?e=1")
    assert not LogEntry.objects.exists()
