"""What is said of a migration that did not end well: each sentence follows from what the server and the history say."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import product
from threading import Timer

import psycopg2
import pytest
from django.db.migrations import RunSQL
from django.db.migrations.migration import Migration
from django.db.migrations.recorder import MigrationRecorder

from rupaya.migrator.plan.fingerprint import migration_hashes
from rupaya.migrator.plan.plan import Plan, key_of
from rupaya.migrator.run import outcome as module
from rupaya.migrator.run.backoff import pause_s
from rupaya.migrator.run.context import RunContext
from rupaya.migrator.run.others import attest, has_been_done, is_done, is_done_by_now
from rupaya.migrator.run.outcome import Outcome, how_far
from rupaya.migrator.run.transactions import COMMITTED, ROLLED_BACK, UNDER_WAY, DoneByOthers, Transaction

BATCH = "shop.0001_initial", "shop.0002_table"


def outcome(
    transaction: str = ROLLED_BACK,
    *,
    atomic: bool = True,
    recorded: bool | None = False,
    again: bool | None = None,
    whole: bool = False,
    before: Sequence[str] | None = (),
    backwards: bool = False,
) -> Outcome:
    """Forwards unless told otherwise; an atomic one may run again."""
    return Outcome(
        is_atomic=atomic,
        transaction=transaction,
        is_recorded=recorded,
        may_run_again=atomic if again is None else again,
        is_whole_batch=whole,
        still_done=before,
        backwards=backwards,
    )


ROLLED = "Its transaction was rolled back whole."
NOTHING = "Nothing of this batch remains applied."
STILL = "Still applied from this batch: shop.0001_initial, shop.0002_table."
ASKS = "The next run will stop and ask; it will not guess how far this one got."
NOT_ASKED = "The server could not be asked whether it was rolled back."
SENTENCES = {
    "rolled back, the first": (outcome(), [ROLLED, NOTHING]),
    "rolled back, after others": (outcome(before=BATCH), [ROLLED, STILL]),
    "rolled back, the history unknown": (outcome(recorded=None, before=None), [ROLLED]),
    "a batch rolled back": (outcome(whole=True), ["The whole batch was rolled back.", NOTHING]),
    "a batch's last part rolled back": (
        outcome(whole=True, before=BATCH),
        ["The batch's last transaction was rolled back.", STILL],
    ),
    "rolled back on the way back": (
        outcome(recorded=True, backwards=True),
        [ROLLED, "Nothing of this batch was unapplied."],
    ),
    "rolled back on the way back, after others": (
        outcome(recorded=True, backwards=True, before=BATCH),
        [ROLLED, "Unapplied before it, and so it stays: shop.0001_initial, shop.0002_table."],
    ),
    "committed all the same": (
        outcome(COMMITTED, recorded=True),
        ["It was committed all the same, and is applied and recorded."],
    ),
    "committed all the same, on the way back": (
        outcome(COMMITTED, recorded=False, backwards=True),
        ["It was committed all the same, and is unapplied."],
    ),
    "committed without its record": (
        outcome(COMMITTED),
        ["What it did in that transaction is committed and stays, and it is not recorded."],
    ),
    "recorded although rolled back": (
        outcome(recorded=True),
        ["It is applied and recorded, although it did not end as one whole: look at what is there."],
    ),
    "unapplied although the server does not know": (
        outcome("", recorded=False, backwards=True),
        ["It is unapplied, although it did not end as one whole: look at what is there."],
    ),
    "nobody could be asked": (outcome("", recorded=None, before=None), [NOT_ASKED]),
    "neither yet": (
        outcome(UNDER_WAY, recorded=None, before=None),
        ["It is neither committed nor rolled back yet: pg_stat_activity or pg_prepared_xacts has it."],
    ),
    "only the history could be asked": (outcome("", before=BATCH), [NOT_ASKED, STILL]),
    "by half": (outcome("", atomic=False), ["It is not atomic: what it did stays.", ASKS]),
    "by half, after others": (
        outcome("", atomic=False, before=BATCH),
        ["It is not atomic: what it did stays.", ASKS, STILL],
    ),
    "by half, and nobody could be asked": (
        outcome("", atomic=False, recorded=None, before=None),
        ["It is not atomic: what it did stays.", ASKS],
    ),
    "by half, and safe to run again": (
        outcome("", atomic=False, again=True),
        ["It is not atomic: what it did stays."],
    ),
    "all of it, not atomic": (
        outcome("", atomic=False, recorded=True),
        ["All of it was done: it is applied and recorded."],
    ),
    "all of it, not atomic, on the way back": (
        outcome("", atomic=False, recorded=False, backwards=True),
        ["All of it was done: it is unapplied."],
    ),
    "by half on the way back": (
        outcome("", atomic=False, recorded=True, backwards=True),
        ["It is not atomic: what it did stays.", ASKS],
    ),
}


@pytest.mark.parametrize(("became", "sentences"), SENTENCES.values(), ids=SENTENCES.keys())
def test_each_fact_has_its_sentence(became: Outcome, sentences: list[str]) -> None:
    assert str(became) == " ".join(sentences)


def test_half_done_is_what_must_not_run_again_and_is_not_there() -> None:
    for recorded, backwards, again in product((None, False, True), (False, True), (False, True)):
        became = outcome("", atomic=False, recorded=recorded, backwards=backwards, again=again)
        is_there = recorded is not None and recorded != backwards

        assert became.is_settled is is_there
        assert became.is_half_done is (not again and not is_there)


@pytest.mark.parametrize(
    ("transaction", "began"),
    [
        (COMMITTED, "What it did in the transaction that it ended is committed and stays."),
        (ROLLED_BACK, "What it did in the transaction that it ended was rolled back."),
        ("", "The server could not be asked what became of the transaction that it ended."),
    ],
)
@pytest.mark.parametrize(("before", "still"), [((), ""), (None, ""), (BATCH, f" {STILL}")])
def test_of_a_transaction_that_a_migration_ended_only_its_beginning_is_known(
    transaction: str, began: str, before: tuple[str, ...] | None, still: str
) -> None:
    said = outcome(transaction, before=before).of_a_transaction_that_it_ended()

    assert said == f"{began} What it did after that, outside any transaction, stays.{still}"


@pytest.mark.parametrize("tries", range(1, 10))
def test_each_pause_is_half_as_long_again_as_the_one_before_but_for_chance(tries: int) -> None:
    usual_s = 0.5 * 1.5 ** (tries - 1)
    pauses_s = [pause_s(tries) for _ in range(100)]

    assert usual_s * 0.75 <= min(pauses_s) < usual_s < max(pauses_s) <= usual_s * 1.25


def test_a_pause_has_a_bound_and_ends_when_the_deadline_comes() -> None:
    assert 22.5 <= pause_s(100) <= 30.0
    assert pause_s(8, at_most_s=2.0) == 2.0
    assert pause_s(1, at_most_s=-3.0) == 0.0


def named(name: str, *, atomic: bool = True, replaces: list[tuple[str, str]] | None = None) -> Migration:
    made = Migration(name, "shop")
    made.atomic = atomic
    made.operations = [RunSQL("SELECT 1")]
    made.replaces = replaces or []
    return made


FIRST, SECOND, THIRD = named("0001_initial"), named("0002_table"), named("0003_more")


def record(context: RunContext, *migrations: Migration) -> None:
    """Let the history have these."""
    for migration in migrations:
        MigrationRecorder(context.connection).record_applied(migration.app_label, migration.name)


@pytest.fixture(params=["its own", "a fresh one"])
def asked(request: pytest.FixtureRequest, context: RunContext) -> RunContext:
    """A run that still has its lock connection, and one that lost it and must ask on a fresh one."""
    if request.param == "a fresh one":
        with context.connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [context.lock.lock_connection.info.backend_pid])
    return context


def test_what_a_run_has_done_is_what_the_history_has_of_it(asked: RunContext, plan: Callable[..., Plan]) -> None:
    forwards = plan(FIRST, SECOND, THIRD)
    backwards = replace(forwards, steps=((SECOND, True), (FIRST, True)))
    asked.done = [FIRST, SECOND]
    assert how_far(asked, forwards) == "This run completed no migration."
    assert how_far(asked, backwards) == "Done by this run: shop.0001_initial, shop.0002_table."

    record(asked, FIRST)

    assert how_far(asked, forwards) == "Done by this run: shop.0001_initial."
    assert how_far(asked, backwards) == "Done by this run: shop.0002_table."


def test_without_a_server_nothing_is_claimed(
    context: RunContext, plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    forwards = plan(FIRST)
    record(context, FIRST)
    context.done = [FIRST]
    context.lock.lock_connection.close()
    context.connection.close()
    monkeypatch.setitem(context.connection.settings_dict, "HOST", "127.0.0.1")
    monkeypatch.setitem(context.connection.settings_dict, "PORT", "1")

    assert how_far(context, forwards) == "The server could not be asked what is applied."
    assert Outcome.ask(context, SECOND, Transaction(1, 1), backwards=False) == outcome("", recorded=None, before=None)
    assert not is_done_by_now(context, FIRST, "apply")
    assert not has_been_done(context, FIRST, "apply", FAILED, Transaction(1, 1))


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_the_server_is_asked_what_became_of_a_transaction(asked: RunContext, end: str) -> None:
    with asked.connection.cursor() as cursor:
        cursor.execute("BEGIN")
        transaction = Transaction.begun(asked.connection)
        cursor.execute(end)
    record(asked, FIRST)
    asked.done = [FIRST, SECOND]

    third = Outcome.ask(asked, THIRD, transaction, backwards=False)
    first = Outcome.ask(asked, FIRST, transaction, backwards=True)

    assert third == outcome(COMMITTED if end == "COMMIT" else ROLLED_BACK, before=["shop.0001_initial"])
    assert first == replace(third, is_recorded=True, still_done=["shop.0002_table"], backwards=True)
    assert str(transaction.describe(asked.connection.connection)) == (
        "the server has committed it" if end == "COMMIT" else "the server has rolled it back"
    )


def test_where_no_transaction_was_begun_an_atomic_one_did_nothing(context: RunContext) -> None:
    context.one_transaction = True

    assert Outcome.ask(context, FIRST, None, backwards=False) == outcome(whole=True, before=[])
    half = Outcome.ask(context, named("0002_half", atomic=False), None, backwards=False)
    assert half == outcome("", atomic=False, whole=True, before=[])


def test_one_that_is_still_being_rolled_back_is_waited_for_but_not_for_ever(
    context: RunContext, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.4)
    with closing(psycopg2.connect(database_url)) as other, other.cursor() as cursor:
        cursor.execute("SELECT txid_current(), pg_backend_pid()")
        transaction = Transaction(*cursor.fetchone())

        assert Outcome.ask(context, FIRST, transaction, backwards=False).transaction == UNDER_WAY
        Timer(0.2, other.rollback).start()
        assert Outcome.ask(context, FIRST, transaction, backwards=False).transaction == ROLLED_BACK


LOST = psycopg2.OperationalError("server closed the connection unexpectedly")
FAILED = ValueError("a table is there already")


def test_a_failure_is_somebody_elses_success_where_all_of_it_was_ours_to_roll_back(context: RunContext) -> None:
    """The history has it by now, whoever did it."""
    half = named("0002_half", atomic=False)
    assert not has_been_done(context, FIRST, "apply", FAILED, None)
    assert has_been_done(context, FIRST, "unapply", FAILED, None)

    record(context, FIRST, half)

    assert has_been_done(context, FIRST, "apply", FAILED, None)
    assert not has_been_done(context, FIRST, "unapply", FAILED, None)
    assert not has_been_done(context, half, "apply", FAILED, None)
    assert not has_been_done(context, FIRST, "apply", LOST, None)
    assert has_been_done(context, half, "apply", DoneByOthers("shop.0002_half"), None)


def test_it_is_ours_where_our_transaction_was_committed(context: RunContext) -> None:
    with context.connection.cursor() as cursor:
        cursor.execute("BEGIN")
        transaction = Transaction.begun(context.connection)
    assert not has_been_done(context, FIRST, "apply", FAILED, transaction)
    record(context, FIRST)
    with context.connection.cursor() as cursor:
        cursor.execute("COMMIT")

    assert not has_been_done(context, FIRST, "apply", FAILED, transaction)
    assert has_been_done(context, FIRST, "apply", FAILED, None)


def test_who_was_told_to_stop_says_so_whoever_else_was_at_work(context: RunContext) -> None:
    record(context, FIRST)
    with context.stop.listening():
        signal.raise_signal(signal.SIGTERM)

    assert not has_been_done(context, FIRST, "apply", FAILED, None)


@pytest.mark.parametrize(
    ("recorded", "applied", "unapplied"),
    [((), False, True), ((FIRST,), False, False), ((FIRST, SECOND), True, False)],
)
def test_a_squash_is_done_when_all_that_it_replaces_is(
    recorded: tuple[Migration, ...], applied: bool, unapplied: bool
) -> None:
    squash = named("0001_squashed", replaces=[key_of(FIRST), key_of(SECOND)])
    keys = [key_of(migration) for migration in recorded]

    assert is_done(squash, False, keys) is applied
    assert is_done(squash, True, keys) is unapplied
    assert is_done(FIRST, False, keys) is (FIRST in recorded)


def test_what_somebody_else_did_is_in_the_ledger_as_what_it_was(context: RunContext) -> None:
    attest(context, FIRST, "unapply", "contract")

    with context.ledger.connection.cursor() as cursor:
        cursor.execute("SELECT app, name, direction, phase, outcome, fingerprint FROM migrator_attempts")
        assert cursor.fetchall() == [
            ("shop", "0001_initial", "unapply", "contract", "succeeded", migration_hashes(FIRST)[0])
        ]


def test_a_transaction_that_was_prepared_is_said_to_keep_its_locks() -> None:
    assert "end it by COMMIT PREPARED or ROLLBACK PREPARED" in outcome(UNDER_WAY).of_a_transaction_that_it_ended()
