"""A command that is killed after so many of its commits and statements that change something; it notes them all.

`python -m tests.migrator.killed AFTER FILE migrate --noinput`
"""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import psycopg2
from django.core.management import execute_from_command_line

CHANGES = re.compile(r"\b(?:INSERT|UPDATE|DELETE|TRUNCATE|ALTER|CREATE|DROP|COMMENT)\b", re.IGNORECASE)


def main(after: int, told: Path, arguments: list[str]) -> None:
    """Run the command; after 0 it is never killed, and what it has sent is all in the file."""
    sent: list[str] = []

    def count(step: str) -> None:
        sent.append(" ".join(step.split())[:120])
        told.write_text("\n".join(sent))
        if len(sent) == after:
            os.kill(os.getpid(), signal.SIGKILL)

    class Connection(psycopg2.extensions.connection):
        def cursor(self, *args: Any, **options: Any) -> Any:
            made = options.pop("cursor_factory", None) or self.cursor_factory or psycopg2.extensions.cursor
            return super().cursor(*args, cursor_factory=counted(made), **options)

        def commit(self) -> None:
            ended = self.info.transaction_status == psycopg2.extensions.TRANSACTION_STATUS_IDLE
            super().commit()
            if not ended:
                count("COMMIT")

    classes: dict[type, type] = {}

    def counted(factory: Any) -> Any:
        if factory not in classes:

            class Counted(factory):  # type: ignore[misc]
                def execute(self, statement: Any, parameters: Any = None) -> Any:
                    done = super().execute(statement, parameters)
                    text = (self.query or b"").decode()
                    if CHANGES.search(text):
                        count(text)
                    return done

            classes[factory] = Counted
        return classes[factory]

    connect = psycopg2.connect

    def connected(*args: Any, **options: Any) -> Any:
        return connect(*args, **{"connection_factory": Connection, **options})

    psycopg2.connect = connected  # type: ignore[assignment]
    execute_from_command_line(["manage.py", *arguments])


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
