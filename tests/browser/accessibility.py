"""What a page would be to somebody who cannot see it well, or at all: axe-core's verdict, in light and in dark."""

from __future__ import annotations

from importlib import resources
from typing import Any

from playwright.sync_api import Page

# Not those that axe calls minor: they are advice.
GRAVE = ("moderate", "serious", "critical")


def violations(page: Page) -> list[str]:
    """What is gravely wrong with the page as it is now, in both colour schemes, one line an element."""
    source = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()
    page.evaluate(source)
    found = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.evaluate("Promise.all(document.getAnimations().map(animation => animation.finished))")
        # Without its preloading, which would load style sheets from other addresses than the page does.
        result: Any = page.evaluate("axe.run(document, {preload: false, resultTypes: ['violations']})")
        found += [
            f"{scheme}: {violation['id']} ({violation['impact']}): {node['html']}: {node['failureSummary']}"
            for violation in result["violations"]
            for node in violation["nodes"]
            if violation["impact"] in GRAVE
        ]
    return found
