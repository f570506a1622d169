"""Column types: which of two takes the values of both, by a list of what is known to be read alike by both codes."""

from __future__ import annotations

import re

from rupaya.migrator.schema.diff import INTEGERS

_TYPE = re.compile(r"(?P<name>[a-z ]+?)(?:\((?P<limits>[\d, ]+)\))?(?P<array>(?:\[\d*\])*)")


def widest(one: str, other: str) -> str | None:
    """The narrowest type that takes the values of both, as PostgreSQL names types; None: no two codes could share it.

    Only whole numbers, texts, and decimals among themselves: everything else is read as another type by one of the
    codes, or not at all.
    """
    if one == other:
        return one
    first, second = _TYPE.fullmatch(one), _TYPE.fullmatch(other)
    if first is None or second is None or bool(first["array"]) != bool(second["array"]):
        return None
    base = _widest_base(first["name"], first["limits"], second["name"], second["limits"])
    return None if base is None else base + first["array"]


def _widest_base(one: str, limits: str | None, other: str, other_limits: str | None) -> str | None:
    if one in INTEGERS and other in INTEGERS:
        return max(one, other, key=INTEGERS.index)
    if {one, other} <= {"varchar", "text"}:
        if "text" in (one, other):
            return "text"
        if limits is None or other_limits is None:
            return "varchar"
        return f"varchar({max(int(limits), int(other_limits))})"
    if one == other == "numeric":
        if limits is None or other_limits is None:
            return "numeric"
        digits, places = (int(number) for number in limits.split(","))
        other_digits, other_places = (int(number) for number in other_limits.split(","))
        most_places = max(places, other_places)
        whole = max(digits - places, other_digits - other_places)
        return f"numeric({whole + most_places}, {most_places})"
    return None
