"""The attic as a step of a migration uses it: what it takes away backwards is put there, what it makes may be there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rupaya.migrator.attic import putting
from rupaya.migrator.attic.atticstore import AtticStore
from rupaya.migrator.attic.bringing import bring_back
from rupaya.migrator.attic.item import DEBT, ROLLBACK, TABLE, Item, Origin
from rupaya.migrator.plan.fingerprint import do_the_same

if TYPE_CHECKING:
    from rupaya.migrator.debts.stepping import SteppingEditor


class Attic:
    """Of one editor."""

    def __init__(self, editor: SteppingEditor) -> None:
        self.editor = editor
        self.store = AtticStore(editor.connection)

    def kept(self, kind: str, table: str, name: str) -> Item | None:
        """What this step would make and has: backwards, what paying its own debt put away; forwards, what its rollback
        did, unless the migration was edited since."""
        step, book = self.editor.step, self.editor.book
        if step is None or self.editor.is_forecast:
            return None
        found = [
            item
            for item in self.store.of_migration(step.app, step.migration, reason=DEBT if step.backwards else ROLLBACK)
            if (item.kind, item.table, item.object) == (kind, table, name)
            and (step.backwards or do_the_same(item.source.fingerprint, book.fingerprint))
        ]
        return found[-1] if found else None

    def put_away(self, kind: str, table: str, name: str) -> None:
        """What this step takes away backwards."""
        step, book, connection = self.editor.step, self.editor.book, self.editor.connection
        assert step is not None  # noqa: S101 - only a step takes away backwards
        source = Origin(step.app, step.migration, ROLLBACK, book.release, book.run_id, book.fingerprint)
        if step.forget:
            putting.forget(connection, kind, table, name, source)
        elif kind == TABLE:
            putting.put_away_table(connection, table, source)
        else:
            putting.put_away_column(connection, table, name, source)

    def bring_back(self, item: Item) -> None:
        """Under its real name again, and what had been owed of it before it was removed is owed again."""
        book = self.editor.book
        bring_back(self.editor.connection, item, book.run_id)
        book.reopen(book.cancelled_of(f"{item.source.app}.{item.source.migration} {item.object}", table=item.table))
