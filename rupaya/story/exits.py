"""What a run's exit code means, and what to do: the ledger keeps only what happened."""

from __future__ import annotations

from rupaya.migrator.exitcodes import EXIT_CODES, ExitCode

UNKNOWN = ExitCode(
    "It ended in a way that the migrator has no name for.",
    "Look at the task's log, then run 'manage.py migrate' again: it goes on with whatever is still pending.",
)


def explain(exit_code: int | None) -> ExitCode:
    """What a failed run's exit code says."""
    return EXIT_CODES.get(exit_code or -1, UNKNOWN)
