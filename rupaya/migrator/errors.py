"""One exception a failure class; each knows its exit code, and says what happened, what it means and what to do."""

from __future__ import annotations

import re
import traceback
from dataclasses import dataclass

import psycopg2
from django.core.management.base import CommandError
from django.db import InterfaceError, OperationalError

# data_exception, syntax_error: their messages quote values, or the statement's text.
_QUOTING = ("22", "42601")


class MigratorError(CommandError):
    """A failure of `migrate` that a person must be able to act on."""

    exit_code = 1
    code_means = "Wrong arguments, or a crash: see the message."
    code_remedy = "Look at the message."

    def __init__(self, happened: str, meaning: str, remedy: str) -> None:
        self.happened = happened
        self.meaning = meaning
        self.remedy = remedy
        super().__init__(f"{happened}\n  What it means: {meaning}\n  What to do: {remedy}", returncode=self.exit_code)


class DatabaseUnreachable(MigratorError):
    """The server did not accept a connection in time, refused it for good, or was lost on the way."""

    exit_code = 10
    code_means = "The database was unreachable, refused the connection, or was lost."
    code_remedy = (
        "Correct its address, credentials or server, then start again: it goes on with whatever is still pending."
    )

    @classmethod
    def lost(cls, error: BaseException, during: str, consequence: str) -> DatabaseUnreachable:
        """The server ended the session, or cannot be reached any more, while something was being done."""
        while_ = f" while {during}" if during else ""
        return cls(
            f"The connection to the database was lost{while_}: {driver_text(error)}",
            f"The server ended the session or cannot be reached any more. {consequence}".strip(),
            "Start again when the server is back; it goes on with whatever is still pending.",
        )

    @classmethod
    def cancelled(cls, error: BaseException, consequence: str) -> DatabaseUnreachable:
        """A statement of the migrator's own, outside of any migration, was cancelled or took far too long."""
        return cls(
            f"A statement of the migrator's own was cancelled: {driver_text(error)}",
            f"Somebody cancelled it, or the server did not answer in time. {consequence}",
            "Start again; it goes on with whatever is still pending.",
        )


class LockWaitExceeded(MigratorError):
    """Another migrator held the lock for too long."""

    exit_code = 11
    code_means = "Another migrator held the lock for too long."
    code_remedy = "Look at the one that is named; stop its task if it is stuck."


class TableLocked(MigratorError):
    """A table lock was not obtained after all retries."""

    exit_code = 12
    code_means = "A table stayed locked through all tries."
    code_remedy = "End the sessions that are named, then start again."

    def __init__(self, what: str, error: BaseException, tries: int, consequence: str, blockers: object = None) -> None:
        super().__init__(
            f"{what} could not lock {blockers or 'a table'} after {tries} {'try' if tries == 1 else 'tries'}: "
            f"{driver_text(error)}",
            "Another session keeps the table locked; the migrator gave up rather than make traffic queue behind it. "
            f"{consequence}",
            "Look at those sessions and end what should not run, then start again; "
            "MIGRATE_RETRIES and MIGRATE_DEADLINE_S set how long to try.",
        )


class MigrationFailed(MigratorError):
    """A migration failed."""

    exit_code = 13
    code_means = "A migration or a handler failed; the message says what became of it."
    code_remedy = "Fix the migration or the data, and release again."


class HistoryRefused(MigratorError):
    """The database's history and this code do not go together."""

    exit_code = 14
    code_means = "The database's history and this release do not go together; nothing was changed."
    code_remedy = "Do as the message says; 'manage.py showmigrations --audit' shows the history."


class FailedBefore(MigratorError):
    """This same migration failed before, in a way that does not pass by itself."""

    exit_code = 15
    code_means = "The same migration failed before in the same way, and was not tried again."
    code_remedy = "Fix it and release again; --retry-failed insists."


class EnvironmentUnfit(MigratorError):
    """The server, the role or the settings do not allow migrating at all."""

    exit_code = 16
    code_means = "The server, the role or the settings do not allow migrating."
    code_remedy = "Change the setting, privilege or server that is named, then start again."


class LedgerDamaged(EnvironmentUnfit):
    """The history's or the ledger's tables are not as they were made."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"The migrator's own tables are not as it made them: {found}",
            "Somebody dropped or changed tables that begin with migrator_, or the history; without them nothing is "
            "migrated.",
            "Put them back from a backup. If what they tell may be lost, drop all tables that begin with migrator_: "
            "the next run creates them again.",
        )


class Crashed(MigratorError):
    """Something failed that has no name here; no check may take that for a verdict."""

    exit_code = 17
    code_means = "The migrator itself failed; that says nothing of the database."
    code_remedy = "Run it again with --traceback, and report what it shows."

    @classmethod
    def by(cls, error: BaseException) -> Crashed:
        """What failed, and where."""
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return cls(
            f"The migrator itself failed: {type(error).__name__}: {driver_text(error)} at "
            f"{frame.filename}:{frame.lineno}",
            "This failure has no name of its own: it says nothing of the database or of the migrations.",
            "Run it again with --traceback, and report what it shows.",
        )


class Terminated(MigratorError):
    """The process was told to stop."""

    exit_code = 143
    code_means = "The process was told to stop."
    code_remedy = "Nothing, if that was meant: the next start goes on from here."


@dataclass(frozen=True)
class ExitCode:
    """What an exit code of a run means, and what to do."""

    meaning: str
    remedy: str


def exit_codes() -> dict[int, ExitCode]:
    """Each exit code of a run: the one place that says what they mean; help, site and documents repeat it."""
    classes: list[type[MigratorError]] = [
        DatabaseUnreachable,
        LockWaitExceeded,
        TableLocked,
        MigrationFailed,
        HistoryRefused,
        FailedBefore,
        EnvironmentUnfit,
        Crashed,
        Terminated,
    ]
    return {
        0: ExitCode("Everything is applied, or there was nothing to do.", "Nothing."),
        **{error.exit_code: ExitCode(error.code_means, error.code_remedy) for error in classes},
    }


def sqlstate(error: BaseException | None) -> str:
    """The SQLSTATE of the PostgreSQL error behind an exception, or an empty text."""
    while error is not None:
        code = getattr(error, "pgcode", None)
        if code:
            return str(code)
        error = error.__cause__
    return ""


def is_lost(error: BaseException) -> bool:
    """Whether an error means that the server ended our session, or is gone.

    Asked of the error and not of the connection: Django's `atomic` connects anew on its way out. libpq's own errors
    have no SQLSTATE.
    """
    code = sqlstate(error)
    return code.startswith(("08", "57P")) or (
        not code
        and (isinstance(error, OperationalError | InterfaceError | psycopg2.OperationalError | psycopg2.InterfaceError))
    )


def driver_text(error: BaseException) -> str:
    """The driver's reason on one line, without the lines that repeat or point into the statement.

    What the server quotes of a value that it could not read (SQLSTATE class 22), or of a statement that it could not
    parse, may be somebody's data, and is left out.
    """
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return re.sub(r'"[^"]*("|$)', '"..."', lines[0]) if sqlstate(error).startswith(_QUOTING) else lines[0]


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number and what it counts: ``1 migration``, ``2 migrations``; `plural` where that is no ``s``."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
