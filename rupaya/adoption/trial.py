"""An adoption carried out in a copy of the live schema, in one transaction that is rolled back.

Only so is it known that nothing stands in its way which nobody has thought of. The live tables are read and never
locked otherwise: the copy has their structure, and the rows that break a rule or a sample of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import Error, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg2.extensions import quote_ident

from rupaya.adoption.baseline import baseline
from rupaya.adoption.copying import (
    copy_rows,
    copy_structure,
    copy_whole,
    functions_of_extensions,
    references,
    without_foreign_keys,
    without_not_valid,
)
from rupaya.adoption.executor import keeping_updated_at
from rupaya.adoption.original import TABLES
from rupaya.adoption.overwriting import overwriting
from rupaya.adoption.rules import key_of
from rupaya.migrator.analysis.onetransaction import attempted, names_here, schema_of_its_own
from rupaya.migrator.errors import EnvironmentUnfit, MigratorError, driver_text, sqlstate
from rupaya.migrator.schema import catalog
from rupaya.migrator.statements import mask_literals, one_line

# By SQLSTATE, or its first two characters.
_WAYS = {
    "42P07": "rename what has that name, or move it to another schema",
    "42710": "rename what has that name, or move it to another schema",
    "42P16": "drop what cannot be so, and make it again afterwards",
    "42501": "give this role that right, or adopt as who has it",
    "2BP01": "drop what depends on it, and make it again afterwards",
    "0A000": "drop what depends on it, and make it again afterwards",
    "P0001": "disable or drop the trigger that raises this",
    "23": "fix the rows, or drop the rule that the contract does not have",
    "42": "fix what the server names: something is there in another shape than the original's last release leaves it",
}
_OF_THE_ORIGINAL = re.compile(rf"(?:CREATE|ALTER) (?:UNLOGGED )?TABLE (?:{'|'.join(TABLES)})\b")
_OTHER_WAY = "fix what the server names"


class Stumbled(Exception):
    """A step of a trial that the server refused, or that did not do what it should."""

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said = said


@dataclass
class Trial:
    """Carries steps out as `AdoptingExecutor` does, each in a savepoint; the first that fails ends it."""

    connection: BaseDatabaseWrapper
    last_sql: str = ""

    def carry_out_step(self, name: str, phase: str, work: Callable[[], None]) -> None:
        """Do the work.

        Raises:
            Stumbled: if the server refuses it.
        """
        with self.trying(name), transaction.atomic(using=self.connection.alias), keeping_updated_at(self.connection):
            self._check_constraints()
            work()
            self._check_constraints()

    def before_rows_are_repaired(self) -> None:
        """See whether triggers let them keep the time of their last change.

        Raises:
            Stumbled: naming those that do not.
        """
        self._check_constraints()
        if found := list(overwriting(self.connection)):
            raise Stumbled(
                "; ".join(
                    f"trigger {trigger} on {table} would overwrite updated_at of every row that is fixed, and adopt "
                    f"makes its own: DROP TRIGGER {trigger} ON {table}"
                    for table, trigger in found
                )
            )

    def _check_constraints(self) -> None:
        """What would be checked at a commit is checked now, or tables could not be altered afterwards."""
        with self.connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")

    @contextmanager
    def trying(self, name: str) -> Iterator[None]:
        """What to say of the block if the server refuses something in it.

        Raises:
            Stumbled: if it does.
        """
        try:
            yield
        except Error as error:
            if not (code := sqlstate(error)):
                raise
            way = _WAYS.get(code) or _WAYS.get(code[:2]) or _OTHER_WAY
            at = one_line(mask_literals(self.last_sql))
            raise Stumbled(f"{name} would fail: {driver_text(error)} at {at}: {way}") from error
        except MigratorError as error:
            raise Stumbled(f"{name} would fail: {error.happened} {error.remedy}") from error

    def note(self, execute: Callable[..., Any], sql: Any, parameters: Any, many: bool, context: dict[str, Any]) -> Any:
        text = str(sql)
        if not text.startswith(("SAVEPOINT", "RELEASE", "ROLLBACK TO", "SELECT set_config")):
            self.last_sql = text
        return execute(sql, parameters, many, context)


@dataclass(frozen=True)
class Verdict:
    """What became of a trial."""

    stumbled: tuple[str, ...] = ()
    unproved: str = ""
    """Why nothing could be tried; empty if it was."""


def try_out(
    connection: BaseDatabaseWrapper,
    rows: dict[str, list[str]],
    lock_timeout_ms: int,
    works: Sequence[Callable[[Trial], None]],
) -> Verdict:
    """Do all the work on a copy, and undo it; `rows` are the keys of rows to copy, by table."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(current_schema(), 'public')")
        (schema,) = cursor.fetchone()
        live = catalog.read(cursor, names_here(cursor))
        stand_ins = functions_of_extensions(cursor)
        refers = references(cursor)
    source = quote_ident(schema, connection.connection)
    here = {**live, "relations": {name: its for name, its in live["relations"].items() if "." not in name}}
    keys = {table: key_of(table) for table in baseline()["relations"] if table in TABLES}
    trial = Trial(connection)
    try:
        with schema_of_its_own(connection, lock_timeout_ms=lock_timeout_ms), connection.execute_wrapper(trial.note):
            here, later = without_not_valid(here)
            here, foreign_keys = without_foreign_keys(here)
            not_copied = copy_structure(connection, here, stand_ins)
            if lost := [text for text in not_copied if _OF_THE_ORIGINAL.match(text)]:
                return Verdict(unproved=f"a copy of the schema cannot be made: {'; '.join(lost)}")
            with trial.trying("copying rows"):
                copy_whole(connection, source, "django_migrations")
                copy_rows(connection, source, rows, keys, refers)
                with connection.cursor() as cursor:
                    for statement in foreign_keys:
                        cursor.execute(statement)
            with connection.cursor() as cursor:
                for statement in later:
                    with attempted(connection):
                        cursor.execute(statement)
            with trial.trying("the adoption"):
                for work in works:
                    work(trial)
    except EnvironmentUnfit as error:
        return Verdict(unproved=f"{error.happened} {error.remedy}")
    except Stumbled as stumbled:
        return Verdict(stumbled=(stumbled.said,))
    return Verdict()
