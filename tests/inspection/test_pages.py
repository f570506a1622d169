"""The admin shows every model of people and money, changes none by default, and never shows a secret."""

from __future__ import annotations

import uuid

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db import connection, models
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import User
from tests.transactions.rows import ACCOUNT, GROCERIES, USER, insert

pytestmark = pytest.mark.usefixtures("everything")

OURS = [model for app in ("accounts", "transactions") for model in apps.get_app_config(app).get_models()]
SECRETS = {
    "password_hash": "$2b$04$" + "s" * 21 + "." + "e" * 31,
    "mfa_secret": "JBSWY3DPEHPK3PXP",
    "code_hash": "5e884898da28047151d0e56f8dc62927",
}


@pytest.fixture
def everything(person: None) -> None:
    """A row in every table, so in every view, with every secret in it."""
    insert("users", email="other@example.com", password_hash=SECRETS["password_hash"], mfa_secret=SECRETS["mfa_secret"])
    insert("devices")
    insert("phone_otps", code_hash=SECRETS["code_hash"])
    insert("revoked_tokens")
    insert("categories")
    insert("transactions", category_id=GROCERIES)
    insert("transactions", transaction_type="income")
    insert("recurring_transactions")
    insert("budgets", category_id=GROCERIES)


def insert_more() -> None:
    """Another row in every table and view."""
    email = f"{uuid.uuid4()}@example.com"
    user = insert("users", email=email)["user_id"]
    account = insert("accounts", user_id=user)["account_id"]
    insert("transactions", category_id=None)
    insert("transactions", transaction_type="income", transaction_date="2026-02-01")
    insert("devices", user_id=user)
    insert("phone_otps")
    insert("revoked_tokens", user_id=user, token_id=str(uuid.uuid4()))
    insert("categories", user_id=user)
    insert("transactions", user_id=user, account_id=account, category_id=GROCERIES)
    insert("transactions", user_id=user, account_id=account, transaction_type="income")
    insert("recurring_transactions", user_id=user, account_id=account)
    insert("budgets", user_id=user, category_id=GROCERIES)


@pytest.fixture
def staff() -> User:
    return User.objects.create(email="staff@example.com", is_staff=True, is_superuser=True)


@pytest.fixture
def client(staff: User) -> Client:
    client = Client()
    client.force_login(staff)
    return client


def url(model: type[models.Model], page: str, *args: object) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def whose(model: type[models.Model]) -> dict[str, str]:
    """A search without which the list of this model is empty."""
    needs_person = admin.site.get_model_admin(model).needs_person  # type: ignore[attr-defined]
    return {"q": "asha@example.com"} if needs_person else {}


def shown(html: str) -> set[str]:
    """What of the secrets a page has, whole or as a recognisable part."""
    parts = {
        "$2b$04$",
        "sssssss",
        SECRETS["mfa_secret"],
        SECRETS["code_hash"],
        "id_password",
        "mfa_secret",
        "code_hash",
    }
    return {part for part in parts if part in html}


@pytest.mark.parametrize("model", OURS, ids=lambda model: model.__name__)
def test_every_model_can_be_looked_at(model: type[models.Model], client: Client) -> None:
    assert admin.site.is_registered(model)
    rows = model._base_manager.all()
    assert rows
    page = client.get(url(model, "changelist"), whose(model))
    assert page.status_code == 200
    assert page.context["cl"].result_count == len(rows)
    assert shown(page.content.decode()) == set()
    for row in rows:
        page = client.get(url(model, "change", row.pk))
        assert page.status_code == 200
        assert shown(page.content.decode()) == set()


@pytest.mark.parametrize("model", OURS, ids=lambda model: model.__name__)
def test_no_model_can_be_changed_not_even_by_a_superuser(model: type[models.Model], client: Client) -> None:
    pk = model._base_manager.all()[0].pk
    assert client.get(url(model, "add")).status_code == 403
    assert client.post(url(model, "add"), {}).status_code == 403
    assert client.post(url(model, "change", pk), {"name": "changed"}).status_code == 403
    assert client.post(url(model, "delete", pk), {"post": "yes"}).status_code == 403
    client.post(url(model, "changelist"), {"action": "delete_selected", "_selected_action": [pk], "post": "yes"})
    assert model._base_manager.filter(pk=pk).exists()


@pytest.mark.parametrize("model", OURS, ids=lambda model: model.__name__)
def test_searching_and_filtering_work(model: type[models.Model], client: Client) -> None:
    assert client.get(url(model, "changelist"), {"q": "asha@example.com"}).status_code == 200
    options = admin.site.get_model_admin(model)
    for field in options.list_filter:
        name = f"{field}__exact" if isinstance(field, str) else field.parameter_name
        assert client.get(url(model, "changelist"), {name: "1"}).status_code == 200


@pytest.mark.parametrize("model", OURS, ids=lambda model: model.__name__)
def test_who_may_not_view_a_model_does_not(model: type[models.Model], client: Client, staff: User) -> None:
    staff.is_superuser = False
    staff.save()
    assert client.get(url(model, "changelist")).status_code == 403
    staff.user_permissions.add(Permission.objects.get(codename=f"view_{model._meta.model_name}"))
    assert client.get(url(model, "changelist")).status_code == 200


@pytest.mark.parametrize("model", OURS, ids=lambda model: model.__name__)
def test_a_page_of_more_rows_takes_no_more_queries(model: type[models.Model], client: Client) -> None:
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(connection) as queries:
            page = client.get(url(model, "changelist"), whose(model))
        counts.append((len(queries), page.context["cl"].result_count))
        insert_more()
    (few_queries, few_rows), (queries_then, rows_then) = counts
    assert rows_then > few_rows
    assert queries_then == few_queries


def test_rows_marked_as_deleted_are_shown(client: Client) -> None:
    pk = insert("accounts", name="Old wallet", is_deleted=True)["account_id"]
    model = apps.get_model("transactions", "Account")
    assert "Old wallet" in client.get(url(model, "changelist")).content.decode()
    assert client.get(url(model, "change", pk)).status_code == 200


def test_a_person_is_shown_whole(client: Client) -> None:
    html = client.get(url(User, "change", USER)).content.decode()
    assert "asha@example.com" in html
    assert "Asia/Kolkata" in html
    assert str(ACCOUNT) not in html


def test_signing_in_by_the_admins_form(staff: User) -> None:
    staff.set_password("a stapled horse, 7 batteries")
    staff.save()
    form = {"username": "STAFF@example.com", "password": "a stapled horse, 7 batteries", "next": "/admin/"}
    page = Client().post(reverse("admin:login"), {**form, "password": "x" * 73})
    assert page.status_code == 200
    assert "Please enter the correct" in page.content.decode()
    assert Client().post(reverse("admin:login"), form).status_code == 302
