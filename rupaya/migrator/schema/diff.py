"""What two pictures of a schema differ in, one line a fact, as people say it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rupaya.migrator.schema.catalog import CATEGORIES, Catalog, without_positions

# Words of a long text that are shown around the place where two versions of it part.
CONTEXT_WORDS = 3
EXCERPT_MAX_CHARACTERS = 160
# Who owns an object and who may use it is each environment's own affair: no migration of a portable kind says it.
_OF_THE_ENVIRONMENT = ("owner", "grants")
_SINGULAR = {"constraints": "constraint", "indexes": "index", "triggers": "trigger", "policies": "policy"}


@dataclass(frozen=True)
class Difference:
    """One fact that is not the same on both sides; None: the object is not there."""

    kind: str
    name: str
    on: str
    """The relation that it belongs to, or an empty text."""
    old: str | None
    new: str | None
    fact: str = ""
    """Which of its facts; empty: its being there at all."""
    role: str = ""
    """Of grants: to whom."""
    whole_old: Any = field(default=None, repr=False)
    whole_new: Any = field(default=None, repr=False)
    """The values themselves, whole, where the texts above may be cut: two of them are the same only if these are."""

    @property
    def old_hash(self) -> str:
        """A SHA-256 of the whole old value."""
        return _hash(self.whole_old)

    @property
    def new_hash(self) -> str:
        """A SHA-256 of the whole new value."""
        return _hash(self.whole_new)

    @property
    def subject(self) -> str:
        """The object, as people name it."""
        if self.kind == "column":
            return f"column {self.on}.{self.name}"
        return f"{self.kind} {self.name} on {self.on}" if self.on else f"{self.kind} {self.name}"

    def compared(self, old_side: str, new_side: str) -> str:
        """The line, the sides called for example ``in the code`` and ``in the database``."""
        if self.old is None:
            return f"{self.subject}: {new_side}, not {old_side}"
        if self.new is None:
            return f"{self.subject}: {old_side}, not {new_side}"
        return f"{self.subject}: {self.old} {old_side}, {self.new} {new_side}"

    def happened(self) -> str:
        """The line, as what was done: created, dropped, or now something else."""
        if self.old is None:
            return f"{self.subject}: created"
        if self.new is None:
            return f"{self.subject}: dropped"
        return f"{self.subject}: {self.old}, now {self.new}"


def differences(old: Catalog, new: Catalog, *, portable: bool = False) -> list[Difference]:
    """All that differs, sorted; with `portable`, without owners and grants, which no code determines.

    An object that is missing is one difference, whatever was in it.
    """
    found: list[Difference] = []
    for category in CATEGORIES:
        for name in sorted(old.get(category, {}).keys() | new.get(category, {}).keys()):
            before, after = old.get(category, {}).get(name), new.get(category, {}).get(name)
            if before is None or after is None:
                there, elsewhere = (new, old) if before is None else (old, new)
                facts = there[category][name]
                if not _goes_with_its_table(facts, there, elsewhere):
                    found.append(_missing(_kind(category, facts), name, "", before, after, portable=portable))
            elif category == "relations":
                found += _of_relation(name, before, after, portable=portable)
            else:
                found += _of_facts(_kind(category, before), name, "", before, after, portable=portable)
    return found


def hash_now(catalog: Catalog, difference: tuple[str, str, str, str, str], *, portable: bool = False) -> str:
    """The hash of what a difference was about (its kind, relation, name, fact and role), as a catalog has it.

    It is the difference's `new_hash` for as long as that value stays; with `portable` as in `differences`.
    """
    kind, on, name, fact, role = difference
    facts = _facts(catalog, kind, on, name)
    if facts is None or fact in ("", "kind"):
        whole = facts is None or fact == "kind" or not portable
        return _hash(facts if whole else _without_environment(facts))
    return _hash((facts.get("grants") or {}).get(role) if fact == "grants" else facts.get(fact))


def _facts(catalog: Catalog, kind: str, on: str, name: str) -> dict[str, Any] | None:
    """All that a catalog knows of one object; None: it is not there."""
    if on:
        part = {"column": "columns", **{one: parts for parts, one in _SINGULAR.items()}}[kind]
        found: dict[str, Any] | None = catalog.get("relations", {}).get(on, {}).get(part, {}).get(name)
        return found
    for category in CATEGORIES:
        facts: dict[str, Any] | None = catalog.get(category, {}).get(name)
        if facts is not None and (kind == "relation" or _kind(category, facts) == kind):
            return facts
    return None


INTEGERS = ("smallint", "integer", "bigint")
"""Types of whole numbers, the smallest first."""


def short_type(type_name: str) -> str:
    """A type as people write it."""
    return (
        type_name.replace("character varying", "varchar")
        .replace("timestamp with time zone", "timestamptz")
        .replace("timestamp without time zone", "timestamp")
    )


def _kind(category: str, facts: dict[str, Any]) -> str:
    if category == "extensions":
        return "extension"
    return "type" if category == "types" else str(facts["kind"])


def _missing(kind: str, name: str, on: str, before: object, after: object, *, portable: bool) -> Difference:
    return Difference(
        kind,
        name,
        on,
        None if before is None else "",
        None if after is None else "",
        whole_old=_without_environment(before) if portable else before,
        whole_new=_without_environment(after) if portable else after,
    )


def _without_environment(facts: Any) -> Any:
    """All that is known of an object and its columns, but for what is each environment's own affair."""
    if facts is None:
        return None
    kept = {name: value for name, value in facts.items() if name not in _OF_THE_ENVIRONMENT}
    if "columns" in kept:
        kept["columns"] = {name: _without_environment(column) for name, column in kept["columns"].items()}
    return kept


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(without_positions(value), sort_keys=True).encode()).hexdigest()


def _goes_with_its_table(sequence: dict[str, Any], there: Catalog, elsewhere: Catalog) -> bool:
    """Whether an object is a sequence that is missing because its column is."""
    table, _, column = sequence.get("owned_by", "").rpartition(".")
    owner = there.get("relations", {}).get(table)
    if owner is None or sequence.get("kind") != "sequence":
        return False
    facts = elsewhere.get("relations", {}).get(table)
    return (
        facts is None or column not in facts.get("columns", {}) or _identity(owner, column) != _identity(facts, column)
    )


def _identity(relation: dict[str, Any], column: str) -> object:
    return relation["columns"][column].get("identity")


def _of_relation(name: str, before: dict[str, Any], after: dict[str, Any], *, portable: bool) -> Iterator[Difference]:
    if before["kind"] != after["kind"]:
        yield Difference("relation", name, "", before["kind"], after["kind"], "kind", "", before, after)
        return
    yield from _of_facts(before["kind"], name, "", before, after, portable=portable)
    # The columns of a view follow from its text.
    if "view" not in before["kind"]:
        yield from _of_parts("column", name, before.get("columns", {}), after.get("columns", {}), portable=portable)
    for part, kind in _SINGULAR.items():
        yield from _of_parts(kind, name, before.get(part, {}), after.get(part, {}), portable=portable)


def _of_parts(
    kind: str, on: str, before: dict[str, Any], after: dict[str, Any], *, portable: bool
) -> Iterator[Difference]:
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old is None or new is None:
            yield _missing(kind, name, on, old, new, portable=portable)
        else:
            yield from _of_facts(kind, name, on, old, new, portable=portable)


def _of_facts(
    kind: str, name: str, on: str, before: dict[str, Any], after: dict[str, Any], *, portable: bool
) -> Iterator[Difference]:
    ignored = {"position", "kind", "columns", *_SINGULAR, *(_OF_THE_ENVIRONMENT if portable else ())}
    for fact in sorted((before.keys() | after.keys()) - ignored):
        old, new = before.get(fact), after.get(fact)
        if fact == "grants":
            yield from _of_grants(kind, name, on, old or {}, new or {})
        elif old != new:
            texts = _say(fact, old), _say(fact, new)
            if fact in ("definition", "body") and " " in texts[0] and kind not in ("constraint", "index", "trigger"):
                texts = _excerpts(*texts)
            yield Difference(kind, name, on, *texts, fact, "", old, new)


def _of_grants(kind: str, name: str, on: str, before: dict[str, Any], after: dict[str, Any]) -> Iterator[Difference]:
    """One difference a role: what one of them may do says nothing of another."""
    for role in sorted(before.keys() | after.keys()):
        old, new = before.get(role), after.get(role)
        if old != new:
            old_text, new_text = (f"granted {', '.join(rights or ['nothing'])} to {role}" for rights in (old, new))
            yield Difference(kind, name, on, old_text, new_text, "grants", role, old, new)


def _say(fact: str, value: Any) -> str:
    """A fact in words that are understood without its name."""
    match fact:
        case "type":
            return short_type(value)
        case "nullable":
            return "nullable" if value else "not null"
        case "default":
            return "no default" if value is None else short_type(f"default {value}")
        case "valid":
            return "valid" if value else "INVALID"
        case "enforced":
            return "enforced" if value else "not enforced (its triggers are disabled)"
        case "unlogged":
            return "unlogged" if value else "logged"
        case "cycle":
            return "cycling" if value else "not cycling"
        case "strict":
            return "strict" if value else "not strict"
        case "definition" | "state" | "body" | "language" | "volatility":
            return " ".join(str(value).split())
        case "labels" | "options" | "settings":
            return f"{fact} {', '.join(value)}" if value else f"no {fact}"
        case _:
            words = fact.replace("_", " ")
            return f"no {words}" if value is None else f"{words} {value}"


def _excerpts(old: str, new: str) -> tuple[str, str]:
    """Of two long texts, the stretch where they differ."""
    before, after = old.split(), new.split()
    start = 0
    while start < min(len(before), len(after)) and before[start] == after[start]:
        start += 1
    end = 0
    while end < min(len(before), len(after)) - start and before[-1 - end] == after[-1 - end]:
        end += 1
    return _excerpt(before, start, end), _excerpt(after, start, end)


def _excerpt(words: list[str], start: int, end: int) -> str:
    first, last = max(0, start - CONTEXT_WORDS), min(len(words), len(words) - end + CONTEXT_WORDS)
    text = " ".join(words[first:last])
    if len(text) > EXCERPT_MAX_CHARACTERS:
        text = text[:EXCERPT_MAX_CHARACTERS].rstrip() + " …"
    return ("… " if first else "") + text + (" …" if last < len(words) else "")
