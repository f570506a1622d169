"""Whether history, ledger and schema agree, and whether what a log says is so."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.chaos.bodies import BASE, Written
from tests.chaos.server import Database
from tests.chaos.starter import Process

# Every failure has a name; 17 is the name of what has none, and -9 is ours.
NAMED = (0, 10, 11, 12, 13, 14, 15, 16, 143, -9)
BEGUN = "Using environment"
"""Before it has said so, Python itself takes signals, and dies of them."""


@dataclass(frozen=True)
class Found:
    """What the database has, at one moment."""

    history: tuple[str, ...]
    parts: dict[str, int]
    """Of each migration, by its name: 0 nothing, 1 all, 2 something else."""


def look(database: Database, migrations: Sequence[Written]) -> Found:
    """Ask it all."""
    return Found(tuple(database.history()), {each.name: database.has(each) for each in migrations})


def disagreements(found: Found, migrations: Sequence[Written], *, by_stock: bool, said: str) -> Iterator[str]:
    """Where the history is not what the schema has, and nobody has `said` so.

    What is not atomic, and is done by two at the very same time, one of whom takes no lock, is there twice.
    """
    for each in migrations:
        times, part = found.history.count(each.name), found.parts[each.name]
        if times > 1 and not by_stock:
            yield f"{each.name} is recorded {times} times"
        if by_stock and each.kind.fails:
            continue  # stock Django records what ends its own transaction
        if times and each.kind.fails:
            yield f"{each.name} is recorded, and must not be"
        elif by_stock and f"{each.name} was applied by somebody else meanwhile; what this run did of it stays" in said:
            continue
        elif times and part != 1 and not (by_stock and times > 1):
            yield f"{each.name} is recorded, and the database has {part} of it"
        elif not times and part and each.kind.atomic and not each.kind.fails:
            yield f"{each.name} is not recorded, and the database has {part} of it"


def of_the_ledger(database: Database, found: Found, migrations: Sequence[Written], *, by_stock: bool) -> Iterator[str]:
    """Where the ledger is not what the history has; asked when nobody is at work and the last run has succeeded.

    `by_stock`: somebody may have applied any of it who keeps no ledger.
    """
    succeeded = dict(
        database.ask(
            "SELECT DISTINCT ON (name) name, direction FROM migrator_attempts WHERE app = 'shop' "
            "AND outcome = 'succeeded' ORDER BY name, attempt_id DESC"
        )
    )
    for each in migrations:
        if by_stock and each.name not in succeeded:
            continue
        if (each.name in found.history) != (succeeded.get(each.name) == "apply"):
            times = found.history.count(each.name)
            yield f"the ledger has {succeeded.get(each.name)} of {each.name}, the history {times}"
    doubles = database.ask(
        "SELECT name, count(*) FROM migrator_attempts WHERE app = 'shop' AND outcome = 'succeeded' "
        "AND NOT faked GROUP BY 1 HAVING count(*) > 1"
    )
    for name, times in doubles:
        yield f"{name} succeeded {times} times in the ledger"
    for table in ("migrator_attempts", "migrator_runs"):
        if open_rows := database.ask(f"SELECT * FROM {table} WHERE finished_at IS NULL"):
            yield f"{table} has open rows: {open_rows}"
    if invalid := database.ask("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"):
        yield f"invalid indexes: {invalid}"
    if locks := database.ask(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database())"
    ):
        yield f"advisory locks are held: {locks}"


def untruths(
    process: Process, before: Found, after: Found, *, was_alone: bool, was_signalled: bool = False
) -> Iterator[str]:
    """What a log says and is not so. `after` is what its end left; `was_alone`: nobody else changed anything."""
    text = process.output
    if process.what == "stock":  # Django's own: what it says is not ours
        return
    if BEGUN not in text and process.status in (-15, -2, 1) and was_signalled:
        return
    if "Traceback (most recent call last)" in text:
        yield "a raw traceback"
    if process.status not in NAMED:
        yield f"exit status {process.status}"
    new = [name for name in after.history if name not in before.history]
    said_done = re.findall(r"✓ shop\.(\S+) \(", text)
    for name in said_done:
        if name not in after.history:
            yield f"it says that {name} is done"
    has_parts = re.search(r"\n  What it means: .+\n  What to do: ", text) or "Ending." in text
    if process.status not in (0, -9) and not has_parts:
        yield "a failure without its three parts"
    yield from _of_what_remains(text, before, after, said_done, new, was_alone=was_alone)


def _is_there(name: str, found: Found) -> bool:
    """Whether anything is there that a migration does in its transaction."""
    return name in found.history or (bool(found.parts.get(name)) and "second_connection" not in name)


def _of_what_remains(
    text: str, before: Found, after: Found, said_done: list[str], new: list[str], *, was_alone: bool
) -> Iterator[str]:
    error = text[text.rfind("  What it means: ") :] if "  What it means: " in text else ""
    subject = re.findall(r"shop\.(\d{4}_\w+)(?: was being| failed| could not| cannot| kept)", text)
    name = subject[-1] if subject else ""
    still = re.findall(r"Still applied from this batch: ([^.]*(?:\.\d{4}_\w+[^.]*)*)\.", error)
    for each in re.findall(r"shop\.(\w+)", still[-1]) if still else []:
        if each not in after.history:
            yield f"it says that {each} is still applied"
    if not was_alone:
        return
    if "Nothing of this batch remains applied" in error and new:
        yield f"it says that nothing of the batch remains, and {new} does"
    if re.search(r"(?i)\bnothing was changed\b", error) and (new or said_done):
        yield f"it says that nothing was changed, and {new} was"
    # What an attempt before it had left is not its own.
    is_new = _is_there(name, after) and not _is_there(name, before)
    if name and "transaction was rolled back whole." in error and is_new:
        yield f"it says that {name} was rolled back whole"
    if "The whole batch was rolled back." in error and new:
        yield f"it says that the whole batch was rolled back, and {new} is there"
    if name and "is applied and recorded" in error and name not in after.history:
        yield f"it says that {name} is applied and recorded"
    if "All migrations are applied" in error and set(after.parts) - set(after.history):
        yield "it says that all migrations are applied"
    if "This run completed no migration" in error and new:
        yield f"it says that it did no migration, and {new} is there"
    if BASE not in after.history:
        yield "the base is gone"
