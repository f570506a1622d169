"""What each exit code of a run means, and what to do: the one place that says it.

No Django: deploy/ecs.py reads it too. The exception of each is in errors.py. Pages, alarms and the runbook repeat it,
and tests compare them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ExitCode:
    """What an exit code of a run means, and what to do."""

    meaning: str
    remedy: str


EXIT_CODES = {
    0: ExitCode(
        "Everything is applied, or there was nothing to do.",
        "Nothing.",
    ),
    10: ExitCode(
        "The database was unreachable, refused the connection, or was lost.",
        "Correct its address, credentials or server, then start again: it goes on with whatever is still pending.",
    ),
    11: ExitCode(
        "Another migrator held the lock for too long.",
        "Look at the one that is named; stop its task if it is stuck.",
    ),
    12: ExitCode(
        "A table stayed locked through all tries.",
        "End the sessions that are named, then start again.",
    ),
    13: ExitCode(
        "A migration or a handler failed; the message says what became of it.",
        "Fix the migration or the data, and release again.",
    ),
    14: ExitCode(
        "The database's history and this release do not go together; nothing was changed.",
        "Do as the message says; 'manage.py showmigrations --audit' shows the history.",
    ),
    15: ExitCode(
        "The same migration failed before in the same way, and was not tried again.",
        "Fix it and release again; --retry-failed insists.",
    ),
    16: ExitCode(
        "The server, the role or the settings do not allow migrating.",
        "Change the setting, privilege or server that is named, then start again.",
    ),
    17: ExitCode(
        "The migrator itself failed; that says nothing about the database.",
        "Run it again with --traceback, and report what it shows.",
    ),
    143: ExitCode(
        "The process was told to stop.",
        "Nothing, if that was meant: the next start goes on from here.",
    ),
}
