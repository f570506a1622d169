"""A renamed field, halved: a new column kept in step with the old one, which is owed."""

from __future__ import annotations

from typing import Any

from django.db.models.fields import NOT_PROVIDED

from rupaya.migrator.attic.instep import IN_STEP, InStep, why_not
from rupaya.migrator.debts import unshareable
from rupaya.migrator.debts.altering import copied
from rupaya.migrator.debts.constraints import ConstraintsEditor
from rupaya.migrator.debts.debt import COLUMN, CONSTRAINT, TYPE, UNIQUE, Debt
from rupaya.migrator.debts.stepping import AnyField, AnyModel
from rupaya.migrator.django import table_of


class RenamingEditor(ConstraintsEditor):
    """The part of the editor of debts that `RenameFieldInStep` works through."""

    def rename_in_step(
        self, old_model: AnyModel, new_model: AnyModel, old_field: AnyField, new_field: AnyField
    ) -> None:
        """Forwards, a new column, and the old one owed; backwards, the old one alone, with all that was written since.

        Where nobody owes, or nobody knows the old column, it is renamed.
        """
        table = table_of(old_model)
        if self._is_backwards():
            if not self._step_back(table, before=str(new_field.column), after=str(old_field.column)):
                self.alter_field(old_model, old_field, new_field)
            return
        old, new = str(old_field.column), str(new_field.column)
        if not self._owes(table) or (table, old) in self.book.fresh.columns:
            self.alter_field(old_model, old_field, new_field)
            return
        pair = InStep(self.quote_name, table, old, new)
        mine = [debt for debt in self.book.of(COLUMN, table=table, object=old) if debt.details.get(IN_STEP) == new]
        if mine:
            return  # by an attempt that was cut off later on, and is not atomic
        # What else is owed of the old column holds for both, or goes with it.
        owed = self.book.of(TYPE, UNIQUE, CONSTRAINT, table=table, column=old)
        self._pay_first([*owed, *self.book.of(COLUMN, table=table, object=new), *self._in_step(table, old)])
        if reason := why_not(self.connection, table, old, is_null=old_field.null):
            raise unshareable.not_in_step(self.where, table, old, new, reason)
        self.book.fresh.columns.add((table, new))
        super().add_field(new_model, _bare(new_field))
        for sql in pair.create():
            self.execute(sql, None)
        self._owe_old(new_model, new_field, pair)

    def _owe_old(self, model: AnyModel, field: AnyField, pair: InStep) -> None:
        """The old column and the triggers; with them goes what kept the new one from having a default."""
        first, besides = pair.drop(), list(pair.triggers)
        if has_default := field.has_db_default():
            first.append(self.default_sql(pair.table, pair.new, *self.db_default_sql(field)))
            besides.append(pair.new)
        forget = self.step is not None and self.step.forget
        pay = self.payments.forget_column if forget else self.payments.put_away_column
        self._owe(
            COLUMN,
            pair.table,
            pair.old,
            pay(pair.table, pair.old, first),
            f"read or write {pair.table}.{pair.old}, which is {pair.new} now",
            [pair.old],
            {IN_STEP: pair.new, "besides": besides, "default_then": has_default, "undo": [], "forget": forget},
        )

    def _step_back(self, table: str, *, before: str, after: str) -> bool:
        """Leave the column `before` alone; False if there is no other than `after`, which is to be renamed then."""
        pair = InStep(self.quote_name, table, before, after)
        debts = [debt for debt in self.book.of(COLUMN, table=table, object=before) if debt.details.get(IN_STEP)]
        item = None if debts else self.attic.kept(COLUMN, table, before)
        if item is not None:
            self.attic.bring_back(item)
        elif not debts:
            return False
        for sql in pair.drop():
            self.execute(sql, None)
        # Not CASCADE: what hangs on the new column is somebody's, and is named.
        self.execute(f"ALTER TABLE {self.quote_name(table)} DROP COLUMN IF EXISTS {self.quote_name(after)}", None)
        return True

    def _in_step(self, table: str, column: str) -> list[Debt]:
        """What is owed of the column that this one is kept in step with."""
        return [debt for debt in self.book.of(COLUMN, table=table) if debt.details.get(IN_STEP) == column]

    def pay_before_widening(self, table: str, column: str) -> None:
        """What is owed of the column's type, or makes it unique, and what it is kept in step with."""
        if self._owes(table):
            self._pay_first([*self.book.of(TYPE, UNIQUE, CONSTRAINT, table=table, column=column)])
            self._pay_first(self._in_step(table, column))

    def _pay_before_loosening(self, table: str, old_field: AnyField, new_field: AnyField, types: set[str]) -> None:
        """What the new column takes, the old one has to take too for as long as it is kept in step."""
        is_checked = bool(old_field.remote_field and old_field.db_constraint)
        loosens = (
            len(types) > 1
            or old_field.column != new_field.column
            or (new_field.null and not old_field.null)
            or (is_checked and not (new_field.remote_field and new_field.db_constraint))
            or old_field.has_db_default() != new_field.has_db_default()
            or (old_field.has_db_default() and old_field.db_default != new_field.db_default)
        )
        if loosens:
            self._pay_first(self._in_step(table, str(old_field.column)))


def _bare(field: AnyField) -> Any:
    """Nullable and without any default: the first would be taken for a value of new code's."""
    bare = copied(field)
    bare.null = True
    for name in ("default", "db_default"):
        setattr(bare, name, NOT_PROVIDED)
    for name in ("auto_now", "auto_now_add"):
        if hasattr(bare, name):
            setattr(bare, name, False)
    return bare
