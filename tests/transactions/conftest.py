"""What the tests of money share."""

from __future__ import annotations

import pytest

from tests.transactions.rows import insert_person


@pytest.fixture
def person(db: None) -> None:
    """A user with two accounts, whose ids are constants of `rows`."""
    insert_person()
