"""Constraints and indexes: new rules are owed, and what goes by halves is left until it is paid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import BaseConstraint, CheckConstraint, Index, UniqueConstraint

from rupaya.migrator.debts.debt import CONSTRAINT, INDEX, UNIQUE, VALIDATION, in_transaction
from rupaya.migrator.debts.stepping import AnyModel, SteppingEditor
from rupaya.migrator.django import table_of


class ConstraintsEditor(SteppingEditor):
    """The part of the editor that is about what rows must be like, and how they are found."""

    def add_constraint(self, model: AnyModel, constraint: BaseConstraint) -> None:
        """Owed; unapplying a removal that had cancelled such a debt owes it again."""
        table = table_of(model)
        if self._is_backwards():
            assert self.step is not None  # noqa: S101 - only a step is backwards
            if self.book.cancelled_of(self.step.label, CONSTRAINT, table=table, object=constraint.name):
                return
        elif self._owes(table):
            self.owe_constraint(model, constraint)
            return
        super().add_constraint(model, constraint)

    def owe_constraint(self, model: AnyModel, constraint: BaseConstraint, *, validate: bool = True) -> None:
        """Write a constraint down; without `validate`, one that is to hold for new rows alone."""
        table = table_of(model)
        statement: Any = constraint.create_sql(model, self)
        if not statement:
            return
        if isinstance(constraint, CheckConstraint):
            payment = self.payments.add_constraint(statement, table, constraint.name, validate=validate)
        elif isinstance(constraint, UniqueConstraint):
            payment = self.payments.add_unique(statement)
        else:
            payment = [in_transaction(str(statement), constraint=constraint.name)]
        names = getattr(constraint, "fields", ())
        columns = [str(model._meta.get_field(name).column) for name in names]
        self._owe(
            CONSTRAINT, table, constraint.name, payment, f"write rows of {table} that break {constraint.name}", columns
        )

    def validate_constraint(self, model: AnyModel, name: str) -> bool:
        """Whether the validation of a constraint is owed, because the constraint is."""
        table = table_of(model)
        if not self._owes(table) or not self.book.of(CONSTRAINT, table=table, object=name):
            return False
        self._owe(
            VALIDATION, table, name, self.payments.validate(table, name), f"keep rows of {table} against {name}", []
        )
        return True

    def remove_constraint(self, model: AnyModel, constraint: BaseConstraint) -> None:
        """As Django does, unless it is owed."""
        owed = self.book.of(CONSTRAINT, VALIDATION, table=table_of(model), object=constraint.name)
        if self.step is not None and any(debt.kind == CONSTRAINT for debt in owed):
            if not self.step.backwards:
                self._supersede(owed)
            return
        super().remove_constraint(model, constraint)

    def alter_unique_together(
        self,
        model: AnyModel,
        old_unique_together: Sequence[Sequence[str]],
        new_unique_together: Sequence[Sequence[str]],
    ) -> None:
        """What is no longer unique at once, what is from now on owed."""
        table = table_of(model)
        olds = {tuple(fields) for fields in old_unique_together}
        news = {tuple(fields) for fields in new_unique_together}
        if self.step is None:
            super().alter_unique_together(model, old_unique_together, new_unique_together)
            return
        kept = olds & news
        gone = set()
        for names in olds - news:
            owed = self.book.of(UNIQUE, table=table, object=self._unique_name(model, names))
            if not owed:
                gone.add(names)
            elif not self.step.backwards:
                self._supersede(owed)
        made = set()
        for names in news - olds:
            name = self._unique_name(model, names)
            if self._is_backwards() and self.book.cancelled_of(self.step.label, UNIQUE, table=table, object=name):
                continue
            if not self._owes(table):
                made.add(names)
                continue
            fields = [model._meta.get_field(field_name) for field_name in names]
            columns = [str(field.column) for field in fields]
            statement = self._create_unique_sql(model, fields)
            breaks = f"write the same {', '.join(columns)} into {table} twice"
            self._owe(UNIQUE, table, name, self.payments.add_unique(statement), breaks, columns, {"had_index": False})
        super().alter_unique_together(model, list(kept | gone), list(kept | made))

    def _unique_name(self, model: AnyModel, names: Sequence[str]) -> str:
        columns = [model._meta.get_field(name).column for name in names]
        return str(self._unique_constraint_name(table_of(model), columns, quote=False))

    def alter_index_together(self, model: AnyModel, old_index_together: Any, new_index_together: Any) -> None:
        """New ones at once, the removal of old ones owed; the operation is only in old histories."""
        table = table_of(model)
        olds = {tuple(fields) for fields in old_index_together}
        news = {tuple(fields) for fields in new_index_together}
        if self._owes(table):
            for names in olds - news:
                columns = [str(model._meta.get_field(name).column) for name in names]
                in_meta = {index.name for index in model._meta.indexes}
                found = self._constraint_names(model, columns, index=True, unique=False, exclude=in_meta)
                for name in found[:1]:
                    self._owe_index(table, name, columns)
            olds &= news
        elif self._is_backwards():
            news = {names for names in news if names in olds or not self._is_index_owed(model, names)}
        super().alter_index_together(model, list(olds), list(news))

    def _is_index_owed(self, model: AnyModel, names: Sequence[str]) -> bool:
        columns = [model._meta.get_field(name).column for name in names]
        return any(list(debt.columns) == columns for debt in self.book.of(INDEX, table=table_of(model)))

    def add_index(self, model: AnyModel, index: Index, concurrently: bool = False) -> None:
        """As Django does; one of the same name, whose removal is owed, goes first."""
        if owed := self.book.of(INDEX, table=table_of(model), object=index.name):
            if self._is_backwards():
                return
            if self.step is not None and not self.step.backwards:
                super().remove_index(model, index, concurrently=concurrently)
                self.book.paid(owed)
        super().add_index(model, index, concurrently=concurrently)

    def remove_index(self, model: AnyModel, index: Index, concurrently: bool = False) -> None:
        """Owed: old code would do without it, but slowly."""
        table = table_of(model)
        if self._owes(table):
            self._owe_index(table, index.name, [])
            return
        super().remove_index(model, index, concurrently=concurrently)

    def _owe_index(self, table: str, name: str, columns: Sequence[str]) -> None:
        self._owe(INDEX, table, name, self.payments.drop_indexes([name]), f"use the index {name} of {table}", columns)
