"""What cannot be written safely: what was asked for, why not, and what to write in the models instead."""

from __future__ import annotations

from collections.abc import Sequence

from django.core.management.base import CommandError

RECIPES = "docs/writing-migrations.md"


class NotSafely(CommandError):
    """Changes of models for which no safe migration is known; nothing was written."""

    def __init__(self, sentences: Sequence[str]) -> None:
        super().__init__(
            "\n".join(sentences)
            + f"\nNothing was written. {RECIPES} has the recipes; --plain writes what Django would."
        )


class Unasked(CommandError):
    """Something may be a rename, and nobody can be asked."""


def renamed_column(model: str, field: str, old: str, new: str) -> str:
    """A column with another name."""
    return (
        f"{model}.{field} would rename the column {old} to {new}: the release that is running needs the old name and "
        f'this one the new. Keep the column: write db_column="{old}" in the field, which changes nothing in the '
        "database ('Rename a column')."
    )


def not_in_step(model: str, field: str, old: str, new: str, reason: str) -> str:
    """A column that cannot be had under two names at once."""
    return (
        f"{model}.{field} would have the column {new}, kept in step with {old} while the release before is running, "
        f'and cannot: {reason}. Keep the column: write db_column="{old}" in the field, which changes nothing in the '
        "database ('Rename a column')."
    )


def renamed_table(model: str, old: str, new: str) -> str:
    """A table with another name."""
    return (
        f"{model} would rename the table {old} to {new}: the release that is running needs the old name and this one "
        f'the new. Keep the table: write db_table = "{old}" in its Meta (db_table="{old}" in a ManyToManyField), '
        "which changes nothing in the database ('Rename a table')."
    )


def renamed_in_between(model: str, others: Sequence[str]) -> str:
    """A renamed model whose many-to-many tables have a column of its name."""
    return (
        f"{model} is renamed, and Django would rename its column in the tables of {', '.join(others)}, which the "
        "release that is running needs. Give these tables models of their own first, with db_column in their foreign "
        "keys ('Add a many-to-many field', 'Rename a table')."
    )


def other_type(model: str, field: str, old: str, new: str, reason: str = "") -> str:
    """A type that rewrites the table, or that one code reads otherwise; or `reason`: why no column can be beside it."""
    why = f"in place, that rewrites the whole table under a lock, and it can have no column beside it: {reason}"
    if not reason:
        why = "that rewrites the whole table under a lock, or one of the codes cannot read it"
    return (
        f"{model}.{field} changes from {old} to {new}: {why}. Leave the field, and add one of the new type under a new "
        "name ('Change a type, when rows have to be rewritten')."
    )


def primary_key(model: str, field: str) -> str:
    """Another primary key, or one of another type."""
    return (
        f"{model}.{field} would be another primary key: the release that is running needs the primary key as it was, "
        "and so do the foreign keys that refer to it. Leave it ('Change a type, when rows have to be rewritten'); "
        "if it must be another one, make a new model and fill it."
    )


def other_target(model: str, field: str) -> str:
    """A foreign key to other rows."""
    return (
        f"{model}.{field} would refer to other rows than the release that is running thinks. Leave it, and add a field "
        "that refers to them under a new name ('Add a foreign key', 'Fill a column')."
    )


def indexes_anew(model: str, field: str, built: str) -> str:
    """A type that changes no row, but what is built on the column."""
    return (
        f"{model}.{field} changes its type or its order, and {built} would be rebuilt, or checked, under a lock that "
        "reads and writes wait for. A larger max_length changes neither; what is on an expression of it or has a "
        "condition, remove before and add again after ('Change a type, when no row has to be rewritten')."
    )


def other_each_time(model: str, field: str) -> str:
    """A default that is another one at each call."""
    return (
        f"{model}.{field} has a default that is another one at each call, which the database cannot make: all rows "
        "that are there would get the same. Give it a db_default, or null=True without a default and fill it ('Fill a "
        "column')."
    )


def same_for_all(model: str, field: str) -> str:
    """A unique field with one value for all rows."""
    return (
        f"{model}.{field} is unique, and all rows that are there would get the same value, which the server refuses as "
        "soon as there are two. Give it null=True without a default and fill it ('Fill a column'), or let the database "
        "make a value for each row (db_default), or default=uuid.uuid4."
    )


def exclusion(model: str, constraint: str) -> str:
    """An exclusion constraint on a table in use."""
    return (
        f"{constraint} of {model} is an exclusion constraint, which PostgreSQL builds under a lock that reads and "
        "writes wait for, as long as that takes. On a table that stays small write it with --plain, and say so in the "
        'migration: excused = {"scan": "how many rows"} (\'Add an exclusion constraint\').'
    )


def stored_expression(model: str, field: str) -> str:
    """A generated column."""
    return (
        f"{model}.{field} is worked out by the database for every row: that rewrites the whole table under a lock. "
        "Make it an ordinary field, nullable, and fill it ('Fill a column')."
    )


def same_index_name(model: str, name: str) -> str:
    """An index that is another one under the name it had."""
    return (
        f"The index {name} of {model} is to be another one under its old name, and the old one stays until no older "
        "release is running. Give the new one a new name."
    )
