"""What is recorded commits together with what it records, once, and is told of; all asked of the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.recorder import MigrationRecorder

from rupaya.migrator.django import Key
from rupaya.migrator.run.transactions import CheckedRecorder, DoneByOthers, Transaction, TransactionEnded
from tests.faults.migrator import applied, query

FIRST, SECOND = ("shop", "0001_initial"), ("shop", "0002_table")
RECORD = "INSERT INTO django_migrations (app, name, applied) VALUES (%s, %s, now())"


class Recording(CheckedRecorder):
    """The recorder of a run that is told what its transaction is."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.began: Transaction | None = None
        self.may_have_let_go = False
        self.told: list[tuple[str, Key]] = []
        super().__init__(
            connection, lambda: self.began, lambda: self.may_have_let_go, lambda *said: self.told.append(said)
        )


@pytest.fixture
def recorder(working: BaseDatabaseWrapper) -> Iterator[Recording]:
    MigrationRecorder(working).ensure_schema()
    yield Recording(working)
    if working.in_atomic_block:
        working.rollback()


def begin(recorder: Recording) -> None:
    recorder.began = Transaction.begun(recorder.connection)


def test_each_row_is_told_of_whichever_way_it_goes(recorder: Recording, database_url: str) -> None:
    recorder.record_applied(*FIRST)
    recorder.record_applied(*SECOND)
    recorder.record_unapplied(*FIRST)

    assert recorder.told == [("apply", FIRST), ("apply", SECOND), ("unapply", FIRST)]
    assert applied(database_url) == ["shop.0002_table"]


def test_a_row_that_somebody_else_has_written_is_not_written_twice(recorder: Recording, database_url: str) -> None:
    """On its own and in a transaction of a batch; and in the next one, which must look again."""
    query(database_url, RECORD, *FIRST)
    with pytest.raises(DoneByOthers, match=r"shop\.0001_initial"):
        recorder.record_applied(*FIRST)

    with transaction.atomic():
        begin(recorder)
        recorder.coming = frozenset({FIRST, SECOND})
        recorder.record_applied(*SECOND)
        with pytest.raises(DoneByOthers):
            recorder.record_applied(*FIRST)
        transaction.set_rollback(True)
    query(database_url, RECORD, *SECOND)
    with transaction.atomic():
        begin(recorder)
        with pytest.raises(DoneByOthers):
            recorder.record_applied(*SECOND)

    recorder.began = None
    with pytest.raises(DoneByOthers):
        recorder.record_applied(*SECOND)
    assert recorder.told == [("apply", SECOND)]
    assert applied(database_url) == ["shop.0001_initial", "shop.0002_table"]


def test_the_history_is_locked_and_looked_at_once_in_a_transaction_unless_code_may_have_ended_it(
    recorder: Recording, working: BaseDatabaseWrapper
) -> None:
    sent: list[str] = []

    def noted(execute: Callable[..., object], sql: str, *others: object) -> object:
        sent.append(sql)
        return execute(sql, *others)

    with working.execute_wrapper(noted), transaction.atomic():
        begin(recorder)
        recorder.coming = frozenset({FIRST, SECOND})
        recorder.record_applied(*FIRST)
        recorder.record_applied(*SECOND)
        looked = sum("LOCK TABLE" in sql for sql in sent)
        recorder.record_applied("shop", "0003_not_foreseen")
        recorder.may_have_let_go = True
        recorder.record_applied("shop", "0004_after_code")
        recorder.record_applied("shop", "0005_after_code")

    assert (looked, sum("LOCK TABLE" in sql for sql in sent)) == (1, 4)


@pytest.mark.parametrize("direction", ["applied", "unapplied"])
@pytest.mark.parametrize(
    ("end", "found"),
    [
        ("COMMIT; BEGIN", "the server has committed it"),
        ("ROLLBACK; BEGIN", "the server has rolled it back"),
    ],
)
def test_nothing_is_recorded_in_another_transaction_than_the_one_that_began(
    recorder: Recording, direction: str, end: str, found: str
) -> None:
    with transaction.atomic():
        begin(recorder)
        with recorder.connection.cursor() as cursor:
            cursor.execute(end)
        with pytest.raises(TransactionEnded, match=found):
            getattr(recorder, f"record_{direction}")(*FIRST)

    assert recorder.told == []


def test_nothing_is_recorded_by_another_session(recorder: Recording) -> None:
    begin(recorder)
    recorder.connection.close()

    with pytest.raises(TransactionEnded, match=r"another session \(backend pid \d+\) has replaced its own"):
        recorder.record_applied(*FIRST)
    with pytest.raises(TransactionEnded, match="another session"):
        recorder.record_unapplied(*FIRST)
