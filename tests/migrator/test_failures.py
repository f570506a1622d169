"""A migration's failure as its class: what happened, what it means and what to do, for each kind of error."""

from __future__ import annotations

import signal
from dataclasses import replace
from inspect import getsourcelines
from types import SimpleNamespace
from typing import Any, cast

import pytest
from django.db import DatabaseError, OperationalError
from django.db.migrations import RunPython
from django.db.migrations.migration import Migration

from rupaya.migrator import conf
from rupaya.migrator.errors import (
    DatabaseUnreachable,
    EnvironmentUnfit,
    HistoryRefused,
    MigrationFailed,
    MigratorError,
    TableLocked,
    Terminated,
)
from rupaya.migrator.run.context import RunContext
from rupaya.migrator.run.failures import explained, kind_of
from rupaya.migrator.run.transactions import ROLLED_BACK, RowGone, TransactionEnded
from rupaya.migrator.session.stop import Stop
from rupaya.migrator.session.watch import Blockers, Watch
from tests.migrator.test_outcome import ASKS, NOTHING, ROLLED, outcome


class Written(Migration):
    """One whose file is this one, and whose statements may hold people's data."""

    operations = [RunPython(RunPython.noop)]


MIGRATION = Written("0002_pay", "shop")
ATOMIC, HALF = outcome(), outcome("", atomic=False)
STAYS = f"It is not atomic: what it did stays. {ASKS}"
GONE = RowGone("the row is gone", "Somebody changed it.", "Start again.")
HELD_BACK = "Fix the migration or the data and release again. The same failure is not tried again "
INSIST = "unless 'manage.py migrate --retry-failed' says so."
SERVES = "The server was not started; the running release is not affected."


def failure(code: str, text: str = "what the server says") -> DatabaseError:
    error = DatabaseError(text)
    error.pgcode = code  # type: ignore[attr-defined]  # as the driver's have it
    return error


@pytest.fixture
def context(settings: Any) -> RunContext:
    """What a failure is explained from; no server is asked."""
    settings.MIGRATE_FAILED_HOLD_S = 900
    return cast(
        "RunContext",
        SimpleNamespace(stop=Stop(), watch=Watch(cast("Any", None)), conf=conf.require_configuration()),
    )


CASES: dict[str, tuple[BaseException, Any, type[MigratorError], str, str, str]] = {
    "division by zero": (
        failure("22012"),
        ATOMIC,
        MigrationFailed,
        "shop.0002_pay failed: DatabaseError: what the server says. The statement: SELECT ?",
        f"{ROLLED} {NOTHING} {SERVES}",
        f"{HELD_BACK}for 900 s {INSIST}",
    ),
    "division by zero, not atomic": (
        failure("22012"),
        HALF,
        MigrationFailed,
        "shop.0002_pay failed: DatabaseError: what the server says. The statement: SELECT ?",
        f"{STAYS} {SERVES}",
        f"{HELD_BACK}{INSIST}",
    ),
    "out of memory": (
        failure("53200"),
        ATOMIC,
        MigrationFailed,
        "shop.0002_pay failed: DatabaseError: what the server says. The statement: SELECT ?",
        f"{ROLLED} {NOTHING} {SERVES}",
        "This may pass by itself: start again. If it does not, look at the server.",
    ),
    "out of memory, not atomic": (
        failure("53200"),
        HALF,
        MigrationFailed,
        "shop.0002_pay failed: DatabaseError: what the server says. The statement: SELECT ?",
        f"{STAYS} {SERVES}",
        f"{HELD_BACK}{INSIST}",
    ),
    "a lock": (
        failure("55P03"),
        ATOMIC,
        TableLocked,
        "shop.0002_pay could not lock shop_item, held by somebody after 3 tries: what the server says",
        f"Another session keeps the table locked; the migrator gave up rather than make traffic queue behind it. "
        f"{ROLLED} {NOTHING}",
        "Look at those sessions",
    ),
    "no privilege": (
        failure("42501"),
        ATOMIC,
        EnvironmentUnfit,
        "shop.0002_pay cannot be applied, because the role lacks a privilege: what the server says",
        f"{ROLLED} {NOTHING}",
        "Grant it, or give the migrator the owner's role in MIGRATION_DATABASE_URL; start again.",
    ),
    "no privilege, on the way back": (
        failure("42501"),
        replace(HALF, is_recorded=True, backwards=True),
        EnvironmentUnfit,
        "shop.0002_pay cannot be unapplied, because the role lacks a privilege: what the server says",
        STAYS,
        "Grant it",
    ),
    "the session ended": (
        OperationalError("server closed the connection unexpectedly"),
        ATOMIC,
        DatabaseUnreachable,
        "The connection to the database was lost while shop.0002_pay was being applied: server closed the connection "
        "unexpectedly",
        f"The server ended the session or cannot be reached any more. {ROLLED} {NOTHING}",
        "Start again when the server is back",
    ),
    "the server has crashed": (
        DatabaseError("server closed the connection unexpectedly"),
        ATOMIC,
        DatabaseUnreachable,
        "The connection to the database was lost while shop.0002_pay was being applied: server closed the connection "
        "unexpectedly",
        f"The server ended the session or cannot be reached any more. {ROLLED} {NOTHING}",
        "Start again when the server is back",
    ),
    "its own transaction ended": (
        TransactionEnded("the server has rolled it back"),
        outcome(ROLLED_BACK),
        MigrationFailed,
        "shop.0002_pay failed: its transaction ended before the migration did: the server has rolled it back.",
        "it is no longer all or nothing. It is not recorded. What it did in the transaction that it ended was rolled "
        "back. What it did after that, outside any transaction, stays.",
        "Remove that statement",
    ),
    "its row is gone": (
        GONE,
        ATOMIC,
        MigrationFailed,
        "shop.0002_pay failed: the row is gone.",
        f"Somebody changed it. {ROLLED} {NOTHING}",
        "Start again.",
    ),
    "its row is gone, not atomic": (
        GONE,
        HALF,
        MigrationFailed,
        "shop.0002_pay failed: the row is gone.",
        f"Somebody changed it. {STAYS}",
        "Look at what it did so far; the next start says how to go on.",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_each_kind_says_what_happened_what_it_means_and_what_to_do(
    context: RunContext, case: tuple[BaseException, Any, type[MigratorError], str, str, str]
) -> None:
    error, became, kind, happened, meaning, remedy = case
    context.watch.last_sql = "SELECT 'a secret'"
    context.watch.blockers = Blockers("shop_item", ("somebody",))

    said = explained(context, MIGRATION, error, became, tries=3, limit_ms=1500)

    assert type(said) is kind
    assert said.happened == happened
    assert said.meaning.endswith(meaning)
    assert said.remedy.startswith(remedy)


def test_what_python_raised_has_its_place_and_no_statement(context: RunContext) -> None:
    def fails() -> None:
        raise ValueError("a note without a text")

    context.watch.last_sql = "SELECT 1"
    with pytest.raises(ValueError, match="a note") as raised:
        fails()
    said = explained(context, MIGRATION, raised.value, ATOMIC, tries=1, limit_ms=0)

    line = getsourcelines(fails)[1] + 1
    assert said.happened == f"shop.0002_pay failed: ValueError: a note without a text at {__file__}:{line}"
    assert said.remedy == f"{HELD_BACK}for 900 s {INSIST}"


def test_without_a_statement_none_is_shown(context: RunContext) -> None:
    said = explained(context, MIGRATION, failure("22012"), ATOMIC, tries=1, limit_ms=0)

    assert said.happened == "shop.0002_pay failed: DatabaseError: what the server says"


def test_what_has_a_name_already_keeps_it(context: RunContext) -> None:
    refused = HistoryRefused("what", "means", "do")

    assert explained(context, MIGRATION, refused, ATOMIC, tries=1, limit_ms=0) is refused


def test_what_kept_traffic_away_says_from_what_and_for_how_long(context: RunContext) -> None:
    context.watch.held_too_long = "shop_item"
    cancelled = failure("57014", "canceling statement due to user request")

    said = explained(context, MIGRATION, cancelled, ATOMIC, tries=1, limit_ms=1500)

    assert said.happened == "shop.0002_pay kept traffic from shop_item for more than 1.5 s, and was cancelled."
    assert f"{ROLLED} {NOTHING} {SERVES}" in said.meaning
    assert kind_of(context, cancelled, 1500) == "57014"


@pytest.mark.parametrize(
    ("code", "text", "took_ms", "limit_ms", "kind"),
    [
        ("57014", "canceling statement due to user request", 2_000.0, 1500, "57P01"),
        ("57014", "canceling statement due to statement timeout", 20.0, 1500, "57014"),
        ("22012", "division by zero at the user request", 20.0, 1500, "22012"),
        # A server that speaks another language.
        ("57014", "storniere Anfrage wegen Benutzeraufforderung", 20.0, 1500, "57P01"),
        ("57014", "storniere Anfrage wegen Benutzeraufforderung", 20.0, 0, "57P01"),
        ("57014", "storniere Anfrage wegen Zeitüberschreitung der Anfrage", 1501.0, 1500, "57014"),
        ("57014", "storniere Anfrage wegen Zeitüberschreitung der Anfrage", None, 1500, "57014"),
    ],
)
def test_what_somebody_cancelled_passes_by_itself_and_a_time_limit_does_not(
    context: RunContext, code: str, text: str, took_ms: float | None, limit_ms: int, kind: str
) -> None:
    context.watch.took_ms = took_ms

    assert kind_of(context, failure(code, text), limit_ms) == kind


@pytest.mark.parametrize(
    ("became", "remedy"),
    [(ATOMIC, "Nothing, if this was meant: the next start goes on from here."), (HALF, "Look at what it did so far.")],
)
def test_who_was_told_to_stop_says_so_whatever_failed_by_it(context: RunContext, became: Any, remedy: str) -> None:
    with context.stop.listening():
        signal.raise_signal(signal.SIGTERM)

    said = explained(context, MIGRATION, failure("57014"), became, tries=1, limit_ms=0)

    assert isinstance(said, Terminated)
    assert said.meaning == f"shop.0002_pay was being applied. {became}"
    assert said.remedy == remedy
