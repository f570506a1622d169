"""Fixtures of the tests of debts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.conftest import new_database
from tests.migrator.debts.shop import Shop, opened


@pytest.fixture(scope="session")
def _made(server_url: str, django_db_blocker: Any) -> Iterator[str]:
    """The name of a database as the release before left it, to be copied."""
    with new_database(server_url) as url:
        with django_db_blocker.unblock(), opened(url):
            pass
        yield urlsplit(url).path.strip("/")


@pytest.fixture
def shop(server_url: str, _made: str, django_db_blocker: Any) -> Iterator[Shop]:
    """A database as the release before left it, with rows."""
    with (
        new_database(server_url, template=_made) as url,
        django_db_blocker.unblock(),
        opened(url, is_made=True) as made,
    ):
        yield made
