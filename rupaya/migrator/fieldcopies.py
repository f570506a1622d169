"""Copies of fields, made quickly while a run lasts: half of Django's time over a project state goes into them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from operator import is_
from typing import Any

from django.db import models
from django.db.models import Field


@contextmanager
def fields_copied() -> Iterator[None]:
    """Let `Field.clone` copy a clone that it has made of the same field before, instead of making each from nothing.

    Django clones every field of a model each time it makes the model anew, which it does for each operation on a model
    that refers to it, and in turn: a quarter of a first deployment. A project state's fields are never changed
    ("you are not allowed to mutate the Field instances inside", `ModelState`), and where one is all the same, it is
    seen. Only fields that Django itself defines: others may do anything when they are made (read in 5.2.19 and 6.0).
    """
    original = Field.clone
    patterns: dict[int, _Pattern] = {}

    def clone(field: Any) -> Any:
        if type(field) not in _PLAIN or hasattr(field, "model"):
            return original(field)
        pattern = patterns.get(id(field))
        if pattern is None or not pattern.is_of(field):
            pattern = patterns[id(field)] = _Pattern(field, original(field))
        return pattern.copy()

    Field.clone = clone  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        Field.clone = original  # type: ignore[method-assign]


_PLAIN = frozenset(
    kind
    for kind in vars(models).values()
    if isinstance(kind, type) and issubclass(kind, Field) and kind.clone is Field.clone
) - {models.GeneratedField, getattr(models, "CompositePrimaryKey", None)}
"""Of these, what the constructor is given is all that one is: no other field is inside."""


class _Pattern:
    """A field of a project state, and the untouched clone of it that is copied."""

    def __init__(self, field: Any, untouched: Any) -> None:
        self._field = field  # kept, so that no other object gets its id
        self._was = _Attributes(field)
        self._relation_was = _Attributes(field.remote_field) if field.remote_field else None
        self._untouched = _Attributes(untouched)
        self._relation = _Attributes(untouched.remote_field) if untouched.remote_field else None

    def is_of(self, field: Any) -> bool:
        """Whether nothing has become of the field since."""
        return self._was.are_still_of(field) and (
            self._relation_was is None or self._relation_was.are_still_of(field.remote_field)
        )

    def copy(self) -> Any:
        """One more clone, with a place of its own in the order of a model's fields."""
        made = self._untouched.copy()
        if self._relation:
            made.remote_field = self._relation.copy()
            made.remote_field.field = made
        if made.auto_created:
            made.creation_counter = Field.auto_creation_counter
            Field.auto_creation_counter -= 1
        else:
            made.creation_counter = Field.creation_counter
            Field.creation_counter += 1
        return made


class _Attributes:
    """What an object has, as it was."""

    def __init__(self, it: Any) -> None:
        self._type = type(it)
        self._all = vars(it).copy()
        self._contents = {name: value.copy() for name, value in self._all.items() if type(value) in (list, dict)}

    def are_still_of(self, it: Any) -> bool:
        """Whether it still has the very same, what is in its lists included."""
        now = vars(it)
        return (
            len(now) == len(self._all)
            and all(map(is_, now.values(), self._all.values()))
            and all(now[name] == contents for name, contents in self._contents.items())
        )

    def copy(self) -> Any:
        """A copy with lists of its own, as a constructor would have made them."""
        made = object.__new__(self._type)
        own = made.__dict__ = self._all.copy()
        for name, contents in self._contents.items():
            own[name] = contents.copy()
        return made
