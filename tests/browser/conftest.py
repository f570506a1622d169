"""A browser, the service before it, and people who are signed in."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import new_database

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.browser.site import Site
    from tests.browser.visitor import Visitor

# `make test` installs no browser's driver; `make browser-test` does.
collect_ignore_glob = [] if importlib.util.find_spec("playwright") else ["test_*.py"]


@pytest.fixture(scope="session")
def site(production_release: Path, server_url: str, _template: str) -> Iterator[Site]:
    from tests.browser.site import running

    with new_database(server_url, template=_template) as url, running(production_release, url) as site:
        yield site


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    from tests.browser.chromium import launch

    with sync_playwright() as playwright, launch(playwright) as browser:
        yield browser


@pytest.fixture(scope="session")
def _states() -> dict[str, Any]:
    """The cookies of those who have signed in: a code is good once, and the next one is half a minute away."""
    return {}


@pytest.fixture
def visit(chromium: Browser, site: Site, _states: dict[str, Any]) -> Iterator[Callable[..., Visitor]]:
    """Gives somebody who is signed in as what is asked for, or nobody in particular; nothing may go wrong for them."""
    from tests.browser.visitor import Visitor

    visitors: list[Visitor] = []

    def come(role: str | None = None, **options: Any) -> Visitor:
        if role is not None and role not in _states:
            visitor = Visitor(chromium, site)
            visitors.append(visitor)
            visitor.sign_in(role)
            _states[role] = visitor.context.storage_state()
        visitor = Visitor(chromium, site, _states.get(role), **options)
        visitors.append(visitor)
        return visitor

    yield come
    trouble = [note for visitor in visitors for note in visitor.trouble]
    for visitor in visitors:
        visitor.context.close()
    assert not trouble, "\n".join(trouble)
