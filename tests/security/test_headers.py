"""What a browser is told about every page, and that the admin site keeps to it."""

from __future__ import annotations

import re

import pytest

from tests.security.conftest import EMAIL, PASSWORD
from tests.server.browser import Browser, code
from tests.server.releases import BEHIND_TLS
from tests.server.service import Service

PAGES = (
    "/admin/",
    "/admin/accounts/user/",
    "/admin/accounts/user/?q=asha&account_status=active",
    "/admin/accounts/device/",
    "/admin/transactions/transaction/",
    "/admin/password_change/",
    "/health/",
    "/admin/nowhere/",
)


@pytest.fixture(scope="module")
def administrator(production: Service, secret: str) -> Browser:
    browser = Browser(production)
    assert browser.sign_in(EMAIL, PASSWORD) == 302
    assert browser.post("/admin/second-factor/", token=code(secret)).status == 302
    return browser


def assert_needs_nothing_inline(page: str) -> None:
    assert not re.findall(
        r"<script(?![^>]*\bsrc=)[^>]*>(?!\s*</script>)", page.replace('type="application/json"', "src=")
    )
    assert not re.findall(r"<style\b", page)
    assert not re.findall(r"<[^>]+\s(?:style|on[a-z]+)\s*=", page)
    assert not re.findall(r"(?:src|href|action)=\"(?:javascript:|https?://(?!api\.example\.com))", page)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_of_the_admin_site_works_without_anything_inline(administrator: Browser, path: str) -> None:
    response = administrator.request(path)

    assert response.status == (404 if "nowhere" in path else 200)
    assert_needs_nothing_inline(response.body.decode())


@pytest.mark.parametrize(
    "path", ["/admin/login/", "/admin/second-factor/", "/nowhere", "/static/admin/css/base.css", "/"]
)
def test_every_answer_carries_the_policies(production: Service, secret: str, path: str) -> None:
    browser = Browser(production)
    response = browser.request(path)

    policy = dict(part.strip().split(" ", 1) for part in response.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in response.headers["Content-Security-Policy"]
    assert "camera=()" in response.headers["Permissions-Policy"]
    assert response.headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains; preload"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "same-origin"
    if not path.startswith("/static"):
        assert response.headers["X-Frame-Options"] == "DENY"
        assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "gunicorn/" not in response.headers.get("Server", "")


def test_the_pages_before_the_site_need_nothing_inline_either(production: Service, secret: str) -> None:
    browser = Browser(production)
    assert_needs_nothing_inline(browser.request("/admin/login/").body.decode())
    browser.sign_in(EMAIL, PASSWORD)
    assert_needs_nothing_inline(browser.request("/admin/second-factor/").body.decode())


def test_cookies_travel_by_https_alone_and_no_script_reads_the_session(production: Service, secret: str) -> None:
    browser = Browser(production)
    login = browser.request("/admin/login/")
    signed_in = browser.post("/admin/login/", username=EMAIL, password=PASSWORD, next="/admin/")
    cookies = {
        cookie.partition("=")[0]: cookie
        for cookie in [*login.headers.get_all("Set-Cookie", []), *signed_in.headers.get_all("Set-Cookie", [])]
    }

    assert set(cookies) == {"csrftoken", "sessionid"}
    for cookie in cookies.values():
        assert "; Secure" in cookie
        assert "; SameSite=Lax" in cookie
    assert "; HttpOnly" in cookies["sessionid"]


def test_a_client_that_is_no_proxy_cannot_claim_https(production: Service) -> None:
    """The service here trusts 127.0.0.1 alone."""
    response = production.request("/admin/login/", headers=BEHIND_TLS, source="127.0.0.2")

    assert response.status == 301
