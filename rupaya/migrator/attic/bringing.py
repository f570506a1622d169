"""Brings back what was put away: filled and made sure of in the attic, renamed last, in one short lock.

What would need a scan under that lock (foreign keys, CHECKs, unique indexes) is made afterwards by `finish`, which can
be begun again after a kill: what is left to do is in the ledger.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import DatabaseError, IntegrityError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.migrator.attic.atticstore import AtticStore
from rupaya.migrator.attic.facts import execute, fetch, short_transaction
from rupaya.migrator.attic.instep import IN_STEP, InStep
from rupaya.migrator.attic.item import COLUMN, RESTORED, TABLE, Fact, Item
from rupaya.migrator.errors import counted, driver_text
from rupaya.migrator.schema.catalog import ATTIC
from rupaya.migrator.schema.indexbuild import drop_index, make_index

ROWS_A_BATCH = 2_000
MAX_ROWS_NAMED = 5

_NOT_NULL = "not null"
_UNIQUE = re.compile(r"UNIQUE NULLS NOT DISTINCT (\([^()]*\))( DEFERRABLE.*)?")
Say = Callable[[str], None]


def without_value(connection: BaseDatabaseWrapper, item: Item) -> int:
    """How many rows were written without a column that must have a value; 0 for what need not, or is filled from
    another column."""
    if item.kind != COLUMN or not item.details.get("not_null") or item.details.get(IN_STEP):
        return 0
    relation = relation_of(connection, item)
    if not relation:
        return 0
    name = connection.ops.quote_name(item.name)
    return int(fetch(connection, f"SELECT count(*) FROM {relation} WHERE {name} IS NULL")[0][0])


def relation_of(connection: BaseDatabaseWrapper, item: Item) -> str:
    """The table in which an item stands, or which it is, as SQL names it; empty if it is gone."""
    if item.kind == COLUMN:
        rows = fetch(
            connection,
            "SELECT format('%%I.%%I', n.nspname, c.relname) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
            "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE a.attname = %s AND NOT a.attisdropped "
            "AND c.relkind = 'r'",
            [item.name],
        )
        return str(rows[0][0]) if rows else ""
    found = fetch(connection, "SELECT to_regclass(%s) IS NOT NULL", [f"{ATTIC}.{item.name}"])[0][0]
    return f"{ATTIC}.{item.name}" if found else ""


def prepare(connection: BaseDatabaseWrapper, item: Item, fill: str, pause: Callable[[], None]) -> None:
    """Fill, in the attic, what rows lack that were written meanwhile, and have NOT NULL made sure of.

    `fill`: SQL for a value; empty: there is none, and nothing is done. `pause` is called between batches. Harmless to
    repeat. In no transaction.
    """
    relation = relation_of(connection, item)
    if not relation or item.kind != COLUMN:
        return
    if pair := _pair(connection, item):
        with short_transaction(connection):
            for sql in pair.follow():
                execute(connection, sql)
        while execute(connection, pair.fill_old(ROWS_A_BATCH)):
            pause()
        if item.details.get("not_null"):
            _make_sure(connection, item, relation)
        item.details["filled"] = True
        AtticStore(connection).keep_details(item)
        return
    if not fill or not item.details.get("not_null"):
        return
    name = connection.ops.quote_name(item.name)
    with transaction.atomic(using=connection.alias):
        if not _has_default(connection, item):
            # Whoever writes a row in the meantime must not fail of the CHECK.
            execute(connection, f"ALTER TABLE {relation} ALTER COLUMN {name} SET DEFAULT {fill}")
            item.details["default_for_the_way"] = True
            AtticStore(connection).keep_details(item)
    while execute(
        connection,
        f"UPDATE {relation} SET {name} = {fill} WHERE {name} IS NULL AND ctid = ANY (ARRAY("
        f"SELECT ctid FROM {relation} WHERE {name} IS NULL LIMIT {ROWS_A_BATCH}))",
    ):
        pause()
    _make_sure(connection, item, relation)


def _make_sure(connection: BaseDatabaseWrapper, item: Item, relation: str) -> None:
    """Have it made sure of that no row is without a value."""
    name, check = connection.ops.quote_name(item.name), _check_name(item)
    with transaction.atomic(using=connection.alias):
        if not _has_constraint(connection, check):
            execute(connection, f"ALTER TABLE {relation} ADD CONSTRAINT {check} CHECK ({name} IS NOT NULL) NOT VALID")
    with _without_limit(connection):
        execute(connection, f"ALTER TABLE {relation} VALIDATE CONSTRAINT {check}")


def _pair(connection: BaseDatabaseWrapper, item: Item) -> InStep | None:
    """A column in the attic, and the one that has its values."""
    other = item.details.get(IN_STEP)
    return InStep(connection.ops.quote_name, item.table, item.name, other) if other else None


def is_prepared(connection: BaseDatabaseWrapper, item: Item) -> bool:
    """Whether every row has a value, and is sure to keep one."""
    return _has_constraint(connection, _check_name(item))


def bring_back(connection: BaseDatabaseWrapper, item: Item, run_id: int, *, bare: bool = False) -> None:
    """Give an item its real name again, in one short lock; `bare`: without any rule that it had.

    What else it had is written down as left, for `finish`.
    """
    with short_transaction(connection):
        if item.kind == TABLE:
            _bring_back_table(connection, item)
        else:
            _bring_back_column(connection, item, bare=bare)
        if not bare:
            for fact in item.constraints:
                _added_unvalidated(connection, fact)
            item.details["left"] = item.constraints
            if item.details.pop("unsure_not_null", False):
                item.details["left"].append(
                    {"table": _quoted(connection, item.table), "name": item.object, "kind": _NOT_NULL, "definition": ""}
                )
        AtticStore(connection).settle(item, RESTORED, run_id)


def reopen(connection: BaseDatabaseWrapper, item: Item, run_id: int) -> None:
    """Bring an item back as it was just before it was put away: loosened, so that new code can leave it out, or kept
    in step with the column that has its values."""
    with short_transaction(connection):
        if item.kind == TABLE:
            _bring_back_table(connection, item)
        else:
            _bring_back_column(connection, item, bare=True)
            if other := item.details.get(IN_STEP):
                for sql in InStep(connection.ops.quote_name, item.table, item.object, other).create():
                    execute(connection, sql)
        own = item.constraints[: item.details.get("own", 0)]
        for fact in own:
            _added_unvalidated(connection, fact)
        item.details["left"] = own
        AtticStore(connection).settle(item, RESTORED, run_id)


def _bring_back_table(connection: BaseDatabaseWrapper, item: Item) -> None:
    quote = connection.ops.quote_name
    here = fetch(connection, "SELECT quote_ident(coalesce(current_schema(), 'public'))")[0][0]
    execute(connection, f"ALTER TABLE {ATTIC}.{quote(item.name)} SET SCHEMA {here}")
    execute(connection, f"ALTER TABLE {quote(item.name)} RENAME TO {quote(item.table)}")
    _rename_parts_back(connection, item)


def _bring_back_column(connection: BaseDatabaseWrapper, item: Item, *, bare: bool) -> None:
    quote = connection.ops.quote_name
    here = f"ALTER TABLE {quote(item.table)}"
    name, check = quote(item.name), _check_name(item)
    execute(connection, f"LOCK TABLE {quote(item.table)} IN ACCESS EXCLUSIVE MODE")
    if pair := _pair(connection, item):
        if not item.details.pop("filled", False):  # else no row is looked at under the lock
            execute(connection, pair.fill_old())
        for sql in pair.drop():
            execute(connection, sql)
    _rename_parts_back(connection, item)
    if is_prepared(connection, item):
        if not bare:
            execute(connection, f"{here} ALTER COLUMN {name} SET NOT NULL")  # proved by the CHECK: no scan
        execute(connection, f"{here} DROP CONSTRAINT {check}")
    elif item.details.get("not_null"):
        item.details["unsure_not_null"] = True
    if item.details.pop("default_for_the_way", False):
        execute(connection, f"{here} ALTER COLUMN {name} DROP DEFAULT")
    if item.details.get("default") and not bare:
        execute(connection, f"{here} ALTER COLUMN {name} SET DEFAULT {item.details['default']}")
    execute(connection, f"{here} RENAME COLUMN {name} TO {quote(item.object)}")


def _rename_parts_back(connection: BaseDatabaseWrapper, item: Item) -> None:
    quote = connection.ops.quote_name
    for present, real in item.details.get("renamed", {}).items():
        kinds = fetch(connection, "SELECT relkind FROM pg_class WHERE oid = to_regclass(quote_ident(%s))", [present])
        if kinds:
            kind = "SEQUENCE" if kinds[0][0] == "S" else "INDEX"
            execute(connection, f"ALTER {kind} {quote(present)} RENAME TO {quote(real)}")


def _added_unvalidated(connection: BaseDatabaseWrapper, fact: Fact) -> bool:
    """Make a foreign key or CHECK again for new rows; False if what it is about is not there (yet)."""
    if fact["kind"] not in ("foreign key", "check"):
        return False
    if _is_there(connection, fact):
        return True
    definition = fact["definition"].removesuffix(" NOT VALID")
    name = connection.ops.quote_name(fact["name"])
    try:
        with transaction.atomic(using=connection.alias):
            execute(connection, f"ALTER TABLE {fact['table']} ADD CONSTRAINT {name} {definition} NOT VALID")
    except DatabaseError as error:
        if error.__cause__ is None or not str(getattr(error.__cause__, "pgcode", "")).startswith("42"):
            raise
        return False
    return True


def finish(connection: BaseDatabaseWrapper, item: Item, say: Say) -> None:
    """Make, or make sure of, what is left of an item that came back; what cannot be is reported, with the rows.

    In no transaction; nobody waits for it. Harmless to repeat.
    """
    store = AtticStore(connection)
    for fact in item.left:
        try:
            with _without_limit(connection):
                _finish_one(connection, item, fact)
        except IntegrityError as error:
            say(
                f"{item} is back, but rows written meanwhile do not allow {_said(fact)}: "
                f"{_rows_in_the_way(connection, fact) or driver_text(error)}. The release that is back can go on "
                f"without it. Fix the rows, then execute: {_remedy(connection, fact)}"
            )
        except DatabaseError as error:
            if not str(getattr(error.__cause__, "pgcode", "")).startswith("42"):
                raise
            say(f"{item} is back, but not {_said(fact)}: {driver_text(error)}")
        item.details["left"] = item.left[1:]
        store.keep_details(item)


def _finish_one(connection: BaseDatabaseWrapper, item: Item, fact: Fact) -> None:
    quote = connection.ops.quote_name
    table, name, kind = fact["table"], quote(fact["name"]), fact["kind"]
    if kind == _NOT_NULL:
        check = _check_name(item)
        if not _has_constraint(connection, check):
            execute(connection, f"ALTER TABLE {table} ADD CONSTRAINT {check} CHECK ({name} IS NOT NULL) NOT VALID")
        try:
            execute(connection, f"ALTER TABLE {table} VALIDATE CONSTRAINT {check}")
        except IntegrityError:
            execute(connection, f"ALTER TABLE {table} DROP CONSTRAINT {check}")
            raise
        with transaction.atomic(using=connection.alias):
            execute(connection, f"ALTER TABLE {table} ALTER COLUMN {name} SET NOT NULL")
            execute(connection, f"ALTER TABLE {table} DROP CONSTRAINT {check}")
    elif kind in ("foreign key", "check"):
        if not _added_unvalidated(connection, fact):
            execute(connection, f"ALTER TABLE {table} ADD CONSTRAINT {name} {fact['definition']}")
        elif not fact["definition"].endswith(" NOT VALID"):
            execute(connection, f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")
    elif kind == "index":
        _make_index(connection, fact["name"], fact["definition"])
    elif not _is_there(connection, fact):
        if unique := _UNIQUE.fullmatch(fact["definition"]):
            columns, more = unique.groups()
            _make_index(connection, fact["name"], f"CREATE UNIQUE INDEX {name} ON {table} {columns} NULLS NOT DISTINCT")
            execute(connection, f"ALTER TABLE {table} ADD CONSTRAINT {name} UNIQUE USING INDEX {name}{more or ''}")
        else:
            execute(connection, f"ALTER TABLE {table} ADD CONSTRAINT {name} {fact['definition']}")


def _make_index(connection: BaseDatabaseWrapper, name: str, definition: str) -> None:
    """Concurrently; one that cannot be made is dropped."""
    try:
        make_index(connection, name, definition)
    except DatabaseError:
        drop_index(connection, name)
        raise


def _rows_in_the_way(connection: BaseDatabaseWrapper, fact: Fact) -> str:
    """How many rows break a foreign key or NOT NULL, and some of them."""
    quote = connection.ops.quote_name
    if fact["kind"] == _NOT_NULL:
        where = f"{fact['table']} t WHERE t.{quote(fact['name'])} IS NULL"
    elif fact["kind"] == "foreign key":
        rows = fetch(
            connection,
            "SELECT quote_ident(a.attname), c.confrelid::regclass::text, quote_ident(b.attname) FROM pg_constraint c "
            "JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1] "
            "JOIN pg_attribute b ON b.attrelid = c.confrelid AND b.attnum = c.confkey[1] "
            "WHERE c.conrelid = to_regclass(%s) AND c.conname = %s AND array_length(c.conkey, 1) = 1",
            [fact["table"], fact["name"]],
        )
        if not rows:
            return ""
        column, parent, key = rows[0]
        where = (
            f"{fact['table']} t WHERE t.{column} IS NOT NULL "
            f"AND NOT EXISTS (SELECT FROM {parent} p WHERE p.{key} = t.{column})"
        )
    else:
        return ""
    (number,) = fetch(connection, f"SELECT count(*) FROM {where}")[0]
    key = fetch(
        connection,
        "SELECT quote_ident(a.attname) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid "
        "AND a.attnum = i.indkey[0] WHERE i.indrelid = to_regclass(%s) AND i.indisprimary",
        [fact["table"]],
    )
    if not key:
        return counted(number, "row")
    some = fetch(connection, f"SELECT t.{key[0][0]}::text FROM {where} ORDER BY 1 LIMIT {MAX_ROWS_NAMED}")
    more = ", …" if number > len(some) else ""
    return f"{counted(number, 'row')} ({key[0][0]} {', '.join(value for (value,) in some)}{more})"


def _said(fact: Fact) -> str:
    if fact["kind"] == _NOT_NULL:
        return f"NOT NULL on {fact['table']}.{fact['name']}"
    return f"the {fact['kind']} {fact['name']} on {fact['table']}"


def _remedy(connection: BaseDatabaseWrapper, fact: Fact) -> str:
    name = connection.ops.quote_name(fact["name"])
    if fact["kind"] == _NOT_NULL:
        return f"ALTER TABLE {fact['table']} ALTER COLUMN {name} SET NOT NULL"
    if fact["kind"] in ("foreign key", "check"):
        return f"ALTER TABLE {fact['table']} VALIDATE CONSTRAINT {name}"
    if fact["kind"] == "index":
        return str(fact["definition"])
    return f"ALTER TABLE {fact['table']} ADD CONSTRAINT {name} {fact['definition']}"


def _is_there(connection: BaseDatabaseWrapper, fact: Fact) -> bool:
    return bool(
        fetch(
            connection,
            "SELECT EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass(%s) AND conname = %s)",
            [fact["table"], fact["name"]],
        )[0][0]
    )


def _has_constraint(connection: BaseDatabaseWrapper, name: str) -> bool:
    return bool(fetch(connection, "SELECT EXISTS (SELECT FROM pg_constraint WHERE conname = %s)", [name])[0][0])


def _has_default(connection: BaseDatabaseWrapper, item: Item) -> bool:
    return bool(
        fetch(
            connection,
            "SELECT atthasdef FROM pg_attribute WHERE attname = %s AND NOT attisdropped",
            [item.name],
        )[0][0]
    )


def _check_name(item: Item) -> str:
    return f"{item.name}_filled"


def _quoted(connection: BaseDatabaseWrapper, table: str) -> str:
    return str(fetch(connection, "SELECT quote_ident(%s)", [table])[0][0])


@contextmanager
def _without_limit(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """What keeps nobody waiting may take long."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('statement_timeout')")
        (before,) = cursor.fetchone()
        cursor.execute("SET statement_timeout = 0")
    try:
        yield
    finally:
        if not connection.needs_rollback:
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config('statement_timeout', %s, false)", [before])
