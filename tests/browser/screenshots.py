"""Pictures of the main pages for the README, written by `make screenshots`: the same made-up people each time."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.browser import sample
from tests.browser.visitor import DESK, ON_A_PHONE, Visitor

pytestmark = pytest.mark.browser

IMAGES = Path(__file__).parents[2] / "docs" / "images"
COLOURS = 128
MEERA = f"/admin/accounts/user/{sample.MEERA}/change/"


def save(picture: bytes, name: str) -> None:
    """Few colours, and a picture of text is a quarter as big, and looks the same."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
        IMAGES / f"{name}.png", optimize=True
    )


def test_write_them(visit: Callable[..., Visitor]) -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    visitor = visit("auditor", viewport=DESK, color_scheme="light")
    light = visitor.page

    def shot(name: str, path: str, height: int = 720) -> None:
        light.set_viewport_size({"width": DESK["width"], "height": height})
        light.goto(path)
        save(light.screenshot(animations="disabled"), name)

    for name, path, height in (
        ("home", "/admin/", 760),
        ("users", "/admin/accounts/user/", 620),
        ("user", MEERA, 900),
        ("budgets", "/admin/transactions/budgetprogress/", 480),
        ("log", "/admin/admin/logentry/", 480),
        ("overview", "/admin/schema/", 900),
        ("timeline", "/admin/schema/timeline/", 620),
        ("tables", "/admin/schema/tables/", 620),
        ("column", "/admin/schema/tables/users/columns/phone_number/", 620),
        ("diagram", "/admin/schema/diagram/", 800),
        ("status", "/health/", 620),
    ):
        shot(name, path, height)

    visitor.site.query("CREATE INDEX by_hand ON users (timezone)")
    try:
        shot("drift", "/admin/schema/drift/")
    finally:
        visitor.site.query("DROP INDEX by_hand")

    light.set_viewport_size({"width": DESK["width"], "height": 760})
    light.goto("/admin/story/run/")
    light.locator("#result_list tbody tr").filter(has_text="v6-0a1b2c3").first.get_by_role("link").first.click()
    attempt = light.get_by_role("region", name=re.compile("transactions.0006_inspection_indexes")).first
    attempt.evaluate("attempt => { attempt.querySelector('details').open = true; attempt.scrollIntoView() }")
    save(light.screenshot(animations="disabled"), "run")

    light.set_viewport_size({"width": DESK["width"], "height": 620})
    light.goto("/admin/transactions/transaction/")
    light.locator("details.filters summary").click()
    save(light.screenshot(animations="disabled"), "filter")
    light.goto("/admin/")
    light.get_by_role("searchbox", name="Search everything").press_sequentially("users")
    light.locator("#site-search-found").get_by_role("region", name="Tables").wait_for()
    save(light.screenshot(animations="disabled"), "search")

    dark = visit("operator", viewport=DESK | {"height": 620}, color_scheme="dark").page
    dark.goto(f"/admin/transactions/transaction/?user__id__exact={sample.MEERA}")
    save(dark.screenshot(animations="disabled"), "transactions-dark")

    phone = visit("operator", **ON_A_PHONE, color_scheme="light").page
    for name, path in (
        ("user-phone", MEERA),
        ("transactions-phone", f"/admin/transactions/transaction/?user__id__exact={sample.MEERA}"),
    ):
        phone.goto(path)
        save(phone.screenshot(animations="disabled"), name)
