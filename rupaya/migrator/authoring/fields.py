"""What a field is like in the database, and fields that are like another but for some of it."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.migrations.state import ModelState
from django.db.models.fields import NOT_PROVIDED

from rupaya.migrator.debts.types import widest

AnyField = Any  # Django's stubs know little of fields that migrations make

LIKE = {
    models.PositiveBigIntegerField: models.BigIntegerField,
    models.PositiveIntegerField: models.IntegerField,
    models.PositiveSmallIntegerField: models.SmallIntegerField,
}
"""Fields that come with a CHECK, and the field of the same type without."""


def explicit(field: AnyField, argument: str) -> Any:
    return field.deconstruct()[3].get(argument)


def keeps_rows(old: str, new: str) -> bool:
    """Whether a column's type can be changed without rewriting all rows, at once or when it is paid."""
    if old == new:
        return True
    if widest(old, new) != new:
        return False
    texts, numbers = ("varchar", "text"), "numeric"
    if old.startswith(texts) and new.startswith(texts):
        return True
    return old.startswith(numbers) and _places(old) == _places(new)


def _places(numeric: str) -> str:
    return numeric.rpartition(",")[2].strip(" )")


def column_of(field: AnyField, name: str) -> str:
    return str(field.db_column or (f"{name}_id" if isinstance(field, models.ForeignKey) else name))


def target_of(field: AnyField, model: ModelState) -> str:
    to = field.remote_field.model
    if not isinstance(to, str):
        return str(to._meta.label_lower)
    if to == "self":
        return f"{model.app_label}.{model.name_lower}"
    return to.lower() if "." in to else f"{model.app_label}.{to.lower()}"


def without_one_off(operation: Any) -> AnyField:
    """The field as the models have it: without a default that was only for the rows that were there."""
    field = operation.field.clone()
    if not operation.preserve_default:
        field.default = NOT_PROVIDED
    return field


def but(field: AnyField, **changes: Any) -> AnyField:
    """The field, but for these arguments."""
    _name, _path, arguments, keywords = field.deconstruct()
    return type(field)(*arguments, **{**keywords, **changes})


def bare(field: AnyField) -> AnyField:
    """A field of the same column without what works on every row: its index, its uniqueness, its CHECK."""
    _name, _path, arguments, keywords = field.deconstruct()
    for name in ("unique", "db_index"):
        keywords.pop(name, None)
    if isinstance(field, models.OneToOneField):
        return models.ForeignKey(*arguments, **keywords, db_index=False)
    if isinstance(field, models.ForeignKey | models.SlugField):
        keywords["db_index"] = False
    return LIKE.get(type(field), type(field))(*arguments, **keywords)


def unchecked(field: AnyField) -> AnyField:
    """A field of the same column without its CHECK."""
    _name, _path, arguments, keywords = field.deconstruct()
    return LIKE.get(type(field), type(field))(*arguments, **keywords)


def with_type_of(field: AnyField, new: AnyField) -> AnyField:
    """The field with the type of another one, and what code alone sees of that; all else in the database stays."""
    kept, keywords = field.deconstruct()[3], new.deconstruct()[3]
    for name in ("null", "unique", "db_index", "db_default", "db_comment"):
        keywords.pop(name, None)
        if name in kept:
            keywords[name] = kept[name]
    kind = type(new) if type(field) in LIKE else LIKE.get(type(new), type(new))
    made: AnyField = kind(*new.deconstruct()[2], **keywords)
    return made
