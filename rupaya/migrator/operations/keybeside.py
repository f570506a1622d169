"""A column made beside a unique one, or beside a primary key: with what refers to it, and what numbers it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rupaya.migrator.attic import facts
from rupaya.migrator.attic.facts import execute, fetch
from rupaya.migrator.operations.beside import CHECKS, OID, Beside
from rupaya.migrator.schema.diff import INTEGERS

_ROWS_AT_A_TIME = 5_000
_FEW = 500
"""So many rows may be filled under the lock of the swap."""
_PASSES = 100
"""So often where others write more of them than that in the time that it takes."""
_TOP = {"integer": 2**31 - 1, "bigint": 2**63 - 1}
_UNIQUE = f"""
    SELECT i.relname, coalesce(c.conname, ''), coalesce(c.contype::text, ''), coalesce(c.condeferrable, false)
      OR x.indisreplident
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
    LEFT JOIN pg_constraint c ON c.conindid = x.indexrelid AND c.contype IN ('p', 'u')
    WHERE x.indrelid = {OID} AND x.indisunique AND %s::int2 = ANY (x.indkey::int2[])
"""
_REFERRING = f"""
    SELECT c.conrelid::regclass::text, c.conname, pg_get_constraintdef(c.oid), c.convalidated, cardinality(c.confkey)
    FROM pg_constraint c WHERE c.contype = 'f' AND c.confrelid = {OID} AND %s::int2 = ANY (c.confkey) ORDER BY 1, 2
"""
_SEQUENCE = f"""
    SELECT s.oid::regclass::text, a.attidentity, s.relname,
      format('START WITH %%s INCREMENT BY %%s MINVALUE %%s CACHE %%s %%sCYCLE', q.seqstart, q.seqincrement, q.seqmin,
        q.seqcache, CASE WHEN NOT q.seqcycle THEN 'NO ' END)
      || CASE WHEN q.seqmax NOT IN (2^15 - 1, 2^31 - 1, 9223372036854775807) THEN ' MAXVALUE ' || q.seqmax ELSE '' END
    FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_sequence q ON q.seqrelid = s.oid
    JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
      AND d.refobjid = {OID} AND a.attname = %s
"""
_RIGHTS = """
    SELECT CASE r.grantee WHEN 0 THEN 'PUBLIC' ELSE r.grantee::regrole::text END, r.privilege_type
    FROM pg_class s, aclexplode(s.relacl) r WHERE s.oid = %s::regclass AND r.grantee <> s.relowner
"""


class KeyBeside(Beside):
    """Two unique indexes would make upserts that race fail on the one that they do not name.

    So what is written on the way gets a number from the far end of the type in the column beside, which no other row
    has, and its own value soon afterwards: of a row that is there already no index can complain twice. What is left is
    filled under the lock of the swap.
    """

    defers_rules = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.sequence = self._name("numbers")
        self.top = _TOP.get(self.type, 0)
        far = f"{self.quote(self.name)} > {self.top // 2}"
        self.unsettled = f"{far} AND {self.quote(self.name)} <> {self.quoted}"

    # Whether it can be

    def _why_not_column(self, found: facts.ColumnFacts | None) -> str:
        if self.top == 0 or self._type_of(self.column) not in INTEGERS:
            return "it is unique or refers to something unique, and no whole number of four or eight bytes"
        number = self._number()
        for name, _constraint, _kind, is_odd in fetch(self.connection, _UNIQUE, [self.table, number]):
            if is_odd:
                return f"{name} is deferrable, or the table's replica identity"
        for table, name, _definition, is_valid, columns in self._referring():
            if not is_valid or columns != 1:
                return f"the foreign key {name} of {table} is not valid, or has several columns"
        if found is not None and found.is_identity and not self._sequence_of():
            return "the database numbers it, and its sequence is not found"
        return ""

    def _referring(self) -> list[tuple[Any, ...]]:
        return fetch(self.connection, _REFERRING, [self.table, self._number()])

    def _sequence_of(self) -> tuple[Any, ...] | None:
        rows = fetch(self.connection, _SEQUENCE, [self.table, self.column])
        return rows[0] if rows else None

    def _drop_column(self) -> str:
        dropped = "".join(
            f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {self.quote(name)}; "
            for table, name, *_others in self._referring()
        )
        return f"{dropped}{self.here} DROP COLUMN {self.quoted}"

    # Made

    def begin(self) -> None:
        """Make it, and let it follow what is written; in a short transaction."""
        new, old = f"NEW.{self.quote(self.name)}", f"NEW.{self.quoted}"
        function = (
            f"IF TG_OP = 'INSERT' OR {old} IS DISTINCT FROM OLD.{self.quoted} THEN "
            f"{new} := CASE WHEN {old} IS NOT NULL THEN {self.top} - nextval('{self.sequence}') END; END IF;"
        )
        self._execute(
            f"{self.here} ADD COLUMN {self.quote(self.name)} {self.type}",
            f"CREATE SEQUENCE {self.sequence} OWNED BY {self.quote(self.table)}.{self.quote(self.name)}",
            f"GRANT USAGE ON SEQUENCE {self.sequence} TO PUBLIC",  # every writer calls the trigger
            *self.pair.call(function),
        )

    def settle(self) -> None:
        """Give what was written on the way its own value, until few rows are left; in no transaction."""
        for _ in range(_PASSES):
            if self._settle(_ROWS_AT_A_TIME) <= _FEW:
                break

    def _settle(self, rows: int = 0) -> int:
        table, name = self.quote(self.table), self.quote(self.name)
        some = ""
        if rows:
            free = f"SELECT ctid FROM {table} WHERE {self.unsettled} LIMIT {rows} FOR UPDATE SKIP LOCKED"
            some = f" AND ctid = ANY (ARRAY({free}))"
        return execute(self.connection, f"UPDATE {table} SET {name} = {self.quoted} WHERE {self.unsettled}{some}")

    def swap(self) -> None:
        """Put it in the old one's place; in a short transaction."""
        referring = self._referring()
        own_keys = self._foreign_keys()
        tables = {self.quote(self.table), *(each[0] for each in referring), *(each[2] for each in own_keys)}
        self._execute(f"LOCK TABLE {', '.join(sorted(tables))} IN ACCESS EXCLUSIVE MODE")
        self._settle()
        constraints = [
            (str(constraint), "PRIMARY KEY" if kind == "p" else "UNIQUE")
            for _index, constraint, kind, _odd in fetch(self.connection, _UNIQUE, [self.table, self._number()])
            if constraint
        ]
        checks = fetch(self.connection, CHECKS, [self.table, self._number()])
        numbered = self._sequence_of()
        last = fetch(self.connection, f"SELECT last_value, is_called FROM {numbered[0]}")[0] if numbered else ()
        rights = fetch(self.connection, _RIGHTS, [numbered[0]]) if numbered else []
        for table, name, *_others in referring:
            self._execute(f"ALTER TABLE {table} DROP CONSTRAINT {self.quote(name)}")
        if numbered and not numbered[1]:
            self._execute(f"ALTER SEQUENCE {numbered[0]} OWNED BY NONE")
        self._take_place()
        self._execute(f"DROP SEQUENCE {self.sequence}")
        for name, kind in constraints:
            index = self.quote(name)
            self._execute(f"{self.here} ADD CONSTRAINT {index} {kind} USING INDEX {index}")
        if numbered:
            self._number_again(numbered, last, rights)
        for name, definition in checks:
            self._execute(f"{self.here} ADD CONSTRAINT {self.quote(name)} {definition} NOT VALID")
        for table, name, definition, *_others in referring:
            self._execute(f"ALTER TABLE {table} ADD CONSTRAINT {self.quote(name)} {definition} NOT VALID")

    def _number_again(self, numbered: tuple[Any, ...], last: tuple[Any, ...], rights: list[tuple[Any, ...]]) -> None:
        """The column's sequence: its own again, or a new one that goes on where that of the old column was."""
        sequence, identity, name, options = numbered
        if not identity:
            self._execute(
                f"ALTER SEQUENCE {sequence} AS {self.type} OWNED BY {self.quote(self.table)}.{self.quoted}",
            )
            return
        how = "ALWAYS" if identity == "a" else "BY DEFAULT"
        options = f"SEQUENCE NAME {self.quote(name)} {options}"
        self._execute(
            f"{self.here} ALTER COLUMN {self.quoted} ADD GENERATED {how} AS IDENTITY ({options})",
            f"SELECT setval('{sequence}', {last[0]}, {last[1]})",
            *(f"GRANT {right} ON SEQUENCE {sequence} TO {role}" for role, right in rights),
        )

    def _early_rules(self) -> Iterator[tuple[str, str, str]]:
        """Only that it is not NULL: another rule may refuse the far numbers."""
        return (rule for rule in self._rules() if not rule[1])


def is_smaller(one: str, other: str) -> bool:
    """Whether the first is the smaller whole number."""
    return one in INTEGERS and other in INTEGERS and INTEGERS.index(one) < INTEGERS.index(other)
