"""Work that may be repeated: tried until no lock is in its way; the server is asked what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from itertools import count
from typing import Any, TypeVar

import psycopg2
from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.migrator.conf import Conf
from rupaya.migrator.errors import (
    DatabaseUnreachable,
    MigrationFailed,
    MigratorError,
    TableLocked,
    is_lost,
    python_text,
    sqlstate,
)
from rupaya.migrator.ledger.ledger import Ledger
from rupaya.migrator.run import backoff
from rupaya.migrator.run.context import RunContext
from rupaya.migrator.session import database
from rupaya.migrator.session.stop import Stop
from rupaya.migrator.sqlstates import RETRYABLE

Result = TypeVar("Result")


def tried(
    work: Callable[[], Result],
    *,
    conf: Conf,
    stop: Stop,
    deadline: float,
    stopped: Callable[[], str],
    failed: Callable[[Exception, int], Exception],
    around: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Result:
    """Do it, after each lock that was not obtained in time again, until `deadline` (of `time.monotonic`).

    `stopped` says what became of it where a signal ended it; `failed` makes the failure of the error and the tries.

    Raises:
        MigratorError: as `stopped` and `failed` say.
    """
    for tries in count(1):
        stop.check()
        try:
            # `around` first, which may start a thread: a signal that is raised meanwhile leaves that in pieces.
            with around(), stop.interrupting():
                return work()
        except Exception as error:
            if stop.requested:
                raise stop.error(stopped()) from None
            if sqlstate(error) in RETRYABLE and tries <= conf.retries and time.monotonic() < deadline:
                stop.wait(backoff.pause_s(tries, at_most_s=deadline - time.monotonic()))
                continue
            failure = failed(error, tries)
            if failure is error:
                raise
            raise failure from error
    raise AssertionError("count() does not end")


def tried_in(
    context: RunContext,
    subject: str,
    work: Callable[[], Result],
    *,
    during: str,
    failed: str,
    remedy: str,
    state: Callable[[], str],
) -> Result:
    """The same in a run: observed, and only while both locks are its own.

    `subject` is who needs the lock, `during` what is under way and `failed` what was not to be, in sentences; `state`
    asks the server what became of it.

    Raises:
        MigratorError: the failure as its class.
    """

    def explained(error: Exception, tries: int) -> MigratorError:
        if isinstance(error, MigratorError):
            return error
        if is_lost(error):
            return DatabaseUnreachable.lost(error, during, state())
        if sqlstate(error) in RETRYABLE:
            return TableLocked(subject, error, tries, state(), context.watch.blockers)
        text = python_text(error)
        reason = text if isinstance(error, DatabaseError) else f"{type(error).__name__}: {text}"
        return MigrationFailed(f"{failed}: {reason}", state(), remedy)

    def observed() -> AbstractContextManager[None]:
        context.lock.verify()
        return context.watch.observing(context.connection.connection.info.backend_pid)

    return tried(
        work,
        conf=context.conf,
        stop=context.stop,
        deadline=context.deadline,
        stopped=state,
        failed=explained,
        around=observed,
    )


def on_the_ledger(
    connection: BaseDatabaseWrapper, stop: Stop, ledger: Ledger, work: Callable[[Ledger], Result]
) -> Result:
    """Do something with the ledger; on another connection where the ledger's own is what was lost.

    Raises:
        psycopg2.Error: as `work` does, and at once where the run was told to stop.
    """
    try:
        return work(ledger)
    except psycopg2.Error as error:
        if stop.requested or not (is_lost(error) or isinstance(error, psycopg2.OperationalError)):
            raise
        with closing(database.connect(connection)) as fresh:
            return work(Ledger(fresh, ledger.run_id))


def asked(connection: Any, question: Callable[[Any], str], subject: str) -> str:
    """What the server says of a subject, if it can be asked on this connection."""
    with suppress(psycopg2.Error):
        return question(connection)
    return f"The server could not be asked what became of {subject}."
