"""One exception a failure class; each has its exit code, whose meaning is in exitcodes.py."""

from __future__ import annotations

import linecache
import re
import traceback

import psycopg2
from django.core.management.base import CommandError
from django.db import DatabaseError, InterfaceError, OperationalError

# data_exception, syntax_error: their messages quote values, or the statement's text.
_QUOTING = ("22", "42601")
# From the first mark to the last: a value may have some itself. The server speaks many languages.
_QUOTATION = re.compile(r'["«»„“”‹›「『].*["«»„“”‹›」』]', re.DOTALL)


class MigratorError(CommandError):
    """A failure of `migrate` that a person must be able to act on."""

    exit_code = 1

    def __init__(self, happened: str, meaning: str, remedy: str) -> None:
        self.happened = happened
        self.meaning = meaning
        self.remedy = remedy
        super().__init__(f"{happened}\n  What it means: {meaning}\n  What to do: {remedy}", returncode=self.exit_code)


class DatabaseUnreachable(MigratorError):
    """The server did not accept a connection in time, refused it for good, or was lost on the way."""

    exit_code = 10

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


class TableLocked(MigratorError):
    """A table lock was not obtained after all retries."""

    exit_code = 12

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
    exit_code = 13


class HistoryRefused(MigratorError):
    """The database's history and this code do not go together."""

    exit_code = 14


class FailedBefore(MigratorError):
    """This same migration failed before, in a way that does not pass by itself."""

    exit_code = 15


class EnvironmentUnfit(MigratorError):
    """The server, the role or the settings do not allow migrating at all."""

    exit_code = 16


class LedgerDamaged(EnvironmentUnfit):
    """The history's or the ledger's tables are not as they were made."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"The migrator's own tables are not as it made them: {found}",
            "Somebody dropped or changed tables that begin with migrator_, or the history; without them nothing is "
            "migrated.",
            "Put them back from a backup. If you can do without their record, drop all tables that begin with "
            "migrator_: the next run creates them again.",
        )


class Crashed(MigratorError):
    """Something failed that has no name here; no check may take that for a verdict."""

    exit_code = 17

    @classmethod
    def by(cls, error: BaseException) -> Crashed:
        """What failed, and where."""
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return cls(
            f"The migrator itself failed: {type(error).__name__}: {python_text(error)} at "
            f"{frame.filename}:{frame.lineno}",
            "The migrator does not know this failure: it says nothing about the database or the migrations.",
            "Run it again with --traceback, and report what it shows.",
        )


class Terminated(MigratorError):
    """The process was told to stop."""

    exit_code = 143


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

    Asked of the error and not of the connection: Django's `atomic` connects again on its way out. libpq's own errors
    have no SQLSTATE, and no class of their own where libpq learns it from what it reads, as when a server crashes.
    """
    code = sqlstate(error)
    return code.startswith(("08", "57P")) or (
        not code
        and (
            isinstance(error, OperationalError | InterfaceError | psycopg2.OperationalError | psycopg2.InterfaceError)
            or type(error) in (DatabaseError, psycopg2.DatabaseError)
        )
    )


def driver_text(error: BaseException) -> str:
    """The driver's reason on one line, without the lines that repeat or point into the statement.

    What the server quotes of a value that it could not read (SQLSTATE class 22), or of a statement that it could not
    parse, may be somebody's data, and is left out.
    """
    text = str(error)
    if sqlstate(error).startswith(_QUOTING):
        text = _QUOTATION.sub('"..."', _primary(error) or text)
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _primary(error: BaseException | None) -> str:
    """The server's message without what it adds on lines of their own; empty if no server said it."""
    while error is not None:
        if primary := getattr(getattr(error, "diag", None), "message_primary", None):
            return str(primary)
        error = error.__cause__
    return ""


_QUOTED = re.compile(r"""(?<!\w)(['"])(?P<text>(?:[^\\]|\\.)*?)(?:\1(?!\w)|$)""")


def python_text(error: BaseException) -> str:
    """What an exception says on one line; what it quotes is left out where it stands in no line of the code it passed.

    `int('…')` and a missing key quote somebody's data; a name that is misspelt stands in the code.
    """
    text = driver_text(error)
    if sqlstate(error) or not _QUOTED.search(text):
        return text
    files = {frame.f_code.co_filename for frame, _line in traceback.walk_tb(error.__traceback__)}
    code = "\n".join("".join(linecache.getlines(file)) for file in sorted(files))
    return _QUOTED.sub(lambda found: found[0] if found["text"] in code else f"{found[1]}...{found[1]}", text)


def is_or_are(number: int) -> str:
    """The verb that goes with a number of things."""
    return "is" if number == 1 else "are"


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number and what it counts: ``1 migration``, ``2 migrations``; `plural` where that is no ``s``."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
