"""Fields whose form in the database is not the one Django works with, because other backends read it too."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from phonenumber_field.modelfields import PhoneNumberField  # type: ignore[import-untyped]

UNUSABLE_PASSWORD = "!"  # noqa: S105 - Django's mark for "no password", never a hash
BCRYPT_PREFIX = "bcrypt$"

if TYPE_CHECKING:
    TextField = models.CharField[str, str]
else:
    TextField = models.CharField

# PostgreSQL and Python read these alike. The last character of a bcrypt salt carries two bits: only four are possible,
# and a library that is given another one fails instead of saying "wrong password".
BCRYPT_PATTERN = r"^\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}$"
E164_PATTERN = r"^\+[1-9][0-9]{1,14}$"


class BcryptHashField(TextField):
    """Django's encoded password, kept in the database as modular-crypt text.

    ============================  =====================
    Django                        the database
    ============================  =====================
    ``bcrypt$$2b$12$…``           ``$2b$12$…``
    an unusable password, ``!…``  NULL
    ============================  =====================
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "null": True, "default": UNUSABLE_PASSWORD})

    def deconstruct(self) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        name, path, args, kwargs = super().deconstruct()
        del kwargs["null"], kwargs["default"]
        return name, path, args, kwargs

    def from_db_value(self, value: str | None, expression: object, connection: BaseDatabaseWrapper) -> str:
        return UNUSABLE_PASSWORD if value is None else BCRYPT_PREFIX + value

    def get_prep_value(self, value: Any) -> str | None:
        """Return the modular-crypt text; raise ValueError for a hash of any other algorithm."""
        encoded: str | None = super().get_prep_value(value)
        if not encoded or encoded.startswith(UNUSABLE_PASSWORD):
            return None
        if not encoded.startswith(BCRYPT_PREFIX):
            raise ValueError("Only bcrypt hashes are stored: other backends could not check any other.")
        return encoded.removeprefix(BCRYPT_PREFIX)


class E164PhoneNumberField(PhoneNumberField):  # type: ignore[misc]  # the library has no types
    """A phone number that reaches the database in E.164 form or not at all.

    The library's own field writes what it cannot understand as it came; this one raises ValidationError on every path
    that writes: `save`, `create`, `bulk_create`, `update` and `bulk_update`. An empty text becomes NULL, because the
    column is unique.
    """

    def get_db_prep_save(self, value: Any, connection: BaseDatabaseWrapper) -> Any:
        prepared = super().get_db_prep_save(value, connection)
        if hasattr(prepared, "resolve_expression"):
            return prepared
        if not prepared:
            return None
        # What another backend wrote in E.164 stays, even if the library's list of number ranges is behind.
        if not re.fullmatch(E164_PATTERN, prepared):
            raise ValidationError("Enter a valid phone number, such as +919876543210.", code="invalid_phone_number")
        return prepared
