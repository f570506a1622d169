"""What a run's exit code means, and what to do: the ledger keeps only what happened."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Exit:
    """The meaning of an exit code, and the remedy."""

    meaning: str
    remedy: str


EXITS = {
    10: Exit(
        "The database could not be reached, refused the connection, or was lost on the way.",
        "Mend its address, credentials or server, then start again: it goes on with whatever is still pending.",
    ),
    11: Exit(
        "Another migrator held the lock for too long.",
        "Look at the one that is named, and stop its task if it is stuck.",
    ),
    12: Exit(
        "A table stayed locked through all tries, and traffic was not to wait for it.",
        "Look at the sessions that are named and end what should not run, then start again; MIGRATE_RETRIES and "
        "MIGRATE_DEADLINE_S set how long to try.",
    ),
    13: Exit(
        "A migration failed. An atomic one was rolled back whole; what another one did so far stays.",
        "Mend the migration or the data and release again. The same failure is not tried again for a while unless "
        "'manage.py migrate --retry-failed' says so.",
    ),
    14: Exit(
        "The database's history and that release did not go together; nothing was changed.",
        "Run 'manage.py migrate' and do as its last lines say; 'manage.py showmigrations --audit' shows the history.",
    ),
    15: Exit(
        "The same migration had failed before in the same way, and was not tried again.",
        "Mend the migration or the data and release again; to insist: 'manage.py migrate --retry-failed'.",
    ),
    16: Exit(
        "The server, the role or the settings did not allow migrating at all.",
        "Change the setting, privilege or server that is named, then start again.",
    ),
    143: Exit(
        "The process was told to stop; the migration under way was rolled back.",
        "Nothing, if a deployment was stopped on purpose; the next start does what was left to do.",
    ),
}
UNKNOWN = Exit(
    "It ended in a way that the migrator has no name for.",
    "Look at the task's log, then run 'manage.py migrate' again: it goes on with whatever is still pending.",
)


def explain(exit_code: int | None) -> Exit:
    """What a failed run's exit code says."""
    return EXITS.get(exit_code or 0, UNKNOWN)
