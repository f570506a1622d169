"""What a run refuses to go on from: histories, failures and halves that an earlier one left behind."""

from __future__ import annotations

from collections.abc import Sequence

from rupaya.migrator.conf import Conf
from rupaya.migrator.django import Key
from rupaya.migrator.errors import FailedBefore, HistoryRefused
from rupaya.migrator.ledger.ledger import Failure, Ledger
from rupaya.migrator.output import Output
from rupaya.migrator.plan.fingerprint import do_the_same, migration_hashes
from rupaya.migrator.plan.history import Edited, edited_migrations, refuse_edited
from rupaya.migrator.plan.plan import Plan, key_of
from rupaya.migrator.plan.repeatable import may_run_again
from rupaya.migrator.sqlstates import UNFIT, passes_by_itself


def refuse_edited_unless_accepted(plan: Plan, ledger: Ledger, conf: Conf, *, accept: bool) -> list[Edited]:
    """Edited migrations, if `accept` says to record them as they are now; else none, or a refusal.

    Raises:
        HistoryRefused: if MIGRATE_ON_EDITED says so.
    """
    edited = edited_migrations(plan.disk, ledger.in_force())
    if accept:
        return edited
    if conf.on_edited == "error" and (certain := [item for item in edited if item.is_certain]):
        refuse_edited(certain)
    return []


def warn_of_edited(plan: Plan, ledger: Ledger, conf: Conf, output: Output) -> None:
    """Say which applied migrations are not what was applied, where that is no reason to stop."""
    for item in edited_migrations(plan.disk, ledger.in_force()):
        if conf.on_edited == "warn" or not item.is_certain:
            output.say(
                f"{item} was edited after release {item.applied.release} applied it; the database has what it did "
                "before",
                warning=True,
            )


def unattested(plan: Plan, ledger: Ledger) -> list[Key]:
    """Of this code's migrations, those that are recorded although the ledger should know of them and does not."""
    if not ledger.exists:
        return []
    return [key for key in ledger.unattested() if key in plan.disk]


def refuse_contradicted(plan: Plan, ledger: Ledger) -> None:
    """Refuse to go on from migrations that are recorded as applied although their last attempt failed.

    Raises:
        HistoryRefused: naming them.
    """
    found = {key: error for key, error in ledger.contradicted().items() if key in plan.disk}
    if not found:
        return
    told = "; ".join(f"{app}.{name} ({error})" for (app, name), error in sorted(found.items()))
    raise HistoryRefused(
        f"The history records as applied what failed at its last attempt: {told}.",
        "Somebody recorded it by hand, or it is there in part only; nothing was changed.",
        "Look whether the database has what it does. If so, record that with 'manage.py migrate --accept-edited'. If "
        "not, delete its row from django_migrations and start again.",
    )


def unproved(plan: Plan, ledger: Ledger) -> list[Key]:
    """Of this code's migrations, those that are recorded and that the ledger does not know to have succeeded."""
    contradicted = [key for key in ledger.contradicted() if key in plan.disk]
    return list(dict.fromkeys([*contradicted, *unattested(plan, ledger)]))


def warn_of_unattested(plan: Plan, ledger: Ledger, output: Output) -> None:
    """Say which migrations somebody recorded who is not the migrator."""
    if found := unattested(plan, ledger):
        output.say(
            f"Recorded as applied, but by no attempt of the migrator: {names(found)}. If the database has what they "
            "do, 'manage.py migrate --accept-edited' records that",
            warning=True,
        )


def refuse_half_done(ledger: Ledger, plan: Plan) -> None:
    """Refuse after an attempt that left something behind; go on only where that cannot do anything twice.

    Asked of the record and not only of what died just now: whoever is started after a refusal must refuse as well.

    Raises:
        HistoryRefused: naming the migration.
    """
    for migration, _backwards in plan.steps:
        if may_run_again(migration):
            continue
        outcome, fingerprint = ledger.last_end(migration.app_label, migration.name)
        if outcome != "interrupted" and (
            outcome != "failed" or not do_the_same(fingerprint, migration_hashes(migration)[0])
        ):
            continue
        raise HistoryRefused(
            f"{migration} {'failed' if outcome == 'failed' else 'was interrupted'} half-way, and it is not atomic.",
            "How far it came is unknown, and its operations may not be safe to run twice; nothing was changed.",
            f"Look at what it did. Then run it again with 'manage.py migrate --retry-failed', or, if it is done, "
            f"record it with 'manage.py migrate --fake {migration.app_label} {migration.name}'.",
        )


def refuse_failed_before(conf: Conf, ledger: Ledger, plan: Plan) -> None:
    """An orchestrator replaces a failed task forever; the replacements must fail fast, without taking locks.

    Raises:
        FailedBefore: naming the migration, and when it failed.
    """
    forwards = [migration for migration, backwards in plan.steps if not backwards]
    failures = ledger.failures_of([key_of(migration) for migration in forwards])
    for migration in forwards:
        failure = failures.get(key_of(migration))
        if failure is None or not _is_deterministic(failure) or failure.age_s > conf.failed_hold_s:
            continue
        if failure.fingerprint != migration_hashes(migration)[0]:
            continue
        again = (
            f" Without that, it is tried again {conf.failed_hold_s:g} s after it failed."
            if may_run_again(migration)
            else ""
        )
        raise FailedBefore(
            f"{migration} failed before in the same way: {failure.error}",
            f"It failed at {failure.finished_at:%Y-%m-%d %H:%M:%S} UTC (release {failure.release}, "
            f"task {failure.task}) and has not been changed since; nothing was changed now.",
            "Fix the migration or the data and release again; to insist: 'manage.py migrate --retry-failed'." + again,
        )


def _is_deterministic(failure: Failure) -> bool:
    return bool(failure.sqlstate) and failure.sqlstate not in UNFIT and not passes_by_itself(failure.sqlstate)


def names(keys: Sequence[tuple[str, str]]) -> str:
    """Migrations, for a message."""
    return ", ".join(f"{app}.{name}" for app, name in sorted(keys))
