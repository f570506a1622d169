"""User and password of the role that serves, in the form in which AWS Secrets Manager keeps them: JSON.

Both come in one variable, because they change together: a user of before beside a password of now would fit nothing.
No Django here: the early exit of `migrate` reads it too.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Credentials:
    """Who serves; and, where `migrate` is to make that role, its group and since when it has its password."""

    def __init__(self, username: str, password: str, member_of: str = "", since: str = "") -> None:
        self.username = username
        self.password = password
        self.member_of = member_of
        self.since = since
        """ISO 8601, UTC: a task that was given an older password takes no newer one away."""

    def fit(self, **parameters: Any) -> bool:
        """Whether the server that libpq's parameters name accepts them; its own address, because a pooler has its own.

        An answer of no may also mean that there is no connection to spare.
        """
        import psycopg2

        try:
            psycopg2.connect(**parameters | {"user": self.username, "password": self.password}).close()
        except psycopg2.Error:
            return False
        return True

    @property
    def are_to_be_made(self) -> bool:
        """Whether `migrate`, as the owner, keeps a role with them."""
        return bool(self.member_of)


def read(text: str) -> Credentials:
    """What the JSON says; further keys, which Secrets Manager's own rotations add, mean nothing here.

    Raises:
        ValueError: naming what is wrong, and never a value.
    """
    import json

    try:
        found = json.loads(text)
    except ValueError:
        raise ValueError("is no JSON") from None  # the decoder's own text would quote it
    if not isinstance(found, dict):
        raise ValueError("is no JSON object")
    username, password = _text(found, "username"), _text(found, "password")
    if not username or not password:
        raise ValueError("has no username or no password")
    member_of, since = _text(found, "member_of"), _text(found, "since")
    if member_of and not _is_utc(since):
        raise ValueError('has member_of, but "since" is no time of UTC such as 2026-01-31T12:00:00+00:00')
    if member_of == username:
        raise ValueError("names a role that would be a member of itself")
    return Credentials(username, password, member_of, since)


def _text(found: dict[str, Any], key: str) -> str:
    value = found.get(key, "")
    if not isinstance(value, str):
        raise ValueError(f'has a "{key}" that is no text')
    return value


def _is_utc(text: str) -> bool:
    """Whether it is a time in the one form in which the later text is the later time."""
    from datetime import datetime

    try:
        return datetime.fromisoformat(text).isoformat(timespec="seconds") == text and text.endswith("+00:00")
    except ValueError:
        return False
