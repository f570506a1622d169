"""The second factor of staff: asked for, enrolled, and in nobody's way but an attacker's."""

from __future__ import annotations

import re
from pathlib import Path

import bcrypt
import pytest

from tests.faults.migrator import query
from tests.security.conftest import EMAIL, PASSWORD
from tests.server.browser import Browser, code
from tests.server.releases import PRODUCTION
from tests.server.service import Service, manage

CLOSED = ("/admin/", "/admin/accounts/user/", "/admin/password_change/", "/health/", "/health/?format=json", "/")


def make_administrator(release: Path, url: str, email: str, *options: str, stdin: str = f"{PASSWORD}\n") -> str:
    options = (*options, "--print-second-factor")
    made = manage(release, "administrator", email, *options, stdin=stdin, **PRODUCTION, DATABASE_URL=url)
    assert made.returncode == 0, made.stderr
    return made.stdout


def test_a_password_alone_opens_no_page(production: Service, secret: str) -> None:
    browser = Browser(production)
    assert browser.sign_in(EMAIL, PASSWORD) == 302

    for path in CLOSED:
        response = browser.request(path)
        assert response.status == 302, path
        assert response.headers["Location"].startswith("/admin/second-factor/?next="), path
    assert browser.post("/admin/accounts/user/").headers["Location"] == "/admin/second-factor/?next=%2Fadmin%2F"


def test_a_code_opens_them_and_is_good_once(production: Service, secret: str) -> None:
    browser = Browser(production)
    browser.sign_in(EMAIL, PASSWORD)
    asked = browser.request("/admin/second-factor/?next=/health/")
    assert b"<code>" not in asked.body  # an enrolled person's secret is shown to nobody
    before = browser.cookies["sessionid"]

    shown = code(secret)
    passed = browser.post("/admin/second-factor/?next=/health/", token=f"{shown[:3]} {shown[3:]}", next="/health/")

    assert (passed.status, passed.headers["Location"]) == (302, "/health/")
    assert browser.cookies["sessionid"] != before
    assert browser.request("/admin/").status == 200

    other = Browser(production)
    other.sign_in(EMAIL, PASSWORD)
    assert other.post("/admin/second-factor/", token=shown).status == 200
    assert other.request("/admin/").status == 302


def test_codes_cannot_be_guessed_quickly(production: Service, production_release: Path, module_url: str) -> None:
    email = "guessed@example.com"
    secret = make_administrator(production_release, module_url, email, "--password-stdin").split()[-1]
    browser = Browser(production)
    browser.sign_in(email, PASSWORD)
    wrong = f"{(int(code(secret)) + 1) % 1000000:06d}"

    for token in (wrong, wrong, wrong, code(secret, 1)):
        assert browser.post("/admin/second-factor/", token=token).status == 200
    assert browser.request("/admin/").status == 302


@pytest.mark.parametrize("next_page", ["https://evil.example.com/", "//evil.example.com", "javascript:1"])
def test_nobody_is_sent_to_another_site(production: Service, secret: str, next_page: str) -> None:
    browser = Browser(production)
    signed_in = browser.post("/admin/login/", username=EMAIL, password=PASSWORD, next=next_page)
    assert (signed_in.status, signed_in.headers["Location"]) == (302, "/admin/")

    page = browser.post("/admin/second-factor/", token="abc", next=next_page)

    assert b'name="next" value="/admin/' in page.body
    assert b"evil" not in page.body


def test_staff_without_one_enrol_and_no_other_session_sees_the_secret(
    production: Service, production_release: Path, module_url: str
) -> None:
    email = "new@example.com"
    script = f"""
from django.contrib.auth import get_user_model
get_user_model().objects.create_user(email={email!r}, password={PASSWORD!r}, is_staff=True)
"""
    made = manage(production_release, "shell", "--no-imports", "-c", script, **PRODUCTION, DATABASE_URL=module_url)
    assert made.returncode == 0, made.stderr
    owner, thief = Browser(production), Browser(production, "198.51.100.7")
    assert owner.sign_in(email, PASSWORD) == thief.sign_in(email, PASSWORD) == 302
    seen = thief.request("/admin/second-factor/").body.partition(b"<code>")[2].partition(b"</code>")[0].decode()

    secret = owner.enrol()

    assert seen != secret
    assert owner.request("/admin/").status == 200
    assert thief.post("/admin/second-factor/", token=code(seen)).status == 200
    assert thief.request("/admin/").status == 302
    assert b"<code>" not in thief.request("/admin/second-factor/").body


def test_a_lost_second_factor_is_renewed_from_outside(
    production: Service, production_release: Path, module_url: str
) -> None:
    email = "forgetful@example.com"
    first = make_administrator(production_release, module_url, email, stdin="")
    password = first.partition("Password: ")[2].partition("\n")[0]
    renewed = make_administrator(production_release, module_url, email.upper(), "--second-factor-only")

    browser = Browser(production)
    assert "Password" not in renewed
    assert browser.sign_in(email, password) == 302
    assert browser.post("/admin/second-factor/", token=code(renewed.split()[-1])).status == 302
    browser = Browser(production)
    browser.sign_in(email, password)
    assert browser.post("/admin/second-factor/", token=code(first.split()[-1])).status == 200


def test_an_administrator_of_a_one_off_task_leaves_nothing_in_its_log_that_signs_in(
    production: Service, production_release: Path, module_url: str
) -> None:
    email = "first@example.com"
    digest = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()
    made = manage(
        production_release, "administrator", email, "--password-hash", digest, **PRODUCTION, DATABASE_URL=module_url
    )

    assert made.returncode == 0, made.stderr
    written = made.stdout + made.stderr
    assert "Password" not in written
    assert digest not in written
    assert "otpauth" not in written
    assert not re.search(r"[A-Z2-7]{16,}", written)
    assert query(module_url, "SELECT count(*) FROM otp_totp_totpdevice d JOIN users u USING (user_id) "
                 f"WHERE email = '{email}'") == [(0,)]  # fmt: skip
    browser = Browser(production)
    assert browser.sign_in(email, PASSWORD) == 302
    browser.enrol()
    assert browser.request("/admin/").status == 200


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (("x@example.com", "--password-hash", "correct horse"), "", "no bcrypt hash"),
        (("x@example.com", "--password-stdin"), "short\n", "too short"),
        (("no address", "--password-stdin"), f"{PASSWORD}\n", "valid email address"),
        (("nobody@example.com", "--second-factor-only"), "", "no active member of staff"),
        (("x@example.com", "--group", "kings"), "", "There are: auditor, inspector, operator"),
    ],
)
def test_the_command_explains_what_it_refuses(
    production_release: Path, module_url: str, arguments: tuple[str, ...], stdin: str, said: str
) -> None:
    made = manage(production_release, "administrator", *arguments, stdin=stdin, **PRODUCTION, DATABASE_URL=module_url)

    assert made.returncode == 1
    assert said in made.stderr
    assert "Traceback" not in made.stderr


def test_the_command_puts_people_in_groups(production_release: Path, module_url: str) -> None:
    chief, inspector = "chief@example.com", "inspector@example.com"
    make_administrator(production_release, module_url, chief, "--group", "operator", "--group", "auditor")
    make_administrator(production_release, module_url, inspector, "--group", "inspector", "--not-superuser")

    found = query(
        module_url,
        "SELECT u.email, u.is_staff, u.is_superuser, g.name FROM users u JOIN users_groups ug USING (user_id) "
        "JOIN auth_group g ON g.id = ug.group_id ORDER BY 1, 4",
    )
    assert found == [
        (chief, True, True, "auditor"),
        (chief, True, True, "operator"),
        (inspector, True, False, "inspector"),
    ]
    # Their groups stay when they get a new second factor.
    make_administrator(production_release, module_url, inspector, "--second-factor-only")
    assert query(module_url, f"SELECT is_superuser FROM users WHERE email = '{inspector}'") == [(False,)]


def test_it_can_be_lifted(production_release: Path, module_url: str, secret: str) -> None:
    with Service(production_release, **PRODUCTION, ADMIN_REQUIRE_OTP="false", DATABASE_URL=module_url) as service:
        service.wait_until_ready()
        browser = Browser(service, "192.0.2.55")
        assert browser.sign_in(EMAIL, PASSWORD) == 302
        assert browser.request("/admin/").status == 200
