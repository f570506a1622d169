"""What is wrong with where things are on a page: text over text, text that is cut off, and what no key reaches."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from playwright.sync_api import Error, Page

FAULTS = Path(__file__).with_suffix(".js")


def faults(page: Page, within_ms: float = 3000) -> list[str]:
    """One line a fault that is still there after a while: a page that was made wider settles first."""
    script = FAULTS.read_text()
    with suppress(Error):
        page.wait_for_function(f"() => !({_function(script)})().length", timeout=within_ms)
    found: list[str] = page.evaluate(_function(script))
    return found


def _function(script: str) -> str:
    return script.partition("\n")[2].strip()
