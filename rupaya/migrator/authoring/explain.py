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
_BY_KIND: tuple[tuple[Any, tuple[str, str, str, str]], ...] = (
    (AddIndexConcurrently, ("no change", "no change", _QUIET, "-")),
    (AlterFieldIndexConcurrently, ("no change", "no change", _QUIET, "-")),
    (RenameFieldInStep, ("its own column, in step", "its own column, in step", "short", "the old column")),
    (WidenField, ("the wider column, once it is full", "the wider column", "short", "-")),
    (Backfill, ("values in a column it does not know", "a value in each row", "rows, a batch at a time", "-")),
    (ops.CreateModel, ("nothing", "a new table", "none on tables in use, but for foreign keys", "-")),
    (ops.DeleteModel, ("the table still", "nothing", "short", "the table")),
    (ops.AddField, ("nothing", "a new column", "short", "a required field's default, in the database")),
    (ops.RemoveField, ("the column still", "nothing", "short", "the column")),
    (ops.AlterField, ("what it knew", "the field as it is now", "short", "what is stricter than before")),
    (ops.AddConstraint, ("no rule", "the rule, once paid", "none", "the constraint")),
    (ops.AlterUniqueTogether, ("no rule", "the rule, once paid", "none", "the constraint")),
    (ops.RemoveConstraint, ("what it knew", "no rule", "short", "-")),
    (ops.RemoveIndex, ("the index still", "the index still", "none", "the index")),
    (ops.RenameField, ("what it knew", "another name in code", "none", "-")),
    (ops.RenameModel, ("what it knew", "another name in code", "none", "-")),
)
_HEADINGS = ("step", "old code sees", "new code sees", "locks", "owed (docs/debts.md)")


def table(changes: Mapping[str, Iterable[Any]]) -> str:
    """The table, a line an operation."""
    lines = [_HEADINGS]
    for made in changes.values():
        for migration in made:
            for operation in migration.operations:
                words = next((words for kind, words in _BY_KIND if isinstance(operation, kind)), ("", "", "short", "-"))
                lines.append((f"{migration}: {operation.describe()}", *words))
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
