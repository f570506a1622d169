"""What the gate has to say: a rule, where it is broken, what was measured, and what does the same safely."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from django.conf import settings
from django.db.migrations.migration import Migration
from django.db.migrations.operations.base import Operation

from rupaya.migrator.statements import one_line

DOCUMENT = "docs/writing-migrations.md"

# The worst first: of one statement, or of one operation, only the first is reported.
RULES = {
    "refused": "Write it in another way: `migrate` refuses to begin.",
    "fails": "Fix it: the server says what is wrong.",
    "phase": "Write phase = 'expand' or phase = 'contract'.",
    "rename": "Keep the name in the database and change it in code: 'Rename a column', 'Rename a table'.",
    "no-primary-key": "Keep the primary key, or build the new one beside it and swap: replicas and Django need one.",
    "required-column": "Give it a default or a db_default, or make it nullable: 'Add a column'.",
    "rewrite": "A new column beside the old one, filled in batches: 'Change a type, when rows have to be rewritten'.",
    "scan": "Django's own operation where there is one: it is owed, and paid gently. For an index, the concurrent one: "
    "'Add an index', 'Add an indexed column', 'Add a foreign key', 'Add a CHECK constraint'.",
    "type": "A new column beside the old one: 'Change a type, when rows have to be rewritten'.",
    "endless-wait": "Leave lock_timeout as `migrate` sets it: it tries again. Or lock_timeout_ms of the migration.",
    "drop-index": "RemoveIndex, which is owed and dropped concurrently: 'Remove an index'.",
    "writes": "Backfill, which sets a few thousand rows at a time: 'Fill a column'.",
    "loop": "Backfill, or one statement for a few thousand rows at a time: 'Fill a column'.",
    "lock-held": "Put the Python into a migration of its own, after this one: 'Fill a column'.",
    "frozen-default": "Add it nullable, let code or the database fill it, then 'Fill a column'.",
    "json": "jsonb: models.JSONField.",
    "wide-index": "Index the one to three columns that select best; more make every write dearer and help little.",
    "unlisted-sql": "The safe form, if docs/writing-migrations.md has one; if you know it to be harmless, excuse the "
    "rule with your reason.",
    "breaks-old-code": "If it can wait until no old code is left: phase = 'contract'. Else make it in two releases.",
    "undeclared-phase": "Say phase = 'expand' or phase = 'contract' in the migration.",
    "contract-changes-state": "New code cannot wait for it: add what it needs in an expand migration of its own.",
    "unready-removal": "Make it nullable or give it a db_default first; or use a plain RemoveField: 'Drop a column'.",
    "missing-column": "Let SeparateDatabaseAndState do in the database what it says in state_operations.",
    "irreversible-data": "reverse_sql= or reverse_code=: what undoes it, or noop if the rows may stay as they are. "
    "Backfill(keep=True).",
    "not-repeatable": "Safer* operations and Backfill; or SQL that looks before it acts, and idempotent = True.",
    "remarks": "Do what the server's remark says.",
    "argument-names": "def change(apps, schema_editor), which is what Django hands over and what everybody reads.",
    "imports-model": "apps.get_model(app, name): the models as they were at this migration.",
    "automatic-name": "Rename the file, or use makemigrations --name.",
    "not-looked-at": "Fix what fails before it, then run the gate again.",
    "installed-migrations": "manage.py lintmigrations --write-installed, and commit the file.",
    "excuse": "excused = {'rule': 'reason'}, with a rule's name and your reason.",
}
"""Each rule's name, and what to do instead."""

OF_AUTHORS = (
    "irreversible-data",
    "not-repeatable",
    "json",
    "wide-index",
    "argument-names",
    "imports-model",
    "automatic-name",
)
"""Rules that only a migration's author can keep; of an installed package's they are no findings."""


@dataclass(frozen=True)
class Finding:
    """A migration, the rule that it breaks, and all that was seen of it."""

    migration: str
    rule: str
    text: str
    file: str = ""
    operation: str = ""
    statement: str = ""
    table: str = ""
    part: int = 0
    advice: str = ""

    def __str__(self) -> str:
        lines = [f"{self.migration}: {self.rule}: {self.text}"]
        if self.file:
            lines.append(f"    file: {self.file}")
        if self.operation:
            lines.append(f"    operation {self.part}: {self.operation}")
        if self.statement:
            lines.append(f"    statement: {one_line(self.statement)}")
        if self.table:
            lines.append(f"    table: {self.table}")
        if advice := self.advice or RULES.get(self.rule, ""):
            lines.append(f"    instead: {advice}" + (f" ({DOCUMENT})" if "'" in advice else ""))
        return "\n".join(lines)


def finding(
    migration: Migration,
    rule: str,
    text: str,
    *,
    parts: Sequence[Operation] = (),
    part: int = 0,
    statement: str = "",
    table: str = "",
    advice: str = "",
) -> Finding:
    """A finding with the file and the operation's words filled in; `advice`: better than the rule's."""
    operation = parts[part - 1].describe() if 0 < part <= len(parts) else ""
    return Finding(str(migration), rule, text, file_of(migration), operation, statement, table, part, advice)


def file_of(migration: Migration) -> str:
    """The migration's file, from here if it lies below."""
    path = Path(str(getattr(sys.modules.get(migration.__module__), "__file__", "") or ""))
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def worst(found: Iterable[Finding], whole: Collection[int] = ()) -> list[Finding]:
    """One finding a fault, of one migration: of a statement, or of an operation without a statement, the gravest.

    `whole`: parts whose statements their author has not written: a rule is reported once for all of them.
    """
    order = list(RULES)
    kept: list[Finding] = []
    others: dict[tuple[int, str], set[str]] = {}
    for one in sorted(set(found), key=lambda item: (order.index(item.rule), item.statement)):
        fault = one.part, one.rule
        if one.part in whole and any((other.part, other.rule) == fault for other in kept):
            others.setdefault(fault, set()).add(one.statement)
            continue
        told = any(
            one.statement == other.statement or not one.statement or (not other.statement and one.table == other.table)
            for other in kept
            if one.part and other.part == one.part
        )
        if not told:
            kept.append(one)
    for place, one in enumerate(kept):
        if more := others.get((one.part, one.rule), set()) - {one.statement, ""}:
            more_told = f"{len(more)} more of its statements {'is' if len(more) == 1 else 'are'} no better."
            kept[place] = replace(one, text=f"{one.text} {more_told}")
    return sorted(kept, key=lambda item: (item.part, order.index(item.rule)))


def excused(migration: Migration, found: Iterable[Finding]) -> tuple[list[Finding], list[str]]:
    """What is left of the findings of one migration, and a line for each rule that is excused with a reason: by itself,
    or, where it is a package's, by the project's settings."""
    of_others: dict[str, dict[str, str]] = getattr(settings, "EXCUSED_MIGRATION_FINDINGS", {})
    excuses = getattr(migration, "excused", None) or of_others.get(str(migration)) or {}
    left: list[Finding] = []
    lines: list[str] = []
    for rule, reason in excuses.items():
        if rule not in RULES or not str(reason or "").strip():
            told = f"excused = {{{rule!r}: {reason!r}}} names no rule, or no reason."
            left.append(finding(migration, "excuse", told))
    for one in found:
        if str(excuses.get(one.rule) or "").strip() and one.rule in RULES:
            lines.append(f"{one.migration}: {one.rule} is excused: {excuses[one.rule]} ({one.text})")
        else:
            left.append(one)
    return left, list(dict.fromkeys(lines))
