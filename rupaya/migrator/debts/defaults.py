"""The Python default of a new column, as the database can go on giving it to code that does not know the column."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Any

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import Field
from django.utils import timezone

_NOW = (timezone.now, dt.datetime.now, dt.datetime.today, dt.date.today, timezone.localtime)
_PLAIN = (dict, list, tuple, set, str, int, float, bool, bytes)


@dataclass(frozen=True)
class KeptDefault:
    """What to write after SET DEFAULT, and what there is to say about it."""

    sql: str
    parameters: tuple[Any, ...] = ()
    warning: str = ""


def kept_default(editor: BaseDatabaseSchemaEditor, field: Field[Any, Any]) -> KeptDefault | None:
    """What gives old code's rows the value that new code would have given them; None: no constant and no known call.

    A call's result, frozen, would be wrong: one identifier for all rows, or the moment of the migration for ever.
    """
    if field.has_default():
        default = field.default
        if not callable(default):
            return _constant(editor, field)
        if any(default == now for now in _NOW):
            return _now(field)
        if default == uuid.uuid4:
            return KeptDefault("gen_random_uuid()")
        if field.get_default() != field.get_default():
            return None
        if default in _PLAIN:
            return _constant(editor, field)
        return _constant(
            editor,
            field,
            f"The default of {field} is a call of {getattr(default, '__qualname__', default)}; until it is paid, code "
            "that does not know the column gets what the call gives now.",
        )
    if getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False):
        return _now(field)
    return _constant(editor, field)


def is_one_value(editor: BaseDatabaseSchemaEditor, field: Field[Any, Any]) -> bool:
    """Whether all rows of code that does not know the column would get the same value."""
    kept = kept_default(editor, field)
    return kept is not None and bool(kept.parameters)


def _constant(editor: BaseDatabaseSchemaEditor, field: Field[Any, Any], warning: str = "") -> KeptDefault:
    return KeptDefault(editor._column_default_sql(field), (editor.effective_default(field),), warning)  # type: ignore[attr-defined]


def _now(field: Field[Any, Any]) -> KeptDefault:
    kind = field.get_internal_type()
    if kind == "DateTimeField":
        return KeptDefault("now()")
    # Python's date and time are those of the project's zone; Django's sessions are in UTC.
    here = f"(now() AT TIME ZONE '{timezone.get_default_timezone_name()}')"
    return KeptDefault(f"{here}::{'date' if kind == 'DateField' else 'time'}")
