"""What becomes of each kind of operation: halved by the schema editor, carried out now, or owed whole."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib.postgres import operations as postgres
from django.db.migrations import operations as ops
from django.db.migrations.migration import Migration
from django.db.migrations.operations.base import Operation

from rupaya.migrator.plan.phases import CONTRACT, EXPAND, declared_phase

HALVED = "halved"
NOW = "now"
WHOLE = "whole"

_CODE = (ops.RunSQL, ops.RunPython)
_OURS = "rupaya.migrator."
# Of Django's operations those that the schema editor halves. What another package derives from them, to carry them out
# in its own way, is carried out in Django's: the editor's is as kind to traffic, and old code survives it.
_DJANGO = (
    ops.CreateModel,
    ops.DeleteModel,
    ops.RenameModel,
    ops.AlterModelTable,
    ops.AlterModelTableComment,
    ops.AlterUniqueTogether,
    ops.AlterIndexTogether,
    ops.AlterOrderWithRespectTo,
    ops.AddIndex,
    ops.RemoveIndex,
    ops.RenameIndex,
    ops.AddConstraint,
    ops.RemoveConstraint,
    ops.AddField,
    ops.RemoveField,
    ops.AlterField,
    ops.RenameField,
)
_CONCURRENT = (postgres.AddIndexConcurrently, postgres.RemoveIndexConcurrently)
# Packages whose operations are known to do what the one of Django's that they derive from does.
_KNOWN_PACKAGES = ("django.", "django_pg_migration_tools.")
_TIGHTENING = (ops.AddConstraint, ops.RemoveConstraint, ops.AlterField, ops.RemoveField, ops.RemoveIndex)


def treatment(operation: Operation, migration: Migration) -> tuple[str, str]:
    """How an operation is treated, and a sentence where somebody should know of it."""
    module = type(operation).__module__
    if isinstance(operation, _CODE):
        return (NOW, "") if is_noop(operation) else _declared(operation, migration)
    if _halves_itself(operation):
        return HALVED, ""
    if module.startswith(_KNOWN_PACKAGES) or not _has_ways_of_its_own(operation):
        return HALVED, ""
    if module.startswith(_OURS):
        return (WHOLE if declared_phase(migration) == CONTRACT else NOW), ""
    return _declared(operation, migration)


def forwards(operation: Operation, *, is_forecast: bool = False) -> Callable[..., None]:
    """How a halved operation is carried out: Django's own way for what only tightens or removes in another one.

    In a forecast, for all: another way may execute what it likes.
    """
    base = _way(operation, is_forecast=is_forecast)
    return operation.database_forwards if base is None else partial(base.database_forwards, operation)


def backwards(operation: Operation) -> Callable[..., None]:
    """How it is undone, likewise."""
    base = _way(operation)
    if base is None:
        return operation.database_backwards
    # Django's AlterField goes back by going forwards, between the states the other way round.
    return partial(base.database_forwards if base is ops.AlterField else base.database_backwards, operation)


def _way(operation: Operation, *, is_forecast: bool = False) -> Any:
    """The class of Django's whose way is taken; None: the operation's own."""
    if _halves_itself(operation):
        return None
    refuses_a_transaction = is_forecast and isinstance(operation, _CONCURRENT)
    if type(operation).__module__.startswith("django.") and not refuses_a_transaction:
        return None
    return next((base for base in (_DJANGO if is_forecast else _TIGHTENING) if isinstance(operation, base)), None)


def bears_a_transaction(operation: Operation) -> bool:
    """Whether a halved operation may be one transaction: Django's ways may, others say so."""
    if _halves_itself(operation):
        return bool(getattr(type(operation), "bears_a_transaction", False))
    own = type(operation).database_forwards
    return _way(operation) is not None or any(own is base.database_forwards for base in _DJANGO)


def _halves_itself(operation: Operation) -> bool:
    """Whether an operation of ours works through the editor of debts, and knows what to do without one."""
    return bool(getattr(type(operation), "halves_itself", False))


def is_noop(operation: Operation) -> bool:
    """Whether SQL or Python does nothing at all on the way forwards."""
    if isinstance(operation, ops.RunPython):
        return operation.code is ops.RunPython.noop
    return isinstance(operation, ops.RunSQL) and operation.sql in (ops.RunSQL.noop, [], ())


def written_sql(operation: Operation) -> list[str]:
    """The statements of a RunSQL, as they are written; of anything else, none."""
    if not isinstance(operation, ops.RunSQL):
        return []
    scripts: Any = [operation.sql] if isinstance(operation.sql, str) else operation.sql
    return [str(script[0] if isinstance(script, list | tuple) else script) for script in scripts]


def _has_ways_of_its_own(operation: Operation) -> bool:
    """Whether an operation, or a class of its between it and Django's, overrides what is done to the database."""
    own = type(operation).database_forwards
    theirs = (*_DJANGO, Operation, ops.AlterModelOptions, ops.AlterModelManagers, *_CONCURRENT)
    return not any(own is base.database_forwards for base in theirs)


def _declared(operation: Operation, migration: Migration) -> tuple[str, str]:
    phase = declared_phase(migration)
    if phase == CONTRACT:
        return WHOLE, ""
    if phase == EXPAND:
        return NOW, ""
    return NOW, (
        f"{migration} runs {type(operation).__name__} and does not say whether the running release survives it; it is "
        "carried out now, as Django does."
    )
