"""What a run refuses to go on from, asked of a ledger and a plan: a rule costs no process here."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.management.color import no_style
from django.db import connection, migrations, models
from django.db.migrations.migration import Migration
from django.db.migrations.recorder import MigrationRecorder
from django_pg_migration_tools import operations as safer

from rupaya.migrator import conf
from rupaya.migrator.errors import FailedBefore, HistoryRefused
from rupaya.migrator.ledger.ledger import Applied
from rupaya.migrator.operations import Backfill
from rupaya.migrator.output import Output
from rupaya.migrator.plan.history import Edited, refuse_by_project
from rupaya.migrator.plan.plan import Plan
from rupaya.migrator.plan.repeatable import may_run_again
from rupaya.migrator.run.refusals import (
    Known,
    known_of,
    refuse_contradicted,
    refuse_edited_unless_told,
    refuse_failed_before,
    refuse_half_done,
    warn_of_edited,
    warn_of_unattested,
)
from tests.migrator.conftest import Record

Planner = Callable[..., Plan]


def a_migration(*, atomic: bool, idempotent: bool = False) -> Migration:
    class Paying(Migration):
        operations = [migrations.RunSQL("SELECT 1")]

    made = Paying("0002_pay", "shop")
    made.atomic = atomic
    made.idempotent = idempotent  # type: ignore[attr-defined]  # ours
    return made


def refused_with(error: type[Exception] | None, words: str = "") -> Any:
    """A block that must end so; None: without a refusal."""
    return pytest.raises(error, match=words) if error else nullcontext()


@pytest.mark.parametrize(
    ("atomic", "idempotent", "outcome", "refused"),
    [
        (False, False, "interrupted", "shop.0002_pay was interrupted half-way"),
        (False, False, "failed", "shop.0002_pay failed half-way"),
        (False, False, "succeeded", ""),
        (False, True, "interrupted", ""),
        (True, False, "interrupted", ""),
        (True, False, "failed", ""),
    ],
)
def test_what_may_be_there_by_half_is_not_run_again(
    ledger: Record, plan: Planner, atomic: bool, idempotent: bool, outcome: str, refused: str
) -> None:
    migration = a_migration(atomic=atomic, idempotent=idempotent)
    ledger.had(migration, outcome, sqlstate="22012")

    with refused_with(HistoryRefused if refused else None, refused):
        refuse_half_done(ledger, plan(migration))


def test_one_that_failed_and_was_changed_since_is_run_but_not_one_that_was_interrupted(
    ledger: Record, plan: Planner
) -> None:
    migration = a_migration(atomic=False)
    ledger.had(migration, "failed", sqlstate="22012", fingerprint="another one")
    refuse_half_done(ledger, plan(migration))

    ledger.had(migration, "interrupted", fingerprint="another one")
    with refused_with(HistoryRefused, "was interrupted half-way"):
        refuse_half_done(ledger, plan(migration))


@pytest.mark.parametrize(
    ("sqlstate", "edited", "hold_s", "refused"),
    [
        ("22012", False, 900.0, True),  # division by zero: the same data, the same failure
        ("22012", True, 900.0, False),
        ("22012", False, 0.0, False),
        ("55P03", False, 900.0, False),  # a lock: may be free by now
        ("08006", False, 900.0, False),  # the connection
        ("", False, 900.0, False),  # no failure of the server's
    ],
)
def test_a_failure_that_does_not_pass_by_itself_is_not_repeated_at_once(
    ledger: Record, plan: Planner, settings: Any, sqlstate: str, edited: bool, hold_s: float, refused: bool
) -> None:
    settings.MIGRATE_FAILED_HOLD_S = hold_s
    migration = a_migration(atomic=True)
    ledger.had(migration, "failed", sqlstate=sqlstate, fingerprint="another one" if edited else None)

    with refused_with(FailedBefore if refused else None, "failed before in the same way: as the test says"):
        refuse_failed_before(conf.require_configuration(), ledger, plan(migration))


def test_after_the_hold_one_attempt_is_made_and_the_next_one_waits_again(
    ledger: Record, plan: Planner, settings: Any
) -> None:
    settings.MIGRATE_FAILED_HOLD_S = 1800
    held = conf.require_configuration()
    migration = a_migration(atomic=True)
    ledger.had(migration, "failed", sqlstate="22012")
    ledger.age("1 hour")
    refuse_failed_before(held, ledger, plan(migration))

    ledger.had(migration, "failed", sqlstate="22012")
    with refused_with(FailedBefore, "it is tried again 1800 s after it failed"):
        refuse_failed_before(held, ledger, plan(migration))


def refuse_always(_connection: object, plan: Plan) -> None:
    """What a project may name in its settings."""
    raise HistoryRefused(f"{len(plan.steps)} too many", "", "")


def test_the_project_is_asked_about_a_plan_that_does_something(plan: Planner, settings: Any) -> None:
    settings.MIGRATOR_HISTORY_CHECKS = [f"{__name__}.refuse_always"]
    made = plan(a_migration(atomic=True))

    refuse_by_project(made.executor.connection, plan())
    with refused_with(HistoryRefused, "1 too many"):
        refuse_by_project(made.executor.connection, made)


def edited(*, is_certain: bool) -> Edited:
    now = datetime.now(UTC)
    kept = {"python_version": "", "django_version": "", "database_user": "", "task": "task-1", "git_sha": ""}
    applied = Applied(
        app="shop",
        name="0002_pay",
        batch=1,
        phase="expand",
        faked=False,
        fingerprint="",
        file_hash="",
        tries=1,
        started_at=now,
        finished_at=now,
        run_id=1,
        command="migrate",
        release="v1",
        **kept,
    )
    return Edited(applied, is_certain)


@pytest.mark.parametrize(
    ("on_edited", "is_certain", "refused"),
    [("error", True, True), ("error", False, False), ("warn", True, False), ("warn", False, False)],
)
def test_an_edit_is_refused_where_it_is_certain_and_asked_for_and_told_elsewhere(
    settings: Any, on_edited: str, is_certain: bool, refused: bool
) -> None:
    settings.MIGRATE_ON_EDITED = on_edited
    told, configured = io.StringIO(), conf.require_configuration()
    known = Known([edited(is_certain=is_certain)], {}, [])

    with refused_with(HistoryRefused if refused else None, r"shop\.0002_pay"):
        refuse_edited_unless_told(known, configured)
    warn_of_edited(known, configured, Output(told, no_style()))

    assert told.getvalue() == (
        "" if refused else "shop.0002_pay was edited after release v1 applied it; the database has what it did before\n"
    )


def test_what_other_code_left_unproved_is_no_business_of_this_code(ledger: Record, plan: Planner) -> None:
    ours, theirs = a_migration(atomic=True), a_migration(atomic=True)
    theirs.app_label = "their"
    for migration in (ours, theirs):
        ledger.had(migration, "failed", sqlstate="22012")
        MigrationRecorder(connection).record_applied(migration.app_label, migration.name)
    ours_key, theirs_key, other_key = ("shop", "0002_pay"), ("their", "0002_pay"), ("shop", "0001_initial")

    known = known_of(plan(ours), ledger, [], [ours_key, other_key])

    assert (list(known.contradicted), known.unattested, known.unproved) == ([ours_key], [ours_key], [ours_key])
    assert list(known_of(plan(theirs), ledger, [], []).contradicted) == [theirs_key]
    with pytest.raises(HistoryRefused, match=r"shop\.0002_pay \(as the test says\)\."):
        refuse_contradicted(known)
    refuse_contradicted(Known([], {}, [ours_key]))


def test_who_recorded_what_the_migrator_did_not_is_told_by_name() -> None:
    told = io.StringIO()

    warn_of_unattested(Known([], {}, []), Output(told, no_style()))
    warn_of_unattested(Known([], {}, [("shop", "0002_pay"), ("shop", "0001_initial")]), Output(told, no_style()))

    assert told.getvalue().startswith(
        "Recorded as applied, but by no attempt of the migrator: shop.0001_initial, shop.0002_pay. If the database"
    )


INDEX = safer.SaferAddIndexConcurrently("item", models.Index(fields=["name"], name="i"))
UNIQUE = models.UniqueConstraint(fields=["name"], name="u")


@pytest.mark.parametrize(
    ("operations", "atomic", "may"),
    [
        ([migrations.RunSQL("SELECT 1")], True, True),
        ([migrations.RunSQL("SELECT 1")], False, False),
        ([INDEX, Backfill("item", set="name = ''", where="name IS NULL")], False, True),
        ([INDEX, migrations.RunSQL("SELECT 1")], False, False),
        ([safer.SaferAddUniqueConstraint("item", UNIQUE, raise_if_exists=False)], False, True),
        ([safer.SaferAddUniqueConstraint("item", UNIQUE, raise_if_exists=True)], False, False),
    ],
)
def test_what_leaves_nothing_or_looks_before_it_acts_may_run_again(
    operations: list[Any], atomic: bool, may: bool
) -> None:
    migration = a_migration(atomic=atomic)
    migration.operations = operations

    assert may_run_again(migration) is may
