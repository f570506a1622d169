"""What a person decides about rows that break a rule of the contract. Without a decision nothing is changed."""

from __future__ import annotations

from dataclasses import dataclass

from django.core.management.base import CommandError

from rupaya.adoption.baseline import baseline
from rupaya.adoption.original import TABLES

REFUSE = "refuse"


@dataclass(frozen=True)
class Mapping:
    """A value that becomes another one: ``TABLE.COLUMN:OLD=NEW``; an empty NEW is NULL."""

    table: str
    column: str
    old: str
    new: str | None

    def __str__(self) -> str:
        return f"--map={self.table}.{self.column}:{self.old}={self.new or ''}"

    @classmethod
    def parse(cls, text: str) -> Mapping:
        """Read the option's value.

        Raises:
            CommandError: if it is not of that form, or names no column with a rule of its own.
        """
        place, colon, values = text.partition(":")
        table, dot, column = place.partition(".")
        old, equals, new = values.rpartition("=")
        if not (colon and dot and equals):
            raise CommandError(f"--map={text}: expected TABLE.COLUMN:OLD=NEW.")
        if table not in TABLES or column not in baseline()["relations"][table]["columns"]:
            raise CommandError(f"--map={text}: the contract has no column {place}.")
        if not new and not baseline()["relations"][table]["columns"][column]["nullable"]:
            raise CommandError(f"--map={text}: {place} cannot be NULL.")
        return cls(table, column, old, new or None)


@dataclass(frozen=True)
class Decisions:
    """The options of `adopt --finish`; every default changes no row."""

    normalise_phones: bool = False
    """Phone numbers that have only one reading become E.164."""
    ambiguous_phones: str = REFUSE
    """``international``, ``national``: how those with two readings are read, unproved from then on; ``clear``: NULL."""
    unreadable_phones: str = REFUSE
    """``clear``: those that cannot be read, or that somebody else has or several people claim, become NULL."""
    merge_email_case: str = REFUSE
    """``into-verified``: of people whose e-mails differ in case alone, the one who proved the address gets all rows."""
    several_defaults: str = REFUSE
    """``oldest`` or ``newest``: which of a person's default accounts stays the default."""
    incomplete_transactions: str = REFUSE
    """``quarantine``: those without account, amount, type, date or counterpart are moved to a table of their own."""
    left_over: str = REFUSE
    """``keep`` or ``drop``: rules, indexes and triggers of the tables that the contract does not have."""
    maps: tuple[Mapping, ...] = ()

    def maps_of(self, table: str, column: str) -> tuple[Mapping, ...]:
        return tuple(mapping for mapping in self.maps if (mapping.table, mapping.column) == (table, column))

    def __str__(self) -> str:
        """As options, for the ledger."""
        options = ["--normalise-phones"] if self.normalise_phones else []
        names = (
            "ambiguous_phones",
            "unreadable_phones",
            "merge_email_case",
            "several_defaults",
            "incomplete_transactions",
            "left_over",
        )
        values = [(name.replace("_", "-"), getattr(self, name)) for name in names]
        options += [f"--{name}={value}" for name, value in values if value != REFUSE]
        return " ".join([*options, *map(str, self.maps)])
