"""What a run refuses to go on from: histories, failures and halves that an earlier one left behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rupaya.migrator.conf import Conf
from rupaya.migrator.django import Key
from rupaya.migrator.errors import FailedBefore, HistoryRefused
from rupaya.migrator.ledger.ledger import Applied, Failure, Ledger
from rupaya.migrator.output import Output
from rupaya.migrator.plan.fingerprint import do_the_same, migration_hashes
from rupaya.migrator.plan.history import Edited, edited_migrations, refuse_edited
from rupaya.migrator.plan.plan import Plan, key_of
from rupaya.migrator.plan.repeatable import may_run_again
from rupaya.migrator.sqlstates import UNFIT, passes_by_itself


@dataclass(frozen=True)
class Known:
    """What the ledger says of the migrations that are recorded, of this code's only; read once."""

    edited: list[Edited]
    """Their code is not what was applied."""
    contradicted: dict[Key, str]
    """Their last attempt failed, and how."""
    unattested: list[Key]
    """The ledger should know of them and does not."""

    @property
    def unproved(self) -> list[Key]:
        """Those that the ledger does not know to have succeeded."""
        return list(dict.fromkeys([*self.contradicted, *self.unattested]))


def known_of(plan: Plan, ledger: Ledger, in_force: Sequence[Applied], unattested: Sequence[Key]) -> Known:
    """What the ledger says, given what is in force and what nothing attests."""
    return Known(
        edited=edited_migrations(plan.disk, in_force),
        contradicted={key: error for key, error in ledger.contradicted().items() if key in plan.disk},
        unattested=[key for key in unattested if key in plan.disk],
    )


def refuse_edited_unless_told(known: Known, conf: Conf) -> None:
    """Refuse to go on from edited migrations, if MIGRATE_ON_EDITED says so.

    Raises:
        HistoryRefused: naming them.
    """
    if conf.on_edited == "error" and (certain := [item for item in known.edited if item.is_certain]):
        refuse_edited(certain)


def warn_of_edited(known: Known, conf: Conf, output: Output) -> None:
    """Say which applied migrations are not what was applied, where that is no reason to stop."""
    for item in known.edited:
        if conf.on_edited == "warn" or not item.is_certain:
            output.say(
                f"{item} was edited after release {item.applied.release} applied it; the database has what it did "
                "before",
                warning=True,
            )


def refuse_contradicted(known: Known) -> None:
    """Refuse to go on from migrations that are recorded as applied although their last attempt failed.

    Raises:
        HistoryRefused: naming them.
    """
    found = known.contradicted
    if not found:
        return
    told = "; ".join(f"{app}.{name} ({error})" for (app, name), error in sorted(found.items()))
    raise HistoryRefused(
        f"The history records as applied what failed at its last attempt: {told}.",
        "Somebody recorded it by hand, or it is there in part only; nothing was changed.",
        "Look whether the database has what it does. If so, record that with 'manage.py migrate --accept-edited'. If "
        "not, delete its row from django_migrations and start again; where one that depends on it is recorded as well, "
        "do by hand what it does, and record that.",
    )


def warn_of_unattested(known: Known, output: Output) -> None:
    """Say which migrations somebody recorded who is not the migrator."""
    if found := known.unattested:
        output.say(
            f"Recorded as applied, but by no attempt of the migrator: {names(found)}. If the database has what they "
            "do, 'manage.py migrate --accept-edited' records that",
            warning=True,
        )


def refuse_half_done(ledger: Ledger, plan: Plan) -> None:
    """Refuse after an attempt that left something behind; go on only where that cannot do anything twice.

    Asked of the record and not only of what died just now: a run that is started after a refusal must refuse as well.

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
