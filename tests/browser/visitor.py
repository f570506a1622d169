"""Somebody at a browser, and whatever goes wrong in it while they look around."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Response

from tests.browser.site import PASSWORD, Site
from tests.faults.migrator import wait_for
from tests.server.browser import code

TIMEOUT_MS = 15_000
# Both are features in Chromium on other systems, where the header closes them.
HARMLESS = r"Permissions-Policy header: Unrecognized feature: '(bluetooth|web-share)'"
DESK = {"width": 1280, "height": 800}
STATUS = "/health/"
PHONE = {"width": 390, "height": 844}
ON_A_PHONE = {"viewport": PHONE, "is_mobile": True, "has_touch": True}


class Visitor:
    """One browser window with cookies of its own.

    What the console calls an error, a refusal of the content security policy, an exception in a script, a request that
    failed: all is noted, and fails the test in the end, unless the test has said that it `expects` it.
    """

    def __init__(self, browser: Browser, site: Site, state: Any = None, **options: Any) -> None:
        self.site = site
        self.context: BrowserContext = browser.new_context(
            base_url=site.url, ignore_https_errors=True, storage_state=state, locale="en-GB", timezone_id="UTC",
            **{"viewport": DESK} | options,
        )  # fmt: skip
        self.context.set_default_timeout(TIMEOUT_MS)
        self._noted: list[str] = []
        self._expected = [HARMLESS]
        self.context.on("console", self._note_message)
        self.context.on("weberror", lambda error: self._noted.append(f"exception: {error.error}"))
        self.context.on("requestfailed", self._note_failure)
        self.context.on("response", self._note_response)
        self.page: Page = self.context.new_page()

    @property
    def width(self) -> int:
        """How wide the page is, however it was scrolled or zoomed to fit."""
        return int(
            self.page.evaluate(
                "Math.max(document.documentElement.scrollWidth, document.body.scrollWidth, window.innerWidth)"
            )
        )

    def expects(self, pattern: str) -> None:
        """Let whatever matches go wrong in this test."""
        self._expected.append(pattern)

    @property
    def trouble(self) -> list[str]:
        """What went wrong and was not expected."""
        return [note for note in self._noted if not any(re.search(pattern, note) for pattern in self._expected)]

    def sign_in(self, role: str) -> None:
        """Give the password, and then what the authenticator app shows."""
        self.page.goto("/admin/")
        self.page.get_by_label("Email").fill(f"{role}@example.com")
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Log in").click()
        self.page.get_by_label("Code").fill(code(self.site.secrets[role]))
        self.page.get_by_role("button", name="Continue").click()
        self.page.wait_for_url("**/admin/")

    def _note_message(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._noted.append(f"console: {message.text} ({message.location.get('url')})")

    def _note_failure(self, request: Request) -> None:
        # Nothing failed where a page was left, or a download begun, while something was still on its way.
        if request.failure != "net::ERR_ABORTED":
            self._noted.append(f"request: {request.method} {request.url}: {request.failure}")

    def _note_response(self, response: Response) -> None:
        if response.status >= 400:
            self._noted.append(f"response: {response.status} {response.request.method} {response.url}")


def open_ready(visitor: Visitor, path: str) -> None:
    """Open a page that is there. The status page is not, while a busy machine has not let the sampler ask lately."""
    if path == STATUS:
        visitor.expects(rf"^(response|console): .*\b500\b.*{STATUS}")

    def opened() -> bool:
        response = visitor.page.goto(path)
        return response is not None and response.status == 200

    assert opened() or (path == STATUS and wait_for(opened, "the status page"))
