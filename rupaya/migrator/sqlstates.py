"""What PostgreSQL's error codes mean for a migration: another try, another server, or no use in trying."""

from __future__ import annotations

LOCK_NOT_AVAILABLE = "55P03"
QUERY_CANCELED = "57014"
CANCELED_BY_SOMEBODY = "57P01"
"""For the ledger: 57014 is a time limit as well as a person, and only what a person does passes by itself."""
# lock_not_available, deadlock_detected, serialization_failure: another try may well succeed.
RETRYABLE = (LOCK_NOT_AVAILABLE, "40P01", "40001")

UNFIT = {
    "42501": (
        "the role lacks a privilege",
        "Grant it, or give the migrator the owner's role in MIGRATION_DATABASE_URL",
    ),
    "53100": ("the server's disk is full", "Free or add disk space"),
    "25006": ("the server is read-only", "Point the migrator at the primary"),
}
"""Failures of the server or the role and not of a migration: the fact, and what to change."""

# undefined or duplicate table, column, function, object: outside of migrations, of the migrator's own tables.
NOT_AS_MADE = ("42P01", "42703", "42883", "42704", "42P07", "42701", "42723", "42710")

# unsafe_new_enum_value_usage, object_in_use ("pending trigger events"): what an earlier migration did in the same
# transaction must be committed before the next one may use it. out_of_memory: a transaction keeps a lock on all that it
# has made, and the server has room for max_locks_per_transaction times max_connections of them.
NEEDS_COMMIT = ("55P04", "55006", "53200")
# undefined schema, table, column, function, object: what a session is told of all that another has not committed.
NOT_THERE = ("3F000", "42P01", "42703", "42883", "42704")
DUPLICATE_TABLE = "42P07"

# Connection trouble, transaction rollback, insufficient resources, a lock that was not available, an administrator who
# cancels or shuts down, a system error: each may be gone the next time. 57014 is here only where somebody cancelled.
_PASSING = ("08", "40", "53", "58", LOCK_NOT_AVAILABLE, "57P01", "57P02", "57P03", "57P05")


def passes_by_itself(code: str) -> bool:
    """Whether a failure with this SQLSTATE may be gone at the next try although nobody changed anything.

    A list of what passes and not of what does not: an unknown failure must not take its locks again at every start.
    """
    return code.startswith(_PASSING) or code in UNFIT
