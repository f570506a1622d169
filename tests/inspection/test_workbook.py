"""A list as a workbook: what a spreadsheet would read out of it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection

from rupaya.inspection import export, workbook
from tests.inspection.conftest import As
from tests.transactions.rows import ACCOUNT, USER, insert

NAMESPACE = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def cells(content: bytes) -> list[list[tuple[str, str, str]]]:
    """Each cell's type, style and text."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        for name in archive.namelist():
            ET.fromstring(archive.read(name))  # noqa: S314 - our own
        sheet = ET.fromstring(archive.read("xl/worksheets/sheet1.xml"))  # noqa: S314 - our own file
    return [
        [(cell.get("t", ""), cell.get("s", ""), "".join(cell.itertext())) for cell in row]
        for row in sheet.iter(f"{NAMESPACE}row")
    ]


def test_figures_days_and_moments_are_such_and_no_text_is_a_formula() -> None:
    row: list[workbook.Value] = [
        Decimal("1234.50"), 7, True, date(2026, 6, 30), datetime(2026, 6, 30, 12, tzinfo=UTC), None,
        "=1+1", "a\x00<b>&", 10**16,
    ]  # fmt: skip
    headings = [f"column {number}" for number in range(len(row))]

    heading, told = cells(b"".join(workbook.stream(headings, [[row]])))

    assert heading[0] == ("inlineStr", "1", "column 0")
    assert told == [
        ("", "4", "1234.50"),
        ("", "", "7"),
        ("b", "", "1"),
        ("", "2", "46203"),
        ("", "3", "46203.500000000"),
        ("", "", ""),
        ("inlineStr", "0", "=1+1"),
        ("inlineStr", "0", "a\ufffd<b>&"),
        ("inlineStr", "0", "10000000000000000"),
    ]


def test_it_is_sent_while_it_is_made() -> None:
    asked = []

    def chunks() -> Iterator[list[list[workbook.Value]]]:
        for number in range(5):
            asked.append(number)
            yield [[f"{number} {index * 7919 % 1000003}" for index in range(3000)]]

    pieces = workbook.stream(["a"], chunks())
    first = next(pieces)

    assert first.startswith(b"PK")
    assert asked == [0]
    assert len(cells(first + b"".join(pieces))) == 6


def test_a_full_sheet_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook, "MOST_ROWS", 3)
    with pytest.raises(workbook.TooManyRowsError):
        b"".join(workbook.stream(["a"], [[["1"], ["2"]], [["3"]]]))


@pytest.mark.usefixtures("person")
def test_a_list_is_exported_whole_in_its_masks_and_logged(staff_of: As, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "CHUNK", 7)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO transactions (user_id, account_id, amount, transaction_type, transaction_date) "
            "SELECT %s, %s, n, 'expense', date '2026-01-01' + n / 3 FROM generate_series(1, 50) n",
            [USER, ACCOUNT],
        )
    insert("transactions", description="secret", amount="99")

    response: Any = staff_of("inspector").post("/admin/transactions/transaction/export/", {"as": "xlsx"})

    assert response.headers["Content-Type"] == workbook.CONTENT_TYPE
    assert response.headers["Content-Disposition"].endswith('.xlsx"')
    heading, *rows = cells(b"".join(response))
    amount = [text for _, _, text in heading].index("amount")
    assert sorted(float(row[amount][2]) for row in rows) == [*map(float, range(1, 51)), 99.0]
    assert "secret" not in str(rows)
    assert LogEntry.objects.latest("id").change_message == "Exported as XLSX (masked): all rows"
