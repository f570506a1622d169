"""What neither code can do without its own form of: refused before anything runs, with the way to write it."""

from __future__ import annotations

from rupaya.migrator.errors import HistoryRefused

_NEITHER = (
    "The release that is running needs it as it was and this one as it will be, and one database cannot be both; "
    "nothing was changed."
)


def renamed_table(where: str, old: str, new: str) -> HistoryRefused:
    """A table with another name."""
    return HistoryRefused(
        f"{where} renames the table {old} to {new}.",
        _NEITHER,
        f'Rename in the code alone: pin the table with db_table = "{old}" in the model\'s Meta (db_table="{old}" in a '
        "ManyToManyField), in the same migration before the renaming.",
    )


def renamed_column(where: str, table: str, old: str, new: str) -> HistoryRefused:
    """A column with another name."""
    return HistoryRefused(
        f"{where} renames the column {table}.{old} to {new}.",
        _NEITHER,
        f'Rename in the code alone: pin the column with db_column="{old}" (a ManyToManyField needs a through model '
        "for that). Or add a new field, fill it, and remove the old one in a later release.",
    )


def not_in_step(where: str, table: str, old: str, new: str, reason: str) -> HistoryRefused:
    """A column that no other one can be kept in step with."""
    return HistoryRefused(
        f"{where} would keep {table}.{new} in step with {table}.{old}, and cannot: {reason}.",
        "One of the two codes would read or write something else than it means to; nothing was changed.",
        f'Keep the column: db_column="{old}" in the field, which changes nothing in the database. Or drop what is in '
        "the way, by a migration before.",
    )


def other_type(where: str, table: str, column: str, old: str, new: str) -> HistoryRefused:
    """A type that one of the codes reads or writes differently."""
    return HistoryRefused(
        f"{where} changes {table}.{column} from {old} to {new}.",
        _NEITHER,
        "Add a new field of the new type under another name, fill it from the old one, and remove the old one in the "
        "same or a later release.",
    )


def other_target(where: str, table: str, column: str, old: str, new: str) -> HistoryRefused:
    """A foreign key to another table."""
    return HistoryRefused(
        f"{where} lets {table}.{column} refer to {new} and no longer to {old}.",
        _NEITHER,
        "Add a new field for it under another name, fill it, and remove the old one in the same or a later release.",
    )


def other_key(where: str, table: str, column: str) -> HistoryRefused:
    """A primary key that is changed."""
    return HistoryRefused(
        f"{where} changes the primary key {table}.{column}.",
        _NEITHER,
        "Leave the primary key as it is; if it must change, make a new model and fill it.",
    )


def no_default(where: str, table: str, column: str) -> HistoryRefused:
    """A column that old code cannot fill."""
    return HistoryRefused(
        f"{where} adds {table}.{column}, NOT NULL and without a default.",
        "The release that is running does not know the column: its inserts would fail; nothing was changed.",
        "Give the field a default=, a db_default= or null=True.",
    )


def one_value(where: str, table: str, column: str) -> HistoryRefused:
    """A unique column that is filled with one value."""
    return HistoryRefused(
        f"{where} adds {table}.{column}, unique, NOT NULL and with one default for all rows.",
        "The second row that the running release inserts would get the value of the first; nothing was changed.",
        "Add the field with null=True, fill it, and make it NOT NULL in the same or a later release.",
    )


def owed_state(where: str) -> HistoryRefused:
    """An operation that is owed whole although it changes models."""
    return HistoryRefused(
        f'{where} is declared phase = "contract" and changes the models.',
        "It would be carried out only when no older release is left, while this code needs its models at once; "
        "nothing was changed.",
        "Write what changes models with Django's own operations, which are done and owed by halves; leave to SQL and "
        "Python of your own what can wait.",
    )


def name_owed(where: str, debt: object, *, same_plan: bool) -> HistoryRefused:
    """A name that is used again although what had it is still there."""
    if same_plan:
        return HistoryRefused(
            f"{where} uses a name again that {debt} leaves in the database, in the same rollout.",
            _NEITHER,
            "Use another name; or remove in one release and add in the next one.",
        )
    return HistoryRefused(
        f"{where} refers to what is still owed: {debt}.",
        "It cannot be done before that is paid, and an older release may still need it; nothing was changed.",
        "Finish the earlier rollout first: 'manage.py migrate --contract', once no older release is running, and with "
        "MIGRATE_CONTRACT_AFTER_H=0 within the rollback window. Then start this one again.",
    )
