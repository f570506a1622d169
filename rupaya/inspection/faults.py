"""What of a page's failure is the database's fault, told to whoever looked at the page."""

from __future__ import annotations

from django.db import Error, InterfaceError, OperationalError

# By SQLSTATE, or its first two characters.
_TOLD = {
    "42P01": "the database lacks a table of this release. Its schema is older, newer, or was changed by hand: "
    "'manage.py showmigrations --audit' and 'manage.py schemadiff' say which.",
    "42703": "the database lacks a column of this release. Its schema is older, newer, or was changed by hand: "
    "'manage.py showmigrations --audit' and 'manage.py schemadiff' say which.",
    "42501": "the role that serves may not read or change what the page needs: a right was taken from it.",
    "25006": "the database takes no changes now: it is a standby, or was made read-only.",
    "57014": "the database stopped a question of its that took too long. Ask for less.",
    "55P03": "the database has a table of its locked, by somebody's change. Try again in a while.",
    "53": "the database has no connection, memory or disk left for it. Try again in a while.",
    "57": "the database is shutting down or starting. Try again in a while.",
    "08": "the database does not answer. Try again in a while.",
}


def of_database(error: BaseException | None) -> str:
    """What of it the database is to blame for, in the middle of a sentence; empty if nothing is known of that."""
    if not isinstance(error, Error):
        return ""
    code = getattr(error.__cause__, "pgcode", None) or ""
    if not code and isinstance(error, (OperationalError, InterfaceError)):
        code = "08006"  # what libpq says of a server that is not there has none
    return _TOLD.get(code) or _TOLD.get(code[:2], "")
