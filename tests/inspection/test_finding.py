"""The one search: whatever this site shows, by kind, for who may see it."""

from __future__ import annotations

import re

import pytest
from django.db import connection

from rupaya.inspection import finding
from tests.inspection.conftest import As
from tests.transactions.rows import USER, insert

pytestmark = pytest.mark.usefixtures("person")


def found(html: str) -> dict[str, dict[str, str]]:
    """By kind: what each is called, and where it is."""
    return {
        kind: {
            re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", text)).strip(): address
            for address, text in re.findall(r'<a href="([^"]+)">(.*?)</a>', part, re.DOTALL)
        }
        for kind, part in re.findall(r'<section class="found" aria-label="([^"]+)">(.*?)</section>', html, re.DOTALL)
    }


@pytest.mark.parametrize("term", ["asha@example.com", "ASHA@", USER, " 98765 41234 "])
def test_a_person_is_found_by_anything(staff_of: As, term: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE users SET phone_number = '+919876541234' WHERE user_id = %s", [USER])
    client = staff_of("inspector")
    kinds = found(client.get("/admin/search/", {"q": term}).content.decode())
    assert kinds["Users"] == {"a•••@example.com Active": f"/admin/accounts/user/{USER}/change/"}
    part = client.get("/admin/search/", {"q": term, "part": "1"}).content.decode()
    assert found(part) == kinds
    assert "<html" not in part


def test_who_sees_people_masked_finds_nobody_by_their_name(staff_of: As) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE users SET name = 'Asha Kulkarni' WHERE user_id = %s", [USER])
    assert "Users" in found(staff_of("operator").get("/admin/search/", {"q": "asha k"}).content.decode())
    assert "Users" not in found(staff_of("inspector").get("/admin/search/", {"q": "asha k"}).content.decode())


def test_a_transaction_is_found_by_its_id_and_its_merchant(staff_of: As) -> None:
    pk = insert("transactions", merchant="Corner Grocery", amount="12.50")["transaction_id"]
    client = staff_of("inspector")
    for term in (str(pk), "corner g"):
        (hit,) = found(client.get("/admin/search/", {"q": term}).content.decode())["Transactions"].items()
        assert hit[0].startswith("\N{MINUS SIGN}12.50 INR Corner Grocery")
        assert hit[1] == f"/admin/transactions/transaction/{pk}/change/"


def test_more_than_a_few_lead_to_the_list(staff_of: As) -> None:
    for _ in range(finding.MOST_OF_A_KIND + 1):
        insert("transactions", merchant="Corner & Grocery")
    hits = found(staff_of("inspector").get("/admin/search/", {"q": "corner & g"}).content.decode())["Transactions"]
    assert hits["All of them"] == "/admin/transactions/transaction/?q=corner+%26+g"


def test_the_schema_is_found_by_parts_of_names(staff_of: As) -> None:
    client = staff_of("inspector")
    kinds = found(client.get("/admin/search/", {"q": "phone_otp"}).content.decode())
    assert kinds["Tables"] == {"phone_otps": "/admin/schema/tables/phone_otps/"}
    kinds = found(client.get("/admin/search/", {"q": "device_FINGER"}).content.decode())
    assert kinds["Columns"]["devices.device_fingerprint character varying(255)"].endswith("#column-device_fingerprint")
    kinds = found(client.get("/admin/search/", {"q": "lock timeout"}).content.decode())
    assert "MIGRATE_LOCK_TIMEOUT_MS 750" in kinds["Settings of the migrator"]
    assert found(client.get("/admin/search/", {"q": "budg"}).content.decode())["Pages"]


@pytest.mark.parametrize("term", ["", "a", "%%", "\\", "'; drop table users; --", "zebra", "x" * 5000])
def test_nonsense_finds_nothing_and_is_told_what_can_be_found(staff_of: As, term: str) -> None:
    response = staff_of("inspector").get("/admin/search/", {"q": term})
    assert response.status_code == 200
    assert found(response.content.decode()) == {}
    assert re.search("Nothing is found|Type two characters", response.content.decode())


def test_who_may_see_nothing_finds_nothing(staff_of: As) -> None:
    client = staff_of()
    for term in (USER, "users", "lock"):
        assert found(client.get("/admin/search/", {"q": term}).content.decode()) == {}


def test_a_kind_that_takes_too_long_says_so_and_the_others_are_there(
    staff_of: As, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert("transactions", merchant="users")
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION dawdle(text) RETURNS text LANGUAGE sql VOLATILE AS 'SELECT pg_sleep(0.2)::text'"
        )
        cursor.execute("ALTER TABLE transactions RENAME TO all_of_them")
        cursor.execute("CREATE VIEW transactions AS SELECT * FROM all_of_them WHERE dawdle('x') IS NOT NULL")
    monkeypatch.setattr(finding, "STATEMENT_TIMEOUT_MS", 50)
    html = staff_of("inspector").get("/admin/search/", {"q": "users"}).content.decode()
    assert "It takes too long here" in html
    assert "Tables" in found(html)
