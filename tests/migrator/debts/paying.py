"""A process that pays what is owed up to one part, carries that out, and is killed before it does anything more."""

from __future__ import annotations

import os
import signal
import sys

import django
from django.db import connection


def main(debt_id: int, part: int) -> None:
    """Pay in order; the process does not survive it."""
    django.setup()
    from rupaya.migrator.debts.debt import Debt
    from rupaya.migrator.debts.debtstore import DebtStore
    from rupaya.migrator.debts.pay import Limits, Payer

    reached = False

    def before_part(debt: Debt, number: int) -> None:
        nonlocal reached
        if reached:
            os.kill(os.getpid(), signal.SIGKILL)
        reached = (debt.id, number) == (debt_id, part)

    payer = Payer(connection, Limits(2_000, 5_000), run_id=3, before_part=before_part)
    for debt in DebtStore(connection).owed():
        payer.pay(debt)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
