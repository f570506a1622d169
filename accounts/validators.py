"""Rules for values that people give."""

from __future__ import annotations

from django.core.exceptions import ValidationError

PASSWORD_MAX_BYTES = 72


def fits_bcrypt(password: str | bytes | None) -> bool:
    """Tell whether bcrypt would see the whole password: it reads 72 bytes and ignores, or refuses, what follows."""
    if isinstance(password, str):
        try:
            password = password.encode()
        except UnicodeEncodeError:  # a lone surrogate, which no UTF-8 client can have sent
            return False
    return password is None or len(password) <= PASSWORD_MAX_BYTES


class MaximumBytesValidator:
    """Refuse a password of which bcrypt could not read every byte."""

    def validate(self, password: str, user: object = None) -> None:
        """Raise ValidationError for a password over 72 bytes in UTF-8."""
        if not fits_bcrypt(password):
            raise ValidationError(
                "This password is too long. It may have %(max_bytes)d bytes: as many English letters, "
                "or fewer letters of other scripts.",
                code="password_too_long",
                params={"max_bytes": PASSWORD_MAX_BYTES},
            )

    def get_help_text(self) -> str:
        return f"Your password can’t be longer than {PASSWORD_MAX_BYTES} bytes."
