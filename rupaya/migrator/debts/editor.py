"""Django's schema editor, which does the half of a change that old code survives and writes the other down as a debt.

Only while a step of a migration is set; without, it is Django's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction
from django.db.backends.postgresql.schema import DatabaseSchemaEditor
from django.db.models import (
    BaseConstraint,
    CheckConstraint,
    Index,
    UniqueConstraint,
)

from rupaya.migrator.debts import existing, refusals
from rupaya.migrator.debts.altering import CHECK_NOW, Halving, column_now, leave_foreign_key, open_debts
from rupaya.migrator.debts.book import Book
from rupaya.migrator.debts.debt import (
    COLUMN,
    CONSTRAINT,
    DEFAULT,
    INDEX,
    TABLE,
    UNIQUE,
    VALIDATION,
    Debt,
    Part,
    in_transaction,
)
from rupaya.migrator.debts.defaults import is_one_value, kept_default
from rupaya.migrator.debts.payments import Payments
from rupaya.migrator.errors import driver_text

# Django's stubs know little of fields and models that migrations make, and nothing of what an editor has to itself.
AnyField = Any
AnyModel = Any


@dataclass(frozen=True)
class Step:
    """The operation that is being carried out."""

    app: str
    migration: str
    operation: str
    action: str
    backwards: bool = False

    @property
    def label(self) -> str:
        """The migration, as it names itself."""
        return f"{self.app}.{self.migration}"


class DebtsEditor(DatabaseSchemaEditor):
    """See the module; subclasses made for a run carry its `book`."""

    book: Book
    is_forecast = False
    """Whether nothing is executed; the database may lack what earlier migrations of the plan would have made."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """What Django's editor has to itself, and its stubs leave out."""

    def __init__(self, connection: Any, collect_sql: bool = False, atomic: bool = True) -> None:
        super().__init__(connection, collect_sql, atomic)
        self.step: Step | None = None
        self.payments = Payments(self)

    # What a step is, and whether anything is to be owed

    @contextmanager
    def stepping(self, step: Step) -> Iterator[None]:
        """Halve what is done in the block, in the name of this step."""
        before, self.step = self.step, step
        try:
            yield
        finally:
            self.step = before

    @property
    def where(self) -> str:
        """The step, for people."""
        return f"{self.step.label} ({self.step.action})" if self.step else "A migration"

    def _owes(self, table: str) -> bool:
        """Whether changes of a table are halved: forwards, and where old code knows it."""
        return self.step is not None and not self.step.backwards and table not in self.book.fresh.tables

    def _is_backwards(self) -> bool:
        return self.step is not None and self.step.backwards

    def debt(
        self,
        kind: str,
        table: str,
        name: str,
        payment: list[Part],
        breaks: str,
        columns: Sequence[str],
        details: dict[str, Any] | None = None,
    ) -> Debt:
        """A debt of this step."""
        assert self.step is not None  # noqa: S101 - owing is for steps alone
        step = self.step
        return Debt(
            step.app,
            step.migration,
            step.operation,
            step.action,
            kind,
            table,
            name,
            payment,
            breaks,
            {"columns": list(columns), **(details or {})},
        )

    def _owe(self, *arguments: Any) -> None:
        self.book.owe(self.debt(*arguments))

    def _supersede(self, debts: Sequence[Debt], gone: str = "") -> None:
        """Strike out what this step makes pointless; `gone`: the column or table that goes, and takes them with it."""
        assert self.step is not None  # noqa: S101
        self.book.cancel(debts, by=f"{self.step.label} {gone}".strip())

    def _pay_first(self, debts: Sequence[Debt]) -> None:
        """What must be paid before this step.

        Raises:
            HistoryRefused: if nothing of it could be paid by now: the run asks beforehand, by a forecast.
        """
        for debt in debts:
            same_plan = debt.id is None or not self.is_forecast
            if same_plan:
                raise refusals.name_owed(self.where, debt, same_plan=debt.id is None)
            self.book.owed.remove(debt)
            self.book.pay_first.append(debt)

    # Tables

    def create_model(self, model: AnyModel) -> None:
        """As Django does; unapplying a removal that is not paid has the table still."""
        table = model._meta.db_table
        if self._is_backwards():
            if debts := self.book.of(TABLE, table=table):
                self._restore(debts)
                for field in model._meta.local_many_to_many:
                    through = field.remote_field.through
                    if through._meta.auto_created:
                        self.create_model(through)
                return
        elif self.step is not None:
            self._pay_first(self.book.of(TABLE, table=table))
            self.book.fresh.tables.add(table)
        super().create_model(model)

    def delete_model(self, model: AnyModel) -> None:
        """Only its foreign keys to others go now, or new code could not delete the rows that they refer to."""
        table = model._meta.db_table
        if not self._owes(table):
            if self.step is not None and not self.step.backwards:
                self._supersede(self.book.of(table=table), gone=table)
            super().delete_model(model)
            return
        for field in model._meta.local_many_to_many:
            through = field.remote_field.through
            if through._meta.auto_created:
                self.delete_model(through)
        self._supersede(self.book.of(table=table), gone=table)
        undo = self._drop_constraints(table, existing.foreign_keys(self.connection, table))
        self._owe(
            TABLE,
            table,
            table,
            self.payments.drop_table(table),
            f"read or write the table {table}",
            [],
            {"undo": undo},
        )

    def alter_db_table(self, model: AnyModel, old_db_table: str, new_db_table: str) -> None:
        """Only of a table that this plan made.

        Raises:
            HistoryRefused: for any other.
        """
        if old_db_table != new_db_table and self.step is not None and not self.step.backwards:
            fresh = self.book.fresh
            if old_db_table not in fresh.tables:
                raise refusals.renamed_table(self.where, old_db_table, new_db_table)
            fresh.tables.remove(old_db_table)
            fresh.tables.add(new_db_table)
        super().alter_db_table(model, old_db_table, new_db_table)

    # Columns

    def add_field(self, model: AnyModel, field: AnyField) -> None:
        """As Django does, but that a default stays in the database for code that does not know the column."""
        table, column = model._meta.db_table, field.column
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
        super().add_field(model, field)

    def _refuse_unfillable(self, table: str, field: AnyField) -> None:
        fills_itself = field.null or field.has_db_default() or field.generated
        if fills_itself or field.db_type_suffix(self.connection):
            return
        if self.effective_default(field) is None:
            raise refusals.no_default(self.where, table, str(field.column))
        if field.unique and is_one_value(self, field):
            raise refusals.one_value(self.where, table, str(field.column))

    def _alter_column_default_sql(
        self, model: AnyModel, old_field: AnyField | None, new_field: AnyField, drop: bool = False
    ) -> Any:
        # `add_field` alone calls it without an old field: to drop the default that it gave to the rows that are there.
        table, column = model._meta.db_table, str(new_field.column)
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
                )
                return f"ALTER COLUMN {self.quote_name(column)} SET DEFAULT {kept.sql}", list(kept.parameters)
            self.book.warn(
                f"{self.where}: the default of {table}.{column} is another one at each call, and the database knows no "
                "such call: until no older release is running, inserts by it fail. A db_default would help."
            )
        return super()._alter_column_default_sql(model, old_field, new_field, drop)  # type: ignore[misc]

    def remove_field(self, model: AnyModel, field: AnyField) -> None:
        """The column becomes one that new code can leave out; it goes when nobody knows it any more."""
        table, column = model._meta.db_table, str(field.column)
        has_column = bool(field.column) and field.db_parameters(connection=self.connection)["type"] is not None
        if not has_column or not self._owes(table):
            super().remove_field(model, field)
            return
        if field.primary_key:
            raise refusals.other_key(self.where, table, column)
        self._supersede(self.book.of(table=table, column=column), gone=column)
        if (table, column) in self.book.fresh.columns:
            self.book.fresh.columns.remove((table, column))
            super().remove_field(model, field)
            return
        undo = self._drop_constraints(table, existing.constraints_in_the_way(self.connection, table, column))
        undo += self._drop_indexes(existing.indexes_in_the_way(self.connection, table, column))
        loosened = existing.loosen(self.connection, table, column)
        for statement in loosened.statements:
            self.execute(statement, None)
        undo += loosened.undo
        self._owe(
            COLUMN,
            table,
            column,
            self.payments.drop_column(table, column),
            f"read or write {table}.{column}",
            [column],
            {"undo": undo},
        )

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
        table = model._meta.db_table
        if self._is_backwards():
            old_field, old_type, new_field, new_type = self._back(table, old_field, old_type, new_field, new_type)
        elif self._owes(table):
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

    def _rename(self, table: str, old_field: AnyField, new_field: AnyField) -> None:
        old, new = str(old_field.column), str(new_field.column)
        if old == new:
            return
        fresh = self.book.fresh
        if (table, old) not in fresh.columns or self.book.of(table=table, column=old):
            raise refusals.renamed_column(self.where, table, old, new)
        fresh.columns.remove((table, old))
        fresh.columns.add((table, new))

    def _back(
        self, table: str, old: AnyField, old_type: str, new: AnyField, new_type: str
    ) -> tuple[AnyField, str, AnyField, str]:
        """What to alter between, backwards: from the column as it is to one as it was, with what was owed of it."""
        assert self.step is not None  # noqa: S101
        column = str(old.column)
        back = self.book.cancelled_of(self.step.label, table=table, column=column)
        now, type_now = column_now(old, old_type, open_debts(self, table, column))
        target, target_type = column_now(new, new_type, [debt for debt in back if list(debt.columns) == [column]])
        both = all(side.remote_field and side.db_constraint for side in (now, target))
        if both and type_now == target_type:
            leave_foreign_key(now, target)
        return now, type_now, target, target_type

    def _field_db_check(self, field: AnyField, field_db_params: Any) -> Any:
        if hasattr(field, CHECK_NOW):
            return getattr(field, CHECK_NOW)
        return super()._field_db_check(field, field_db_params)  # type: ignore[misc]

    # Constraints and indexes

    def add_constraint(self, model: AnyModel, constraint: BaseConstraint) -> None:
        """Owed; unapplying a removal that had cancelled such a debt owes it again."""
        table = model._meta.db_table
        if self._is_backwards():
            assert self.step is not None  # noqa: S101
            if self.book.cancelled_of(self.step.label, CONSTRAINT, table=table, object=constraint.name):
                return
        elif self._owes(table):
            self.owe_constraint(model, constraint)
            return
        super().add_constraint(model, constraint)

    def owe_constraint(self, model: AnyModel, constraint: BaseConstraint, *, validate: bool = True) -> None:
        """Write a constraint down; without `validate`, one that is to hold for new rows alone."""
        table = model._meta.db_table
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
        """Whether the validation of a constraint is owed, for the constraint is."""
        table = model._meta.db_table
        if not self._owes(table) or not self.book.of(CONSTRAINT, table=table, object=name):
            return False
        self._owe(
            VALIDATION, table, name, self.payments.validate(table, name), f"keep rows of {table} against {name}", []
        )
        return True

    def remove_constraint(self, model: AnyModel, constraint: BaseConstraint) -> None:
        """As Django does, unless it is owed."""
        owed = self.book.of(CONSTRAINT, VALIDATION, table=model._meta.db_table, object=constraint.name)
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
        table = model._meta.db_table
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
        return str(self._unique_constraint_name(model._meta.db_table, columns, quote=False))

    def alter_index_together(self, model: AnyModel, old_index_together: Any, new_index_together: Any) -> None:
        """New ones at once, the removal of old ones owed; the operation is only in old histories."""
        table = model._meta.db_table
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
        return any(list(debt.columns) == columns for debt in self.book.of(INDEX, table=model._meta.db_table))

    def add_index(self, model: AnyModel, index: Index, concurrently: bool = False) -> None:
        """As Django does; one of the same name, whose removal is owed, goes first."""
        if owed := self.book.of(INDEX, table=model._meta.db_table, object=index.name):
            if self._is_backwards() and existing.has_index(self.connection, index.name):
                return
            if self.step is not None and not self.step.backwards:
                super().remove_index(model, index, concurrently=concurrently)
                self._supersede(owed)
        super().add_index(model, index, concurrently=concurrently)

    def remove_index(self, model: AnyModel, index: Index, concurrently: bool = False) -> None:
        """Owed: old code would do without it, but slowly."""
        table = model._meta.db_table
        if self._owes(table):
            self._owe_index(table, index.name, [])
            return
        super().remove_index(model, index, concurrently=concurrently)

    def _owe_index(self, table: str, name: str, columns: Sequence[str]) -> None:
        self._owe(INDEX, table, name, self.payments.drop_indexes([name]), f"use the index {name} of {table}", columns)

    # Undoing what was done of an unpaid debt

    def _filling(self, table: str, field: AnyField) -> list[str]:
        value = None if field.null else self.effective_default(field)
        if value is None:
            return []
        column = self.quote_name(str(field.column))
        sql = f"UPDATE {self.quote_name(table)} SET {column} = %s WHERE {column} IS NULL; SET CONSTRAINTS ALL IMMEDIATE"
        return [str(self.connection.ops.compose_sql(sql, [value]))]

    def _restore(self, debts: Sequence[Debt], filling: Sequence[str] = ()) -> None:
        for sql in filling:
            self.execute(sql, None)
        for debt in debts:
            for sql in debt.details.get("undo", ()):
                if " FOREIGN KEY " in sql and not sql.endswith(" NOT VALID"):
                    self._restore_foreign_key(debt, sql)
                else:
                    self.execute(sql, None)
            taken = f"{debt.migration_label} {debt.object}"
            self.book.reopen(self.book.cancelled_of(taken, table=debt.table))

    def _restore_foreign_key(self, debt: Debt, sql: str) -> None:
        """Enforce it from now on; rows that new code orphaned meanwhile must not keep old code from being restored."""
        self.execute(f"{sql} NOT VALID", None)
        adding, _, definition = sql.partition(" ADD CONSTRAINT ")
        name = definition.partition(" FOREIGN KEY ")[0]
        try:
            with transaction.atomic(using=self.connection.alias):
                self.execute(f"{adding} VALIDATE CONSTRAINT {name}", None)
        except IntegrityError as error:
            self.book.warn(
                f"{self.where}: the foreign key {name} of {debt.table} holds for new rows and is not validated, for "
                f"rows refer to what was deleted meanwhile: {driver_text(error)}. Mend them, then '{adding} VALIDATE "
                f"CONSTRAINT {name}'."
            )

    def _drop_constraints(self, table: str, found: Sequence[existing.Named]) -> list[str]:
        """Drop them, and say how to have them back: enforced first, and then made sure of."""
        undo = []
        here = f"ALTER TABLE {self.quote_name(table)}"
        for item in found:
            name = self.quote_name(item.name)
            if item.is_foreign_key:
                self.execute(self.sql_delete_fk % {"table": self.quote_name(table), "name": name}, None)
            else:
                self.execute(f"{here} DROP CONSTRAINT {name}", None)
            undo.append(f"{here} ADD CONSTRAINT {name} {item.definition}")
        return undo

    def _drop_indexes(self, found: Sequence[existing.Named]) -> list[str]:
        for item in found:
            self.execute(f"DROP INDEX {self.quote_name(item.name)}", None)
        return [item.definition for item in found]

    # A forecast cannot find what was not made

    def _delete_composed_index(self, *arguments: Any) -> None:
        if not self.is_forecast:
            super()._delete_composed_index(*arguments)  # type: ignore[misc]
