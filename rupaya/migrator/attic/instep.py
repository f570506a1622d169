"""Two columns of one table kept in step by triggers: one for code of the old name, one for code of the new."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.migrator.attic import facts

IN_STEP = "in_step"
"""In the details of what is owed of a column, and of what is in the attic: the other column, which has its values."""
PREFIX = "migrator_in_step_"
"""Of the triggers and their functions, by which drift and the diagram know what they are."""

_BEFORE_TRIGGERS = rf"""
    SELECT t.tgname FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE t.tgrelid = to_regclass(quote_ident(%s)) AND NOT t.tgisinternal AND t.tgtype & 3 = 3
      AND NOT starts_with(t.tgname, '{PREFIX}')
      AND (p.prosrc ~* ('\m' || %s || '\M') OR pg_get_triggerdef(t.oid) ~* ('\m' || %s || '\M'))
    ORDER BY 1
"""
_UPDATE_OF_TRIGGERS = """
    SELECT t.tgname FROM pg_trigger t JOIN pg_attribute a ON a.attrelid = t.tgrelid AND a.attname = %s
    WHERE t.tgrelid = to_regclass(quote_ident(%s)) AND NOT t.tgisinternal AND a.attnum = ANY (t.tgattr::smallint[])
    ORDER BY 1
"""
_GENERATED_FROM = """
    SELECT g.attname FROM pg_attribute a JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass
      AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum
    JOIN pg_attrdef e ON d.classid = 'pg_attrdef'::regclass AND e.oid = d.objid
    JOIN pg_attribute g ON g.attrelid = e.adrelid AND g.attnum = e.adnum AND g.attgenerated <> ''
    WHERE a.attrelid = to_regclass(quote_ident(%s)) AND a.attname = %s ORDER BY 1
"""


@dataclass(frozen=True)
class InStep:
    """The old column and the new one, and the SQL about them."""

    quote: Callable[[str], str]
    table: str
    old: str
    new: str

    @property
    def name(self) -> str:
        """Of the function and, with an ending, of its triggers."""
        words = "\0".join((self.table, self.old, self.new))
        return PREFIX + hashlib.sha256(words.encode()).hexdigest()[:12]

    @property
    def triggers(self) -> tuple[str, str]:
        return f"{self.name}_insert", f"{self.name}_update"

    @property
    def differ(self) -> str:
        """A condition on a row: compared byte by byte, as some types have no other way and others call unlike same."""
        return _differ(self.quote(self.new), self.quote(self.old))

    def create(self) -> list[str]:
        """What keeps them in step. An UPDATE of other columns alone calls no function."""
        old, new, table = self.quote(self.old), self.quote(self.new), self.quote(self.table)
        insert, update = self.triggers
        return [
            *self.drop_triggers(),
            f"CREATE OR REPLACE FUNCTION {self.name}() RETURNS trigger LANGUAGE plpgsql AS $in_step$\n"
            "BEGIN\n"
            "    IF TG_OP = 'INSERT' THEN\n"
            f"        IF NEW.{new} IS NULL THEN NEW.{new} := NEW.{old}; ELSE NEW.{old} := NEW.{new}; END IF;\n"
            f"    ELSIF {_differ(f'NEW.{new}', f'OLD.{new}')} THEN NEW.{old} := NEW.{new};\n"
            f"    ELSE NEW.{new} := NEW.{old};\n"
            "    END IF;\n"
            "    RETURN NEW;\n"
            "END $in_step$",
            f"CREATE TRIGGER {insert} BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {self.name}()",
            f"CREATE TRIGGER {update} BEFORE UPDATE ON {table} FOR EACH ROW WHEN ("
            f"{_differ(f'NEW.{new}', f'OLD.{new}')} OR {_differ(f'NEW.{old}', f'OLD.{old}')} "
            f"OR {_differ(f'NEW.{new}', f'NEW.{old}')}) EXECUTE FUNCTION {self.name}()",
        ]

    def drop_triggers(self) -> list[str]:
        return [f"DROP TRIGGER IF EXISTS {name} ON {self.quote(self.table)}" for name in self.triggers]

    def follow(self, value: str = "") -> list[str]:
        """What lets the old column follow the new one, and nothing the other way: while it is in the attic.

        `value`: SQL of NEW for what it gets, where that is not just the new one's.
        """
        return self.call(f"NEW.{self.quote(self.old)} := {value or f'NEW.{self.quote(self.new)}'};")

    def call(self, body: str) -> list[str]:
        """A trigger that does this with each row that is written."""
        return [
            *self.drop_triggers(),
            f"CREATE OR REPLACE FUNCTION {self.name}() RETURNS trigger LANGUAGE plpgsql AS $in_step$\n"
            f"BEGIN {body} RETURN NEW; END $in_step$",
            f"CREATE TRIGGER {self.triggers[0]} BEFORE INSERT OR UPDATE ON {self.quote(self.table)} "
            f"FOR EACH ROW EXECUTE FUNCTION {self.name}()",
        ]

    def fill_old(self, rows: int = 0) -> str:
        """Give the old column what the new one has, in so many rows that it lacks it in; 0: in all."""
        table, old, new = self.quote(self.table), self.quote(self.old), self.quote(self.new)
        some = f" AND ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE {self.differ} LIMIT {rows}))" if rows else ""
        return f"UPDATE {table} SET {old} = {new} WHERE {self.differ}{some}"

    def drop(self) -> list[str]:
        return [*self.drop_triggers(), f"DROP FUNCTION IF EXISTS {self.name}()"]


def _differ(one: str, other: str) -> str:
    return f"record_image_ne(ROW({one}), ROW({other}))"


def why_not(
    connection: BaseDatabaseWrapper, table: str, column: str, *, is_null: bool, may_be_unique: bool = False
) -> str:
    """Why another column cannot be kept in step with this one; empty: it can. `is_null`: code may write NULL."""
    if reason := facts.why_not(connection, table):
        return reason
    found = facts.column(connection, table, column)
    if found is None:
        return ""
    if may_be_unique:
        pass
    elif found.is_primary or found.is_identity:
        return "it is of the primary key, or the database numbers it"
    elif found.is_unique:
        return (
            "it is unique, and with two unique indexes an upsert of one code that races another fails on the index "
            "that it does not name (23505)"
        )
    if is_null and found.default is not None:
        return (
            f"it may be NULL and the database has a default for it ({found.default}), which would take the place of "
            "a NULL that new code writes"
        )
    if names := _names(connection, _BEFORE_TRIGGERS, [table, column, column]):
        return f"BEFORE triggers speak of it ({names}), and no order of triggers is right for both codes"
    if names := _names(connection, _UPDATE_OF_TRIGGERS, [column, table]):
        return f"triggers UPDATE OF it ({names}) would not see what new code writes"
    if names := _names(connection, _GENERATED_FROM, [table, column]):
        return f"generated columns are worked out from it ({names})"
    return ""


def _names(connection: BaseDatabaseWrapper, sql: str, parameters: list[str]) -> str:
    return ", ".join(str(name) for (name,) in facts.fetch(connection, sql, parameters))
