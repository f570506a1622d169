"""How often Python looks for garbage while a command loads and renders everything there is."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

OBJECTS_BETWEEN = 50_000
"""Python's own is 700, and every tenth time it looks through all that is young; a model has hundreds of objects."""


def search_seldom() -> None:
    """Look for garbage seldom from now on: of what Django loads nearly all lives to the end of the process."""
    gc.set_threshold(OBJECTS_BETWEEN, *gc.get_threshold()[1:])


@contextmanager
def seldom_searched() -> Iterator[None]:
    """Look for garbage seldom while the block runs: of migrations and models nearly all lives to its end, and looking
    through it again and again is a tenth of a run's time. It costs some 20 MB.

    Raises nothing; what the process was set to is set again.
    """
    before = gc.get_threshold()
    gc.freeze()
    search_seldom()
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def skip_last_search() -> None:
    """Let the process end without looking for garbage once more: the system takes all of its memory back."""
    gc.freeze()
