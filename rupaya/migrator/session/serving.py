"""Which releases serve from a database: the service's sessions say it in their `application_name`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.db.backends.base.base import BaseDatabaseWrapper

# How the service's own sessions name themselves: settings set application_name to "release RELEASE".
_SERVING = re.compile(r"release (\S+)")


@dataclass(frozen=True)
class Serving:
    """A session of a release."""

    pid: int
    release: str

    def __str__(self) -> str:
        return f"backend pid {self.pid} of release {self.release}"


def serving_releases(connection: BaseDatabaseWrapper) -> list[Serving]:
    """The sessions on this database that name a release."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid, application_name FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return [Serving(pid, match[1]) for pid, name in cursor.fetchall() if (match := _SERVING.match(name or ""))]
