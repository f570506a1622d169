"""The frozen picture is what the adopted migrations build, and what it cannot know is known to be unknown."""

from __future__ import annotations

import pytest

from rupaya.adoption.baseline import ALL, CREATED, baseline
from rupaya.adoption.original import ADOPTED, TABLES
from tests.adoption.baseline import built


@pytest.mark.django_db(transaction=True)
def test_the_frozen_picture_is_what_the_adopted_migrations_build() -> None:
    assert baseline() == built()


def test_every_relation_is_the_originals_or_made_by_one_adopted_migration() -> None:
    made = [name for names in CREATED.values() for name in names]

    assert set(CREATED) <= set(ADOPTED)
    assert (
        sorted([*TABLES, *made]) == sorted(ALL) == sorted(n for n in baseline()["relations"] if not n.endswith("_seq"))
    )
