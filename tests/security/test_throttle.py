"""Guessing passwords: per account and per client address, which nobody can make up; and who is not locked out by it."""

from __future__ import annotations

import pytest

from rupaya.security.throttle import ACCOUNT_LIMIT, ADDRESS_LIMIT
from tests.conftest import with_server
from tests.security.conftest import EMAIL, PASSWORD
from tests.server.browser import Browser
from tests.server.service import Service

LIMIT = 5
ATTACKER = "203.0.113.9"
OWNER = "198.51.100.7"
pytestmark = pytest.mark.usefixtures("secret")


@pytest.fixture(autouse=True)
def _nobody_locked_out(module_url: str) -> None:
    with_server(module_url, "DELETE FROM axes_accessattempt")


def failed_before(url: str, times: int, email: str = EMAIL, address: str = ATTACKER, minutes_ago: int = 0) -> None:
    """Failures as if they had been made one by one, each of which takes a bcrypt hash."""
    with_server(
        url,
        "INSERT INTO axes_accessattempt (username, ip_address, user_agent, http_accept, path_info, attempt_time,"
        " get_data, post_data, failures_since_start)"
        f" VALUES ('{email}', '{address}', '', '', '', now() - interval '{minutes_ago} minutes', '', '', {times})",
    )


def test_after_five_guesses_even_the_right_password_is_refused_there(production: Service) -> None:
    attacker = Browser(production, ATTACKER)

    assert [attacker.sign_in(EMAIL, "wrong") for _ in range(LIMIT)] == [200] * (LIMIT - 1) + [429]
    assert attacker.sign_in(EMAIL, PASSWORD) == 429
    assert attacker.sign_in(EMAIL.upper() + " ", PASSWORD) == 429


def test_one_attacker_does_not_lock_the_owner_out(production: Service) -> None:
    attacker = Browser(production, ATTACKER)
    for _ in range(ACCOUNT_LIMIT + LIMIT):  # past the account's own limit, were refused attempts counted
        last = attacker.sign_in(EMAIL, "wrong")

    assert last == 429
    assert Browser(production, OWNER).sign_in(EMAIL, PASSWORD) == 302


@pytest.mark.parametrize(
    "forwarded", ["198.51.100.{}", "127.0.0.1, 198.51.100.{}", "198.51.100.{}, 198.51.100.1", "{}"]
)
def test_the_address_cannot_be_spoofed(production: Service, module_url: str, forwarded: str) -> None:
    """What a client sends as X-Forwarded-For stands left of what the load balancer adds."""
    failed_before(module_url, LIMIT - 2)

    answers = [Browser(production, ATTACKER, forwarded.format(number)).sign_in(EMAIL, "wrong") for number in (1, 2)]

    assert answers == [200, 429]
    assert Browser(production, ATTACKER, forwarded.format(3)).sign_in(EMAIL, PASSWORD) == 429


def test_an_ipv6_client_cannot_change_its_address_within_its_network(production: Service, module_url: str) -> None:
    failed_before(module_url, LIMIT - 1, address="2001:db8:1:2::")

    assert Browser(production, "2001:db8:1:2::abcd").sign_in(EMAIL, "wrong") == 429
    assert Browser(production, "2001:db8:1:3::1").sign_in(EMAIL, PASSWORD) == 302


def test_one_address_cannot_try_many_accounts_either(production: Service, module_url: str) -> None:
    for number in range(ADDRESS_LIMIT - 1):
        failed_before(module_url, 1, email=f"user{number}@example.com")

    attacker = Browser(production, ATTACKER)
    assert attacker.sign_in("another@example.com", "wrong") == 429
    assert attacker.sign_in(EMAIL, PASSWORD) == 429
    assert Browser(production, OWNER).sign_in(EMAIL, PASSWORD) == 302


def test_an_account_that_many_addresses_guess_at_is_locked_for_a_while(production: Service, module_url: str) -> None:
    for number in range(ACCOUNT_LIMIT // 4 + 1):
        failed_before(module_url, 4, address=f"192.0.2.{number}")

    assert Browser(production, OWNER).sign_in(EMAIL, PASSWORD) == 429
    with_server(module_url, "UPDATE axes_accessattempt SET attempt_time = now() - interval '16 minutes'")
    assert Browser(production, OWNER).sign_in(EMAIL, PASSWORD) == 302


def test_a_success_forgets_nothing_but_ones_own_mistakes(production: Service, module_url: str) -> None:
    failed_before(module_url, LIMIT - 1)
    failed_before(module_url, LIMIT - 1, email="other@example.com")
    browser = Browser(production, ATTACKER)

    assert browser.sign_in(EMAIL, PASSWORD) == 302

    browser = Browser(production, ATTACKER)
    assert browser.sign_in(EMAIL, "wrong") == 200
    assert browser.sign_in("other@example.com", "wrong") == 429


def test_no_password_is_kept_or_logged(production: Service, module_url: str) -> None:
    Browser(production).sign_in(EMAIL, "hush hush hush")

    with_server(
        module_url,
        "DO $$ BEGIN IF EXISTS (SELECT FROM axes_accessattempt a WHERE a::text LIKE '%hush%')"
        " THEN RAISE 'a password is kept'; END IF; END $$",
    )
    assert "hush" not in production.output
