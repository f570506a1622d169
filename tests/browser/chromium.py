"""Which browser the tests drive: the system's Chromium or Chrome, else the one that Playwright downloads.

`python -m tests.browser.chromium` sees to it that there is one.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
# No graphics card, and nothing of its own that it would fetch. Root has no sandbox; Playwright does without it anyway.
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split(" ")


def of_system() -> str | None:
    """The system's browser; None if it has none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def launch(playwright: Playwright) -> Browser:
    """Start it, without a window."""
    return playwright.chromium.launch(executable_path=of_system(), args=ARGUMENTS)


def main() -> int:
    """Download Playwright's Chromium, if there is no other."""
    if of_system():
        return 0
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        if Path(playwright.chromium.executable_path).exists():
            return 0
    print(f"This system has none of {', '.join(NAMES)}; Playwright downloads a Chromium of its own.")
    if subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False).returncode:
        print(
            "There is no browser: the system has none, and Playwright's could not be downloaded. Install one; on "
            "Debian: apt install chromium",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
