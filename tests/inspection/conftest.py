"""Staff of each group, and a person to look at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client

from accounts.models import User
from tests.transactions.rows import insert_person

As = Callable[..., Client]


@pytest.fixture(autouse=True)
def _nothing_collected(settings: Any, tmp_path: Path) -> None:
    """WhiteNoise warns of a folder of collected static files that is not there."""
    settings.STATIC_ROOT = tmp_path


@pytest.fixture
def person(db: None) -> None:
    """A user with two accounts, whose ids are constants of `rows`."""
    insert_person()


@pytest.fixture
def staff_of(db: None) -> As:
    """Signs somebody in who is in these groups."""

    def sign_in(*groups: str, **fields: Any) -> Client:
        name = "-".join(groups) or "nobody"
        staff = User.objects.create(email=f"{name}@example.com", is_staff=True, **fields)
        staff.groups.set(Group.objects.filter(name__in=groups))
        client = Client()
        client.force_login(staff, backend="accounts.backends.BcryptBackend")
        return client

    return sign_in
