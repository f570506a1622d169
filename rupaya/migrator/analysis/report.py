"""A rehearsal as a table for a terminal, Markdown for a pull request, or JSON for machines."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import asdict

from rupaya.migrator.analysis.rehearsal import Rehearsal
from rupaya.migrator.analysis.stage import MODES, WAITING, StagedMigration, Statement
from rupaya.migrator.errors import counted
from rupaya.migrator.statements import one_line

STATEMENT_WIDTH = 70
_RULE = "|---" * 6 + "|"
_LEGEND = (
    "AccessExclusive: reads and writes of the table wait meanwhile. Exclusive, ShareRowExclusive, Share: its writes "
    "wait. All others: nobody waits. Times are those of empty tables; a rewrite or a scan takes as long as the table "
    "is big."
)


def as_text(rehearsal: Rehearsal) -> str:
    """A table a migration."""
    lines = [_headline(rehearsal)]
    if not rehearsal.steps and not rehearsal.paid:
        return lines[0] + "\n"
    for step in [*rehearsal.steps, *rehearsal.paid]:
        lines += ["", _title(step), *(f"  {line}" for line in step.logged)]
        rows = [("", "ms", "statement", "locks", "rewrites, scans")]
        for number, statement in enumerate(step.statements, 1):
            rows += _rows(number, statement)
        if len(rows) > 1:
            widths = [max(len(row[column]) for row in rows) for column in range(5)]
            for row in rows:
                cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
                lines.append(("  " + "  ".join(cells)).rstrip())
    lines += [""]
    if rehearsal.changes:
        lines += ["What they did:", *(f"  {change}" for change in rehearsal.changes)]
    if rehearsal.changes_by_paying:
        lines += ["What paying did:", *(f"  {change}" for change in rehearsal.changes_by_paying)]
    if rehearsal.rows:
        lines += ["Live rows:", *(f"  {line}" for line in rehearsal.rows)]
    if times := list(_times(rehearsal)):
        lines += ["On made-up rows:", *(f"  {line}" for line in times)]
    lines += _verdicts(rehearsal)
    if any(step.statements for step in rehearsal.steps):
        lines += ["", *textwrap.wrap(_LEGEND, 100)]
    return "\n".join(lines) + "\n"


def as_markdown(rehearsal: Rehearsal) -> str:
    """A summary for a pull request; the statements are folded away."""
    lines = [f"### Migration rehearsal\n\n{_headline(rehearsal)}\n"]
    if not rehearsal.steps and not rehearsal.paid:
        return lines[0]
    lines += ["| migration | ms | strongest lock on an existing table | who waits | rewrites | scans |", _RULE]
    for step in [*rehearsal.steps, *rehearsal.paid]:
        table, mode = _strongest(step)
        name = f"`{step.migration}`" + {"unapply": " (backwards)", "pay": " (paid)"}.get(step.direction, "")
        lines.append(
            f"| {name} | {step.duration_s * 1000:.0f} "
            f"| {f'{mode} on `{table}`' if mode else 'none'} | {WAITING.get(mode, 'nobody')} "
            f"| {_code({name for s in step.statements for name in s.rewritten})} "
            f"| {_code({name for s in step.statements for name in s.scanned})} |"
        )
    lines += ["", *(f"- {verdict}" for verdict in _verdicts(rehearsal)), ""]
    if rehearsal.rows:
        lines += ["Live rows:", "", *(f"- {_escaped(line)}" for line in rehearsal.rows), ""]
    if times := list(_times(rehearsal)):
        lines += ["On made-up rows:", "", *(f"- {_escaped(line)}" for line in times), ""]
    if rehearsal.changes or rehearsal.changes_by_paying:
        changes = [f"- {_escaped(change)}" for change in rehearsal.changes]
        changes += [f"- by paying: {_escaped(change)}" for change in rehearsal.changes_by_paying]
        lines += ["<details><summary>What they did</summary>", "", *changes, "", "</details>", ""]
    lines += ["<details><summary>Statements</summary>", ""]
    for step in [*rehearsal.steps, *rehearsal.paid]:
        lines += [f"`{step.migration}`", ""]
        lines += [*(f"- {_escaped(line)}" for line in step.logged), ""] if step.logged else []
        lines += ["| | statement | ms | locks | rewrites | scans |", _RULE]
        for number, s in enumerate(step.statements, 1):
            locks = ", ".join(f"`{table}` {mode}" for table, mode in s.locks.items()) or s.note
            lines.append(
                f"| {number} | `{_escaped(one_line(s.sql))}` | {s.duration_s * 1000:.1f} | {locks} "
                f"| {_code(s.rewritten)} | {_code(s.scanned)} |"
            )
        lines.append("")
    lines += ["</details>", "", f"<sub>{_LEGEND}</sub>"]
    return "\n".join(lines) + "\n"


def as_json(rehearsal: Rehearsal) -> str:
    """Everything, nothing shortened."""
    failure = rehearsal.failure
    document = _fields(rehearsal) | {"failure": failure.happened if failure else None}
    return json.dumps(document, indent=2, ensure_ascii=False)


def _fields(rehearsal: Rehearsal) -> dict[str, object]:
    """The fields of a rehearsal but for its exception."""
    return {
        name: [asdict(step) for step in value] if name in ("steps", "reversed", "again", "paid", "times") else value
        for name, value in vars(rehearsal).items()
        if name != "failure"
    }


def _headline(rehearsal: Rehearsal) -> str:
    done = [
        counted(len(steps), noun)
        for steps, noun in ((rehearsal.steps, "migration"), (rehearsal.paid, "payment"))
        if steps
    ]
    if not done:
        return "Nothing to rehearse: no migration is pending."
    return (
        f"Rehearsed {' and '.join(done)} in a scratch database on PostgreSQL {rehearsal.server_version}; nothing live "
        "was touched."
    )


def _title(step: StagedMigration) -> str:
    verb = {"unapply": "unapplied", "pay": "paid, after the rollout,"}.get(step.direction, "applied")
    atomic = "" if step.atomic else ", not atomic"
    end = f"FAILED: {step.error}" if step.error else f"{verb} in {step.duration_s * 1000:.0f} ms{atomic}"
    return f"{step.migration}: {end}" + ("" if step.statements or step.error else ", without a statement")


def _rows(number: int, statement: Statement) -> Iterator[tuple[str, str, str, str, str]]:
    what = textwrap.shorten(statement.sql, STATEMENT_WIDTH, placeholder=" …")
    locks = [f"{table} {mode}" for table, mode in statement.locks.items()] or [statement.note]
    work = [f"rewrites {name}" for name in statement.rewritten] + [f"scans {name}" for name in statement.scanned]
    first = (str(number), f"{statement.duration_s * 1000:.1f}", what)
    for line in range(max(len(locks), len(work), 1)):
        yield (
            *(first if line == 0 else ("", "", "")),
            locks[line] if line < len(locks) else "",
            work[line] if line < len(work) else "",
        )


def _times(rehearsal: Rehearsal) -> Iterator[str]:
    """How long each statement that goes through rows may take, and what is not known of that."""
    for timing in rehearsal.times:
        tried = f"{_span(timing.fewer_s)} on {timing.fewer_rows:,} rows, {_span(timing.more_s)} on {timing.more_rows:,}"
        if timing.low_s is None or timing.high_s is None:
            told = timing.basis
        else:
            span = f"{_span(timing.low_s)} to {_span(timing.high_s)}"
            told = f"{span} on about {timing.live_rows:,} live rows of {timing.table} ({timing.basis})"
        yield f"{timing.migration}: {textwrap.shorten(timing.sql, STATEMENT_WIDTH, placeholder=' …')}: {tried}; {told}"
    yield from rehearsal.untimed


def _span(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _verdicts(rehearsal: Rehearsal) -> list[str]:
    if rehearsal.failure:
        return [rehearsal.failure.happened]
    lines = []
    if rehearsal.irreversible:
        lines.append(f"Irreversible: {rehearsal.irreversible}")
    if rehearsal.again:
        took = sum(step.duration_s for step in rehearsal.reversed) * 1000
        names = ", ".join(step.migration for step in rehearsal.again)
        lines.append(f"Reversed in {took:.0f} ms, which left nothing behind, and applied again: {names}.")
    lines += [f"Reversing does not undo {line}" for line in rehearsal.left_behind]
    lines += [f"Applied again it is another schema: {line}" for line in rehearsal.differs_again]
    return lines


def _strongest(step: StagedMigration) -> tuple[str, str]:
    locks = [(MODES.index(mode), table, mode) for s in step.statements for table, mode in s.locks.items()]
    _rank, table, mode = max(locks, default=(0, "", ""))
    return table, mode


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("`", "'")
