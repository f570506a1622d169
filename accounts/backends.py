"""Signing in by e-mail address and password."""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth.backends import ModelBackend
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from accounts.longpasswords import matches_as_cut
from accounts.models import User


class BcryptBackend(ModelBackend):
    """Django's own backend, to which a password over bcrypt's 72 bytes is wrong unless the original hashed it.

    For an unknown user, Django hashes the given password, to take as long as for a known one; such a one is refused.
    """

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        try:
            return super().authenticate(request, username, password, **kwargs)
        except ValidationError:
            matches_as_cut(password or "", None)
            return None

    async def aauthenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        try:
            return await super().aauthenticate(request, username, password, **kwargs)
        except ValidationError:
            await sync_to_async(matches_as_cut, thread_sensitive=False)(password or "", None)
            return None
