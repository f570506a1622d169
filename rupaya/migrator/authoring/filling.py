"""What the rows that are there get in a new column: nothing, all the same value, or each one of its own."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models.expressions import CombinedExpression
from django.db.models.fields import NOT_PROVIDED
from django.db.models.functions import Cast, Now

from rupaya.migrator.authoring.fields import AnyField
from rupaya.migrator.debts.defaults import kept_default

_INSTANT = (models.Value, Now, TransactionNow, Cast, CombinedExpression, models.ExpressionWrapper)
"""What the server works out once for all rows that are there, without writing them."""


def own_value(editor: BaseDatabaseSchemaEditor, field: AnyField, in_model: Callable[[], AnyField]) -> str | None:
    """SQL of a value of its own for each row; empty: all get the same, or nothing; None: only Python can make them.

    `in_model` gives the field as its model has it.
    """
    if field.has_db_default():
        return "" if _is_instant(field.db_default) else _sql(editor, in_model())
    if not (field.has_default() and callable(field.default)):
        return ""
    if field.default == uuid.uuid4:
        return "gen_random_uuid()"
    return None if kept_default(editor, field) is None else ""


def _is_instant(default: Any) -> bool:
    return not hasattr(default, "resolve_expression") or all(isinstance(each, _INSTANT) for each in default.flatten())


def _sql(editor: Any, field: AnyField) -> str:
    sql, parameters = editor.db_default_sql(field)
    return str(sql) % tuple(editor.quote_value(each) for each in parameters)


def is_null_at_first(field: AnyField) -> bool:
    """Whether the rows that are there get nothing."""
    return bool(field.null and not (field.has_default() or field.has_db_default()))


def unfilled(field: AnyField) -> AnyField:
    """The field until it is filled: nullable, without a default."""
    first = field.clone()
    first.null = True
    for name in ("default", "db_default"):
        setattr(first, name, NOT_PROVIDED)
    return first
