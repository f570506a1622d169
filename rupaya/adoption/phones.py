"""Phone numbers in any spelling, read with the country of the person who has them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import phonenumbers

E164 = r"^\+[1-9][0-9]{1,14}$"
DEFAULT_COUNTRY = "IN"


@dataclass(frozen=True)
class Reading:
    """A phone number that is not E.164, and what it is in E.164; empty if it cannot be read, or somebody has it."""

    user_id: str
    phone_number: str
    e164: str


def read(phone_number: str, country: str | None) -> str:
    """The number in E.164, or an empty text."""
    try:
        number = phonenumbers.parse(phone_number, (country or DEFAULT_COUNTRY).upper())
    except phonenumbers.NumberParseException:
        return ""
    if not phonenumbers.is_valid_number(number):
        return ""
    written = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return written if re.match(E164, written) else ""


def readings(cursor: Any) -> list[Reading]:
    """Every number that is not E.164, the oldest user's first: who comes later cannot have the same one."""
    cursor.execute(
        "SELECT user_id::text, phone_number, country_code FROM users WHERE NOT phone_number ~ %s "
        "ORDER BY created_at NULLS LAST, user_id",
        [E164],
    )
    found = [(user_id, number, read(number, country)) for user_id, number, country in cursor.fetchall()]
    cursor.execute("SELECT phone_number FROM users WHERE phone_number = ANY(%s)", [[e164 for *_, e164 in found]])
    taken = {number for (number,) in cursor.fetchall()}
    result = []
    for user_id, number, e164 in found:
        result.append(Reading(user_id, number, "" if e164 in taken else e164))
        taken.add(e164)
    return result
