"""A column made beside another one, to take its name and place: what PostgreSQL is told, and asked."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.migrator.attic import facts
from rupaya.migrator.attic.facts import execute, fetch
from rupaya.migrator.attic.instep import InStep, why_not
from rupaya.migrator.schema.catalog import ATTIC

OID = "to_regclass(quote_ident(%s))"
_COLUMN = f"""
    SELECT a.attnum, format_type(a.atttypid, a.atttypmod), col_description(a.attrelid, a.attnum), a.attacl IS NOT NULL
    FROM pg_attribute a WHERE a.attrelid = {OID} AND a.attname = %s AND NOT a.attisdropped
"""
_INDEXES = f"""
    SELECT c.relname, pg_get_indexdef(i.indexrelid), i.indexprs IS NOT NULL OR i.indpred IS NOT NULL
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = {OID}
      AND (%s::int2 = ANY (i.indkey::int2[]) OR EXISTS (
          SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
          AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid = %s))
    ORDER BY 1
"""
CHECKS = f"""
    SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conrelid = {OID} AND contype = 'c' AND %s::int2 = ANY (conkey) AND convalidated ORDER BY 1
"""
_FOREIGN_KEYS = f"""
    SELECT conname, pg_get_constraintdef(oid), confrelid::regclass::text, convalidated, cardinality(conkey)
    FROM pg_constraint WHERE contype = 'f' AND conrelid = {OID} AND %s::int2 = ANY (conkey) ORDER BY 1
"""
_NOT_VALID = f"""
    SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE NOT convalidated AND (
      contype IN ('c', 'f') AND conrelid = {OID} AND %s::int2 = ANY (conkey)
      OR contype = 'f' AND confrelid = {OID} AND %s::int2 = ANY (confkey)) ORDER BY 1, 2
"""
_OTHERS = f"""
    SELECT 'statistics ' || stxname FROM pg_statistic_ext WHERE stxrelid = {OID} AND %s::int2 = ANY (stxkeys::int2[])
    UNION ALL SELECT 'CHECK ' || conname || ', which is not valid' FROM pg_constraint
    WHERE conrelid = {OID} AND contype = 'c' AND %s::int2 = ANY (conkey) AND NOT convalidated
"""
_INDEX_STATE = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(quote_ident(%s))"
_CONSTRAINT_STATE = f"SELECT convalidated FROM pg_constraint WHERE conrelid = {OID} AND conname = %s"
_PIECE = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\w+|[^\w'"]+""")


class Beside:
    """A column, and the one that is to take its place; hidden, as all that begins so, when schemas are compared."""

    defers_rules = False
    """Whether what is written on the way has its own value only later."""

    def __init__(self, connection: BaseDatabaseWrapper, table: str, column: str, type_: str) -> None:
        self.connection, self.table, self.column, self.type = connection, table, column, type_
        self.quote = connection.ops.quote_name
        self.here, self.quoted = f"ALTER TABLE {self.quote(table)}", self.quote(column)
        self.name = self._name("column")
        # The one beside follows the old one.
        self.pair = InStep(self.quote, table, self.name, column)

    def _name(self, of: str) -> str:
        words = "\0".join((self.table, self.column, self.type, of))
        return f"{ATTIC}_beside_{hashlib.sha256(words.encode()).hexdigest()[:12]}"

    def is_done(self) -> bool:
        """Whether the column has the type."""
        return self._type_of(self.column) == self.type.replace(" ", "")

    def _type_of(self, column: str) -> str:
        rows = fetch(self.connection, _COLUMN, [self.table, column])
        return str(rows[0][1]).replace(" ", "") if rows else ""

    def is_begun(self) -> bool:
        """Whether the column beside is there."""
        return bool(self._type_of(self.name))

    def why_not(self) -> str:
        """What hangs on the column and would not follow; empty: nothing."""
        rows = fetch(self.connection, _COLUMN, [self.table, self.column])
        if not rows:
            return ""
        number, _type, _comment, has_rights = rows[0]
        if reason := why_not(self.connection, self.table, self.column, is_null=False, may_be_unique=self.defers_rules):
            return reason
        found = facts.column(self.connection, self.table, self.column)
        if reason := self._why_not_column(found):
            return reason
        if self._is_converted() and (built := self._built_on_its_type(number, found)):
            return f"it becomes another kind of type, and {built} is for the one it has"
        if has_rights:
            return "it has rights of its own (GRANT on the column)"
        for name, _definition, _table, is_valid, columns in self._foreign_keys():
            if not is_valid or columns != 1:
                return f"its foreign key {name} is not valid, or has several columns"
        complex_ = [name for name, _definition, is_complex in self._indexes(number) if is_complex]
        if complex_:
            return f"indexes have an expression or a condition ({', '.join(complex_)})"
        if others := fetch(self.connection, _OTHERS, [self.table, number, self.table, number]):
            return ", ".join(str(name) for (name,) in others) + " would go with the old one"
        return facts.what_depends(self.connection, self._drop_column())

    def _why_not_column(self, found: facts.ColumnFacts | None) -> str:
        is_numbered = found is not None and str(found.default or "").startswith("nextval(")
        return "its values come from a sequence of its own" if is_numbered else ""

    def _drop_column(self) -> str:
        return f"{self.here} DROP COLUMN {self.quoted} RESTRICT"

    def _foreign_keys(self) -> list[tuple[Any, ...]]:
        return fetch(self.connection, _FOREIGN_KEYS, [self.table, self._number()])

    def _built_on_its_type(self, number: int, found: facts.ColumnFacts | None) -> str:
        if found is not None and found.default is not None:
            return f"its default ({found.default})"
        names = [name for name, _definition, _is_complex in self._indexes(number)]
        names += [str(name) for name, _definition in fetch(self.connection, CHECKS, [self.table, number])]
        return ", ".join(names)

    def _indexes(self, number: int) -> list[tuple[str, str, bool]]:
        rows = fetch(self.connection, _INDEXES, [self.table, number, number])
        return [(str(name), str(definition), bool(is_complex)) for name, definition, is_complex in rows]

    def _number(self) -> int:
        return int(fetch(self.connection, _COLUMN, [self.table, self.column])[0][0])

    def _execute(self, *statements: str) -> None:
        for sql in statements:
            execute(self.connection, sql)

    def value(self, column: str) -> str:
        """What the column beside gets for this one: by its text, where casts would change that (inet adds its mask)."""
        if not self._is_converted():
            return column
        return f"CASE WHEN {column} IS NOT NULL THEN concat({column})::{self.type} END"

    def _is_converted(self) -> bool:
        own = self._type_of(self.column)
        return is_converted(own, self.type) or is_converted(self.type, own)

    def begin(self) -> None:
        """Make it, and let it follow what is written; in a short transaction."""
        value = self.value(f"NEW.{self.quoted}")
        self._execute(f"{self.here} ADD COLUMN {self.quote(self.name)} {self.type}", *self.pair.follow(value))

    def give_up(self) -> None:
        """As it was before; in a short transaction."""
        self._execute(*self.pair.drop(), f"{self.here} DROP COLUMN IF EXISTS {self.quote(self.name)}")

    def _rules(self) -> Iterator[tuple[str, str, str]]:
        """The name that each rule has meanwhile, its own, and its definition for the column beside."""
        number = self._number()
        for name, definition in fetch(self.connection, CHECKS, [self.table, number]):
            yield self._name(f"check {name}"), str(name), self._renamed(str(definition))
        found = facts.column(self.connection, self.table, self.column)
        if found is not None and found.not_null:
            yield self._name("not null"), "", f"CHECK ({self.quote(self.name)} IS NOT NULL)"

    def _early_rules(self) -> Iterator[tuple[str, str, str]]:
        """Those that it has before it takes the old one's place."""
        return self._rules()

    def _renamed(self, sql: str) -> str:
        """SQL of the server's about the column, about the one beside."""
        return "".join(
            self.quote(self.name) if piece in (self.column, self.quoted) else piece for piece in _PIECE.findall(sql)
        )

    def make_rules(self) -> None:
        """Its indexes and its rules: nobody waits for it. Harmless to repeat; in no transaction."""
        for name, definition, _is_complex in self._indexes(self._number()):
            made = self._name(f"index {name}")
            state = fetch(self.connection, _INDEX_STATE, [made])
            if state and state[0][0]:
                continue
            if state:
                self._execute(f"DROP INDEX CONCURRENTLY {made}")
            before, using, columns = definition.partition(" USING ")
            before = before.partition(" INDEX ")[0] + f" INDEX CONCURRENTLY {made} ON {self.quote(self.table)}"
            self._execute(before + using + self._renamed(columns))
        for made, _own, definition in self._early_rules():
            state = fetch(self.connection, _CONSTRAINT_STATE, [self.table, made])
            if not state:
                self._execute(f"{self.here} ADD CONSTRAINT {made} {definition} NOT VALID")
            if not (state and state[0][0]):
                self._execute(f"{self.here} VALIDATE CONSTRAINT {made}")
        self._execute(f"ANALYZE {self.quote(self.table)} ({self.quote(self.name)})")

    def settle(self) -> None:
        """Fill what is not filled as it is written; in no transaction."""

    def swap(self) -> None:
        """Put it in the old one's place; in a short transaction."""
        tables = {self.quote(self.table), *(each[2] for each in self._foreign_keys())}
        self._execute(f"LOCK TABLE {', '.join(sorted(tables))} IN ACCESS EXCLUSIVE MODE")
        self._take_place()

    def finish(self) -> None:
        """Validate what the swap left for afterwards; in no transaction."""
        number = self._number()
        for table, name in fetch(self.connection, _NOT_VALID, [self.table, number, self.table, number]):
            self._execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {self.quote(name)}")

    def _take_place(self) -> None:
        rules = list(self._early_rules())
        keys = self._foreign_keys()
        indexes = [(self._name(f"index {name}"), name) for name, _definition, _complex in self._indexes(self._number())]
        found = facts.column(self.connection, self.table, self.column)
        comment = fetch(self.connection, _COLUMN, [self.table, self.column])[0][2]
        alter = f"{self.here} ALTER COLUMN {self.quoted}"
        self._execute(
            *self.pair.drop(),
            f"{self.here} DROP COLUMN {self.quoted}",
            f"{self.here} RENAME COLUMN {self.quote(self.name)} TO {self.quoted}",
        )
        if found is not None and found.default is not None:
            self._execute(f"{alter} SET DEFAULT {found.default}")
        for made, own, _definition in rules:
            if own:
                self._execute(f"{self.here} RENAME CONSTRAINT {made} TO {self.quote(own)}")
            else:
                self._execute(f"{alter} SET NOT NULL", f"{self.here} DROP CONSTRAINT {made}")
        self._execute(*(f"ALTER INDEX {made} RENAME TO {self.quote(own)}" for made, own in indexes))
        for name, definition, *_others in keys:
            self._execute(f"{self.here} ADD CONSTRAINT {self.quote(name)} {definition} NOT VALID")
        if comment is not None:
            literal = str(comment).replace("'", "''")
            self._execute(f"COMMENT ON COLUMN {self.quote(self.table)}.{self.quoted} IS '{literal}'")


def is_converted(one: str, other: str) -> bool:
    """Whether code of the first type goes on with a column of the second, in which each text is as it is written there.

    Measured with Django's fields: a CharField on inet and a TextField on jsonb read, write and filter as before.
    """
    return other in ("inet", "jsonb") and bool(re.fullmatch(r"(varchar|charactervarying|text)(\(\d+\))?", one))
