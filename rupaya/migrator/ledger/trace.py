"""What a migration really executed, and who kept it waiting: noted as it runs, bounded, without people's data."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import psycopg2
from psycopg2.sql import Composable

from rupaya.migrator.statements import is_bookkeeping, mask_literals

MAX_STATEMENTS = 200
MAX_STATEMENT_CHARACTERS = 8 * 1024
MAX_CHARACTERS = 64 * 1024
MAX_BLOCKERS = 20


class Trace:
    """Of one attempt: the statements of its last try, each text once with how often and how long, and all blockers.

    A text is what Django hands to the driver, without its parameters. Where a migration runs Python, people's data may
    have been written into the text itself: its literals are replaced then, but for `own_sql`, which the migration's
    file has.
    """

    def __init__(self, *, keeps_literals: bool, own_sql: Collection[str] = ()) -> None:
        self._keeps_literals = keeps_literals
        self._own_sql = own_sql
        self._blockers: dict[tuple[str, int], dict[str, Any]] = {}
        self.begin_try()

    def begin_try(self) -> None:
        """Forget the statements of a try that was rolled back."""
        self._statements: dict[str, dict[str, Any]] = {}
        self._characters = 0
        self.omitted = 0

    @property
    def statements(self) -> list[dict[str, Any]]:
        """``sql``, ``times`` and ``ms`` (of all times together), in the order in which each first ran."""
        return [statement | {"ms": round(statement["ms"], 1)} for statement in list(self._statements.values())]

    @property
    def blockers(self) -> list[dict[str, Any]]:
        """``table``, ``session`` and ``waited_s`` for each session that was seen to hold a lock, on each table."""
        return [blocker | {"waited_s": round(blocker["waited_s"], 1)} for blocker in list(self._blockers.values())]

    def shows_literals(self, sql: str) -> bool:
        """Whether a statement is surely the migration's own text, and has nobody's data in it."""
        return self._keeps_literals or sql in self._own_sql

    def executed(self, sql: object, connection: Any, duration_s: float) -> None:
        is_composed = isinstance(sql, Composable)
        try:
            text = sql.as_string(connection) if isinstance(sql, Composable) else str(sql)
        except psycopg2.Error:  # the connection may be what was lost
            text = "a composed statement"
        raw = text[:MAX_STATEMENT_CHARACTERS]
        noted = self._statements.get(raw)
        if noted is None:
            if is_bookkeeping(raw):
                return
            if len(self._statements) >= MAX_STATEMENTS or self._characters + len(raw) > MAX_CHARACTERS:
                self.omitted += 1
                return
            shown = raw.strip()
            if is_composed or not self.shows_literals(text):
                shown = mask_literals(shown)
            self._characters += len(raw)
            noted = self._statements[raw] = {
                "sql": shown + (" ..." if len(text) > len(raw) else ""),
                "times": 0,
                "ms": 0.0,
            }
        noted["times"] += 1
        noted["ms"] += duration_s * 1000

    def blocked(self, table: str, pid: int, session: str, for_s: float) -> None:
        """Note a session that was seen to be in the way, for about so long."""
        blocker = self._blockers.get((table, pid))
        if blocker is None:
            if len(self._blockers) >= MAX_BLOCKERS:
                return
            blocker = {"table": table, "waited_s": 0.0}
            self._blockers[table, pid] = blocker
        blocker["session"] = session
        blocker["waited_s"] += for_s
