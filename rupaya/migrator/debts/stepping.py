"""What the editor of debts works with: the step that is carried out, debts in its name, and how a half is undone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction
from django.db.backends.postgresql.schema import DatabaseSchemaEditor

from rupaya.migrator.debts import existing, leftovers, unshareable
from rupaya.migrator.debts.atticstep import Attic
from rupaya.migrator.debts.book import Book
from rupaya.migrator.debts.debt import Debt, Part
from rupaya.migrator.debts.paymentsql import Payments
from rupaya.migrator.errors import driver_text

# Django's stubs know little of fields and models that migrations make, and nothing of what an editor has to itself.
AnyField = Any
AnyModel = Any


@dataclass(frozen=True)
class CurrentOperation:
    """The operation that is being carried out."""

    app: str
    migration: str
    operation: str
    action: str
    backwards: bool = False
    forget: bool = False
    """Whether what it removes is dropped for good: the migration says `forget = True`, for somebody's data."""

    @property
    def label(self) -> str:
        """The migration, as it names itself."""
        return f"{self.app}.{self.migration}"


class SteppingEditor(DatabaseSchemaEditor):
    """Django's editor, with a step while one is set; subclasses made for a run carry its `book`."""

    book: Book
    is_forecast = False
    """Whether nothing is executed; the database may lack what earlier migrations of the plan would have made."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """What Django's editor has to itself, and its stubs leave out."""

    def __init__(self, connection: Any, collect_sql: bool = False, atomic: bool = True) -> None:
        super().__init__(connection, collect_sql, atomic)
        self.step: CurrentOperation | None = None
        self.payments = Payments(self)
        self.attic = Attic(self)

    # What a step is, and whether anything is to be owed

    @contextmanager
    def stepping(self, step: CurrentOperation) -> Iterator[None]:
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
        assert self.step is not None  # noqa: S101 - only a step strikes out debts
        if not self.is_forecast:
            for debt in debts:
                leftovers.take_away(self.connection, debt)
        self.book.cancel(debts, by=f"{self.step.label} {gone}".strip())

    def _pay_first(self, debts: Sequence[Debt]) -> None:
        """What must be paid before this step.

        Raises:
            HistoryRefused: if nothing of it could be paid by now: the run asks beforehand, by a forecast.
        """
        for debt in debts:
            same_plan = debt.id is None or not self.is_forecast
            if same_plan:
                raise unshareable.name_owed(self.where, debt, same_plan=debt.id is None)
            self.book.owed.remove(debt)
            self.book.pay_first.append(debt)

    def default_sql(self, table: str, column: str, sql: str, parameters: Sequence[Any]) -> str:
        """The statement that gives a column this default."""
        change = f"ALTER TABLE {self.quote_name(table)} ALTER COLUMN {self.quote_name(column)} SET DEFAULT "
        return change + (str(self.connection.ops.compose_sql(sql, list(parameters))) if parameters else sql)

    # Undoing what was done of an unpaid debt

    def _filling(self, table: str, field: AnyField, name: str = "") -> list[str]:
        """What fills a field's column where it is NULL; `name`: as it is called now."""
        value = None if field.null else self.effective_default(field)
        if value is None:
            return []
        column = self.quote_name(name or str(field.column))
        sql = f"UPDATE {self.quote_name(table)} SET {column} = %s WHERE {column} IS NULL; SET CONSTRAINTS ALL IMMEDIATE"
        return [str(self.connection.ops.compose_sql(sql, [value]))]

    def _restore(self, debts: Sequence[Debt], filling: Sequence[str] = ()) -> None:
        """Undo the half that was done; what rows of new code do not allow is reported, and old code served."""
        for sql in filling:
            self.execute(sql, None)
        for debt in debts:
            for sql in debt.details.get("undo", ()):
                try:
                    with transaction.atomic(using=self.connection.alias):
                        self.execute(sql, None)
                except IntegrityError as error:
                    self.book.warn(
                        f"{self.where}: new code wrote rows in the meantime that '{sql}' does not hold for: "
                        f"{driver_text(error)}. Old code can go on without it; fix the rows, then execute it."
                    )
            self.book.reopen(self.book.cancelled_of(f"{debt.migration_label} {debt.object}", table=debt.table))

    def _drop_constraints(self, table: str, found: Sequence[existing.Named]) -> list[str]:
        """Drop them, and say how to have them back."""
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
