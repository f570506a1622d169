"""A changelist as a CSV file, row by row, however long it is."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import Any

from django.db.models import QuerySet

from rupaya.inspection.columns import Column
from rupaya.inspection.paging import Keyset

CHUNK = 2000
# Spreadsheets run cells that begin with one of these: https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class _Line:
    """A file that gives back what is written to it."""

    def write(self, text: str) -> str:
        return text


def lines(rows: QuerySet[Any], columns: Sequence[Column]) -> Iterator[str]:
    """The file, a few rows at a time: it keeps no cursor and no snapshot open, and no more in memory than a chunk."""
    writer: Any = csv.writer(_Line())
    yield writer.writerow([column.name for column in columns])
    keyset, chunk = Keyset(rows), list(rows[:CHUNK])
    while chunk:
        yield "".join(writer.writerow([_harmless(column.text(row)) for column in columns]) for row in chunk)
        if len(chunk) < CHUNK:
            return
        chunk = list(rows.filter(keyset.beyond(keyset.place(chunk[-1]), backwards=False))[:CHUNK])


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    return text.removeprefix("-").replace(".", "", 1).isdigit()
