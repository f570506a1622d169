"""Phone numbers as the original spelled them: proved ones are never changed into somebody else's."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from rupaya.adoption.phones import read
from tests.adoption.original import build
from tests.adoption.test_plan import findings, surveyed
from tests.conftest import new_database
from tests.faults.migrator import migrate, query

# E-mail, number, proved, when it was created.
ROWS = """
INSERT INTO users (email, phone_number, phone_verified, created_at, updated_at) VALUES
    ('singapore@example.com', '6591234567', true, '2026-01-01', '2026-01-01'),
    ('london@example.com', '447911123456', true, '2026-01-01', '2026-01-01'),
    ('squatter@example.com', '98765-43210', false, '2026-01-01', '2026-01-01'),
    ('owner@example.com', '919876543210', true, '2026-02-01', '2026-01-01'),
    ('written@example.com', '+919876543211', false, '2026-01-01', '2026-01-01'),
    ('proved@example.com', '9876543211', true, '2026-02-01', '2026-01-01'),
    ('first@example.com', '9876543212', true, '2026-01-01', '2026-01-01'),
    ('second@example.com', '919876543212', true, '2026-02-01', '2026-01-01'),
    ('third@example.com', '+919876543212', false, '2026-02-01', '2026-01-01'),
    ('newline@example.com', E'+919876543213\\n', true, '2026-02-01', '2026-01-01'),
    ('nonsense@example.com', '12345678', false, '2026-02-01', '2026-01-01');
"""
OPTIONS = ("--normalise-phones", "--unreadable-phones=clear")
SETTLED = {
    "london": ("+447911123456", True),
    "squatter": (None, False),
    "owner": ("+919876543210", True),
    "written": (None, False),
    "proved": ("+919876543211", True),
    "first": (None, False),
    "second": (None, False),
    "third": (None, False),
    "newline": ("+919876543213", True),
    "nonsense": (None, False),
}


@pytest.fixture(scope="module")
def adopted(server_url: str) -> Iterator[str]:
    """The name of a database with these people, adopted, to be copied."""
    with new_database(server_url) as url:
        build(url, ROWS)
        assert migrate(url, "adopt").process.returncode == 0
        yield urlsplit(url).path.strip("/")


@pytest.mark.parametrize(
    ("spelling", "country", "expected"),
    [
        ("6591234567", "IN", {"international": "+6591234567", "national": "+916591234567"}),
        ("919876543210", "IN", {"international": "+919876543210"}),
        ("9876543210", "IN", {"national": "+919876543210"}),
        ("+91-98765-43210", "IN", {"national": "+919876543210"}),
        ("14155552671", None, {"international": "+14155552671"}),
        ("call me", "IN", {}),
        ("98765 FLOWE", "IN", {}),
        ("98765 43210 ext. 5", "IN", {}),
        ("987+6543210", "IN", {}),
    ],
)
def test_a_number_is_read_with_a_plus_and_in_its_country(
    spelling: str, country: str | None, expected: dict[str, str]
) -> None:
    assert read(spelling, country) == expected


def test_the_plan_counts_each_class_and_two_readings_need_a_decision(database_url: str) -> None:
    build(database_url, ROWS)

    status, document = surveyed(database_url, *OPTIONS)

    assert status == 1
    assert {rule.partition(".")[2]: (its["rows"], its["undecided"]) for rule, its in findings(document).items()} == {
        "readable": (4, 0),
        "ambiguous": (1, 1),
        "unreadable": (1, 0),
        "taken": (2, 0),
        "contested": (3, 0),
    }
    assert surveyed(database_url, *OPTIONS, "--ambiguous-phones=clear")[0] == 0


@pytest.mark.parametrize(
    ("way", "number"), [("international", "+6591234567"), ("national", "+916591234567"), ("clear", None)]
)
def test_the_proved_claim_wins_and_what_had_two_readings_is_not_proved(
    server_url: str, adopted: str, way: str, number: str | None
) -> None:
    with new_database(server_url, template=adopted) as url:
        run = migrate(url, "adopt", "--finish", *OPTIONS, f"--ambiguous-phones={way}")

        assert run.process.returncode == 0, run.output
        found = {
            name: (phone_number, is_proved)
            for name, phone_number, is_proved in query(
                url, "SELECT split_part(email, '@', 1), phone_number, phone_verified FROM users"
            )
        }
        assert found == {**SETTLED, "singapore": (number, False)}
        kept = query(url, "SELECT DISTINCT original ->> 'email' FROM adoption_quarantine")
        assert len(kept) == 11


def test_two_readings_are_not_finished_without_a_decision(server_url: str, adopted: str) -> None:
    with new_database(server_url, template=adopted) as url:
        refused = migrate(url, "adopt", "--finish", *OPTIONS)
    assert refused.process.returncode == 14, refused.output
    assert "--ambiguous-phones" in refused.output


def test_nobody_gets_a_number_that_somebody_else_may_have_proved(database_url: str) -> None:
    """One of the owner's two readings is what a squatter has written, and only the owner has proved anything."""
    build(
        database_url,
        "INSERT INTO users (email, phone_number, phone_verified, created_at, updated_at) VALUES "
        "('owner@example.com', '6591234567', true, '2026-02-01', '2026-01-01'), "
        "('squatter@example.com', '+6591234567', false, '2026-01-01', '2026-01-01')",
    )
    assert migrate(database_url, "adopt").process.returncode == 0

    run = migrate(database_url, "adopt", "--finish", *OPTIONS, "--ambiguous-phones=international")

    assert run.process.returncode == 0, run.output
    assert query(database_url, "SELECT phone_number, phone_verified FROM users ORDER BY email") == [
        (None, False),
        (None, False),
    ]
