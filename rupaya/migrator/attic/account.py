"""What a rollback keeps, needs and cannot have back, counted before anything is changed."""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.migrator.attic.item import Item
from rupaya.migrator.attic.objects import Objects


def account(connection: BaseDatabaseWrapper, item: Item) -> str:
    """A line for people: of one item that would come back."""
    objects = Objects(connection)
    quote = connection.ops.quote_name
    if not item.column:
        ((is_there,),) = objects.fetch(
            "SELECT to_regclass(format('%%I.%%I', %s::text, %s::text)) IS NOT NULL", [item.schema, item.name]
        )
        if not is_there:
            return f"{item.label} cannot come back: it is not in the attic any more"
        ((rows,),) = objects.fetch(f"SELECT count(*) FROM {quote(item.schema)}.{quote(item.name)}")
        return f"{item.label} comes back with {rows} rows, as they were {item.put_away_at:%Y-%m-%d %H:%M} UTC"
    table = objects.table(item.table)
    if table is None or objects.column(table.oid, item.name) is None:
        return f"{item.label} cannot come back: it is not in the attic any more"
    ((kept, empty),) = objects.fetch(
        f"SELECT count({quote(item.name)}), count(*) - count({quote(item.name)}) FROM {quote(item.table)}"
    )
    line = f"{item.label} comes back with the values of {kept} rows"
    if not empty:
        return line
    if fill := item.details.get("fill") or item.details.get("default"):
        return f"{line}; {empty} rows without one get {fill}" if item.details.get("required") else f"{line}"
    return f"{line}; {empty} rows have none"
