"""The three groups that a migration makes, and what each may do."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group

from tests.faults.migrator import query
from tests.inspection.conftest import As
from tests.server.service import PROJECT, manage


def permissions(group: str) -> set[str]:
    found = Group.objects.get(name=group).permissions.select_related("content_type")
    return {f"{permission.content_type.app_label}.{permission.codename}" for permission in found}


def codenames(action: str, apps: AbstractSet[str]) -> set[str]:
    return {
        f"{model._meta.app_label}.{action}_{model._meta.model_name}"
        for model in admin.site._registry
        if model._meta.app_label in apps
    }


@pytest.mark.django_db
def test_an_inspector_may_look_at_everything_and_change_nothing() -> None:
    given = permissions("inspector")
    assert codenames("view", {"accounts", "transactions"}) <= given
    assert "accounts.view_personal_data" not in given
    assert "admin.view_logentry" not in given
    assert {name.partition(".")[2].partition("_")[0] for name in given} == {"view"}


@pytest.mark.django_db
def test_an_auditor_reads_the_log_too() -> None:
    assert permissions("auditor") == permissions("inspector") | {"admin.view_logentry"}


@pytest.mark.django_db
def test_an_operator_sees_people_whole_and_may_change_what_can_be_changed() -> None:
    more = permissions("operator") - permissions("auditor")
    editable = {
        f"{model._meta.app_label}.change_{model._meta.model_name}"
        for model, options in admin.site._registry.items()
        if getattr(options, "editable_fields", ())
    }
    assert more == {"accounts.view_personal_data"} | editable


def test_groups_can_be_looked_at_and_not_be_changed_on_the_site(staff_of: As) -> None:
    chief = staff_of("operator", is_superuser=True)
    group = Group.objects.get(name="auditor")
    page = f"/admin/auth/group/{group.pk}/change/"
    assert "admin.view_logentry" in chief.get(page).content.decode()
    assert chief.get("/admin/auth/group/").status_code == 200
    for address in ("/admin/auth/group/add/", f"{page}?edit=1", f"/admin/auth/group/{group.pk}/delete/"):
        assert chief.get(address).status_code == 403
        assert chief.post(address, {"name": "changed"}).status_code == 403


def test_a_group_that_is_there_already_keeps_what_it_has(database_url: str) -> None:
    assert manage(PROJECT, "migrate", "transactions", "--noinput", DATABASE_URL=database_url).returncode == 0
    query(database_url, "INSERT INTO auth_group (name) VALUES ('auditor')")
    query(database_url, "INSERT INTO users (email) VALUES ('ours@example.com')")
    query(database_url, "INSERT INTO users_groups (user_id, group_id) SELECT user_id, id FROM users, auth_group")

    assert manage(PROJECT, "migrate", "--noinput", DATABASE_URL=database_url).returncode == 0
    assert manage(PROJECT, "migrate", "inspection", "zero", "--noinput", DATABASE_URL=database_url).returncode == 0
    assert manage(PROJECT, "migrate", "--noinput", DATABASE_URL=database_url).returncode == 0

    assert query(database_url, "SELECT count(*) FROM users_groups") == [(1,)]
    assert query(database_url, "SELECT name FROM auth_group ORDER BY 1") == [
        ("auditor",),
        ("inspector",),
        ("operator",),
    ]
    (log,) = query(
        database_url,
        "SELECT count(*) FROM auth_group_permissions g JOIN auth_permission p ON p.id = g.permission_id "
        "JOIN auth_group a ON a.id = g.group_id WHERE a.name = 'auditor' AND p.codename = 'view_logentry'",
    )
    assert log == (1,)
