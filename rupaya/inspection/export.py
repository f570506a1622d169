"""A changelist as a file, CSV or XLSX, row by row, however long it is."""

from __future__ import annotations

import csv
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

from django.db import connections, transaction
from django.db.models import QuerySet

from rupaya.inspection import workbook
from rupaya.inspection.columns import Column
from rupaya.inspection.paging import Keyset

CSV, XLSX = "csv", "xlsx"
CONTENT_TYPES = {CSV: "text/csv; charset=utf-8", XLSX: workbook.CONTENT_TYPE}
CHUNK = 2000
# One at a time in each worker process: it holds a thread, and those that are left are people's.
AT_ONCE = 1
# Of one chunk's query, and of the whole file: whoever reads it slowly holds the thread, too.
STATEMENT_TIMEOUT_MS = 30_000
WHOLE_S = 900.0
# Spreadsheets run cells that begin with one of these: https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")

_places = threading.BoundedSemaphore(AT_ONCE)


class Busy(Exception):
    """As many files as may be made at once are being made."""


class TooLong(Exception):
    """The file was not whole after `WHOLE_S`; it is cut off, so that nobody takes it for whole."""


class Export:
    """The file, a few rows at a time: it keeps no cursor and no snapshot open, and no more in memory than a chunk.

    Raises:
        Busy: before anything is read.
        TooLong: while it is read.
    """

    def __init__(self, rows: QuerySet[Any], columns: Sequence[Column], kind: str = CSV) -> None:
        if not _places.acquire(blocking=False):
            raise Busy
        # Also where nobody ever reads it.
        self.close = weakref.finalize(self, _places.release)
        self._pieces: Iterator[str | bytes] = (_workbook if kind == XLSX else _lines)(rows, columns)

    def __iter__(self) -> Iterator[str | bytes]:
        try:
            yield from self._pieces
        finally:
            self.close()


def _lines(rows: QuerySet[Any], columns: Sequence[Column]) -> Iterator[str]:
    writer: Any = csv.writer(_Line())
    yield writer.writerow([column.name for column in columns])
    for chunk in _chunks(rows):
        yield "".join(writer.writerow([_harmless(column.text(row)) for column in columns]) for row in chunk)


def _workbook(rows: QuerySet[Any], columns: Sequence[Column]) -> Iterator[bytes]:
    # No cell of it is a formula, whatever its text begins with.
    lines = ([[column.value(row) for column in columns] for row in chunk] for chunk in _chunks(rows))
    return workbook.stream([column.name for column in columns], lines)


def _chunks(rows: QuerySet[Any]) -> Iterator[list[Any]]:
    began = time.monotonic()
    keyset, chunk = Keyset(rows), _chunk(rows)
    while chunk:
        yield chunk
        if len(chunk) < CHUNK:
            return
        if time.monotonic() - began > WHOLE_S:
            raise TooLong(f"An export was not whole after {WHOLE_S:g} s and was cut off. Filter the list first.")
        chunk = _chunk(rows.filter(keyset.beyond(keyset.place(chunk[-1]), backwards=False)))


def _chunk(rows: QuerySet[Any]) -> list[Any]:
    with transaction.atomic(using=rows.db), connections[rows.db].cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(STATEMENT_TIMEOUT_MS)])
        return list(rows[:CHUNK])


class _Line:
    """A file that gives back what is written to it."""

    def write(self, text: str) -> str:
        return text


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    return text.removeprefix("-").replace(".", "", 1).isdigit()
