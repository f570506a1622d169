"""What is refused, and what is not there, is said in the site's own words."""

from __future__ import annotations

import pytest
from django.test import Client

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
