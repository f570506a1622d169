"""Constant load through the load balancer, every answer noted."""

from __future__ import annotations

import http.client
import itertools
import json
import re
import threading
import time
import urllib.parse
from collections import Counter
from dataclasses import dataclass

CLIENTS = 4
REQUESTS_PER_CLIENT_PER_S = 10


@dataclass(frozen=True)
class Answer:
    """One request: when it began (seconds of `time.monotonic`), how long it took, and what came."""

    at: float
    took_s: float
    what: str
    status: int
    error: str = ""
    release: str = ""

    @property
    def failed(self) -> bool:
        # 429 is the sign-in form's own limit, told by a healthy task.
        return bool(self.error) or self.status not in (200, 429)


class Load:
    """Clients that never stop asking, at a fixed pace; a context manager."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers: list[Answer] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,), daemon=True) for number in range(CLIENTS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(70)

    def since(self, moment: float) -> list[Answer]:
        return [answer for answer in self.answers if answer.at >= moment]

    def releases_since(self, moment: float) -> Counter[str]:
        """Which releases have answered, and how often."""
        return Counter(answer.release for answer in self.since(moment) if answer.release)

    def _ask(self, number: int) -> None:
        client = Client(self.port)
        # Readiness mostly; the sign-in form, which is a page; and signing in, which reads the users' table.
        asks = itertools.cycle([client.ready] * 4 + [client.form] + [client.ready] * 4 + [client.sign_in])
        pause_s = 1 / REQUESTS_PER_CLIENT_PER_S
        due = time.monotonic() + number * pause_s / CLIENTS
        for ask in asks:
            if self._stop.wait(max(0.0, due - time.monotonic())):
                break
            due = max(due + pause_s, time.monotonic())
            self.answers.append(ask())
        client.close()


class Client:
    """One client with one kept-alive connection, as browsers have."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: http.client.HTTPConnection | None = None
        self._token = self._cookie = ""

    def ready(self) -> Answer:
        return self._request("ready", "GET", "/health/ready")

    def form(self) -> Answer:
        return self._request("form", "GET", "/admin/login/")

    def sign_in(self) -> Answer:
        if not self._token:
            return self.form()
        body = urllib.parse.urlencode(
            {"csrfmiddlewaretoken": self._token, "username": "nobody@example.com", "password": "wrong"}
        )
        return self._request("sign-in", "POST", "/admin/login/", body)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _request(self, what: str, method: str, path: str, body: str | None = None) -> Answer:
        began = time.monotonic()
        headers = {"Host": "localhost", "Referer": "https://localhost/admin/login/", "Cookie": self._cookie}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return Answer(began, time.monotonic() - began, what, 0, error=f"{type(error).__name__}: {error}")
        took_s = time.monotonic() - began
        release = ""
        if what == "ready" and response.status == 200:
            release = str(json.loads(content)["release"])
        elif what == "form" and response.status == 200:
            self._cookie = (response.getheader("Set-Cookie") or self._cookie).split(";")[0]
            found = re.search(rb'name="csrfmiddlewaretoken" value="([^"]+)"', content)
            self._token = found[1].decode() if found else ""
        return Answer(began, took_s, what, response.status, release=release)
