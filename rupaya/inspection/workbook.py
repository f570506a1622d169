"""A table as a workbook of Excel's (.xlsx), made while it is sent: no file on disk, and no more in memory than a chunk.

The libraries that write this format need the whole of it in memory or in a temporary file, and this service's disk is
read-only; the standard library's `zipfile` writes to what cannot be rewound. The parts are those of ECMA-376, 5th
edition, part 1, sections 18.3 and 18.8, and no more of them than Excel and LibreOffice ask for.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import IO, cast
from xml.sax.saxutils import escape

MOST_ROWS = 2**20
"""Of one sheet, its heading among them."""
CONTENT_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
Value = str | int | Decimal | date | datetime | bool | None

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_XF = '<xf numFmtId="{}" fontId="{}" fillId="0" borderId="0" xfId="0" applyNumberFormat="1" applyFont="1"/>'
_PARTS = {
    "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{CONTENT_TYPE}.main+xml"/>'
    '<Override PartName="/xl/worksheets/sheet1.xml" '
    'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/>'
    '<Override PartName="/xl/styles.xml" '
    'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.styles+xml"/></Types>',
    "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="r1" Type="{_RELATIONS}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_RELATIONS}"><sheets>'
    '<sheet name="Rows" sheetId="1" r:id="r1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="r1" Type="{_RELATIONS}/worksheet" Target="worksheets/sheet1.xml"/>'
    f'<Relationship Id="r2" Type="{_RELATIONS}/styles" Target="styles.xml"/></Relationships>',
    # Formats: 0 as it is, 1 a heading, 2 a day, 3 a moment, 4 money.
    "xl/styles.xml": f'<styleSheet xmlns="{_MAIN}"><numFmts count="2"><numFmt numFmtId="164" formatCode="yyyy-mm-dd"/>'
    '<numFmt numFmtId="165" formatCode="yyyy-mm-dd hh:mm:ss"/></numFmts>'
    '<fonts count="2"><font><sz val="11"/><name val="Calibri"/></font>'
    '<font><b/><sz val="11"/><name val="Calibri"/></font></fonts>'
    '<fills count="2"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill>'
    '</fills><borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>'
    '<cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs>'
    f'<cellXfs count="5">{"".join(_XF.format(*format_) for format_ in ((0, 0), (0, 1), (164, 0), (165, 0), (4, 0)))}'
    "</cellXfs></styleSheet>",
}
_BEGIN = (
    f'{_HEAD}<worksheet xmlns="{_MAIN}"><sheetViews><sheetView workbookViewId="0"><pane ySplit="1" topLeftCell="A2" '
    'activePane="bottomLeft" state="frozen"/></sheetView></sheetViews><sheetData>'
)
_END = "</sheetData></worksheet>"
# What XML 1.0 cannot hold: https://www.w3.org/TR/xml/#charsets
_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_DAY_NOUGHT = date(1899, 12, 30)
# A number in a cell is a double: beyond this many digits it would be another one.
_EXACT_DIGITS = 15


class TooManyRowsError(Exception):
    """A sheet holds no more than `MOST_ROWS`."""


def stream(headings: Sequence[str], chunks: Iterable[Sequence[Sequence[Value]]]) -> Iterator[bytes]:
    """The workbook, piece by piece: a bold heading that stays in sight, and the rows of each chunk.

    Raises:
        TooManyRowsError: when the sheet is full; what was sent is no whole file then.
    """
    sent = _Sent()
    with zipfile.ZipFile(cast("IO[bytes]", sent), "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive:
        for name, text in _PARTS.items():
            archive.writestr(name, _HEAD + text)
        with archive.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as sheet:
            sheet.write(f"{_BEGIN}{_row(headings, heading=True)}".encode())
            rows = 1
            for chunk in chunks:
                rows += len(chunk)
                if rows > MOST_ROWS:
                    raise TooManyRowsError(f"A sheet holds {MOST_ROWS:,} rows. Filter the list, or export it as CSV.")
                sheet.write("".join(map(_row, chunk)).encode())
                yield sent.taken()
            sheet.write(_END.encode())
    yield sent.taken()


class _Sent:
    """A file that cannot be rewound, and gives what was written to it, once."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, piece: bytes) -> int:
        self._pieces.append(bytes(piece))
        return len(piece)

    def flush(self) -> None:
        """Nothing is held back."""

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def _row(values: Sequence[Value], *, heading: bool = False) -> str:
    return f"<row>{''.join(_cell(value, 1 if heading else 0) for value in values)}</row>"


def _cell(value: Value, style: int = 0) -> str:
    match value:
        case None | "":
            return "<c/>"
        case bool():
            return f'<c t="b"><v>{int(value)}</v></c>'
        case datetime():
            moment = value.astimezone(UTC)
            seconds = moment.hour * 3600 + moment.minute * 60 + moment.second
            return f'<c s="3"><v>{_serial(moment.date()) + seconds / 86400:.9f}</v></c>'
        case date():
            return f'<c s="2"><v>{_serial(value)}</v></c>'
        case Decimal() if value.is_finite() and len(value.as_tuple().digits) <= _EXACT_DIGITS:
            return f'<c s="4"><v>{value:f}</v></c>'
        case int() if abs(value) < 10**_EXACT_DIGITS:
            return f"<c><v>{value}</v></c>"
        case _:
            text = escape(_UNWRITABLE.sub("\ufffd", str(value)[:32_767]))
            return f'<c t="inlineStr" s="{style}"><is><t xml:space="preserve">{text}</t></is></c>'


def _serial(day: date) -> int:
    return (day - _DAY_NOUGHT).days
