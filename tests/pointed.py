"""Django's connection of this process, pointed at a database of the test's own."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.db import connections

from rupaya.story import state


class pointed_at:  # noqa: N801 - a context manager
    """Point it there for a while; pytest-django's guard is lifted for as long as that."""

    def __init__(self, url: str, blocker: Any) -> None:
        self.name = urlsplit(url).path.strip("/")
        self.blocker = blocker

    def __enter__(self) -> None:
        self.blocker.unblock()
        self.connection = connections["default"]
        self.connection.close()
        self.before = self.connection.settings_dict["NAME"]
        self.connection.settings_dict["NAME"] = self.name
        state.forget()

    def __exit__(self, *_exc: object) -> None:
        self.connection.close()
        self.connection.settings_dict["NAME"] = self.before
        state.forget()
        self.blocker.restore()
