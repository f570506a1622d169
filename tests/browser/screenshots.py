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
    light = visit("inspector", viewport=DESK, color_scheme="light").page
    for name, path, height in (
        ("home", "/admin/", 620),
        ("users", "/admin/accounts/user/", 620),
        ("user", MEERA, 620),
        ("diagram", "/admin/schema/diagram/", 800),
        ("timeline", "/admin/schema/timeline/", 620),
    ):
        light.set_viewport_size({"width": DESK["width"], "height": height})
        light.goto(path)
        save(light.screenshot(animations="disabled"), name)

    light.set_viewport_size({"width": DESK["width"], "height": 760})
    light.goto("/admin/story/run/")
    light.locator("#result_list tbody tr").filter(has_text="v6-0a1b2c3").first.get_by_role("link").first.click()
    attempt = light.get_by_role("region", name=re.compile("transactions.0006_inspection_indexes")).first
    attempt.get_by_text(re.compile(r"^\d+ statements?")).click()
    attempt.evaluate("attempt => attempt.scrollIntoView()")
    save(light.screenshot(animations="disabled"), "run")

    dark = visit("operator", viewport=DESK | {"height": 620}, color_scheme="dark").page
    dark.goto(f"/admin/transactions/transaction/?user__id__exact={sample.MEERA}")
    save(dark.screenshot(animations="disabled"), "transactions-dark")

    phone = visit("operator", **ON_A_PHONE, color_scheme="light").page
    phone.goto(MEERA)
    save(phone.screenshot(animations="disabled"), "user-phone")
