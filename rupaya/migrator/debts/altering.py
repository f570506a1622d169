"""AlterField, halved: what the column must be like for both codes now, and what is owed for it to become the new one's.

The half done at once is Django's own alteration, from the column as it is to one that takes what either code writes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db.backends.base.schema import _related_non_m2m_objects  # type: ignore[attr-defined]
from django.db.models import Index, Model

from rupaya.migrator.debts import debt as kinds
from rupaya.migrator.debts import unshareable
from rupaya.migrator.debts.debt import (
    CHECK,
    DATABASE_DEFAULT,
    DEFAULT,
    FOREIGN_KEY,
    INDEX,
    NOT_NULL,
    TYPE,
    UNIQUE,
    Debt,
)
from rupaya.migrator.debts.types import widest
from rupaya.migrator.django import table_of

if TYPE_CHECKING:
    from rupaya.migrator.debts.editor import DebtsEditor

AnyField = Any  # Django's stubs know little of fields that migrations make
_OF_ONE_COLUMN = (CHECK, DATABASE_DEFAULT, DEFAULT, FOREIGN_KEY, INDEX, NOT_NULL, TYPE, UNIQUE)
# On a copy of a field: the CHECK that its column has now, whatever the field says.
CHECK_NOW = "migrator_check_now"


@dataclass
class Halves:
    """A change of a column: from and to what it is changed at once, what is owed then, and which debts that settles."""

    old: AnyField
    new: AnyField
    old_type: str
    new_type: str
    owed: list[Debt] = field(default_factory=list)
    settled: list[Debt] = field(default_factory=list)


def column_now(old: AnyField, type_: str, debts: Iterable[Debt]) -> tuple[AnyField, str]:
    """A field, and its column's type, as the database has it while debts on it are unpaid."""
    now = copied(old)
    for debt in debts:
        match debt.kind:
            case kinds.NOT_NULL:
                now.null = True
            case kinds.TYPE:
                type_ = debt.details["from"]
            case kinds.UNIQUE:
                now._unique = now.unique = False
                now.db_index = debt.details["had_index"]
            case kinds.CHECK:
                setattr(now, CHECK_NOW, None)
            case kinds.FOREIGN_KEY:
                now.db_constraint = False
            case kinds.INDEX:
                now.db_index = True
    return now, type_


def copied(original: AnyField) -> AnyField:
    """A field of its own, without what was worked out from the attributes that are about to be changed."""
    made = copy.copy(original)
    for name in ("unique", "_db_default_expression"):
        made.__dict__.pop(name, None)
    return made


def open_debts(editor: DebtsEditor, table: str, column: str) -> list[Debt]:
    """What is owed of this column alone."""
    return [
        debt
        for debt in editor.book.of(*_OF_ONE_COLUMN, table=table, column=column)
        if list(debt.columns) == [column] and (debt.kind != INDEX or debt.details.get("of_field"))
    ]


class Halving:
    """Works out the halves of one AlterField, forwards."""

    def __init__(
        self,
        editor: DebtsEditor,
        model: type[Model],
        old: AnyField,
        new: AnyField,
        old_params: dict[str, Any],
        new_params: dict[str, Any],
    ) -> None:
        self.editor, self.model, self.asked, self.new_params = editor, model, new, new_params
        self.table, self.column = table_of(model), str(new.column)
        self.is_fresh = (self.table, self.column) in editor.book.fresh.columns
        self.open = {debt.kind: debt for debt in open_debts(editor, self.table, self.column)}
        self.new_type = str(new_params["type"])
        now, type_now = column_now(old, str(old_params["type"]), self.open.values())
        self.now, self.old_params = now, old_params
        self.halves = Halves(now, copied(new), type_now, self.new_type)

    def work(self) -> Halves:
        """The halves.

        Raises:
            HistoryRefused: where no column can serve both codes.
        """
        self._refuse()
        self._type()
        self._null()
        self._database_default()
        self._unique_and_index()
        self._check()
        self._foreign_key()
        return self.halves

    def _refuse(self) -> None:
        now, asked, where = self.now, self.asked, self.editor.where
        connection = self.editor.connection
        if now.primary_key != asked.primary_key:
            raise unshareable.other_key(where, self.table, self.column)
        if now.db_type_suffix(connection) and not asked.db_type_suffix(connection):
            raise unshareable.other_type(where, self.table, self.column, "an identity", self.new_type)
        if now.remote_field and asked.remote_field and not self.is_fresh:
            old_table, new_table = (table_of(side.remote_field.model) for side in (now, asked))
            if old_table != new_table:
                raise unshareable.other_target(where, self.table, self.column, old_table, new_table)

    def _type(self) -> None:
        halves, where = self.halves, self.editor.where
        common = widest(halves.old_type, self.new_type)
        if common is None:
            if self.is_fresh:
                return
            raise unshareable.other_type(where, self.table, self.column, halves.old_type, self.new_type)
        if common == self.new_type:
            self._settle(TYPE, None)
            return
        referring = _related_non_m2m_objects(self.now, self.asked) if self.now.unique else ()
        if self.now.primary_key or any(referring):
            raise unshareable.other_type(where, self.table, self.column, halves.old_type, self.new_type)
        halves.new_type = common
        like = None
        if self.editor._is_changing_type_of_indexed_text_column(self.now, common, self.new_type):
            like = self.editor._create_like_index_sql(self.model, self.asked)
        collation = self.new_params.get("collation") or ""
        self._settle(
            TYPE,
            self._debt(
                TYPE,
                self.column,
                self.editor.payments.set_type(self.table, self.column, self.new_type, collation, like),
                f"write values of {self.table}.{self.column} that {common} takes and {self.new_type} does not",
                {"from": common, "to": self.new_type},
            ),
        )

    def _null(self) -> None:
        if not self.now.null or self.asked.null:
            self._settle(NOT_NULL, None)
            return
        self.halves.new.null = True
        self._settle(
            NOT_NULL,
            self._debt(
                NOT_NULL,
                self.column,
                self.editor.payments.set_not_null(self.table, self.column, self._filling()),
                f"write rows without {self.table}.{self.column}",
            ),
        )

    def _filling(self) -> str:
        """SQL for the value that Django gives to rows which have none; empty: it gives them none."""
        asked, editor = self.asked, self.editor
        if asked.has_db_default():
            sql, parameters = editor.db_default_sql(asked)
        elif asked.has_default():
            sql, parameters = "%s", (editor.effective_default(asked),)
        else:
            return ""
        return str(editor.connection.ops.compose_sql(sql, parameters))

    def _database_default(self) -> None:
        if self.asked.has_db_default():
            self._settle(DATABASE_DEFAULT, None)
            self._settle(DEFAULT, None)  # the one kept is overwritten
            return
        if not self.now.has_db_default():
            return
        self.halves.new.db_default = self.now.db_default
        self._settle(
            DATABASE_DEFAULT,
            self._debt(
                DATABASE_DEFAULT,
                self.column,
                self.editor.payments.drop_default(self.table, self.column),
                f"leave {self.table}.{self.column} to the database",
                {"keep": self.editor.default_sql(self.table, self.column, *self.editor.db_default_sql(self.now))},
            ),
        )

    def _unique_and_index(self) -> None:
        now, asked, new, editor = self.now, self.asked, self.halves.new, self.editor
        if asked.unique and not now.unique:
            new._unique = new.unique = False
            new.db_index = now.db_index
            like = editor._create_like_index_sql(self.model, asked)
            kept = {_name(like)} if like is not None else set()
            statement = editor._create_unique_sql(self.model, [asked])
            payment = editor.payments.add_unique(statement)
            indexes = self._index_names()
            if like is not None and _name(like) not in indexes:
                payment.append(editor.payments.add_index(like, _name(like)))
            payment += editor.payments.drop_indexes(name for name in indexes if name not in kept)
            self._settle(
                UNIQUE,
                self._debt(
                    UNIQUE,
                    _name(statement),
                    payment,
                    f"write a value of {self.table}.{self.column} a second time",
                    {"had_index": bool(now.db_index)},
                ),
            )
            return
        self._settle(UNIQUE, None)
        if now.db_index and not now.unique and not asked.db_index and not self.is_fresh:
            new.db_index = True
            names = self._index_names()
            debt = self._debt(
                INDEX,
                names[0] if names else self.column,
                editor.payments.drop_indexes(names),
                f"find rows by {self.table}.{self.column} quickly",
                {"of_field": True},
            )
            self._settle(INDEX, debt if names else None)
            return
        self._settle(INDEX, None)

    def _index_names(self) -> list[str]:
        if not self.now.db_index or self.now.unique:
            return []
        in_meta = {index.name for index in self.model._meta.indexes}
        names: list[str] = self.editor._constraint_names(
            self.model, [self.now.column], index=True, unique=False, type_=Index.suffix, exclude=in_meta
        )
        return sorted(names)

    def _check(self) -> None:
        editor, new = self.editor, self.halves.new
        old_check = editor._field_db_check(self.now, self.old_params)
        new_check = editor._field_db_check(self.asked, self.new_params)
        if not new_check or new_check == old_check:
            self._settle(CHECK, None)
            return
        setattr(new, CHECK_NOW, None)
        name = editor._create_index_name(self.table, [self.column], suffix="_check")
        statement = editor._create_check_sql(self.model, name, self.new_params["check"])
        self._settle(
            CHECK,
            self._debt(
                CHECK,
                name,
                editor.payments.add_constraint(statement, self.table, name),
                f"write values of {self.table}.{self.column} that break CHECK ({self.new_params['check']})",
            ),
        )

    def _foreign_key(self) -> None:
        editor, new, now = self.editor, self.halves.new, self.now
        has, wants = (bool(side.remote_field and side.db_constraint) for side in (now, self.asked))
        if wants and not has:
            new.db_constraint = False
            statement = editor._create_fk_sql(self.model, self.asked, "_fk_%(to_table)s_%(to_column)s")
            self._settle(
                FOREIGN_KEY,
                self._debt(
                    FOREIGN_KEY,
                    _name(statement),
                    editor.payments.add_constraint(statement, self.table, _name(statement)),
                    f"let {self.table}.{self.column} refer to rows that are not there",
                ),
            )
            return
        self._settle(FOREIGN_KEY, None)
        if has and wants and self.halves.old_type == self.halves.new_type:
            leave_foreign_key(now, new)

    def _debt(
        self, kind: str, name: str, payment: list[dict[str, Any]], breaks: str, details: dict[str, Any] | None = None
    ) -> Debt:
        return self.editor.debt(kind, self.table, name, payment, breaks, [self.column], details)

    def _settle(self, kind: str, wanted: Debt | None) -> None:
        """Owe what is wanted, unless just that is owed already; what is owed and not wanted any more is settled."""
        owed = self.open.get(kind)
        if owed is not None and wanted is not None:
            same = (owed.details.get("from"), owed.details.get("to")) == (
                wanted.details.get("from"),
                wanted.details.get("to"),
            )
            if same:
                return
        if owed is not None:
            self.halves.settled.append(owed)
        if wanted is not None:
            self.halves.owed.append(wanted)


def leave_foreign_key(*fields: AnyField) -> None:
    """Keep Django from dropping and making again a foreign key that stays what it is: that would read both tables."""
    for each in fields:
        each.db_constraint = False


def _name(statement: Any) -> str:
    return str(statement.parts["name"]).strip('"')
