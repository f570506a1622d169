"""What of personal data those see who may not see it whole: enough to tell two people apart."""

from __future__ import annotations

from typing import Any

import phonenumbers

DOTS = "•••"


def mask_email(value: Any) -> str:
    """``asha@example.com`` → ``a•••@example.com``."""
    name, at, domain = str(value).rpartition("@")
    return f"{name[:1]}{DOTS}@{domain}" if at else DOTS


def mask_phone(value: Any) -> str:
    """``+919876541234`` → ``+91 •••• ••1234``; of a number that is hardly longer than that, nothing."""
    try:
        parsed = phonenumbers.parse(str(value))
    except phonenumbers.NumberParseException:
        return DOTS
    national = phonenumbers.national_significant_number(parsed)
    return f"+{parsed.country_code} •••• ••{national[-4:]}" if len(national) >= 8 else f"+{parsed.country_code} {DOTS}"


def mask_name(value: Any) -> str:
    """``Asha Kulkarni`` → ``A••• K•••``."""
    return " ".join(f"{word[:1]}{DOTS}" for word in str(value).split())


def mask_text(value: Any) -> str:
    """Free text may say anything about anybody: only that there is some."""
    return f"{DOTS} ({len(str(value))} characters)"
