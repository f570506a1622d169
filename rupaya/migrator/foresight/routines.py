"""Whether a function, a procedure or a type that goes is still used: by statements, and by what other functions send.

What the catalog records of it, such as a view or a default, PostgreSQL itself refuses to leave without it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from psycopg2.extensions import connection as PgConnection  # noqa: N812 - a class, whatever its author named it

from rupaya.migrator.foresight import texts
from rupaya.migrator.foresight.dependents import executes_texts_of_its_own
from rupaya.migrator.foresight.probe import UNKNOWN, USES, USES_NOT, Probe

_ROUTINE = """
    SELECT p.oid, lower(p.proname), (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
           quote_ident(current_user),
           CASE WHEN pg_has_role(current_user, p.proowner, 'USAGE') THEN quote_ident(pg_get_userbyid(p.proowner)) END,
           EXISTS (SELECT FROM pg_proc o WHERE o.oid <> p.oid AND lower(o.proname) = lower(p.proname)),
           ARRAY(SELECT quote_ident(n.nspname) FROM pg_namespace n
                 WHERE n.oid = p.pronamespace AND NOT pg_function_is_visible(p.oid))
    FROM pg_proc p WHERE p.oid = to_regprocedure(%s)
"""
_BODIES = """
    SELECT p.oid::regprocedure::text, p.prosrc, l.lanname
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
    WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND l.lanname NOT IN ('c', 'internal')
      AND NOT starts_with(p.proname, 'migrator_') AND p.oid IS DISTINCT FROM to_regprocedure(%s)
      AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid
                      AND e.deptype = 'e')
    ORDER BY 1
"""


@dataclass(frozen=True)
class Routine:
    """A function or procedure that is to go, with its arguments, as PostgreSQL writes it."""

    signature: str

    def __str__(self) -> str:
        return f"function {self.signature}"

    @property
    def name(self) -> str:
        """Without schema and arguments, in small letters."""
        return _last_name(self.signature.partition("(")[0])

    def as_used(self) -> re.Pattern[str]:
        """How a text that calls it has its name."""
        return re.compile(rf'(?<!\w){re.escape(self.name)}"?\s*\(', re.IGNORECASE)


@dataclass(frozen=True)
class Type:
    """A type that is to go, as PostgreSQL writes it."""

    written: str

    def __str__(self) -> str:
        return f"type {self.written}"

    @property
    def name(self) -> str:
        """Without its schema, in small letters."""
        return _last_name(self.written)

    def as_used(self) -> re.Pattern[str]:
        """How a statement that uses it has its name: in a cast, or before a literal."""
        name = rf'(?:(?:"(?:[^"]|"")+"|\w+)\s*\.\s*)?"?{re.escape(self.name)}(?!\w)"?'
        return re.compile(rf"(?:::|\bas)\s*{name}|(?<![\w.]){name}\s*['$]", re.IGNORECASE)


def _last_name(written: str) -> str:
    return written.rpartition('."' if written.endswith('"') else ".")[2].strip('"').replace('""', '"').lower()


class Callers:
    """Other functions whose texts name it: what a function sends is counted, and what it computes is not."""

    def __init__(self, connection: PgConnection, target: Routine | Type, going: frozenset[str]) -> None:
        self.uses: list[str] = []
        """Functions that surely would fail without it."""
        self.unseen: list[str] = []
        """Functions that may use it where nobody sees it."""
        self.telling: list[str] = []
        """Nothing is counted of it by itself."""
        self.doubtful: list[str] = []
        """Functions whose texts do not show it; what they send is counted only with track = all."""
        itself = target.signature if isinstance(target, Routine) else None
        named = target.as_used()
        with connection.cursor() as cursor:
            cursor.execute(_BODIES, [itself])
            for signature, body, language in cursor.fetchall():
                if signature in going:
                    continue
                if named.search(body):
                    self.uses.append(f"function {signature}")
                elif isinstance(target, Type) and texts.may_name(body, frozenset({target.name})):
                    self.unseen.append(f"function {signature} has the word {target.name}, and may declare it")
                elif executes_texts_of_its_own(body, language):
                    self.doubtful.append(f"function {signature} executes texts of its own making")


class RoutineProbe(Probe):
    """Asks about a function or procedure: a right to execute is asked for where a statement's execution begins."""

    def __init__(self, connection: PgConnection, target: Routine) -> None:
        super().__init__(connection)
        self.target = target
        self._has_namesakes = False
        self._call = re.compile(
            rf'^\s*CALL\s+(?:(?:"(?:[^"]|"")+"|\w+)\s*\.\s*)?"?{re.escape(target.name)}"?\s*\(', re.IGNORECASE
        )

    def take_away(self) -> str:
        """Take away the right to execute it."""
        found = self.rows(_ROUTINE, [self.target.signature])
        if not found:
            return f"there is no {self.target}"
        ((oid, name, is_superuser, role, owner, self._has_namesakes, schemas),) = found
        if not owner:
            return f"this role does not own {self.target}, so that it cannot be asked without the right to execute it"
        role = self.role_without_rights(owner, role, is_superuser=is_superuser)
        self.know_names([name], schemas)
        self.taken = (name,)
        # With NULL for parameters, a plan would leave out what has no value for NULL, unseen.
        self.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        self.execute(f"REVOKE EXECUTE ON ROUTINE {self.target.signature} FROM {role}, PUBLIC")
        self.make_asking_function(role)
        if self.rows("SELECT WHERE has_function_privilege(%s::regrole::oid, %s::oid, 'EXECUTE')", [role, oid]):
            return f"this role keeps the right to execute {self.target} by another role"
        return ""

    def is_counted(self, statement: str) -> bool:
        """What a block computes is counted nowhere, and a call is a use by itself."""
        return super().is_counted(statement) and not texts.may_name(statement, self.related)

    def ask_of(self, statement: str) -> tuple[str, str]:
        """The same of one statement; a call cannot be prepared, and says by itself what it calls."""
        return (USES, "") if self._call.match(statement) else super().ask_of(statement)

    def versions_of(self, query: str) -> Iterator[str]:
        """Which of several functions of a name is called depends on constants' types, so no other ones are tried."""
        return iter([query]) if self._is_ambiguous(query) else super().versions_of(query)

    def allowed(self, query: str, *, is_first: bool) -> tuple[str, str]:
        """A constant's type is not in a text, nor a constant's value in another version of it."""
        if is_first and not self._is_ambiguous(query):
            return USES_NOT, ""
        return UNKNOWN, "which function of this name it calls, if any, is not in its text"

    def _is_ambiguous(self, query: str) -> bool:
        return self._has_namesakes and "$" in query and bool(self.target.as_used().search(query))


class TypeProbe(Probe):
    """Asks about a type, on which no right is asked for: a statement that names it may use it."""

    def __init__(self, connection: PgConnection, target: Type) -> None:
        super().__init__(connection)
        self.target = target

    def take_away(self) -> str:
        """There is nothing to take away."""
        self.know_names([self.target.name], [])
        return ""

    def is_counted(self, statement: str) -> bool:
        """What a block declares is counted nowhere."""
        return super().is_counted(statement) and not texts.may_name(statement, self.related)

    def ask_of(self, statement: str) -> tuple[str, str]:
        """Whether it has the name."""
        if texts.hides_statements(statement):
            return UNKNOWN, "what it executes is not in its text"
        if not texts.may_name(statement, self.related) or texts.is_harmless(statement):
            return USES_NOT, ""
        if texts.query_of(statement) and not self.target.as_used().search(statement):
            return USES_NOT, ""
        return UNKNOWN, "it names the type"
