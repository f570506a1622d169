"""Values for a column, by the number of the row: of its type, and as the rules that speak of it may want them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from rupaya.migrator.analysis.gate.regextexts import matching

Maker = Callable[[int], str | None]
"""The value of a row by its number, as text that PostgreSQL reads; None: NULL."""


@dataclass
class MadeUpColumn:
    """A column, its domain unwrapped."""

    name: str
    type: str
    category: str
    declared: str
    typmod: int
    not_null: bool
    fills_itself: bool
    has_default: bool
    labels: Sequence[str]


def maker_of(column: MadeUpColumn) -> Maker | None:
    """Values of a column's type, a different one for each row where the type has so many; None: it is not known."""
    if column.labels:
        return lambda number: column.labels[number % len(column.labels)]
    by_type: dict[str, Maker] = {
        "int2": lambda number: str(number % 32_768),
        "money": lambda number: str(number % 1000),
        "json": lambda number: f'{{"n": {number}}}',
        "jsonb": lambda number: f'{{"n": {number}}}',
        "uuid": lambda number: str(UUID(int=number)),
        "bytea": lambda number: f"\\x{number:08x}",
        "xml": lambda number: f"<n>{number}</n>",
        "inet": lambda number: f"10.{number // 65536}.{number // 256 % 256}.{number % 256}",
        "cidr": lambda number: f"10.{number // 65536}.{number // 256 % 256}.{number % 256}/32",
        "macaddr": lambda number: f"08:00:2b:{number // 65536:02x}:{number // 256 % 256:02x}:{number % 256:02x}",
        "tsvector": lambda number: f"x{number}",
        "hstore": lambda number: f"n=>{number}",
        "point": lambda number: f"({number},{number})",
        "interval": lambda number: f"{number} seconds",
        "time": lambda number: f"{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}",
        "timetz": lambda number: f"{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}+00",
        "numeric": lambda number: _number(number, column.typmod),
        "bpchar": lambda number: _text(number, column.typmod - 4),
        "bit": lambda number: f"{number:b}".rjust(column.typmod, "0")[-column.typmod :],
        "varbit": lambda number: f"{number:b}"[-column.typmod :] if column.typmod > 0 else f"{number:b}",
    }
    by_category: dict[str, Maker] = {
        "S": lambda number: _text(number, column.typmod - 4 if column.typmod > 4 else 0),
        "N": str,
        "B": lambda number: "true" if number % 2 else "false",
        "D": lambda number: _moment(number, column.type),
        "A": constant("{}"),
        "R": constant("empty"),
        "T": lambda number: f"{number} seconds",
    }
    return by_type.get(column.type) or by_category.get(column.category)


def null(_number: int) -> None:
    return None


def constant(value: str) -> Maker:
    return lambda _number: value


def _moment(number: int, type_name: str) -> str:
    if type_name == "date":
        return (date(2020, 1, 1) + timedelta(days=number % 200_000)).isoformat()
    return (datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=number)).isoformat()


def _number(number: int, typmod: int) -> str:
    if typmod < 0:
        return str(number)
    digits, scale = (typmod - 4) >> 16 & 0xFFFF, (typmod - 4) & 0x7FF
    whole = 10 ** max(digits - scale, 0)
    return str(number % whole) if whole > 1 else f"0.{number % 10**scale:0{scale}d}"


def _text(number: int, length: int) -> str:
    if length <= 0 or length >= 6:
        return f"x{number}"
    letters = "0123456789abcdefghijklmnopqrstuvwxyz"
    written = ""
    while number:
        number, digit = divmod(number, 36)
        written = letters[digit] + written
    return written[-length:].rjust(min(length, 1), "0")


def offers_for(column: MadeUpColumn, maker: Maker, rules: Sequence[str]) -> list[Maker]:
    """Values that may satisfy a rule: what is there, and what the rule itself speaks of."""
    offers: list[Maker] = [maker]
    text = " ".join(rules)
    literals = [literal.replace("''", "'") for literal in re.findall(r"'((?:[^']|'')*)'", text)]
    for pattern in re.findall(r"~\*? '((?:[^']|'')*)'", text):
        try:
            offers.insert(0, matching(pattern.replace("''", "'")))
        except ValueError:
            continue
    offers += [constant(literal) for literal in dict.fromkeys(literals)]
    if column.category == "N":
        numbers = {int(float(number)) for number in re.findall(r"\d+(?:\.\d+)?", text)} | {0, 1}
        offers += [constant(str(number + more)) for number in sorted(numbers) for more in (0, 1, -1)]
        offers.append(lambda number: str(number + 20_000))
    if column.category == "D":
        offers.append(lambda number: _moment(number + 1_000_000, column.type))
    if column.category == "B":
        offers += [constant("true"), constant("false")]
    if column.category == "S":
        offers += [constant(""), lambda number: f"{maker(number)}".upper(), lambda number: f"{maker(number)}".lower()]
    return offers if column.not_null else [*offers, null]
