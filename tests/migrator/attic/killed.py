"""A process that pays all that is owed, and is killed right after one of its statements."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import django
from django.db import connection


def main(last: int) -> None:
    """Exit code 0: there were fewer statements."""
    django.setup()
    from rupaya.migrator.debts.pay import Limits, Payer
    from rupaya.migrator.debts.store import Store

    done = 0

    def counted(execute: Any, *arguments: Any) -> Any:
        nonlocal done
        result = execute(*arguments)
        done += 1
        if done == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    debts = Store(connection).owed()
    with connection.execute_wrapper(counted):
        for debt in debts:
            Payer(connection, Limits(2_000, 5_000), run_id=3).pay(debt)


if __name__ == "__main__":
    main(int(sys.argv[1]))
