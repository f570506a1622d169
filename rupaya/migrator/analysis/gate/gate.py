"""All of it together: what is new is tried on the deployed release's schema, and judged."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import operations as ops
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.migration import Migration
from django.db.migrations.state import ProjectState

from rupaya.migrator.analysis import scratch
from rupaya.migrator.analysis.gate import effects, madeuprows, oldcode
from rupaya.migrator.analysis.gate.declared import check_declared
from rupaya.migrator.analysis.gate.findings import OF_AUTHORS, Finding, excused, finding, worst
from rupaya.migrator.analysis.gate.judge import judge, lacking, left_behind, presumptions
from rupaya.migrator.analysis.gate.trials import (
    Key,
    Setting,
    Trial,
    key_of,
    may_be_the_application,
    touched,
    try_on_empty_tables,
    try_on_rows,
)
from rupaya.migrator.plan.phases import flat_operations, is_known


@dataclass
class Verdict:
    """What was found, and what was noticed on the way."""

    findings: list[Finding] = field(default_factory=list)
    excuses: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class DeployedRelease:
    """The deployed release: its schema in a scratch database, and its models."""

    setting: Setting
    existing: set[int]
    """The oids of its relations."""
    kinds: dict[str, str]
    """What each of them is, by its name."""


def inspect(
    connection: BaseDatabaseWrapper,
    loader: MigrationLoader,
    new: Sequence[Migration],
    foreign: Collection[Key] = (),
) -> Verdict:
    """Try what is new in a scratch database, and judge it; `foreign` says which of it are installed packages'.

    Raises:
        EnvironmentUnfit: if no scratch database can be had.
    """
    live = connection.settings_dict["NAME"]
    keys = {(migration.app_label, migration.name) for migration in new}
    with scratch.database_like(connection):
        executor = scratch.build(connection, set(loader.graph.nodes) - keys)
        release = deployed(connection, executor.loader.project_state(sorted(set(loader.graph.nodes) - keys)))
        with scratch.copied(connection, live):
            empty = try_on_empty_tables(connection, new, release.setting)
        connection.ensure_connection()
        connection.set_autocommit(True)
        with connection.connection.cursor() as cursor:
            filled = madeuprows.fill(cursor, touched(empty.values()))
        full = try_on_rows(connection, new, release.setting, filled)
    verdict = assess(new, empty, full, release, foreign)
    verdict.notes += [f"{table} has no made-up rows: {why}" for table, why in filled.empty.items()]
    if not release.setting.as_application:
        verdict.notes.append(
            f"This role may not take {oldcode.APPLICATION}'s: old code's statements were sent as the tables' owner, "
            "who needs no rights."
        )
    return verdict


def deployed(connection: BaseDatabaseWrapper, state: ProjectState) -> DeployedRelease:
    """Look at the scratch database as the deployed release has left it, and let an application use it."""
    with connection.cursor() as cursor:
        oldcode.grant(cursor)
        seen = effects.read(cursor)
        cursor.execute("SELECT oid::regclass::text, relkind::text FROM pg_class WHERE relkind IN ('i', 'S')")
        kinds = dict(cursor.fetchall()) | {written: kind for written, _name, kind in seen.relations.values()}
    models: list[Any] = state.apps.get_models(include_auto_created=True)
    return DeployedRelease(Setting(models, may_be_the_application(connection)), set(seen.relations), kinds)


def assess(
    new: Sequence[Migration],
    empty: Mapping[Key, Trial],
    full: Mapping[Key, Trial],
    release: DeployedRelease,
    foreign: Collection[Key] = (),
) -> Verdict:
    """One finding a fault; what is excused is no finding, but noted."""
    verdict = Verdict()
    created: set[str] = set()
    for migration in new:
        for operation in flat_operations(migration.operations):
            if isinstance(operation, ops.CreateModel):
                created.add(f"{migration.app_label}.{operation.name_lower}")
        found = list(check_declared(migration, created))
        if trial := empty.get(key_of(migration)):
            on_rows = full.get(key_of(migration))
            found += [*judge(trial, on_rows, release.existing, release.kinds), *left_behind(trial)]
            if not trial.error and (note := presumptions(on_rows)):
                verdict.notes.append(note)
            if why := lacking(trial):
                verdict.notes.append(f"{migration} could not be tried on this server: {why}")
        else:
            found.append(
                finding(migration, "not-looked-at", "A migration that it depends on fails, so it was not tried.")
            )
        if key_of(migration) in foreign:
            found = [one for one in found if one.rule not in OF_AUTHORS]
        operations = enumerate(flat_operations(migration.operations), 1)
        left, told = excused(migration, worst(found, {part for part, one in operations if is_known(one)}))
        verdict.findings += left
        verdict.excuses += told
    return verdict
