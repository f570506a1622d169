"""As much of a browser as signing in to the admin site takes: cookies, forms, and an address behind a load balancer."""

from __future__ import annotations

import http.cookies
import re
import time
from base64 import b32decode
from urllib.parse import urlencode

from django_otp.oath import TOTP

from tests.server.releases import BEHIND_TLS
from tests.server.service import Response, Service

STEP_S = 30


class Browser:
    """Somebody at `address`, seen through a load balancer that may have been told lies in `forwarded`."""

    def __init__(self, service: Service, address: str = "203.0.113.9", forwarded: str = "") -> None:
        self.service = service
        self.cookies: dict[str, str] = {}
        self.forwarded_for = f"{forwarded}, {address}" if forwarded else address

    def request(self, path: str, method: str = "GET", body: str = "", **headers: str) -> Response:
        sent = BEHIND_TLS | {"X-Forwarded-For": self.forwarded_for, "Referer": "https://api.example.com/"} | headers
        if self.cookies:
            sent |= {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        if body:
            sent |= {"Content-Type": "application/x-www-form-urlencoded"}
        response = self.service.request(path, method, sent, body.encode())
        for cookie in response.headers.get_all("Set-Cookie") or []:
            for name, morsel in http.cookies.SimpleCookie(cookie).items():
                self.cookies[name] = morsel.value
        return response

    def post(self, path: str, **fields: str) -> Response:
        """Post a form of this site, as one that it has shown."""
        if "csrftoken" not in self.cookies:
            self.request("/admin/login/")
        return self.request(path, "POST", urlencode(fields | {"csrfmiddlewaretoken": self.cookies["csrftoken"]}))

    def sign_in(self, username: str, password: str) -> int:
        """Give a password: 302 is success, 200 a wrong one, 429 locked out."""
        return self.post("/admin/login/", username=username, password=password, next="/admin/").status

    def enrol(self) -> str:
        """Take the second factor that is offered; returns its secret."""
        page = self.request("/admin/second-factor/").body.decode()
        found = re.search(r"<code>([A-Z2-7]+)</code>", page)
        assert found, page
        response = self.post("/admin/second-factor/", token=code(found[1]), next="/admin/")
        assert (response.status, response.headers["Location"]) == (302, "/admin/"), response.body.decode()
        return found[1]


def code(secret: str, steps_ahead: int = 0) -> str:
    """What an authenticator app shows; a code is good once, and the next one is good already."""
    totp = TOTP(b32decode(secret))
    totp.time = time.time() + steps_ahead * STEP_S
    return f"{totp.token():06d}"
