"""The locks that a statement will take, read from its text where nothing may be tried: on the careful side.

A rehearsal has the server's own word. Forms that are known to take less than the strongest lock are listed; any other
statement that names a table is taken for one that keeps everybody out of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from rupaya.migrator.analysis.gate.sql import statements_of
from rupaya.migrator.analysis.stage import MODES

_PART = r'(?:"(?:[^"]|"")+"|[\w$]+)'
_NAME = rf"(?P<table>{_PART}(?:\s*\.\s*{_PART})?)"
_OTHER = _NAME.replace("<table>", "<other>")
_IF = r"(?:IF (?:NOT )?EXISTS )?"
STRONGEST = MODES[-1]
# A form, and the lock on the table that it names; the first that fits. `other` is a second table under the same lock.
_FORMS = tuple(
    (re.compile(form, re.IGNORECASE), mode)
    for form, mode in (
        (rf"CREATE (?:UNIQUE )?INDEX CONCURRENTLY {_IF}(?:{_PART} )?ON (?:ONLY )?{_NAME}", "ShareUpdateExclusive"),
        (rf"CREATE (?:UNIQUE )?INDEX {_IF}(?:{_PART} )?ON (?:ONLY )?{_NAME}", "Share"),
        (rf"CREATE (?:OR REPLACE )?(?:CONSTRAINT )?TRIGGER .*? ON {_NAME}", "ShareRowExclusive"),
        (rf"CREATE STATISTICS .*? FROM {_NAME}", "ShareUpdateExclusive"),
        (
            rf"ALTER TABLE {_IF}(?:ONLY )?{_NAME} ADD (?:CONSTRAINT {_PART} )?FOREIGN KEY[^,]*?(?:\([^)]*\))? "
            rf"REFERENCES {_OTHER}(?!.*, (?:ADD|ALTER|DROP) )",
            "ShareRowExclusive",
        ),
        (rf"ALTER TABLE {_IF}(?:ONLY )?{_NAME} VALIDATE CONSTRAINT {_PART}$", "ShareUpdateExclusive"),
        (
            rf"ALTER TABLE {_IF}(?:ONLY )?{_NAME} ALTER (?:COLUMN )?{_PART} SET STATISTICS -?\d+$",
            "ShareUpdateExclusive",
        ),
        (rf"ALTER TABLE {_IF}(?:ONLY )?{_NAME} (?:ENABLE|DISABLE) TRIGGER {_PART}$", "ShareRowExclusive"),
        (rf"COMMENT ON TABLE {_NAME}", "ShareUpdateExclusive"),
        (rf"COMMENT ON COLUMN {_NAME}\s*\.\s*{_PART} IS", "ShareUpdateExclusive"),
        (rf"(?:VACUUM|ANALYZE) (?:\((?:ANALYZE|VERBOSE|, )*\) )?{_NAME}(?: \([^)]*\))?$", "ShareUpdateExclusive"),
        (rf"(?:INSERT INTO|DELETE FROM|MERGE INTO) (?:ONLY )?{_NAME}", "RowExclusive"),
        (rf"UPDATE (?:ONLY )?{_NAME}", "RowExclusive"),
        # Of the rest only that they name a table.
        (rf"(?:ALTER|DROP|TRUNCATE|CLUSTER|REINDEX|LOCK) (?:FOREIGN )?TABLE {_IF}(?:ONLY )?{_NAME}", STRONGEST),
        (rf"TRUNCATE {_NAME}", STRONGEST),
        (rf"DROP (?:TRIGGER|POLICY|RULE) {_IF}{_PART} ON {_NAME}", STRONGEST),
        (rf"(?:CREATE|ALTER) (?:OR REPLACE )?(?:POLICY|RULE) .*? (?:ON|TO) {_NAME}", STRONGEST),
    )
)
_REFERENCES = re.compile(rf"REFERENCES {_NAME}", re.IGNORECASE)
_MAKES = re.compile(rf"CREATE (?:UNLOGGED )?TABLE {_IF}{_NAME}", re.IGNORECASE)
_DROPS_INDEX = re.compile(rf"DROP INDEX (?P<how>CONCURRENTLY )?{_IF}{_NAME}", re.IGNORECASE)


def strongest_locks(sql: Iterable[str], tables_of_indexes: dict[str, str] | None = None) -> dict[str, str]:
    """The strongest lock on each table that statements name and do not make themselves, by the table's name.

    `tables_of_indexes`: the table of each index there is, because an index that is dropped names no table.
    """
    made: set[str] = set()
    found: dict[str, str] = {}
    for script in sql:
        for statement in statements_of(script):
            if match := _MAKES.match(statement):
                made.add(_bare(match["table"]))
            for table, mode in _locks(statement, tables_of_indexes or {}):
                if table not in made and (table not in found or MODES.index(mode) > MODES.index(found[table])):
                    found[table] = mode
    return dict(sorted(found.items()))


def _locks(statement: str, tables_of_indexes: dict[str, str]) -> Iterator[tuple[str, str]]:
    if match := _DROPS_INDEX.match(statement):
        if table := tables_of_indexes.get(_bare(match["table"])):
            yield table, "ShareUpdateExclusive" if match["how"] else STRONGEST
        return
    for form, mode in _FORMS:
        if match := form.match(statement):
            yield _bare(match["table"]), mode
            break
    # Whoever refers to a table adds a trigger to it.
    if re.match(r"(?:CREATE|ALTER) ", statement, re.IGNORECASE):
        for match in _REFERENCES.finditer(statement):
            yield _bare(match["table"]), "ShareRowExclusive"


def _bare(name: str) -> str:
    """As PostgreSQL keeps it, in the current schema."""
    last = str(re.findall(_PART, name)[-1])
    return last[1:-1].replace('""', '"') if last.startswith('"') else last.lower()
