"""Whether statements use what is to go: resolved by the server itself, as a role without rights on it.

In one transaction that is rolled back, on the live database, as there every view, function and search path is as it is
for those who send these statements. The rights are taken away within it, so nobody else notices; each statement is
planned and never executed, in a read-only transaction, and its locks are given back at once. 42501 means: it uses it.

The texts are other people's, and this session may more than they. So what is sent is one statement, without any
semicolon; it is sent from a function that no text can leave for another role; and what calls a function that belongs to
neither a superuser nor this role is not sent at all, because planning may execute it.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from psycopg2.extensions import connection as PgConnection  # noqa: N812 - a class, whatever its author named it

from rupaya.migrator.errors import driver_text
from rupaya.migrator.foresight import texts

USES, USES_NOT, UNKNOWN = "uses", "uses not", "unknown"
# A predefined role that owns nothing and may do next to nothing: a superuser's rights cannot be taken away.
ROLE_WITHOUT_RIGHTS = "pg_read_all_settings"

# Functions, operators and types that may execute code of somebody else's while a statement is planned.
_STRANGERS = """
    WITH trusted AS (SELECT oid FROM pg_roles WHERE rolsuper OR rolname IN (current_user, session_user)),
    functions AS (SELECT oid, lower(proname) AS name FROM pg_proc
                  WHERE provolatile <> 'v' AND proowner NOT IN (SELECT oid FROM trusted))
    SELECT name FROM functions
    UNION SELECT oprname FROM pg_operator JOIN functions f ON f.oid = oprcode
    UNION SELECT lower(typname) FROM pg_type t WHERE typtype IN ('d', 'c', 'e', 'r')
          AND typowner NOT IN (SELECT oid FROM trusted)
          AND (typtype <> 'c' OR NOT EXISTS (SELECT FROM pg_class WHERE reltype = t.oid AND relkind <> 'c'))
"""
# By its schema's name, because another function of that name may be nearer on the path that is set.
_FUNCTION = """
    CREATE FUNCTION pg_temp.migrator_ask(query text, path text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $ask$
    DECLARE parameters text;
    BEGIN
        PERFORM pg_catalog.set_config('search_path', path, true);
        EXECUTE pg_catalog.concat('PREPARE migrator_probe AS ', query);
        SELECT pg_catalog.repeat('NULL, ', pg_catalog.cardinality(parameter_types)) INTO parameters
        FROM pg_catalog.pg_prepared_statements WHERE name OPERATOR(pg_catalog.=) 'migrator_probe'::pg_catalog.text;
        parameters := pg_catalog.concat('(', pg_catalog.rtrim(parameters, ', '), ')');
        EXECUTE pg_catalog.concat('EXPLAIN EXECUTE migrator_probe', pg_catalog.replace(parameters, '()', ''));
    END $ask$
"""


class Probe(ABC):
    """Asks on one connection, which is in no transaction, about one target."""

    of_table = False
    """Whether a use of a table counts that is none of its columns, as by TRUNCATE."""

    def __init__(self, connection: PgConnection) -> None:
        self.connection = connection
        self.views: list[str] = []
        """Views that use the target, as they are written."""
        self.related: frozenset[str] = frozenset()
        """Names by which a statement can reach the target, in small letters."""
        self.taken: tuple[str, ...] = ()
        """Names of what the role has no rights on, in small letters."""
        self._strangers: tuple[str, ...] = ()
        self._paths: tuple[str, ...] = ()
        self._cursor: Any = None

    @contextmanager
    def rights_taken_away(self) -> Iterator[str]:
        """For as long as the block runs; yields why it cannot be, or an empty text."""
        with self.connection.cursor() as cursor:
            self._cursor = cursor
            cursor.execute("BEGIN")
            try:
                cursor.execute("SET LOCAL lock_timeout = '1s'; SET LOCAL statement_timeout = '10s'")
                yield self._taken_away()
            finally:
                cursor.execute("ROLLBACK")
                cursor.execute("DEALLOCATE ALL")

    def _taken_away(self) -> str:
        try:
            why = self.take_away()
            self.execute("SET TRANSACTION READ ONLY")
        except psycopg2.Error as error:
            return f"rights cannot be taken away: {driver_text(error)}"
        return why

    @abstractmethod
    def take_away(self) -> str:
        """Take them away, inside the transaction; returns why that cannot be, or an empty text."""

    def role_without_rights(self, owner: str, role: str, *, is_superuser: bool) -> str:
        """Whose rights are to be taken away, and who asks.

        A superuser's cannot be; a member has the owner's rights for as long as it is one, and the owner can lose its
        own.
        """
        if is_superuser:
            self._grant_all_others(ROLE_WITHOUT_RIGHTS)
            return ROLE_WITHOUT_RIGHTS
        if owner != role:
            self.execute(f"SET LOCAL ROLE {owner}")
        return owner

    def make_asking_function(self, role: str) -> None:
        """From which every text is sent; owned by who asks."""
        self.execute(_FUNCTION)
        if role == ROLE_WITHOUT_RIGHTS:
            self.execute(f"ALTER FUNCTION pg_temp.migrator_ask OWNER TO {role}")

    def know_names(self, related: Iterable[str], schemas: Iterable[str]) -> None:
        """By which names the target is reached, and in which schemas it is that this session's path does not have."""
        self.related = frozenset(related)
        self._strangers = tuple(name for (name,) in self.rows(_STRANGERS))
        ((path,),) = self.rows("SHOW search_path")
        # Others may have another path, on which a name is something else's.
        self._paths = (path, *(f"{schema}, {path}" if path else schema for schema in schemas))

    def execute(self, sql: str) -> None:
        """Send it, inside the transaction."""
        self._cursor.execute(sql)

    def rows(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """What the server answers."""
        self._cursor.execute(sql, parameters)
        return list(self._cursor.fetchall())

    def _grant_all_others(self, role: str) -> None:
        for (schema,) in self.rows(
            "SELECT quote_ident(nspname) FROM pg_namespace WHERE nspname <> 'information_schema' AND nspname !~ '^pg_'"
        ):
            self.execute(
                f"GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN "
                f"SCHEMA {schema} TO {role}; GRANT ALL ON ALL SEQUENCES IN SCHEMA {schema} TO {role}; "
                f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {role}"
            )

    def may_read(self, text: str) -> bool:
        """Whether a text has any name by which the target can be reached, and may have read it."""
        return texts.may_name(text, self.related) and not texts.is_about_rights(text)

    def ask(self, text: str, *, is_cut: bool = False, has_inner: bool = False) -> tuple[str, str]:
        """Whether a text of one or more statements uses the target, and why that is not known.

        Inside `rights_taken_away`. `is_cut`: the server did not keep the text's end; `has_inner`: the statements that a
        block or a call sends are among the texts themselves.
        """
        statements, is_whole = texts.statements_of(text)
        answers = [self.ask_of(statement) for statement in statements if not (has_inner and self.is_counted(statement))]
        if is_cut or not is_whole:
            answers.append((UNKNOWN, "its text was cut"))
        for wanted in (USES, UNKNOWN):
            for answer in answers:
                if answer[0] == wanted:
                    return answer
        return USES_NOT, ""

    def is_counted(self, statement: str) -> bool:
        """Whether each statement that this one sends is counted by itself, where inner ones are."""
        return texts.is_code(statement)

    def ask_of(self, statement: str) -> tuple[str, str]:
        """The same of one statement."""
        if texts.hides_statements(statement):
            return UNKNOWN, "what it executes is not in its text"
        if not texts.may_name(statement, self.related):
            return USES_NOT, ""
        query = texts.query_of(statement, of_table=self.of_table)
        if not query:
            return (USES_NOT, "") if texts.is_harmless(statement) else (UNKNOWN, "it cannot be prepared")
        lowered = query.lower()
        if ";" in query:
            return UNKNOWN, "it has a name with a semicolon"
        if stranger := next((name for name in self._strangers if name in lowered), ""):
            return UNKNOWN, f"planning it may execute {stranger}, which belongs to a role that this one does not trust"
        first, *others = [(path, *self._ask_on(path, query)) for path in self._paths]
        if first[1] == USES:
            return USES, ""
        if path := next((path for path, answer, _why in others if answer == USES), ""):
            return UNKNOWN, f"with the search path {path} it does"
        return next((answer, why) for _path, answer, why in [*(o for o in others if o[1] == USES_NOT), first])

    def _ask_on(self, path: str, query: str) -> tuple[str, str]:
        why = ""
        for number, version in enumerate(self.versions_of(query)):
            try:
                self._explain(version, path)
            except psycopg2.errors.InsufficientPrivilege as error:
                return self._refused(error)
            except psycopg2.Error as error:
                why = why or driver_text(error)
            else:
                answer, doubt = self.allowed(version, is_first=number == 0)
                if answer == USES_NOT:
                    return answer, ""
                why = doubt
            finally:
                self._cursor.execute("ROLLBACK TO SAVEPOINT probe; DEALLOCATE ALL")
        return UNKNOWN, why

    def versions_of(self, query: str) -> Iterator[str]:
        """What a text may have been before its constants became parameters; the likely ones first."""
        return texts.versions_of(query)

    def allowed(self, query: str, *, is_first: bool) -> tuple[str, str]:
        """What it means that a version of a text was planned without the rights."""
        return USES_NOT, ""

    def _explain(self, query: str, path: str) -> None:
        self._cursor.execute("SAVEPOINT probe")
        self._cursor.execute("SELECT pg_temp.migrator_ask(%s, %s)", [query, path])

    def _refused(self, error: psycopg2.Error) -> tuple[str, str]:
        """Rights on something else may be lacking as well."""
        said = str(error).lower().splitlines()[0]
        if any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", said) for name in self.taken):
            return USES, ""
        return UNKNOWN, driver_text(error)
