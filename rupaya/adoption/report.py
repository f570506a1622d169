"""A survey as text for people and as JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from rupaya.adoption.alignment import matching
from rupaya.adoption.original import TABLES
from rupaya.adoption.rules import Finding
from rupaya.adoption.survey import WAYS_OF_LEFT_OVER, Survey

_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def as_text(survey: Survey) -> str:
    """A block a table: what matches, what will be aligned and when, and the rows that break a rule."""
    return "\n".join(_lines(survey))


def as_json(survey: Survey) -> str:
    """The same, under stable names."""
    tables: dict[str, Any] = {}
    for table in TABLES:
        size = next((its for its in survey.original.tables if its.name == table), None)
        tables[table] = {
            "exists": size is not None,
            "rows": size.rows if size else 0,
            "rows_estimated": bool(size and size.is_estimate),
            "size_bytes": size.size_bytes if size else 0,
            "matching": matching(table, survey.live) if size else 0,
            "changes": [
                {"stage": change.stage, "name": change.name, "message": change.says}
                for change in survey.changes
                if change.table == table
            ],
            "findings": [_finding(finding) for finding in survey.findings if finding.table == table],
        }
    original = survey.original
    document = {
        "knex": {"batch": original.batch, "migrations": original.knex_migrations, "is_locked": original.is_locked},
        "adopted": survey.is_adopted,
        "finished": survey.finished_by or None,
        "tables": tables,
        "created": survey.created,
        "untouched": original.others_than_ours,
        "left_over": [str(item) for item in survey.left_over],
        "refused_values": survey.refused_values,
        "obstacles": survey.obstacles,
        "sessions": survey.sessions,
        "serves": survey.serves or None,
        "unproved": survey.unproved or None,
        "needs_decision": survey.needs_decision,
    }
    return json.dumps(document, indent=2)


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "rule": finding.rule,
        "message": finding.says,
        "rows": finding.rows,
        "undecided": finding.undecided,
        "examples": finding.examples,
        "remedy": finding.remedy or None,
        "ways": finding.ways or None,
    }


def _lines(survey: Survey) -> Iterator[str]:
    original = survey.original
    knex = f"Knex's last batch is {original.batch} ({_last(original.knex_migrations)})"
    yield f"The original system's database: {original.summary if original.knex_is_gone else knex}"
    if original.is_locked:
        yield "  Knex's lock is SET: somebody is migrating, or died doing so; adopt will refuse"
    for names, what in (
        (original.missing_migrations, "Knex migrations that are not applied, so that adopt will refuse"),
        (original.unknown_migrations, "Knex migrations that are not known here"),
    ):
        if names:
            yield f"  {what}: {', '.join(names)}"
    state = "adopted, not finished" if survey.is_adopted else "not adopted"
    yield f"State: {'finished ' + survey.finished_by if survey.finished_by else state}"
    sizes = {table.name: table for table in original.tables}
    for table in TABLES:
        yield ""
        if table not in sizes:
            kind = survey.live["relations"].get(table, {}).get("kind")
            yield f"{table}: a {kind}, and no table" if kind else f"{table}: missing; will be created"
            continue
        size = sizes[table]
        about = "about " if size.is_estimate else ""
        matches = matching(table, survey.live)
        yield f"{table}: {about}{size.rows:,} rows, {_size(size.size_bytes)}; {matches} facts match"
        for change in survey.changes:
            if change.table == table:
                yield f"  {change.stage:6}  {change.says}"
        for finding in survey.findings:
            if finding.table == table:
                yield f"  rows    {_said(finding)}"
    yield ""
    if survey.created:
        yield f"Created: {', '.join(name for name in survey.created if name not in TABLES)}; and Django's own tables"
    yield f"Not touched: {', '.join(original.others_than_ours) or 'nothing else is there'}"
    if survey.left_over:
        way = "as decided" if survey.left_over_is_decided else f"UNDECIDED: {WAYS_OF_LEFT_OVER}"
        yield f"Also there, although the contract does not have it: {', '.join(map(str, survey.left_over))}; {way}"
    for line in (*survey.refused_values, *survey.obstacles):
        yield f"Refused: {line}"
    if survey.serves and not survey.finished_by:
        yield f"Granted to {survey.serves}, the role that serves: what it lacks on this service's tables and sequences"
    if survey.sessions:
        yield f"Also connected: {', '.join(survey.sessions)}"
    undecided = [finding for finding in survey.findings if finding.undecided]
    if undecided:
        rows = sum(finding.undecided for finding in undecided)
        broken = f"{len(undecided)} rules, broken by {rows:,} rows (counted for each rule)"
        yield f"To be decided before 'adopt --finish': {broken}"
    elif survey.is_undecided:
        yield f"To be decided before 'adopt --finish': {len(survey.undecided)} things"
    if survey.obstacles:
        looked = "" if survey.findings else "; the rows were not looked at"
        command = "adopt --finish" if survey.is_adopted else "adopt"
        yield f"To be fixed before '{command}', which refuses until then{looked}"
    if survey.needs_decision or survey.finished_by:
        return
    if survey.unproved:
        yield f"Nothing was found that needs a decision. It was not tried out: {survey.unproved}"
    else:
        yield "Nothing needs a decision: all of it was carried out on a copy, which is gone"


def _said(finding: Finding) -> str:
    text = f"{finding.rows:,}: {finding.says} ({finding.rule}), such as {', '.join(finding.examples)}"
    if finding.remedy:
        text += f": {finding.remedy}"
    if finding.undecided:
        text += f"; {finding.undecided:,} UNDECIDED: {finding.ways}"
    return text


def _last(names: tuple[str, ...]) -> str:
    return names[-1] if names else "none"


def _size(size_bytes: int) -> str:
    size, unit = float(size_bytes), 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.0f} {_UNITS[unit]}"
