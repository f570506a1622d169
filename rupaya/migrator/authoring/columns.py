"""What may become of a column that is in use, as far as the models show."""

from __future__ import annotations

import re
from collections.abc import Callable

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import operations as ops
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ModelState

from rupaya.migrator.authoring.fields import AnyField
from rupaya.migrator.debts.types import widest
from rupaya.migrator.operations.beside import is_converted


def ends_uniqueness(model_of: Callable[[str], ModelState], operation: Operation) -> bool:
    """Whether rows of a table in use may be alike afterwards that could not be before."""
    match operation:
        case ops.AlterField():
            old: AnyField = model_of(operation.model_name).fields[operation.name]
            return bool(old.unique) and not getattr(operation.field, "unique", False)
        case ops.RemoveConstraint():
            constraints = model_of(operation.model_name).options.get("constraints", ())
            return any(
                isinstance(each, models.UniqueConstraint) and each.name == operation.name for each in constraints
            )
        case ops.AlterUniqueTogether():
            sets = model_of(operation.name).options.get("unique_together") or ()
            return not {tuple(each) for each in sets} <= {tuple(each) for each in operation.option_value or ()}
    return False


def widens(connection: BaseDatabaseWrapper, old: AnyField, new: AnyField) -> bool:
    """Whether the type takes all values of the old one, is read alike by both codes, and is all that changes."""
    types = [str(side.db_type(connection)) for side in (old, new)]
    same = ("null", "db_index", "unique", "db_default", "primary_key", "db_comment")
    return (
        (widest(*types) == types[1] or (is_converted(*types) and _is_always_filled(old)))
        and all(getattr(old, each) == getattr(new, each) for each in same)
        and (old.db_check(connection) is None) == (new.db_check(connection) is None)
    )


def _is_always_filled(field: AnyField) -> bool:
    """Whether a text is never empty as far as the models show, and nothing is built on its being a text."""
    is_plain = not (field.db_index or field.unique or field.has_db_default())
    return is_plain and not field.blank and not (field.has_default() and field.get_default() == "")


def why_not_in_step(
    model: ModelState, name: str, field: AnyField, *, is_same_name: bool = False, may_be_unique: bool = False
) -> str:
    """Why a field's column cannot have another beside it; empty: it can, as far as the models show."""
    together = {each for fields in model.options.get("unique_together", ()) for each in fields}
    for constraint in model.options.get("constraints", ()):
        if not isinstance(constraint, models.CheckConstraint):
            together |= {each for each in model.fields if mentions(constraint, each)}
    if field.primary_key and not may_be_unique:
        return "it is the primary key"
    if (field.unique or name in together) and not may_be_unique:
        return "it is unique, and upserts of the two codes that race would fail on each other's index (23505)"
    if field.null and field.has_db_default() and not is_same_name:
        return "it may be NULL and has a db_default, which would take the place of a NULL that new code writes"
    expressions = [vars(other).get("expression", "") for other in model.fields.values()]
    if field.generated or any(mentions(each, name) for each in expressions):
        return "a generated column is worked out from it, or it is one"
    return ""


def mentions(what: object, name: str) -> bool:
    """Whether an expression, a condition, an index or a constraint speaks of a field."""
    return bool(re.search(rf"\b{name}(?:__\w+)?\b", str(what)))


def built_on(model: ModelState, name: str, field: AnyField, *, is_other_kind: bool, is_collated: bool) -> str:
    """What the server, or Django, rebuilds under the lock when a column that keeps its rows gets another type.

    Plain indexes stay, but for the one that Django adds for LIKE, which is for one kind of text, and under another
    collation.
    """
    built = ["its own index"] if is_other_kind and (field.db_index or field.unique) else []
    for each in (*model.options.get("indexes", ()), *model.options.get("constraints", ())):
        is_plain = not (
            isinstance(each, models.CheckConstraint)
            or each.contains_expressions
            or mentions(getattr(each, "condition", ""), name)
        )
        if mentions(each, name) and (is_collated or not is_plain):
            built.append(each.name)
    if is_collated and any(name in names for names in model.options.get("unique_together", ())):
        built.append("unique_together")
    return ", ".join(built)
