"""Texts that match a regular expression, as many different ones as it allows."""

from __future__ import annotations

import re
from collections.abc import Callable
from re import _constants as kind  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

MORE_CHARACTERS = 8
"""How many times more than it must a part is repeated that may be repeated for ever."""

_CATEGORIES = {
    kind.CATEGORY_DIGIT: "0123456789",
    kind.CATEGORY_WORD: "abcdefghijklmnopqrstuvwxyz0123456789",
    kind.CATEGORY_SPACE: " ",
    kind.CATEGORY_NOT_DIGIT: "abcdefghijklmnopqrstuvwxyz",
    kind.CATEGORY_NOT_SPACE: "abcdefghijklmnopqrstuvwxyz0123456789",
    kind.CATEGORY_NOT_WORD: "-",
}
_PRINTABLE = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-_.@+/ "


def matching(pattern: str) -> Callable[[int], str]:
    """A function from a number to a text that matches, another text for another number as far as there are.

    Raises:
        ValueError: if Python cannot read the pattern.
    """
    try:
        parsed = parser.parse(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} cannot be read: {error}") from None
    classes: dict[int, list[str]] = {}
    return lambda number: _Writer(number, classes).written(parsed)


class _Writer:
    """Spends a number, digit by digit, on the choices that a pattern leaves."""

    def __init__(self, number: int, classes: dict[int, list[str]]) -> None:
        """With the letters of each class in the pattern, as far as they are known; they are the same each time."""
        self.left = number
        self.classes = classes

    def choose(self, among: int) -> int:
        self.left, chosen = divmod(self.left, among)
        return chosen

    def written(self, parsed: Any) -> str:
        return "".join(self._one(operator, argument) for operator, argument in parsed)

    def _one(self, operator: Any, argument: Any) -> str:
        if operator is kind.LITERAL:
            return chr(argument)
        if operator is kind.ANY:
            return _PRINTABLE[self.choose(36)]
        if operator is kind.NOT_LITERAL:
            return self._among([letter for letter in _PRINTABLE if ord(letter) != argument])
        if operator is kind.IN:
            if id(argument) not in self.classes:
                self.classes[id(argument)] = _class(argument)
            return self._among(self.classes[id(argument)])
        if operator in (kind.MAX_REPEAT, kind.MIN_REPEAT, kind.POSSESSIVE_REPEAT):
            least, most, inner = argument
            times = least if least == most else min(int(most), least + MORE_CHARACTERS)
            return "".join(self.written(inner) for _ in range(times))
        if operator is kind.SUBPATTERN:
            return self.written(argument[-1])
        if operator is kind.BRANCH:
            return self.written(argument[1][self.choose(len(argument[1]))])
        if operator is kind.ATOMIC_GROUP:
            return self.written(argument)
        return ""  # an anchor, or a look around: the caller finds out whether the text will do

    def _among(self, letters: list[str]) -> str:
        return letters[self.choose(len(letters))] if letters else ""


def _class(items: Any) -> list[str]:
    letters: list[str] = []
    negated = False
    for operator, argument in items:
        if operator is kind.NEGATE:
            negated = True
        elif operator is kind.LITERAL:
            letters.append(chr(argument))
        elif operator is kind.RANGE:
            letters += [chr(code) for code in range(argument[0], min(argument[1], argument[0] + 127) + 1)]
        elif operator is kind.CATEGORY:
            letters += _CATEGORIES.get(argument, "")
    if not negated:
        return letters
    return [letter for letter in _PRINTABLE if letter not in letters]
