"""Phone numbers as the original spelled them: who has which, and which number it is.

The original keeps digits only, with the country's code where it was typed, and writes 'IN' for everybody. So a number
has two readings: with a `+` before it, and as a national one of the person's country. Only where one of them is a valid
number is it known which was proved.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import phonenumbers

# For PostgreSQL too; here only with `fullmatch`, for to Python `$` is also before a newline at the end.
E164 = r"^\+[1-9][0-9]{1,14}$"
DEFAULT_COUNTRY = "IN"
# The library would read letters as the digits on their keys, and what follows "ext" as something else.
SPELLING = re.compile(r"\+?[0-9 ().\-/]+\Z")

READABLE = "readable"
AMBIGUOUS = "ambiguous"
UNREADABLE = "unreadable"
TAKEN = "taken"
CONTESTED = "contested"
LOST = (UNREADABLE, TAKEN, CONTESTED)
"""What `--unreadable-phones=clear` makes NULL."""

# A plan is read before `adopt` adds the columns that somebody dropped.
_IS_PROVED = "coalesce((to_jsonb(users) ->> 'phone_verified')::boolean, false)"

INTERNATIONAL = "international"
NATIONAL = "national"


@dataclass(frozen=True)
class Reading:
    """A phone number that must change, and what becomes of it."""

    user_id: str
    phone_number: str
    kind: str
    """`READABLE`; `AMBIGUOUS`: both readings are valid; `UNREADABLE`: none is; `TAKEN`: somebody else has a better
    claim; `CONTESTED`: several people have equally good ones."""
    e164: str = ""
    """The number in E.164; empty if it is not known, or not this person's."""


@dataclass(frozen=True)
class _Claim:
    user_id: str
    phone_number: str
    is_proved: bool
    is_ambiguous: bool
    """Two numbers could be meant; if one was proved, it is not known which."""

    @property
    def is_e164(self) -> bool:
        return re.fullmatch(E164, self.phone_number) is not None

    @property
    def rank(self) -> tuple[bool, bool]:
        """Among claims of which none is proved; the smaller, the better: certain, written so already. Never the age."""
        return (self.is_ambiguous, not self.is_e164)


def read(phone_number: str, country: str | None) -> dict[str, str]:
    """The valid readings in E.164, by their way of reading; one alone if both are the same number."""
    text = phone_number.strip()
    if not SPELLING.match(text):
        return {}
    ways: dict[str, tuple[str, str | None]] = {NATIONAL: (text, (country or DEFAULT_COUNTRY).upper())}
    if not text.startswith("+"):
        ways = {INTERNATIONAL: (f"+{text}", None), **ways}
    found: dict[str, str] = {}
    for way, (spelling, region) in ways.items():
        try:
            number = phonenumbers.parse(spelling, region)
        except phonenumbers.NumberParseException:
            continue
        written = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
        if phonenumbers.is_valid_number(number) and re.fullmatch(E164, written) and written not in found.values():
            found[way] = written
    return found


def readings(cursor: Any, ambiguous_as: str) -> list[Reading]:
    """Every number that is not E.164, and those that are and that somebody else proved, by user.

    `ambiguous_as` is `INTERNATIONAL`, `NATIONAL` or anything else, which leaves ambiguous numbers without a reading.
    """
    cursor.execute(
        f"SELECT user_id::text, phone_number, {_IS_PROVED}, to_jsonb(users) ->> 'country_code' FROM users "
        "WHERE NOT phone_number ~ %s",
        [E164],
    )
    claims: dict[str, list[_Claim]] = defaultdict(list)
    result = []
    for user_id, phone_number, is_proved, country in cursor.fetchall():
        found = read(phone_number, country)
        if not found:
            result.append(Reading(user_id, phone_number, UNREADABLE))
            continue
        is_ambiguous = len(found) > 1
        e164 = found.get(ambiguous_as, "") if is_ambiguous else next(iter(found.values()))
        if not e164:
            result.append(Reading(user_id, phone_number, AMBIGUOUS))
            continue
        claims[e164].append(_Claim(user_id, phone_number, is_proved, is_ambiguous))
    cursor.execute(
        f"SELECT user_id::text, phone_number, {_IS_PROVED} FROM users WHERE phone_number = ANY(%s)",
        [list(claims)],
    )
    for user_id, phone_number, is_proved in cursor.fetchall():
        claims[phone_number].append(_Claim(user_id, phone_number, is_proved, False))
    for e164, its in claims.items():
        result += _settled(e164, its)
    return sorted(result, key=lambda reading: reading.user_id)


def _settled(e164: str, claims: list[_Claim]) -> list[Reading]:
    """Who gets a number, of all who claim it: the one who proved it, and nobody where that is not certain."""
    proved = [claim for claim in claims if claim.is_proved]
    best = min(claim.rank for claim in claims)
    candidates = proved or [claim for claim in claims if claim.rank == best]
    is_certain = len(candidates) == 1 and (len(claims) == 1 or not (proved and candidates[0].is_ambiguous))
    settled = []
    for claim in claims:
        if claim not in candidates:
            settled.append(Reading(claim.user_id, claim.phone_number, TAKEN if is_certain else CONTESTED))
        elif not is_certain:
            settled.append(Reading(claim.user_id, claim.phone_number, CONTESTED))
        elif not claim.is_e164:
            kind = AMBIGUOUS if claim.is_ambiguous else READABLE
            settled.append(Reading(claim.user_id, claim.phone_number, kind, e164))
    return settled
