"""A management command that is killed after so many statements that speak of the attic; exit 0 if it has fewer."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import django
from django.core.management import call_command
from django.db import connection


def main(after: int, *command: str) -> None:
    """Run the command with a count of its statements."""
    django.setup()
    seen = 0

    def count(execute: Callable[..., Any], sql: str, *arguments: Any) -> Any:
        nonlocal seen
        result = execute(sql, *arguments)
        if "migrator_attic" in str(sql) or "SET NOT NULL" in str(sql) or "CONSTRAINT" in str(sql):
            seen += 1
            if seen == after:
                os.kill(os.getpid(), signal.SIGKILL)
        return result

    with connection.execute_wrapper(count):
        call_command(*command)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
