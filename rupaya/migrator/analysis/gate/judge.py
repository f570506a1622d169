"""From what was measured to findings. Nothing depends on time: the same migrations are found wanting anywhere."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import replace

from django.db.migrations import operations as ops
from django.db.migrations.operations.base import Operation

from rupaya.migrator.analysis.gate import effects, sql
from rupaya.migrator.analysis.gate.declared import script_of
from rupaya.migrator.analysis.gate.findings import Finding, finding
from rupaya.migrator.analysis.gate.madeuprows import ROWS
from rupaya.migrator.analysis.gate.oldcode import Sent
from rupaya.migrator.analysis.gate.trials import OF_ROWS, Trial
from rupaya.migrator.analysis.stage import WAITING, Statement
from rupaya.migrator.debts.treatment import HALVED, treatment
from rupaya.migrator.plan.phases import CONTRACT, declared_phase, flat_operations, is_known, is_nothing, is_wider

# Fewer rows than these say nothing; then it counts whether a table was read from end to end at all.
ENOUGH_ROWS = 100
ALL = 0.5
ALL_AT_ONCE = 0.9
"""The part of a table's rows that are all of them: for a transaction, and for one statement that is one by itself."""

_INSTALLS = re.compile(r"CREATE (EXTENSION|COLLATION)\b", re.IGNORECASE)
_NOT_INSTALLED = ("0A000", "58P01")  # feature_not_supported, undefined_file

_REMARK = re.compile(r"WARNING|will be truncated")
_OF_THIS_SERVER = '"wal_level"'  # whether it may publish, whoever creates the publication: the other server may
_DROPS_INDEX = re.compile(r"DROP INDEX (?!CONCURRENTLY)", re.IGNORECASE)
_SHORT_TYPES = {"character varying": "varchar", "timestamp with time zone": "timestamptz"}


def judge(empty: Trial, full: Trial | None, existing: Collection[int], kinds: dict[str, str]) -> Iterator[Finding]:
    """All findings of one migration, several of one fault among them.

    `existing` are the oids of what the deployed release has, `kinds` says of each by its name what it is. `full` is
    the trial on rows; without it, that on empty tables must do.
    """
    migration = empty.migration
    parts = list(flat_operations(migration.operations))
    if empty.refusal is not None:
        why = empty.refusal
        told = f"{why.happened} {why.meaning}"
        yield finding(migration, "refused", told, parts=parts, part=empty.part, advice=why.remedy)
        # It was carried out as `migrate` never would: of what it would do by halves, nothing is known.
        found = _tried(empty, full, parts, existing, kinds)
        yield from (one for one in found if one.part and treatment(parts[one.part - 1], migration)[0] != HALVED)
        return
    yield from _tried(empty, full, parts, existing, kinds)
    on_rows = {trial.debt.identity: trial for trial in (full.payments if full is not None else ()) if trial.debt}
    for payment in empty.payments:
        assert payment.debt is not None  # noqa: S101 - or it would be none
        for one in _tried(payment, on_rows.get(payment.debt.identity), parts, existing, kinds):
            yield replace(one, text=f"When it is paid, after the rollout: {one.text[0].lower()}{one.text[1:]}")


def _tried(
    empty: Trial, full: Trial | None, parts: list[Operation], existing: Collection[int], kinds: dict[str, str]
) -> Iterator[Finding]:
    yield from _failures(empty, full, parts)
    yield from _remarks(empty, parts)
    yield from _identities(empty, parts, existing)
    yield from _own_sql(empty, parts, existing)
    if full is not None and full.looping:
        told = f"It sends this once for each row: {full.looping.times - 1:,} times, and was stopped."
        yield _of(full, "loop", told, parts, full.looping)
    measured = full if full is not None and not full.error else empty
    yield from _work(measured, parts, kinds)
    yield from _indexes(empty, parts)
    yield from _endless(empty, parts, kinds)
    if declared_phase(empty.migration) != CONTRACT:
        for trial in (empty, measured):
            yield from _old_code(trial, parts)


def lacking(trial: Trial) -> str:
    """What the server on which it was tried does not have, though another may; empty if it lacks nothing."""
    last = trial.step.statements[-1] if trial.step.statements else None
    parts = list(flat_operations(trial.migration.operations))
    if last is None or trial.code not in _NOT_INSTALLED or not _INSTALLS.match(last.sql):
        return ""
    return trial.error if last.part == len(parts) else ""


def presumptions(full: Trial | None) -> str:
    """What a migration presumes of the rows, by what made-up ones were refused for; empty if it took them."""
    for trial in (full, *full.payments) if full is not None else ():
        why = trial.refused or (trial.error if _is_of_rows(trial) else "")
        if why and not trial.looping:
            return f"{trial.migration} presumes something of the rows; made-up ones were refused: {why}"
    return ""


def _is_of_rows(trial: Trial) -> bool:
    """Whether made-up rows may be to blame: the server refused one, or Python did not find in them what it wanted."""
    return trial.code.startswith(OF_ROWS) or not trial.code


def left_behind(trial: Trial) -> Iterator[Finding]:
    """Where models and database do not fit: a required column that is forgotten, and one that is not there."""
    for table, column in trial.forgotten:
        if effects.is_required(trial.at_the_end, table, column):
            told = f"{table}.{column} is NOT NULL and nothing fills it: code that does not know it cannot insert a row."
            yield finding(trial.migration, "unready-removal", told, table=table)
    for table, column in trial.expected:
        if trial.at_the_end.relations and not effects.has_column(trial.at_the_end, table, column):
            told = f"The models have {table}.{column}, and the database has not: every query of new code fails."
            yield finding(trial.migration, "missing-column", told, table=table)


def _failures(empty: Trial, full: Trial | None, parts: list[Operation]) -> Iterator[Finding]:
    for trial, where in ((empty, "even on empty tables"), (full, "on rows")):
        if trial is None or not trial.error or (trial is full and _is_of_rows(trial)):
            continue
        if lacking(trial):
            continue
        last = trial.step.statements[-1] if trial.step.statements else None
        of_server = bool(trial.code) and last is not None
        yield finding(
            trial.migration,
            "fails",
            f"It fails {where}: {trial.error.rstrip('.')}.",
            parts=parts,
            part=last.part if last is not None and of_server else 0,
            statement=last.sql if last is not None and of_server else "",
            advice=trial.advice,
        )
        return


def _remarks(trial: Trial, parts: list[Operation]) -> Iterator[Finding]:
    for statement in trial.step.statements:
        for notice in statement.notices:
            if _REMARK.search(notice) and _OF_THIS_SERVER not in notice:
                told = f"The server remarks: {' '.join(notice.split())}."
                yield _of(trial, "remarks", told, parts, statement)


def _identities(trial: Trial, parts: list[Operation], existing: Collection[int]) -> Iterator[Finding]:
    for part, (before, after) in trial.facts.items():
        for change in effects.changes(before, after, existing):
            told = f"{change.text[0].upper()}{change.text[1:]}."
            if change.rule == "type" and _widens(change.text):
                continue
            if change.rule == "required-column" and is_known(parts[part - 1]):
                continue  # Django's default for it is kept in the database; without one, that is known without trying
            if change.rule == "rename":
                told = f"{told[:-1]}: old code and new code each need it under their own name."
            yield finding(trial.migration, change.rule, told, parts=parts, part=part, table=change.table)


def _widens(told: str) -> bool:
    found = re.search(r" was (.*) and is (.*)$", told)
    return found is not None and is_wider(_short(found[1]), _short(found[2]))


def _short(type_name: str) -> str:
    for long, short in _SHORT_TYPES.items():
        type_name = type_name.replace(long, short)
    return type_name


def _own_sql(trial: Trial, parts: list[Operation], existing: Collection[int]) -> Iterator[Finding]:
    """Statements that no known operation sent and that are not listed as harmless."""
    migration = trial.migration
    late = declared_phase(migration) == CONTRACT
    for part, operation in enumerate(parts, 1):
        if is_known(operation) or is_nothing(operation) or part not in trial.facts:
            continue
        if isinstance(operation, ops.RunSQL):
            texts = [script_of(operation)]
        else:
            texts = [statement.sql for statement in trial.step.statements if statement.part == part]
        made = [written for oid, (written, _n, _k) in trial.facts[part][1].relations.items() if oid not in existing]
        for text in dict.fromkeys(texts):
            for statement in sql.unlisted(text, no_old_code=late, fresh=made):
                told = "It is not on the list of what is known to be harmless"
                told += " while old code runs." if not late and sql.needs_contract(statement) else "."
                yield finding(migration, "unlisted-sql", told, parts=parts, part=part, statement=statement)


def _work(trial: Trial, parts: list[Operation], kinds: dict[str, str]) -> Iterator[Finding]:
    written: dict[tuple[str, str], int] = defaultdict(int)
    lock_of: dict[tuple[str, str], int] = {}
    for statement in trial.step.statements:
        strong = {table: mode for table, mode in statement.held.items() if mode in WAITING and table in kinds}
        for table in strong:
            lock_of.setdefault((statement.transaction, table), statement.part)
        if rewritten := [name for name in statement.rewritten if kinds.get(name.removeprefix("index ")) != "S"]:
            yield from _rewrite(trial, parts, statement, rewritten, strong)
        read = [name for name in sorted({*statement.read, *statement.scanned}) if _is_all(trial, name, statement)]
        if strong and read:
            table, mode = max(strong.items(), key=lambda held: (held[1] == "AccessExclusive", held[0] in read))
            told = f"It reads {_rows(trial, read[0])} while {mode} is held on {table}: {WAITING[mode]} so long."
            yield _of(trial, "scan", told, parts, statement, read[0])
        elif read and trial.step.atomic and re.match(r"(UPDATE|DELETE)\b", statement.sql, re.IGNORECASE):
            told = f"It looks through {_rows(trial, read[0])}, and keeps every row that it changes locked to the end."
            yield _of(trial, "writes", told, parts, statement, read[0])
        part = ALL if trial.step.atomic else ALL_AT_ONCE
        for table, count in statement.written.items():
            written[statement.transaction, table] += count
            rows, total = trial.rows.get(table, 0), written[statement.transaction, table]
            if rows >= ENOUGH_ROWS and total >= rows * part and total > _at_a_time(parts, statement):
                told = f"One transaction writes {total:,} rows, where {_rows(trial, table)} are all."
                yield _of(trial, "writes", told, parts, statement, table)
        of_python = 0 < statement.part <= len(parts) and isinstance(parts[statement.part - 1], ops.RunPython)
        earlier = [table for table in strong if lock_of[statement.transaction, table] != statement.part]
        if of_python and earlier and statement.transaction:
            told = f"Python runs while {strong[earlier[0]]} is held on {earlier[0]}, and nobody knows for how long."
            yield _of(trial, "lock-held", told, parts, statement, earlier[0])


def _at_a_time(parts: list[Operation], statement: Statement) -> int:
    """How many rows the statement writes at most, where the operation says so and they are few: not all of any table,
    though of as many made-up ones as there are."""
    operation = parts[statement.part - 1] if 0 < statement.part <= len(parts) else None
    batch_size = int(getattr(operation, "batch_size", 0)) if operation is not None and is_known(operation) else 0
    return batch_size if batch_size < ROWS * ALL_AT_ONCE else 0


def _rewrite(
    trial: Trial, parts: list[Operation], statement: Statement, rewritten: list[str], strong: dict[str, str]
) -> Iterator[Finding]:
    tables = [name for name in rewritten if not name.startswith("index ")]
    if not tables and not strong:
        return  # an index that is rebuilt beside the old one
    name = (tables or rewritten)[0]
    mode = strong.get(name) or max(strong.values(), key=list(WAITING).index, default="")
    waiting = f" under {mode}: {WAITING[mode]} so long" if mode else ""
    yield _of(trial, "rewrite", f"It rewrites {', '.join(tables or rewritten)}{waiting}.", parts, statement, name)


def _is_all(trial: Trial, table: str, statement: Statement) -> bool:
    rows = trial.rows.get(table, 0)
    if rows < ENOUGH_ROWS:
        return table in statement.scanned and not re.match(r"(INSERT|SELECT|WITH)\b", statement.sql, re.IGNORECASE)
    return statement.read.get(table, 0) >= rows * ALL


def _rows(trial: Trial, table: str) -> str:
    rows = trial.rows.get(table, 0)
    return f"all {rows:,} made-up rows of {table}" if rows else f"{table} from end to end"


def _endless(trial: Trial, parts: list[Operation], kinds: dict[str, str]) -> Iterator[Finding]:
    if trial.debt is not None:
        return  # paying is bounded by the run, and by nothing of the migration's
    for statement in trial.step.statements:
        for table, mode in statement.locks.items() if statement.waits_endlessly else ():
            if mode in WAITING and table in kinds:
                told = f"It waits for {mode} on {table} without end, as lock_timeout is 0: {WAITING[mode]} so long."
                yield _of(trial, "endless-wait", told, parts, statement, table)
                break


def _indexes(trial: Trial, parts: list[Operation]) -> Iterator[Finding]:
    for statement in trial.step.statements:
        locked = [table for table, mode in statement.locks.items() if mode == "AccessExclusive"]
        if _DROPS_INDEX.match(statement.sql) and locked:
            told = f"It takes AccessExclusive on {locked[0]}, behind which reads and writes queue; it needs none."
            yield _of(trial, "drop-index", told, parts, statement, locked[0])


def _old_code(trial: Trial, parts: list[Operation]) -> Iterator[Finding]:
    for part, (before, after) in trial.outcomes.items():
        for sent in _broken(before, after):
            outcome = after[sent]
            ends = outcome if ":" in outcome else f"it finds {outcome} rows, before {before[sent]}"
            told = f"Code of the deployed release cannot {sent.verb} any more: {ends}."
            yield finding(trial.migration, "breaks-old-code", told, parts=parts, part=part, table=sent.table)


def _broken(before: dict[Sent, str], after: dict[Sent, str]) -> list[Sent]:
    return [
        sent
        for sent, outcome in before.items()
        if ":" not in outcome and (":" in (now := after.get(sent, outcome)) or int(now) < int(outcome))
    ]


def _of(trial: Trial, rule: str, told: str, parts: list[Operation], statement: Statement, table: str = "") -> Finding:
    return finding(trial.migration, rule, told, parts=parts, part=statement.part, statement=statement.sql, table=table)
