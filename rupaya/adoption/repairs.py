"""What the decisions do to rows, in short transactions; whatever is moved or changed is kept as it was.

Each of them looks for rows that still break the rule, so that after a kill the next run does the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.adoption import phones
from rupaya.adoption.alignment import LeftOver
from rupaya.adoption.baseline import baseline
from rupaya.adoption.decisions import REFUSE, Decisions, Mapping
from rupaya.adoption.rules import INCOMPLETE, MOVABLE, column_of, condition_of, key_of, literal, mergeable
from rupaya.migrator.errors import MigrationFailed

QUARANTINE = "adoption_quarantine"
QUARANTINE_COLUMNS = {
    "quarantine_id": "bigint",
    "table_name": "text",
    "row_key": "text",
    "reason": "text",
    "kept": "text",
    "original": "jsonb",
    "taken_at": "timestamp with time zone",
}
CREATE_QUARANTINE = f"""
    CREATE TABLE IF NOT EXISTS {QUARANTINE} (
        quarantine_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        table_name text NOT NULL,
        row_key text NOT NULL,
        reason text NOT NULL,
        kept text NOT NULL CHECK (kept IN ('moved', 'changed')),
        original jsonb NOT NULL,
        taken_at timestamptz NOT NULL DEFAULT clock_timestamp()
    );
    COMMENT ON TABLE {QUARANTINE} IS
        'Rows as the original system left them: those that were moved here whole, and those that were changed.'
"""
_AGAIN = f"""
    SELECT q.table_name, q.row_key FROM {QUARANTINE} q JOIN {QUARANTINE} earlier
      ON (earlier.table_name, earlier.row_key, earlier.reason) = (q.table_name, q.row_key, q.reason)
     AND earlier.quarantine_id > %(before)s AND earlier.quarantine_id <= %(last)s
    WHERE q.quarantine_id > %(last)s LIMIT 1
"""
BATCH_ROWS = 1000
CLEAR_PHONE = "phone_number = NULL, phone_verified = false"


@dataclass(frozen=True)
class Repair:
    """One decision, carried out; `do` is called until it says that nothing was left."""

    name: str
    says: str
    do: Callable[[Any], int]

    def carry_out(self, connection: BaseDatabaseWrapper) -> None:
        """Batch after batch, each in a transaction of its own.

        Raises:
            MigrationFailed: if a batch finds rows again that the one before it has changed.
        """
        with connection.cursor() as cursor:
            before = last = _last_kept(cursor)
        done = True
        while done:
            with transaction.atomic(using=connection.alias, durable=True), connection.cursor() as cursor:
                done = self.do(cursor) > 0
                # Whoever comes first by key comes first again: the batch before is all that need be compared.
                cursor.execute(_AGAIN, {"before": before, "last": last})
                if again := cursor.fetchone():
                    raise MigrationFailed(
                        f"{self.says}: {again[0]} {again[1]} is as it was, although it was written.",
                        "A trigger or rule of that table drops or takes back what is written; no row was lost.",
                        f"Disable or drop the trigger or rule of {again[0]} that does so, and start again.",
                    )
                before, last = last, _last_kept(cursor)


def _last_kept(cursor: Any) -> int:
    cursor.execute(f"SELECT coalesce(max(quarantine_id), 0) FROM {QUARANTINE}")
    return int(cursor.fetchone()[0])


def repairs(decisions: Decisions) -> Iterator[Repair]:
    """All that was decided, in the order in which one makes way for the next."""
    if decisions.merge_email_case != REFUSE:
        yield Repair("users.merged", "people merged whose e-mails differ in case alone", _merge_one)
    # First those who must give a number up: of two people one alone can have it.
    if decisions.unreadable_phones != REFUSE:
        says = "phone numbers cleared that cannot be read or are somebody else's"
        yield Repair("users.phone_number.cleared", says, partial(_clear, decisions))
    if decisions.normalise_phones:
        phone_numbers = _PhoneNumbers(decisions, phones.READABLE, "phone number normalised")
        yield Repair("users.phone_number.normalised", "phone numbers normalised", phone_numbers.repair)
    if decisions.ambiguous_phones != REFUSE:
        phone_numbers = _PhoneNumbers(decisions, phones.AMBIGUOUS, "phone number with two readings")
        says = f"phone numbers with two readings: {decisions.ambiguous_phones}"
        yield Repair("users.phone_number.settled", says, phone_numbers.repair)
    for mapping in decisions.maps:
        yield Repair(f"{mapping.table}.{mapping.column}.mapped", str(mapping), partial(_map, mapping))
    if decisions.several_defaults != REFUSE:
        order = "DESC" if decisions.several_defaults == "newest" else "ASC"
        says = f"the {decisions.several_defaults} default account stays the default"
        yield Repair("accounts.is_default.settled", says, partial(_settle_defaults, order, "true"))
    if decisions.incomplete_transactions != REFUSE:
        yield Repair("transactions.quarantined", "incomplete transactions moved to quarantine", _quarantine)


def change(cursor: Any, table: str, reason: str, where: str, to_set: str) -> int:
    """Change the next rows that a condition holds for, and keep them as they were."""
    key = key_of(table)
    cursor.execute(
        f"WITH old AS (SELECT * FROM {table} WHERE {where} ORDER BY {key} LIMIT {BATCH_ROWS} FOR UPDATE), "
        f"kept AS (INSERT INTO {QUARANTINE} (table_name, row_key, reason, kept, original) "
        f"SELECT {literal(table)}, {key}::text, {literal(reason)}, 'changed', to_jsonb(old) FROM old) "
        f"UPDATE {table} SET {to_set} FROM old WHERE {table}.{key} = old.{key}"
    )
    return int(cursor.rowcount)


def move(cursor: Any, table: str, reason: str, where: str) -> int:
    """Move the next rows that a condition holds for, whole."""
    key = key_of(table)
    cursor.execute(
        f"WITH gone AS (DELETE FROM {table} WHERE {key} IN "
        f"(SELECT {key} FROM {table} WHERE {where} ORDER BY {key} LIMIT {BATCH_ROWS} FOR UPDATE) RETURNING *) "
        f"INSERT INTO {QUARANTINE} (table_name, row_key, reason, kept, original) "
        f"SELECT {literal(table)}, {key}::text, {literal(reason)}, 'moved', to_jsonb(gone) FROM gone"
    )
    return int(cursor.rowcount)


def drop_left_over(cursor: Any, item: LeftOver) -> None:
    """Drop what the contract does not have, and a trigger's function with it that nothing else needs; both kept."""
    cursor.execute(
        "SELECT t.tgfoid, t.tgfoid::regprocedure::text, pg_get_functiondef(t.tgfoid) FROM pg_trigger t "
        "WHERE %s = 'trigger' AND t.tgrelid = %s::regclass AND t.tgname = %s",
        [item.kind, item.table, item.name],
    )
    function = cursor.fetchone()
    keep_text(cursor, item.table, str(item), item.facts)
    cursor.execute(item.drop)
    if function is None:
        return
    oid, name, text = function
    cursor.execute(
        "SELECT p.proname <> 'set_updated_at' AND pg_has_role(p.proowner, 'USAGE') AND NOT EXISTS ("
        "SELECT FROM pg_depend d WHERE (d.refclassid, d.refobjid) = ('pg_proc'::regclass, p.oid) "
        "OR (d.classid, d.objid, d.deptype) = ('pg_proc'::regclass, p.oid, 'e')) FROM pg_proc p WHERE p.oid = %s",
        [oid],
    )
    if cursor.fetchone()[0]:
        keep_text(cursor, item.table, f"function {name}", {"text": text})
        cursor.execute(f"DROP FUNCTION {name}")


def keep_text(cursor: Any, table: str, name: str, facts: dict[str, Any]) -> None:
    """Keep what something was that is dropped and holds no rows."""
    cursor.execute(
        f"INSERT INTO {QUARANTINE} (table_name, row_key, reason, kept, original) "
        "VALUES (%s, %s, 'the contract does not have it', 'moved', %s::jsonb)",
        [table, name, json.dumps(facts)],
    )


def _merge_one(cursor: Any) -> int:
    """Give everything to the one who proved the address. No credential goes along: who made it is not known."""
    cursor.execute(
        f"SELECT user_id::text, lower(email) FROM users WHERE email_verified AND {mergeable(cursor)} "
        "ORDER BY user_id LIMIT 1"
    )
    if not (row := cursor.fetchone()):
        return 0
    keeper, email = row
    # Named one by one: of a subquery the planner expects so many rows that it reads whole tables for each person.
    cursor.execute("SELECT user_id::text FROM users WHERE lower(email) = %s AND user_id <> %s", [email, keeper])
    others = f"user_id IN ({', '.join(literal(other) for (other,) in cursor.fetchall())})"
    reason = f"merged into {keeper}"
    cursor.execute("SELECT EXISTS (SELECT FROM accounts WHERE is_default AND user_id = %s)", [keeper])
    loses_default = cursor.fetchone()[0]
    for table in MOVABLE:
        also = ", is_default = false" if table == "accounts" and loses_default else ""
        while change(cursor, table, reason, others, f"user_id = {literal(keeper)}{also}"):
            pass
    _settle_defaults("ASC", f"user_id = {literal(keeper)}", cursor)
    return move(cursor, "users", reason, others)


class _PhoneNumbers:
    """Numbers of one kind, read once and written in batches: reading them all again each time takes hours."""

    def __init__(self, decisions: Decisions, kind: str, reason: str) -> None:
        self.decisions, self.kind, self.reason = decisions, kind, reason
        self.waiting: list[phones.Reading] = []

    def repair(self, cursor: Any) -> int:
        """Write the next batch; a person who changed the number meanwhile is left alone."""
        if not self.waiting:
            found = phones.readings(cursor, self.decisions.ambiguous_phones)
            self.waiting = [reading for reading in found if reading.kind == self.kind]
        batch, self.waiting = self.waiting[:BATCH_ROWS], self.waiting[BATCH_ROWS:]
        for reading in batch:
            new = literal(reading.e164) if reading.e164 else "NULL"
            # What was proved was one of two numbers.
            unproved = ", phone_verified = false" if self.kind == phones.AMBIGUOUS else ""
            where = f"user_id = {literal(reading.user_id)} AND phone_number = {literal(reading.phone_number)}"
            change(cursor, "users", self.reason, where, f"phone_number = {new}{unproved}")
        return len(batch)


def _clear(decisions: Decisions, cursor: Any) -> int:
    """All in one transaction: of several who claim a number, the last one left would get it after a kill."""
    lost = [
        reading.user_id
        for reading in phones.readings(cursor, decisions.ambiguous_phones)
        if reading.kind in phones.LOST
    ]
    for start in range(0, len(lost), BATCH_ROWS):
        where = f"user_id IN ({', '.join(map(literal, lost[start : start + BATCH_ROWS]))})"
        change(cursor, "users", "phone number unreadable or somebody else's", where, CLEAR_PHONE)
    return len(lost)


def _map(mapping: Mapping, cursor: Any) -> int:
    new = "NULL" if mapping.new is None else literal(mapping.new)
    where = f"{mapping.column}::text = {literal(mapping.old)}"
    return change(cursor, mapping.table, str(mapping), where, f"{mapping.column} = {new}")


def _settle_defaults(order: str, whose: str, cursor: Any) -> int:
    where = (
        f"account_id IN (SELECT account_id FROM (SELECT account_id, row_number() OVER ("
        f"PARTITION BY user_id ORDER BY created_at {order} NULLS LAST, account_id) AS place "
        f"FROM accounts WHERE is_default AND {whose}) numbered WHERE place > 1)"
    )
    return change(cursor, "accounts", "one of several default accounts", where, "is_default = false")


def _quarantine(cursor: Any) -> int:
    rule = baseline()["relations"]["transactions"]["constraints"]["transactions_transfer_check"]
    where = " OR ".join([*(f"{column} IS NULL" for column in INCOMPLETE), f"NOT ({condition_of(rule)})"])
    return move(cursor, "transactions", "incomplete", where)


def refused_values(cursor: Any, decisions: Decisions) -> list[str]:
    """What a decision must not do: break the same rule again, or take other systems' rows along."""
    refused = _followers(cursor) if decisions.incomplete_transactions != REFUSE else []
    for mapping in decisions.maps:
        facts = baseline()["relations"][mapping.table]
        type_ = facts["columns"][mapping.column]["type"]
        for name, constraint in facts["constraints"].items():
            if constraint["kind"] == "check" and column_of(mapping.table, constraint) == mapping.column:
                value = "NULL" if mapping.new is None else literal(mapping.new)
                cursor.execute(
                    f"SELECT NOT ({condition_of(constraint)}) FROM "
                    f"(SELECT CAST({value} AS {type_}) AS {mapping.column}) given"
                )
                if cursor.fetchone()[0]:
                    refused.append(f"{mapping} breaks {name}")
    return refused


def _followers(cursor: Any) -> list[str]:
    """Other systems' tables whose rows would be deleted, or lose what they refer to, with a transaction that moves."""
    cursor.execute(
        "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE contype = 'f' AND confdeltype IN "
        "('c', 'n', 'd') AND confrelid = to_regclass('transactions') ORDER BY 1, 2"
    )
    return [
        f"--incomplete-transactions=quarantine would change {table}, whose {name} follows a transaction that is moved"
        for table, name in cursor.fetchall()
    ]
