"""What is said of a migration that did not end well: each sentence follows from what the server and the history say."""

from __future__ import annotations

from itertools import product

import pytest

from rupaya.migrator.run.backoff import pause_s
from rupaya.migrator.run.outcome import Outcome
from rupaya.migrator.run.transactions import COMMITTED, ROLLED_BACK

BATCH = "shop.0001_initial", "shop.0002_table"


def outcome(
    transaction: str = ROLLED_BACK,
    *,
    atomic: bool = True,
    recorded: bool | None = False,
    again: bool | None = None,
    whole: bool = False,
    before: tuple[str, ...] | None = (),
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
