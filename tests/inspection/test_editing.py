"""A row is changed only by whom was told that they may, after a second look, and never over somebody else's change."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.urls import reverse

from accounts.models import User
from tests.inspection.conftest import As
from tests.transactions.rows import GROCERIES, STRANGER, USER, insert

pytestmark = pytest.mark.usefixtures("person")

PAGE = f"/admin/accounts/user/{USER}/change/"
EDIT = f"{PAGE}?edit=1"


def form_of(client: Client, page: str = EDIT) -> dict[str, Any]:
    """What the edit form of a page posts, unchanged."""
    response = client.get(page)
    assert response.status_code == 200
    form = response.context["adminform"].form
    filled = {name: form[name].value() for name in form.fields}
    posted = {name: value for name, value in filled.items() if value not in (None, False)}
    found = re.search(r'name="_seen" value="([^"]+)"', response.content.decode())
    assert found
    return {**{name: "on" if value is True else value for name, value in posted.items()}, "_seen": found[1]}


def confirmed(client: Client, form: dict[str, Any], page: str = EDIT) -> Any:
    """Post, look at what is asked, and say yes."""
    asked = client.post(page, form)
    assert asked.status_code == 200
    assert "Nothing is changed yet" in asked.content.decode()
    return client.post(page, {**form, "_confirm": "yes", "_why": "they asked"})


def user() -> User:
    return User.objects.get(pk=USER)


@pytest.mark.parametrize("groups", [(), ("inspector",), ("auditor",)])
def test_without_the_permission_nothing_can_be_edited(staff_of: As, groups: tuple[str, ...]) -> None:
    client = staff_of(*groups)
    assert client.get(EDIT).status_code == 403
    assert client.post(EDIT, {"name": "Changed", "_confirm": "yes", "_why": "they asked"}).status_code == 403
    assert b"?edit=1" not in client.get(PAGE).content
    assert user().name is None


def test_a_superuser_must_be_told_too(staff_of: As) -> None:
    client = staff_of(is_superuser=True)
    assert client.get(EDIT).status_code == 403
    User.objects.get(email="nobody@example.com").groups.add(Group.objects.get(name="operator"))
    assert client.get(EDIT).status_code == 200


def test_an_operator_sees_a_row_read_only_until_they_ask(staff_of: As) -> None:
    client = staff_of("operator")
    html = client.get(PAGE).content.decode()
    assert 'href="?edit=1"' in html
    assert not re.search(r'<(input|select|textarea)[^>]*name="(name|account_status)"', html)


def test_a_change_is_asked_about_then_made_and_logged(staff_of: As) -> None:
    client = staff_of("operator")
    form = form_of(client) | {"account_status": "suspended", "name": "Asha K"}

    asked = client.post(EDIT, form)
    assert user().account_status == "active"
    html = asked.content.decode()
    assert "suspended" in html
    assert "Asha K" in html

    assert client.post(EDIT, {**form, "_confirm": "yes", "_why": "they asked"}).status_code == 302
    assert (user().account_status, user().name) == ("suspended", "Asha K")
    entry = LogEntry.objects.get()
    assert entry.object_id == USER
    assert entry.object_repr == "a•••@example.com"
    assert "account status: active → suspended" in entry.get_change_message()
    assert "name: - → A••• K•••" in entry.get_change_message()  # the log is read by people who may not see it
    assert entry.get_change_message().endswith("\nWhy: they asked")
    assert "account status: active" in client.get(reverse("admin:accounts_user_history", args=(USER,))).content.decode()


def test_what_another_service_writes_meanwhile_stays(staff_of: As) -> None:
    client = staff_of("operator")
    form = form_of(client) | {"account_status": "suspended"}
    with connection.cursor() as cursor:
        # Another service writes a column that the form does not have.
        cursor.execute("UPDATE users SET login_attempt_count = 7 WHERE user_id = %s", [USER])
    confirmed(client, form)
    assert (user().login_attempt_count, user().account_status) == (7, "suspended")


def test_a_form_that_is_out_of_date_is_refused(staff_of: As) -> None:
    client = staff_of("operator")
    form = form_of(client) | {"name": "Mine"}
    User.objects.filter(pk=USER).update(account_status="deleted")

    response = client.post(EDIT, {**form, "_confirm": "yes", "_why": "they asked"}, follow=True)

    assert "somebody else has changed this row" in response.content.decode()
    assert "account_status" in response.content.decode()
    assert (user().name, user().account_status) == (None, "deleted")
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("seen", ["", "made up"])
def test_a_form_that_the_site_did_not_make_is_refused(staff_of: As, seen: str) -> None:
    client = staff_of("operator")
    form = form_of(client) | {"name": "Mine", "_seen": seen, "_confirm": "yes", "_why": "they asked"}
    assert client.post(EDIT, form).status_code == 302
    assert user().name is None


def test_an_unchanged_form_changes_and_logs_nothing(staff_of: As) -> None:
    client = staff_of("operator")
    response = client.post(EDIT, form_of(client), follow=True)
    assert "Nothing was changed" in response.content.decode()
    assert not LogEntry.objects.exists()


def test_what_is_wrong_is_said_in_the_form(staff_of: As) -> None:
    client = staff_of("operator")
    response = client.post(EDIT, form_of(client) | {"account_status": "gone", "_confirm": "yes", "_why": "they asked"})
    assert response.status_code == 200
    assert "gone is not one of the available choices" in response.content.decode()
    assert user().account_status == "active"


def test_only_a_superuser_makes_staff(staff_of: As) -> None:
    operator = staff_of("operator")
    form = form_of(operator)
    assert "is_staff" not in form
    operator.post(EDIT, {**form, "is_staff": "on", "_confirm": "yes", "_why": "they asked"})
    assert not user().is_staff

    chief = staff_of("operator", "auditor", is_superuser=True)
    inspectors = Group.objects.get(name="inspector")
    confirmed(chief, form_of(chief) | {"is_staff": "on", "groups": [inspectors.pk]})
    assert user().is_staff
    assert list(user().groups.all()) == [inspectors]
    assert "groups: - → inspector" in LogEntry.objects.get().get_change_message()


def test_a_category_must_be_of_its_transactions_kind_and_owner(staff_of: As) -> None:
    insert("users", user_id=STRANGER, email="stranger@example.com")
    theirs = insert("categories", user_id=STRANGER)["category_id"]
    own = insert("categories")["category_id"]
    income = insert("categories", category_type="income")["category_id"]
    pk = insert("transactions", category_id=GROCERIES)["transaction_id"]
    page = f"/admin/transactions/transaction/{pk}/change/?edit=1"
    client = staff_of("operator")

    form = form_of(client, page)
    assert "another person" in client.post(page, {**form, "category": theirs}).content.decode()
    assert "category of income" in client.post(page, {**form, "category": income}).content.decode()
    asked = client.post(page, {**form, "category": own}).content.decode()
    assert re.search(r"<td>Groceries</td><td><strong>Chess</strong></td>", asked)
    assert confirmed(client, {**form, "category": own}, page).status_code == 302
    assert "category: Groceries → Chess" in LogEntry.objects.get().change_message
    assert "asha" not in LogEntry.objects.get().object_repr


def test_what_was_empty_is_told_as_such(staff_of: As) -> None:
    pk = insert("transactions")["transaction_id"]
    page = f"/admin/transactions/transaction/{pk}/change/?edit=1"
    client = staff_of("operator")
    form = form_of(client, page) | {"category": GROCERIES, "merchant": "Corner Grocery"}

    asked = client.post(page, form).content.decode()
    assert "<td>-</td><td><strong>Groceries</strong></td>" in asked
    assert "<td>-</td><td><strong>Corner Grocery</strong></td>" in asked
    assert confirmed(client, form, page).status_code == 302
    assert "category: - → Groceries; merchant: - → Corner Grocery" in LogEntry.objects.get().change_message


def test_no_edit_form_offers_to_change_another_row(staff_of: As) -> None:
    pk = insert("transactions", category_id=GROCERIES)["transaction_id"]

    html = staff_of("operator").get(f"/admin/transactions/transaction/{pk}/change/?edit=1").content.decode()

    assert "view-related" in html
    assert "change-related" not in html


def test_a_row_that_is_gone_is_said_to_be(staff_of: As) -> None:
    client = staff_of("operator")
    form = form_of(client) | {"name": "Mine", "_confirm": "yes", "_why": "they asked"}
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM users WHERE user_id = %s", [USER])
    response = client.post(EDIT, form, follow=True)
    assert "doesn’t exist" in response.content.decode()


@pytest.mark.parametrize("category", ["x", "1", "0" * 37, "\x00", "é", "00000000-0000-4000-8000-00000000000g"])
def test_a_key_that_is_none_is_an_error_of_the_form(staff_of: As, category: str) -> None:
    row = insert("transactions")
    page = f"/admin/transactions/transaction/{row['transaction_id']}/change/?edit=1"
    client = staff_of("operator")
    response = client.post(page, form_of(client, page) | {"category": category})
    assert response.status_code == 200
    assert "Please correct the error below" in response.content.decode()


@pytest.mark.parametrize("why", ["", "   ", None])
def test_nothing_is_changed_without_a_reason(staff_of: As, why: str | None) -> None:
    client = staff_of("operator")
    form = form_of(client) | {"account_status": "suspended", "_confirm": "yes"} | ({} if why is None else {"_why": why})

    response = client.post(EDIT, form)

    assert "nothing is changed without a reason" in response.content.decode()
    assert user().account_status == "active"
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("term", ["asha@example.com", USER, "account status", "they asked", "operator@example.com"])
def test_the_log_is_found_by_person_row_field_and_reason(staff_of: As, term: str) -> None:
    operator = staff_of("operator")
    confirmed(operator, form_of(operator) | {"account_status": "suspended"})
    other = insert("transactions")["transaction_id"]
    page = f"/admin/transactions/transaction/{other}/change/?edit=1"
    operator.post(page, {**form_of(operator, page), "merchant": "Shop", "_confirm": "yes", "_why": "a typo"})
    LogEntry.objects.filter(object_id=str(other)).update(user_id=USER)
    auditor = staff_of("auditor")

    found = auditor.get("/admin/admin/logentry/", {"q": term}).context["cl"].result_list

    wanted = str(other) if term == "asha@example.com" else USER
    assert wanted in {entry.object_id for entry in found}
    if term != USER:
        assert len(found) == 1


def test_the_log_tells_old_and_new_why_and_leads_to_the_row(staff_of: As) -> None:
    operator = staff_of("operator")
    confirmed(operator, form_of(operator) | {"account_status": "suspended"})

    html = staff_of("auditor").get("/admin/admin/logentry/").content.decode()

    assert re.search(r"field-what[^>]*>(<[^>]*>)*Changed account status: active → suspended\.", html)
    assert re.search(r"field-why[^>]*>they asked", html)
    assert f'<a href="{PAGE}">a•••@example.com</a>' in html
    assert ">o•••@example.com</a>" in html  # who did it
    kinds = re.findall(r'href="\?kind=(\d+)"', html)
    assert len(kinds) == 1
    assert staff_of("auditor", "inspector").get("/admin/admin/logentry/", {"kind": kinds[0]}).status_code == 200
