"""Fixtures of the tests of debts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.migrator.debts.shop import Shop, opened


@pytest.fixture
def shop(database_url: str, django_db_blocker: Any) -> Iterator[Shop]:
    """A database as the release before left it, with rows."""
    with django_db_blocker.unblock(), opened(database_url) as made:
        yield made
