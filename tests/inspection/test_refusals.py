"""What is refused, and what is not there, is said in the site's own words."""

from __future__ import annotations

import html

import pytest
from django.conf import settings
from django.db import ConnectionHandler, OperationalError, connection
from django.test import Client

from rupaya.inspection.faults import of_database
from tests.inspection.conftest import As


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/admin/accounts/user/?password__startswith=x", 400, "what the page does not offer"),
        ("/admin/accounts/user/?account_status=%00", 400, "what the page does not offer"),
        (
            "/admin/autocomplete/?app_label=transactions&model_name=transaction&field_name=user&term=%00",
            400,
            "not whole",
        ),
        ("/admin/accounts/user/?_to_field=user_id", 400, "what the page does not offer"),
        ("/admin/story/run/?outcome__range=x", 400, "what the page does not offer"),
        ("/admin/story/attempt/?error__startswith=x", 400, "what the page does not offer"),
        ("/admin/schema/tables/%00/", 404, "No page has this"),
        ("/admin/admin/logentry/", 403, "ask an administrator for the group"),
        ("/admin/zebra/", 404, "No page has this"),
        ("/admin/r/1/1/", 404, "No page has this"),
        ("/admin/r/1/00000000-0000-4000-8000-000000000000/", 404, "No page has this"),
    ],
)
def test_a_refusal_says_what_to_do(staff_of: As, path: str, status: int, said: str) -> None:
    response = staff_of("inspector").get(path)

    assert response.status_code == status
    assert said in response.content.decode()


def test_a_stranger_at_an_address_that_is_none_costs_no_query() -> None:
    response = Client().get("/zebra/")

    assert response.status_code == 404
    assert "No page has this address" in response.content.decode()


@pytest.mark.parametrize(
    ("done_to_it", "said"),
    [
        ("ALTER TABLE devices RENAME TO elsewhere", "the database lacks a table of this release"),
        ("ALTER TABLE devices RENAME device_name TO called", "the database lacks a column of this release"),
        ("SET LOCAL transaction_read_only = on", "the database takes no changes now"),
    ],
)
def test_a_fault_of_the_database_is_told_as_such(staff_of: As, done_to_it: str, said: str) -> None:
    client = staff_of("operator")
    client.raise_request_exception = False
    path = "/admin/accounts/device/"
    with connection.cursor() as cursor:
        cursor.execute(done_to_it)

    response = client.post("/admin/logout/") if "read_only" in done_to_it else client.get(path)

    assert response.status_code == 503
    assert said in html.unescape(response.content.decode())


@pytest.mark.django_db
def test_a_server_that_is_gone_and_a_fault_of_the_site_are_told_apart() -> None:
    with pytest.raises(OperationalError) as gone:
        ConnectionHandler({"default": {**settings.DATABASES["default"], "HOST": "/nowhere"}})[
            "default"
        ].ensure_connection()

    assert of_database(gone.value) == "the database does not answer. Try again in a while."
    assert of_database(ValueError("x")) == ""
