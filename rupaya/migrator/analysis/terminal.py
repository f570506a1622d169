"""The audit as a table that fits where it is read: the dearest columns stay, and a long name loses its middle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rupaya.migrator.analysis.audit import Entry

GAP = "  "
# A name is not made shorter than this before a column goes.
NAME_MIN = 38


@dataclass(frozen=True)
class TerminalColumn:
    """A column: its heading, what it shows of an entry, and what it costs to leave it out."""

    title: str
    cell: Callable[[Entry], str]
    goes: int
    """The one with the highest number goes first; 0 stays."""


def _time(entry: Entry) -> str:
    return f"{entry.applied_at:%Y-%m-%d %H:%M:%S}" if entry.applied_at else ""


COLUMNS = (
    TerminalColumn("migration", lambda entry: f"{entry.app}.{entry.migration}", 0),
    TerminalColumn("phase", lambda entry: entry.phase, 3),
    TerminalColumn("state", lambda entry: entry.state, 0),
    TerminalColumn("applied at", _time, 0),
    TerminalColumn("batch", lambda entry: str(entry.batch or ""), 4),
    TerminalColumn("release", lambda entry: entry.release, 2),
    TerminalColumn("by", lambda entry: entry.by, 6),
    TerminalColumn("duration", lambda entry: f"{entry.duration_s:.3f} s" if entry.duration_s is not None else "", 5),
    TerminalColumn("tries", lambda entry: str(entry.tries or ""), 7),
)
STATE = "state"


@dataclass(frozen=True)
class TerminalTable:
    """The lines of it, each with the place of its state, and the columns that did not fit."""

    heading: str
    lines: list[tuple[str, str, str]]
    """What stands before the state, the state with its padding, and what stands after it."""
    left_out: list[str]


def fitted(entries: Sequence[Entry], width: int | None) -> TerminalTable:
    """The table in so many characters; without a width, all of it."""
    columns = list(COLUMNS)
    cells = {column.title: [column.cell(entry) for entry in entries] for column in columns}
    widths = {title: max([len(title), *map(len, texts)]) for title, texts in cells.items()}

    def whole() -> int:
        return sum(widths[column.title] for column in columns) + len(GAP) * (len(columns) - 1)

    left_out = []
    if width is not None:
        name = COLUMNS[0].title
        while whole() - max(0, widths[name] - NAME_MIN) > width and any(column.goes for column in columns):
            column = max(columns, key=lambda column: column.goes)
            columns.remove(column)
            left_out.append(column.title)
        widths[name] = max(len(name), min(widths[name], widths[name] - (whole() - width)))
        cells[name] = [_cut(text, widths[name]) for text in cells[name]]
    lines = []
    for index in range(len(entries)):
        padded = [(column.title, cells[column.title][index].ljust(widths[column.title])) for column in columns]
        place = [title for title, _ in padded].index(STATE)
        before = "".join(text + GAP for _, text in padded[:place])
        after = "".join(GAP + text for _, text in padded[place + 1 :]).rstrip()
        lines.append((before, padded[place][1] if after else padded[place][1].rstrip(), after))
    heading = GAP.join(column.title.ljust(widths[column.title]) for column in columns).rstrip()
    return TerminalTable(heading, lines, [column.title for column in COLUMNS if column.title in left_out])


def _cut(text: str, width: int) -> str:
    """A name without its middle: both ends are what migrations differ in."""
    if len(text) <= width:
        return text
    end = (width - 1) // 3
    return f"{text[: width - 1 - end]}…{text[len(text) - end :]}"
