"""The plan as a table: each step, what the two codes see of it, what it locks, what it leaves to be paid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.db.migrations import operations as ops

from rupaya.migrator.operations import (
    AddIndexConcurrently,
    AlterFieldIndexConcurrently,
    Backfill,
    RenameFieldInStep,
    WidenField,
)

_QUIET = "none that waits or is waited for"
_NOTHING = ("no change", "no change", "none", "-")
_BY_KIND: tuple[tuple[Any, tuple[str, str, str, str]], ...] = (
    (AddIndexConcurrently, ("no change", "no change", _QUIET, "-")),
    (AlterFieldIndexConcurrently, ("no change", "no change", _QUIET, "-")),
    (RenameFieldInStep, ("its own column, in step", "its own column, in step", "short", "the old column")),
    (WidenField, ("the wider column, once it is full", "the wider column", "short", "-")),
    (Backfill, ("values in a column it does not know", "a value in each row", "rows, a batch at a time", "-")),
    (ops.CreateModel, ("nothing", "a new table", "none on tables in use, but for foreign keys", "-")),
    (ops.DeleteModel, ("the table still", "nothing", "short", "the table")),
    (ops.RemoveField, ("the column still", "nothing", "short", "the column")),
    (ops.AlterField, ("what it knew", "the field as it is now", "short", "what is stricter than before")),
    (ops.AlterOrderWithRespectTo, ("nothing", "a new column", "short", "its default, in the database")),
    (ops.AddConstraint, ("no rule", "the rule, once paid", "none", "the constraint")),
    (ops.AlterUniqueTogether, ("no rule", "what is unique now, once paid", "short", "what is unique now")),
    (ops.RemoveConstraint, ("no rule", "no rule", "short", "-")),
    (ops.RemoveIndex, ("the index still", "the index still", "none", "the index")),
    (ops.RenameIndex, ("no change", "no change", "short", "-")),
    (ops.AlterModelTableComment, ("no change", "no change", "short", "-")),
    (ops.RenameField, ("what it knew", "another name in code", "none", "-")),
    (ops.RenameModel, ("what it knew", "another name in code", "none", "-")),
    (ops.AlterModelTable, _NOTHING),  # it pins the name that the table has: another one is refused
    (ops.AlterModelOptions, _NOTHING),
    (ops.AlterModelManagers, _NOTHING),
)
_HEADINGS = ("step", "old code sees", "new code sees", "locks", "owed (docs/debts.md)")


def table(changes: Mapping[str, Iterable[Any]]) -> str:
    """The table, a line an operation."""
    lines = [_HEADINGS]
    for made in changes.values():
        for migration in made:
            lines += [(f"{migration}: {each.describe()}", *_words(each)) for each in migration.operations]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _words(operation: Any) -> tuple[str, str, str, str]:
    if isinstance(operation, ops.AddField):
        return _of_new_field(operation.field)
    return next((words for kind, words in _BY_KIND if isinstance(operation, kind)), ("?", "?", "?", "?"))


def _of_new_field(field: Any) -> tuple[str, str, str, str]:
    if field.many_to_many:
        return ("nothing", "a new table", "none on tables in use, but for foreign keys", "-")
    is_kept = not (field.null or field.has_db_default())
    return ("nothing", "a new column", "short", "its default, in the database" if is_kept else "-")
