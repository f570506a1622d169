"""What the tests of people share."""

from __future__ import annotations

import pytest
from django.contrib.auth.hashers import BCryptPasswordHasher

from accounts.models import User

PASSWORD = "a stapled horse, 7 batteries"


@pytest.fixture
def quick_hasher(monkeypatch: pytest.MonkeyPatch) -> None:
    """bcrypt with the fewest rounds it can do, for tests that are not about how many."""
    monkeypatch.setattr(BCryptPasswordHasher, "rounds", 4)


@pytest.fixture
def user(db: None, quick_hasher: None) -> User:
    return User.objects.create_user("Asha@Example.com", PASSWORD)
