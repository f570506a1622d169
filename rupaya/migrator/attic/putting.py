"""Puts a column or a table away instead of dropping it: in one short lock, whatever the number of rows.

Called inside the transaction that drops it, or in one of its own. Living code must notice as little of what is in
the attic as if it had been dropped: so everything goes that would refuse a row of a living table.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.migrator.attic import facts
from rupaya.migrator.attic.atticstore import AtticStore
from rupaya.migrator.attic.facts import execute, short_transaction
from rupaya.migrator.attic.instep import IN_STEP
from rupaya.migrator.attic.item import COLUMN, FORGOTTEN, TABLE, Fact, Item, Origin
from rupaya.migrator.errors import MigrationFailed
from rupaya.migrator.schema.catalog import ATTIC


def put_away_column(
    connection: BaseDatabaseWrapper,
    table: str,
    column: str,
    source: Origin,
    *,
    dropped_before: Iterable[Fact] = (),
    was_not_null: bool = False,
    default_before: str | None = None,
    in_step: str = "",
) -> Item | None:
    """Put a column away; None if it is not there.

    The three before the last: what was taken from the column earlier, when it became one that new code can leave out.
    `in_step`: the column that has its values, and from which it is filled when it comes back.

    Raises:
        MigrationFailed: naming what keeps it where it is.
    """
    quote = connection.ops.quote_name
    item = Item(COLUMN, table, column, source)
    here = f"ALTER TABLE {quote(table)}"
    with short_transaction(connection):
        if not _lock(connection, table) or (found := facts.column(connection, table, column)) is None:
            return None
        _refuse(item, facts.why_not(connection, table))
        _refuse(item, "it is an identity column, which cannot be without a value" if found.is_identity else "")
        _refuse(item, "it is of the primary key, which cannot be without a value" if found.is_primary else "")
        constraints = facts.constraints_of_column(connection, table, column)
        _drop(connection, constraints)
        _refuse(item, facts.what_depends(connection, f"{here} DROP COLUMN {quote(column)} RESTRICT"))
        what = f"{here} ALTER COLUMN {quote(column)}"
        if found.not_null:
            execute(connection, f"{what} DROP NOT NULL")
        default = default_before
        if found.is_unique and found.default and not found.default.startswith(("nextval(", "gen_random_uuid(")):
            # The second row that leaves it out would be refused.
            execute(connection, f"{what} DROP DEFAULT")
            default = found.default
        item.details = {
            "not_null": found.not_null or was_not_null,
            "default": default,
            "constraints": [*constraints, *dropped_before],
            "own": len(constraints),
            "renamed": _rename_parts(connection, item, table, column),
        } | ({IN_STEP: in_step} if in_step else {})
        execute(connection, f"{here} RENAME COLUMN {quote(column)} TO {quote(item.name)}")
        AtticStore(connection).add(item)
    return item


def put_away_table(
    connection: BaseDatabaseWrapper, table: str, source: Origin, *, dropped_before: Iterable[Fact] = ()
) -> Item | None:
    """Put a table away, in the schema of the attic; None if it is not there.

    Raises:
        MigrationFailed: naming what keeps it where it is.
    """
    quote = connection.ops.quote_name
    item = Item(TABLE, table, table, source)
    with short_transaction(connection):
        if not _lock(connection, table):
            return None
        _refuse(item, facts.why_not(connection, table))
        constraints = facts.foreign_keys_of_table(connection, table)
        _drop(connection, constraints)
        _refuse(item, facts.what_depends(connection, f"DROP TABLE {quote(table)} RESTRICT"))
        item.details = {
            "constraints": [*constraints, *dropped_before],
            "own": len(constraints),
            "renamed": _rename_parts(connection, item, table),
        }
        if not facts.fetch(connection, "SELECT to_regnamespace(%s)", [ATTIC])[0][0]:
            execute(connection, f"CREATE SCHEMA {ATTIC}")
        execute(connection, f"ALTER TABLE {quote(table)} RENAME TO {quote(item.name)}")
        execute(connection, f"ALTER TABLE {quote(item.name)} SET SCHEMA {ATTIC}")
        AtticStore(connection).add(item)
    return item


def forget(connection: BaseDatabaseWrapper, kind: str, table: str, name: str, source: Origin) -> None:
    """Drop a column or a table for good, as Django does, and write that down: somebody's data must not be kept."""
    quote = connection.ops.quote_name
    with short_transaction(connection):
        if kind == TABLE:
            execute(connection, f"DROP TABLE IF EXISTS {quote(table)} CASCADE")
        else:
            execute(connection, f"ALTER TABLE {quote(table)} DROP COLUMN IF EXISTS {quote(name)} CASCADE")
        AtticStore(connection).add(Item(kind, table, name, source, state=FORGOTTEN))


def _lock(connection: BaseDatabaseWrapper, table: str) -> bool:
    """Lock a table as dropping it would, before anything is asked of it; False if it is not there."""
    if not facts.is_there(connection, table):
        return False
    execute(connection, f"LOCK TABLE {connection.ops.quote_name(table)} IN ACCESS EXCLUSIVE MODE")
    return True


def _drop(connection: BaseDatabaseWrapper, constraints: Iterable[Fact]) -> None:
    for fact in constraints:
        name = connection.ops.quote_name(fact["name"])
        if fact["kind"] == "index":
            execute(connection, f"DROP INDEX {name}")
        else:
            execute(connection, f"ALTER TABLE {fact['table']} DROP CONSTRAINT {name}")


def _rename_parts(connection: BaseDatabaseWrapper, item: Item, table: str, column: str = "") -> dict[str, str]:
    """Give indexes and sequences names that nothing else will want; their real ones by these."""
    quote = connection.ops.quote_name
    renamed: dict[str, str] = {}
    for kind, names in (
        ("INDEX", facts.indexes(connection, table, column)),
        ("SEQUENCE", facts.sequences(connection, table, column)),
    ):
        for name in names:
            if name.startswith(f"{ATTIC}_"):
                continue  # of a column that was put away earlier
            new = f"{item.name}_{len(renamed)}"
            execute(connection, f"ALTER {kind} {quote(name)} RENAME TO {quote(new)}")
            renamed[new] = name
    return renamed


def _refuse(item: Item, reason: str) -> None:
    if reason:
        raise MigrationFailed(
            f"The {item} cannot be put away: {reason}.",
            "It would have to be dropped together with that, or could not come back as it was; nothing was changed.",
            "Drop or change what is named, by a migration, and start again. Or say forget = True in the migration that "
            "removes it: then it is dropped for good.",
        )
