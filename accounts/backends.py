"""Signing in by e-mail address and password."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest

from accounts.models import User
from accounts.validators import fits_bcrypt


class BcryptBackend(ModelBackend):
    """Django's own backend, to which a password longer than bcrypt's 72 bytes is a wrong one.

    For an unknown user, Django hashes the given password, to take as long as for a known one; bcrypt would raise.
    """

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        return super().authenticate(request, username, password, **kwargs) if fits_bcrypt(password) else None

    async def aauthenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        return await super().aauthenticate(request, username, password, **kwargs) if fits_bcrypt(password) else None
