"""Signing in by e-mail address and password."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest

from accounts.validators import fits_bcrypt


class BcryptBackend(ModelBackend):
    """Django's own backend, for which a password that no hash can have come from is merely wrong.

    For an unknown user that one hashes the given password, to take as long as for a known one; bcrypt would raise.
    """

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> AbstractBaseUser | None:
        return super().authenticate(request, username, password, **kwargs) if fits_bcrypt(password) else None

    async def aauthenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> AbstractBaseUser | None:
        return await super().aauthenticate(request, username, password, **kwargs) if fits_bcrypt(password) else None
