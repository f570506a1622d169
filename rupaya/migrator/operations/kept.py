"""The values that a Backfill overwrites, kept in the attic, and given back to rows that nobody has changed since."""

from __future__ import annotations

import re
import time
from typing import Any

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from rupaya.migrator.attic.atticstore import AtticStore
from rupaya.migrator.attic.item import BACKFILL, RESTORED, VALUES, Item, Origin
from rupaya.migrator.schema.catalog import ATTIC

_TARGET = re.compile(r'\s*("(?:[^"]|"")+"|[A-Za-z_]\w*)\s*=')
_PIECE = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|[(),\[\]]|[^'"(),\[\]]+""")


def columns_set(assignments: str) -> list[str]:
    """The columns that the text of a SET assigns.

    Raises:
        ValueError: if they cannot be read from it.
    """
    parts, depth = [""], 0
    for piece in _PIECE.findall(assignments):
        depth += (piece in "([") - (piece in ")]") if len(piece) == 1 else 0
        if piece == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += piece
    found = [_TARGET.match(part) for part in parts]
    if not all(found):
        raise ValueError(f"keep=True needs to know the columns: write set= as column = value, …, not {assignments!r}.")
    names = [match[1] for match in found if match]
    return [name[1:-1].replace('""', '"') if name.startswith('"') else name.lower() for name in names]


class KeptValues:
    """Of one Backfill on one table: key, old values and new ones, a row a row."""

    def __init__(
        self,
        connection: BaseDatabaseWrapper,
        table: str,
        key: str,
        columns: list[str],
        app: str,
        identity: str,
        *,
        batch_size: int,
        pause_s: float,
    ) -> None:
        quote = connection.ops.quote_name
        self.connection, self.store = connection, AtticStore(connection)
        self.table_name, self.app, self.columns, self.identity = table, app, columns, identity[:10]
        self.table, self.key, self.names = quote(table), quote(key), [quote(column) for column in columns]
        self.batch_size, self.pause_s = batch_size, pause_s
        self.item: Item | None = None

    @property
    def relation(self) -> str:
        """Where they are kept."""
        assert self.item is not None  # noqa: S101 - found or made first
        return f"{ATTIC}.{self.item.name}"

    def find(self) -> bool:
        """Whether anything is kept of this backfill."""
        found = [item for item in self.store.kept() if item.kind == VALUES and item.id.startswith(self.identity)]
        self.item = found[-1] if found else None
        return bool(found)

    def ensure(self) -> bool:
        """Make the place for them; one that an interrupted run made is used on. False: there is no ledger, as in a
        scratch database, where nothing needs to be kept."""
        if not self.store.exists():
            return False
        if self.find():
            return True
        columns = ", ".join(
            f"{name} AS old_{number}, {name} AS {self._new(number)}" for number, name in enumerate(self.names)
        )
        with transaction.atomic(using=self.connection.alias), self.connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM migrator_attic WHERE starts_with(item_id, %s)", [self.identity])
            source = Origin(self.app, "", BACKFILL, "", 0)
            number = cursor.fetchone()[0]
            self.item = Item(VALUES, self.table_name, ", ".join(self.columns), source, id=f"{self.identity}{number}")
            cursor.execute("SELECT to_regnamespace(%s)", [ATTIC])
            if not cursor.fetchone()[0]:
                cursor.execute(f"CREATE SCHEMA {ATTIC}")
            cursor.execute(
                f"CREATE TABLE {self.relation} AS SELECT {self.key} AS row_key, false AS noted, {columns} "
                f"FROM {self.table} WITH NO DATA"
            )
            cursor.execute(f"ALTER TABLE {self.relation} ADD PRIMARY KEY (row_key)")
            self.store.add(self.item)
        return True

    def keep(self, cursor: CursorWrapper, rows: str, last_key: Any, upper_key: Any) -> None:
        """Keep what these rows have now, and lock them; the first value of each is the one that is kept."""
        old = ", ".join(f"old_{number}" for number in range(len(self.names)))
        cursor.execute(
            f"INSERT INTO {self.relation} (row_key, noted, {old}) SELECT {self.key}, false, {', '.join(self.names)} "
            f"FROM {self.table} WHERE {rows} FOR UPDATE ON CONFLICT (row_key) DO NOTHING",
            {"last_key": last_key, "upper_key": upper_key},
        )

    def note_new(self, cursor: CursorWrapper, rows: str, last_key: Any, upper_key: Any) -> None:
        """Note what they have now, so that a value that somebody changes later is not taken back."""
        new = ", ".join(f"{self._new(number)} = t.{name}" for number, name in enumerate(self.names))
        inside = rows.replace(self.key, f"t.{self.key}")
        cursor.execute(
            f"UPDATE {self.relation} k SET noted = true, {new} FROM {self.table} t "
            f"WHERE NOT k.noted AND k.row_key = t.{self.key} AND {inside}",
            {"last_key": last_key, "upper_key": upper_key},
        )

    def give_back(self) -> None:
        """Give the old values back, a batch at a time, to rows that have still what the backfill set."""
        if not self.find():
            return
        given = ", ".join(f"{name} = b.old_{number}" for number, name in enumerate(self.names))
        same = " AND ".join(
            f"t.{name}::text IS NOT DISTINCT FROM b.{self._new(number)}::text" for number, name in enumerate(self.names)
        )
        while True:
            with transaction.atomic(using=self.connection.alias), self.connection.cursor() as cursor:
                cursor.execute(
                    f"WITH b AS (DELETE FROM {self.relation} WHERE row_key IN (SELECT row_key FROM {self.relation} "
                    f"ORDER BY row_key LIMIT {self.batch_size}) RETURNING *), "
                    f"done AS (UPDATE {self.table} t SET {given} FROM b WHERE t.{self.key} = b.row_key AND {same}) "
                    "SELECT count(*) FROM b"
                )
                if not cursor.fetchone()[0]:
                    break
            time.sleep(self.pause_s)
        with transaction.atomic(using=self.connection.alias), self.connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE {self.relation}")
            assert self.item is not None  # noqa: S101 - find() found it
            self.store.settle(self.item, RESTORED, 0)

    @staticmethod
    def _new(number: int) -> str:
        return f"new_{number}"
