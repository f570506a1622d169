"""Django's schema editor, which does the half of a change that old code survives and writes the other down as a debt.

Only while a step of a migration is set; without, it is Django's own. This part is about tables and columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from django.db.backends.ddl_references import Statement

from rupaya.migrator.attic.bringing import is_prepared
from rupaya.migrator.attic.item import Item
from rupaya.migrator.debts import existing, unshareable
from rupaya.migrator.debts.altering import CHECK_NOW, Halving, column_now, leave_foreign_key, open_debts
from rupaya.migrator.debts.debt import COLUMN, DEFAULT, TABLE, Debt
from rupaya.migrator.debts.defaults import is_one_value, kept_default
from rupaya.migrator.debts.renamingeditor import RenamingEditor
from rupaya.migrator.debts.stepping import AnyField, AnyModel
from rupaya.migrator.django import table_of, unquoted


class DebtsEditor(RenamingEditor):
    """See the module; subclasses made for a run carry its `book`."""

    # Tables

    def create_model(self, model: AnyModel) -> None:
        """As Django does; unapplying a removal that is not paid has the table still, and the attic may have it."""
        table = table_of(model)
        if self._is_backwards():
            if debts := self.book.of(TABLE, table=table):
                self._restore(debts)
                self._create_tables_between(model)
                return
        elif self.step is not None:
            self._pay_first(self.book.of(TABLE, table=table))
            self.book.fresh.tables.add(table)
        if (item := self.attic.kept(TABLE, table, table)) is not None:
            self.attic.bring_back(item)
            self._create_tables_between(model)
            return
        super().create_model(model)

    def _create_tables_between(self, model: AnyModel) -> None:
        """Those of a model's many-to-many fields, which Django makes with it."""
        for field in model._meta.local_many_to_many:
            through = field.remote_field.through
            if through._meta.auto_created:
                self.create_model(through)

    def delete_model(self, model: AnyModel) -> None:
        """Only its foreign keys to others go now, or new code could not delete the rows that they refer to."""
        table = table_of(model)
        if self._is_backwards():
            self._delete_tables_between(model)
            self.attic.put_away(TABLE, table, table)
            self._forget_deferred(lambda statement: statement.references_table(table))
            return
        if not self._owes(table):
            if self.step is not None and not self.step.backwards:
                self._supersede(self.book.of(table=table), gone=table)
            super().delete_model(model)
            return
        self._delete_tables_between(model)
        if self.book.of(TABLE, table=table):
            return  # by an attempt that was cut off later on, and is not atomic
        self._supersede(self.book.of(table=table), gone=table)
        keys = existing.foreign_keys(self.connection, table)
        undo = self._drop_constraints(table, keys)
        forget = self._forgets()
        self._owe(
            TABLE,
            table,
            table,
            self.payments.forget_table(table) if forget else self.payments.put_away_table(table),
            f"read or write the table {table}",
            [],
            {"undo": undo, "dropped": [key.of_table(self.quote_name(table)) for key in keys], "forget": forget},
        )

    def _delete_tables_between(self, model: AnyModel) -> None:
        for field in model._meta.local_many_to_many:
            through = field.remote_field.through
            if through._meta.auto_created:
                self.delete_model(through)

    def alter_db_table(self, model: AnyModel, old_db_table: str, new_db_table: str) -> None:
        """Only of a table that this plan made.

        Raises:
            HistoryRefused: for any other.
        """
        old, new = unquoted(old_db_table), unquoted(new_db_table)
        if old != new and self.step is not None and not self.step.backwards:
            fresh = self.book.fresh
            if old not in fresh.tables:
                raise unshareable.renamed_table(self.where, old, new)
            fresh.tables.remove(old)
            fresh.tables.add(new)
        super().alter_db_table(model, old_db_table, new_db_table)

    # Columns

    def add_field(self, model: AnyModel, field: AnyField) -> None:
        """As Django does, but that a default stays in the database for code that does not know the column."""
        table, column = table_of(model), field.column
        if field.many_to_many or column is None:
            super().add_field(model, field)
            return
        if self._is_backwards():
            if debts := self.book.of(COLUMN, table=table, object=column):
                is_required = any(sql.endswith("SET NOT NULL") for debt in debts for sql in debt.details["undo"])
                self._restore(debts, self._filling(table, field) if is_required else ())
                return
        elif self._owes(table):
            self._pay_first(self.book.of(COLUMN, table=table, object=column))
            self._refuse_unfillable(table, field)
            self.book.fresh.columns.add((table, column))
        if (item := self.attic.kept(COLUMN, table, column)) is not None:
            self._take_back(model, field, item)
            return
        super().add_field(model, field)

    def _take_back(self, model: AnyModel, field: AnyField, item: Item) -> None:
        """The column as it was, with a value in each row if the field has one to give."""
        table = table_of(model)
        if not is_prepared(self.connection, item):
            for sql in self._filling(table, field, item.name):
                self.execute(sql, None)
        self.attic.bring_back(item)
        if not self._is_backwards() and not field.has_db_default() and self.effective_default(field) is not None:
            sql, parameters = self._alter_column_default_sql(model, None, field, drop=True)
            self.execute(f"ALTER TABLE {self.quote_name(table)} {sql}", parameters or None)

    def _refuse_unfillable(self, table: str, field: AnyField) -> None:
        fills_itself = field.null or field.has_db_default() or field.generated
        if fills_itself or field.db_type_suffix(self.connection):
            return
        if self.effective_default(field) is None:
            raise unshareable.no_default(self.where, table, str(field.column))
        if field.unique and is_one_value(self, field):
            raise unshareable.one_value(self.where, table, str(field.column))

    def _alter_column_default_sql(
        self, model: AnyModel, old_field: AnyField | None, new_field: AnyField, drop: bool = False
    ) -> Any:
        # `add_field` alone calls it without an old field: to drop the default that it gave to the rows that are there.
        table, column = table_of(model), str(new_field.column)
        if drop and old_field is None and self._owes(table) and not new_field.null:
            kept = kept_default(self, new_field)
            if kept is not None:
                if kept.warning:
                    self.book.warn(f"{self.where}: {kept.warning}")
                self._owe(
                    DEFAULT,
                    table,
                    column,
                    self.payments.drop_default(table, column),
                    f"insert rows into {table} without {column}",
                    [column],
                    {"keep": self.default_sql(table, column, kept.sql, kept.parameters)},
                )
                return f"ALTER COLUMN {self.quote_name(column)} SET DEFAULT {kept.sql}", list(kept.parameters)
            self.book.warn(
                f"{self.where}: the default of {table}.{column} differs at each call, and the database knows no "
                "such call: until no older release is running, inserts by it fail. A db_default would help."
            )
        return super()._alter_column_default_sql(model, old_field, new_field, drop)  # type: ignore[misc]

    def remove_field(self, model: AnyModel, field: AnyField) -> None:
        """The column becomes one that new code can leave out; it goes when nobody knows it any more."""
        table, column = table_of(model), str(field.column)
        has_column = bool(field.column) and field.db_parameters(connection=self.connection)["type"] is not None
        if has_column and self._is_backwards() and not field.primary_key:
            self.attic.put_away(COLUMN, table, column)
            self._forget_deferred(lambda statement: statement.references_column(table, column))
            return
        if not has_column or not self._owes(table):
            super().remove_field(model, field)
            return
        if field.primary_key:
            raise unshareable.other_key(self.where, table, column)
        if self.book.of(COLUMN, table=table, object=column):
            return  # by an attempt that was cut off later on, and is not atomic
        self._pay_first(self._in_step(table, column))
        self._supersede(self.book.of(table=table, column=column), gone=column)
        if (table, column) in self.book.fresh.columns:
            self.book.fresh.columns.remove((table, column))
            super().remove_field(model, field)
            return
        constraints = existing.constraints_in_the_way(self.connection, table, column)
        indexes = existing.indexes_in_the_way(self.connection, table, column)
        undo = self._drop_constraints(table, constraints) + self._drop_indexes(indexes)
        loosened = existing.loosen(self.connection, table, column)
        for statement in loosened.statements:
            self.execute(statement, None)
        forget = self._forgets()
        pay = self.payments.forget_column if forget else self.payments.put_away_column
        self._owe(
            COLUMN,
            table,
            column,
            pay(table, column),
            f"read or write {table}.{column}",
            [column],
            {
                "undo": undo + loosened.undo,
                "dropped": [each.of_table(self.quote_name(table)) for each in (*constraints, *indexes)],
                "not_null": loosened.not_null,
                "default": loosened.default,
                "forget": forget,
            },
        )

    def _forgets(self) -> bool:
        return self.step is not None and self.step.forget

    def _forget_deferred(self, speaks_of_it: Callable[[Any], bool]) -> None:
        """Leave out what was to be done at the end to what is gone, as Django does."""
        self.deferred_sql = [sql for sql in self.deferred_sql if not (isinstance(sql, Statement) and speaks_of_it(sql))]

    def _alter_field(
        self,
        model: AnyModel,
        old_field: AnyField,
        new_field: AnyField,
        old_type: str,
        new_type: str,
        old_db_params: dict[str, Any],
        new_db_params: dict[str, Any],
        strict: bool = False,
    ) -> None:
        table = table_of(model)
        afterwards: list[str] = []
        if self._is_backwards():
            back = self._back(table, str(old_field.column))
            old_field, old_type = column_now(old_field, old_type, open_debts(self, table, str(old_field.column)))
            new_field, new_type = column_now(new_field, new_type, back)
            if old_type == new_type and all(
                side.remote_field and side.db_constraint for side in (old_field, new_field)
            ):
                leave_foreign_key(old_field, new_field)
            afterwards = [debt.details["keep"] for debt in back if "keep" in debt.details]
        elif self._owes(table):
            self._pay_before_loosening(table, old_field, new_field, {old_type, new_type})
            self._rename(table, old_field, new_field)
            halves = Halving(self, model, old_field, new_field, old_db_params, new_db_params).work()
            self._supersede(halves.settled)
            for debt in halves.owed:
                self.book.owe(debt)
            old_field, old_type, new_field, new_type = halves.old, halves.old_type, halves.new, halves.new_type
        super()._alter_field(  # type: ignore[misc]
            model,
            old_field,
            new_field,
            old_type,
            new_type,
            {**old_db_params, "type": old_type},
            {**new_db_params, "type": new_type},
            strict,
        )
        for sql in afterwards:
            self.execute(sql, None)

    def _rename(self, table: str, old_field: AnyField, new_field: AnyField) -> None:
        """Of a column that this plan made, what is owed of it goes by its new name."""
        assert self.step is not None  # noqa: S101 - asked within a step alone
        old, new = str(old_field.column), str(new_field.column)
        if old == new:
            return
        fresh, step = self.book.fresh, self.step
        if (table, old) not in fresh.columns:
            raise unshareable.renamed_column(self.where, table, old, new)
        fresh.columns.remove((table, old))
        fresh.columns.add((table, new))
        owed = self.book.of(table=table, column=old)
        self._supersede(owed)
        mine: dict[str, Any] = {name: getattr(step, name) for name in ("app", "migration", "operation", "action")}
        for debt in owed:
            self.book.owe(replace(debt.of_column(old, new), **mine, state="owed", settled_by=""))

    def _back(self, table: str, column: str) -> list[Debt]:
        """What will be owed of a column once this migration is unapplied: by others, and what it had cancelled."""
        assert self.step is not None  # noqa: S101 - asked within a step alone
        step = self.step
        left = [debt for debt in open_debts(self, table, column) if debt.key != (step.app, step.migration)]
        return left + [
            debt
            for debt in self.book.cancelled_of(step.label, table=table, column=column)
            if list(debt.columns) == [column]
        ]

    def _field_db_check(self, field: AnyField, field_db_params: Any) -> Any:
        if hasattr(field, CHECK_NOW):
            return getattr(field, CHECK_NOW)
        return super()._field_db_check(field, field_db_params)  # type: ignore[misc]

    # A forecast cannot find what was not made

    def _delete_composed_index(self, *arguments: Any) -> None:
        if not self.is_forecast:
            super()._delete_composed_index(*arguments)  # type: ignore[misc]
