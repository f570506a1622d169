"""The rules of the contract that rows of the original break, counted, and what becomes of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rupaya.adoption import phones
from rupaya.adoption.alignment import fill, tightened
from rupaya.adoption.baseline import baseline
from rupaya.adoption.decisions import REFUSE, Decisions
from rupaya.adoption.original import TABLES
from rupaya.migrator.schema.catalog import Catalog
from rupaya.migrator.schema.diff import short_type

EXAMPLES = 3
BY_HAND = "fix these rows by hand"
# Tables whose rows go along when one person's are given to another; a row elsewhere is nobody's to move.
MOVABLE = (
    "devices",
    "accounts",
    "categories",
    "transactions",
    "revoked_tokens",
    "recurring_transactions",
    "budgets",
)
SYSTEM = "is_system AND user_id IS NULL"
INCOMPLETE = {
    "account_id": "transactions without account",
    "amount": "transactions without amount",
    "transaction_type": "transactions without type",
    "transaction_date": "transactions without date",
}
_TRANSFER_RULE = "transactions_transfer_check"
_PHONE_RULE = "users_phone_number_check"


@dataclass(frozen=True)
class Rule:
    """Something that rows must or must not be; `where` is true for a row that breaks it."""

    id: str
    table: str
    says: str
    where: str
    remedy: Callable[[Decisions], str]
    """What becomes of such rows; an empty text if that is not decided."""
    ways: str = ""
    """How it can be decided."""
    left: Callable[[Decisions], str] | None = None
    """What of `where` is still undecided; None: all of it, where the remedy is empty."""


@dataclass(frozen=True)
class Finding:
    """Rows that break a rule."""

    rule: str
    table: str
    says: str
    rows: int
    examples: tuple[str, ...]
    undecided: int
    """Rows of them about which nothing is decided."""
    remedy: str
    """What becomes of the others."""
    ways: str


def key_of(table: str) -> str:
    (definition,) = (
        its["definition"]
        for its in baseline()["relations"][table]["constraints"].values()
        if its["kind"] == "primary key"
    )
    return str(definition).removeprefix("PRIMARY KEY (").removesuffix(")")


def condition_of(constraint: dict[str, Any]) -> str:
    return str(constraint["definition"]).removeprefix("CHECK (").removesuffix(")")


def rules(live: Catalog) -> Iterator[Rule]:
    """Those of every table that exists, as far as its constraints do not see to them already."""
    for table in TABLES:
        if facts := live["relations"].get(table):
            yield from _of_nulls(table, facts)
            yield from _of_widths(table, facts)
            yield from _of_checks(table, facts)
            yield from _of_uniqueness(table, facts)
    if "categories" in live["relations"]:
        yield Rule(
            "system_categories_twice",
            "categories",
            "system categories that are there twice",
            f"{SYSTEM} AND (name, category_type) IN (SELECT name, category_type FROM categories WHERE {SYSTEM} "
            "GROUP BY name, category_type HAVING count(*) > 1)",
            lambda _decisions: "",
            BY_HAND,
        )


def _of_nulls(table: str, facts: dict[str, Any]) -> Iterator[Rule]:
    wanted = baseline()["relations"][table]
    for column in tightened(facts, wanted):
        if column not in facts["columns"]:
            continue
        where = f"{column} IS NULL"
        if table == "transactions" and column in INCOMPLETE:
            yield _incomplete(f"{table}.{column}", INCOMPLETE[column], where)
        elif wanted["columns"][column].get("default"):
            text = f"filled with {short_type(fill(table, column, wanted))}"
            yield Rule(f"{table}.{column}", table, f"{column} is null", where, lambda _decisions, text=text: text)  # type: ignore[misc]  # a default binds it early
        else:
            yield Rule(f"{table}.{column}", table, f"{column} is null", where, lambda _decisions: "", BY_HAND)


def _incomplete(id_: str, says: str, where: str) -> Rule:
    return Rule(
        id_,
        "transactions",
        says,
        where,
        lambda decisions: "moved to adoption_quarantine" if decisions.incomplete_transactions != REFUSE else "",
        "--incomplete-transactions=quarantine",
    )


def _of_widths(table: str, facts: dict[str, Any]) -> Iterator[Rule]:
    for column, its in baseline()["relations"][table]["columns"].items():
        there = facts["columns"].get(column)
        width = re.search(r"varying\((\d+)\)", its["type"])
        if there is None or there["type"] == its["type"] or width is None:
            continue
        where = f"length({column}::text) > {width[1]}"
        yield Rule(f"{table}.{column}.width", table, f"{column} is too long", where, lambda _decisions: "", BY_HAND)


def _of_checks(table: str, facts: dict[str, Any]) -> Iterator[Rule]:
    for name, constraint in baseline()["relations"][table]["constraints"].items():
        there = facts["constraints"].get(name)
        if constraint["kind"] != "check" or (there and there["definition"] == constraint["definition"]):
            continue
        if not columns_of(table, constraint) <= facts["columns"].keys():
            continue  # it is yet to be added, and no row has a value there
        where = f"NOT ({condition_of(constraint)})"
        if name == _TRANSFER_RULE:
            yield _incomplete(
                f"{name}.transfer", "transfers without another account", f"transaction_type = 'transfer' AND {where}"
            )
            says = "transactions that have a counterpart and are no transfer"
            yield _incomplete(f"{name}.other", says, f"transaction_type <> 'transfer' AND {where}")
        elif name == _PHONE_RULE:
            yield from _of_phones(where)
        elif (column := column_of(table, constraint)) is None:
            yield Rule(name, table, f"breaks {name}", where, lambda _decisions: "", BY_HAND)
        else:
            yield _mapped(name, table, column, where)


def columns_of(table: str, constraint: dict[str, Any]) -> set[str]:
    """The columns that a CHECK is about."""
    words = re.findall(r"\w+", re.sub(r"'(?:[^']|'')*'", "", constraint["definition"]))
    return set(words) & set(baseline()["relations"][table]["columns"])


def column_of(table: str, constraint: dict[str, Any]) -> str | None:
    """The one column that a CHECK is about; None if there are several."""
    columns = columns_of(table, constraint)
    return columns.pop() if len(columns) == 1 else None


def _mapped(name: str, table: str, column: str, where: str) -> Rule:
    def left(decisions: Decisions) -> str:
        olds = ", ".join(literal(mapping.old) for mapping in decisions.maps_of(table, column))
        return f"{where} AND {column}::text NOT IN ({olds})" if olds else where

    def remedy(decisions: Decisions) -> str:
        return ", ".join(f"{m.old} becomes {m.new or 'NULL'}" for m in decisions.maps_of(table, column))

    return Rule(
        name,
        table,
        f"{column} is not as the contract has it",
        where,
        remedy,
        f"--map={table}.{column}:OLD=NEW, or {BY_HAND}",
        left,
    )


def _of_phones(where: str) -> Iterator[Rule]:
    yield Rule(_PHONE_RULE, "users", "phone numbers that are not E.164", where, lambda _decisions: "")


def _of_uniqueness(table: str, facts: dict[str, Any]) -> Iterator[Rule]:
    if table == "users" and "users_email_unique" not in facts["indexes"]:
        yield Rule(
            "users_email_unique",
            table,
            "e-mails that differ in case alone",
            "lower(email) IN (SELECT lower(email) FROM users GROUP BY 1 HAVING count(*) > 1)",
            lambda decisions: "" if decisions.merge_email_case == REFUSE else "merged into the one who proved it",
            f"--merge-email-case=into-verified where exactly one of them is verified, or {BY_HAND}",
            _unmergeable,
        )
    if table == "users" and "users_oauth_provider_oauth_provider_id_unique" not in facts["constraints"]:
        yield Rule(
            "users_oauth_provider_oauth_provider_id_unique",
            table,
            "people with the same identity at a provider",
            "(oauth_provider, oauth_provider_id) IN (SELECT oauth_provider, oauth_provider_id FROM users "
            "GROUP BY 1, 2 HAVING count(*) > 1)",
            lambda _decisions: "",
            BY_HAND,
        )
    if table == "accounts" and "accounts_is_default_unique" not in facts["indexes"]:
        yield Rule(
            "accounts_is_default_unique",
            table,
            "default accounts of people who have several",
            "is_default AND user_id IN (SELECT user_id FROM accounts WHERE is_default GROUP BY 1 HAVING count(*) > 1)",
            lambda decisions: (
                "" if decisions.several_defaults == REFUSE else f"the {decisions.several_defaults} one stays"
            ),
            "--several-defaults=oldest or newest",
        )


def mergeable(cursor: Any) -> str:
    """A condition on `users`: exactly one owner of this e-mail, by any case, proved it; the others' rows can move."""
    cursor.execute(
        "SELECT conrelid::regclass::text, a.attname FROM pg_constraint c "
        "JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1] "
        "WHERE c.contype = 'f' AND c.confrelid = 'users'::regclass ORDER BY 1, 2"
    )
    elsewhere = " UNION ALL ".join(
        f"SELECT lower(o.email) FROM {table} r JOIN users o ON o.user_id = r.{column} "
        "WHERE o.email_verified IS NOT TRUE"
        for table, column in cursor.fetchall()
        if table not in MOVABLE
    )
    # Not a join: its planner takes an aggregate for a few rows, and would form it again for each person.
    return (
        "(lower(email) IN (SELECT lower(email) FROM users GROUP BY 1 "
        "HAVING count(*) > 1 AND count(*) FILTER (WHERE email_verified) = 1)"
        + (f" AND lower(email) NOT IN ({elsewhere})" if elsewhere else "")
        + ") IS TRUE"
    )


def _unmergeable(decisions: Decisions) -> str:
    twice = "lower(email) IN (SELECT lower(email) FROM users GROUP BY 1 HAVING count(*) > 1)"
    return twice if decisions.merge_email_case == REFUSE else f"{twice} AND NOT ({{mergeable}})"


def literal(value: str) -> str:
    """A text as SQL has it."""
    return "'" + value.replace("'", "''") + "'"


def findings(cursor: Any, live: Catalog, decisions: Decisions) -> list[Finding]:
    """Every rule that a row breaks, counted; one pass over each table, and another for its examples."""
    found: list[Finding] = []
    all_rules = list(rules(live))
    can_merge = mergeable(cursor) if "users" in live["relations"] else "false"
    for table in TABLES:
        its = [rule for rule in all_rules if rule.table == table]
        if not its:
            continue
        wheres = [rule.where for rule in its]
        wheres += [rule.left(decisions).replace("{mergeable}", can_merge) if rule.left else "false" for rule in its]
        counts = _counts(cursor, table, wheres)
        for rule, rows, left in zip(its, counts[: len(its)], counts[len(its) :], strict=True):
            if not rows:
                continue
            if rule.id == _PHONE_RULE:
                found += _phone_findings(cursor, decisions)
                continue
            remedy = rule.remedy(decisions)
            undecided = left if rule.left else 0 if remedy else rows
            found.append(
                Finding(
                    rule.id,
                    table,
                    rule.says,
                    rows,
                    _examples(cursor, table, rule.where),
                    undecided,
                    remedy,
                    rule.ways,
                )
            )
    return found


def _counts(cursor: Any, table: str, wheres: Sequence[str]) -> list[int]:
    cursor.execute(f"SELECT {', '.join(f'count(*) FILTER (WHERE {where})' for where in wheres)} FROM {table}")
    return list(cursor.fetchone())


def _examples(cursor: Any, table: str, where: str) -> tuple[str, ...]:
    key = key_of(table)
    cursor.execute(f"SELECT {key}::text FROM {table} WHERE {where} ORDER BY {key} LIMIT {EXAMPLES}")
    return tuple(found for (found,) in cursor.fetchall())


def _phone_findings(cursor: Any, decisions: Decisions) -> Iterator[Finding]:
    readings = phones.readings(cursor, decisions.ambiguous_phones)
    clear = "become NULL" if decisions.unreadable_phones != REFUSE else ""
    to_clear = f"--unreadable-phones=clear, or {BY_HAND}"
    ambiguous = {REFUSE: "", "clear": "become NULL"}.get(
        decisions.ambiguous_phones, f"read as {decisions.ambiguous_phones}, and no longer verified"
    )
    groups = (
        (phones.READABLE, "phone numbers that are not E.164 and have only one reading",
         "normalised" if decisions.normalise_phones else "", "--normalise-phones"),
        (phones.AMBIGUOUS, "phone numbers that are valid with a + before them and, as others, in the user's country",
         ambiguous, f"--ambiguous-phones=international, national or clear, or {BY_HAND}"),
        (phones.UNREADABLE, "phone numbers that cannot be read", clear, to_clear),
        (phones.TAKEN, "phone numbers that somebody else has or proved", clear, to_clear),
        (phones.CONTESTED, "phone numbers that several people claim equally well", clear, to_clear),
    )  # fmt: skip
    for kind, says, remedy, ways in groups:
        users = [reading.user_id for reading in readings if reading.kind == kind]
        if users:
            undecided = 0 if remedy else len(users)
            yield Finding(
                f"{_PHONE_RULE}.{kind}", "users", says, len(users), tuple(users[:EXAMPLES]), undecided, remedy, ways
            )


TRIED_ROWS = 200


def rows_that_matter(cursor: Any, live: Catalog, found: Sequence[Finding]) -> dict[str, list[str]]:
    """By table, keys of rows to try things on: some that break each rule, some others, and the system categories."""
    broken = {finding.rule for finding in found}
    wheres: dict[str, list[str]] = {table: ["true"] for table in TABLES if table in live["relations"]}
    for rule in rules(live):
        if any(name == rule.id or name.startswith(f"{rule.id}.") for name in broken):
            wheres[rule.table].append(rule.where)
    if "is_system" in live["relations"].get("categories", {}).get("columns", {}):
        wheres["categories"].append(SYSTEM)
    rows = {}
    for table, conditions in wheres.items():
        key = key_of(table)
        some = " UNION ".join(f"(SELECT {key} FROM {table} WHERE {where} LIMIT {TRIED_ROWS})" for where in conditions)
        cursor.execute(f"SELECT {key}::text FROM ({some}) tried")
        rows[table] = [found for (found,) in cursor.fetchall()]
    return rows
