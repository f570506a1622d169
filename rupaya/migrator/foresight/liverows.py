"""Live rows, asked whether they are as a migration presumes: read-only, bounded in time, nothing hidden.

A look is never a proof that all is well: rows go on changing. That a row is in the way, it is.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg2
from django.db import Error, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.migrator.errors import counted, driver_text, sqlstate
from rupaya.migrator.foresight.places import Today, place_of
from rupaya.migrator.foresight.presumption import Presumption
from rupaya.migrator.foresight.questions import KEYS_SHOWN, Cast, Question, question

LOCK_TIMEOUT_MS = 500
# data_exception, integrity_constraint_violation: the server's own word that a value does not fit.
_OFFENDING = ("22", "23")
_REASONS = {
    "57014": "it was not answered in time",
    "55P03": "the table is locked",
    "42501": "this role may not read all of its rows",
}


@dataclass(frozen=True)
class Answer:
    """What the rows said of one presumption."""

    presumption: Presumption
    count: int | None
    """How many rows are against it; None: not known."""
    keys: tuple[str, ...] = ()
    """Primary keys of some of them; of doubles, those that are equal; without a primary key, places."""
    at_least: bool = False
    why: str = ""
    """Why it is not known."""
    table: str = ""
    """What the table is called today."""
    took_s: float = 0.0
    """How long the answer took."""

    @property
    def is_against(self) -> bool:
        """Whether any row is surely against it."""
        return bool(self.count)

    def __str__(self) -> str:
        if self.count is None:
            return f"{self.presumption}: not asked, because {self.why}"
        if not self.count:
            return f"{self.presumption}: none"
        number = ("at least " if self.at_least else "") + counted(self.count, "row")
        shown = ", ".join(self.keys)
        more = ", …" if self.keys and self.count > len(self.keys) and not self.at_least else ""
        return f"{self.presumption}: {number}" + (f" ({shown}{more})" if shown else "")


class Rows:
    """Asks questions on one connection, all of them together for at most so many seconds."""

    def __init__(self, connection: BaseDatabaseWrapper, budget_s: float) -> None:
        self.connection = connection
        self.deadline = time.monotonic() + budget_s

    def ask(self, presumption: Presumption, table: Today, target: Today | None) -> Answer:
        """Whether the rows of a table are as is presumed of them."""
        if table.added:
            return Answer(presumption, None, why=f"{', '.join(table.added)} is not there yet", table=table.table)
        if target is not None and (target.is_made or target.added):
            return Answer(presumption, None, why=f"{presumption.target} is not as it will be yet", table=table.table)
        try:
            with self._bounded() as cursor:
                place = place_of(cursor, table)
                there = place_of(cursor, target) if target is not None else None
                for known in (place, there):
                    if isinstance(known, str):
                        return Answer(presumption, None, why=known, table=table.table)
                asked = question(presumption, place, there, server_version=self._server_version)  # type: ignore[arg-type]
        except (Error, psycopg2.Error) as error:
            return Answer(presumption, None, why=_reason(error), table=table.table)
        if asked is None:
            return Answer(presumption, None, why="there is no bounded question for it", table=table.table)
        began = time.monotonic()
        answer = self._answer(presumption, asked, table.table)
        return replace(answer, took_s=time.monotonic() - began)

    def _answer(self, presumption: Presumption, asked: Question, table: str) -> Answer:
        try:
            count = int(self._fetch(asked.count)[0][0])
        except (Error, psycopg2.Error) as error:
            if not sqlstate(error).startswith(_OFFENDING):
                return Answer(presumption, None, why=_reason(error), table=table)
            keys = self._found_by(asked.cast) if asked.cast else ()
            return Answer(presumption, 1, keys, at_least=True, table=table)
        if not count:
            return Answer(presumption, 0, table=table)
        try:
            keys = tuple(str(key) for (key,) in self._fetch(asked.keys)[:KEYS_SHOWN])
        except (Error, psycopg2.Error):
            keys = ()  # how many there are is known
        return Answer(presumption, count, keys, table=table)

    def _found_by(self, cast: Cast) -> tuple[str, ...]:
        """The key of the first row that a cast does not take, by halving the pages that are looked at."""
        try:
            ((pages,),) = self._fetch(
                "SELECT pg_relation_size(%s::regclass) / current_setting('block_size')::integer", [cast.relation]
            )
            first, end = 0, int(pages)
            while end - first > 1:
                middle = (first + end) // 2
                if self._offends(cast, cast.on_pages(first, middle)):
                    end = middle
                else:
                    first = middle
            for place, key in self._fetch(cast.places(first)):
                if self._offends(cast, f"ctid = '{place}'"):
                    return (str(key),)
        except (Error, psycopg2.Error):
            pass  # that there is one is known; out of time, or somebody has changed it meanwhile
        return ()

    def _offends(self, cast: Cast, condition: str) -> bool:
        try:
            self._fetch(cast.of_rows(condition))
        except (Error, psycopg2.Error) as error:
            if sqlstate(error).startswith(_OFFENDING):
                return True
            raise
        return False

    @property
    def _server_version(self) -> int:
        return int(self.connection.connection.server_version)

    def _fetch(self, sql: str, parameters: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        with self._bounded() as cursor:
            cursor.execute(sql, parameters)
            return list(cursor.fetchall())

    def _bounded(self) -> _Bounded:
        return _Bounded(self.connection, self.deadline - time.monotonic())


class _Bounded:
    """A read-only transaction, or a part of the one that is open, with an end; nothing of it stays."""

    def __init__(self, connection: BaseDatabaseWrapper, left_s: float) -> None:
        self.connection = connection
        self.left_ms = max(1, int(left_s * 1000))
        self.atomic = transaction.atomic(using=connection.alias)

    def __enter__(self) -> Any:
        self.atomic.__enter__()
        self.cursor = self.connection.cursor()
        try:
            # row_security: an error and not fewer rows, where a policy would hide any.
            self.cursor.execute(
                "SET TRANSACTION READ ONLY; SELECT set_config('statement_timeout', %s, true), "
                "set_config('lock_timeout', %s, true), set_config('row_security', 'off', true)",
                [str(self.left_ms), str(min(LOCK_TIMEOUT_MS, self.left_ms))],
            )
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self.cursor

    def __exit__(self, *error: Any) -> None:
        self.cursor.close()
        if error[0] is None:
            transaction.set_rollback(True, using=self.connection.alias)
        self.atomic.__exit__(*error)


def _reason(error: BaseException) -> str:
    return _REASONS.get(sqlstate(error), f"the server says: {driver_text(error)}")
