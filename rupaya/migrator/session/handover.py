"""A connection that a process has already when it begins to migrate: its lock connection, so that it needs no third."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_offered: list[Any] = []


def offer(connection: Any) -> None:
    """Keep a driver's connection, in autocommit mode, for the run that is about to begin."""
    _offered.append(connection)


def take(dbname: str) -> Any:
    """The connection that was offered, if it is alive and leads to this database; None if there is none."""
    while _offered:
        connection = _offered.pop()
        if not connection.closed and connection.info.dbname == dbname:
            return connection
        connection.close()
    return None
