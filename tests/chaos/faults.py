"""What is done to a run at a random moment, by somebody else or by bad luck."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import psycopg2
import psycopg2.errors

if TYPE_CHECKING:
    from tests.chaos.round import Round

FREEZE_S = (0.05, 0.6)
Fault = Callable[["Round"], None]
MIGRATE = "datname = current_database() AND application_name LIKE 'migrate%%' AND pid <> pg_backend_pid()"
LOCK_HOLDER = f"""
    SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a JOIN pg_locks l USING (pid)
    WHERE {MIGRATE.replace("pid <>", "a.pid <>")} AND l.locktype = 'advisory'
"""


def kill(round_: Round) -> None:
    """SIGKILL."""
    round_.first.kill(signal.SIGKILL)


def terminate(round_: Round) -> None:
    """SIGTERM, as ECS sends it."""
    round_.first.kill(signal.SIGTERM)


def interrupt(round_: Round) -> None:
    """Somebody presses Ctrl-C."""
    round_.first.kill(signal.SIGINT)


def kill_beside_another(round_: Round) -> None:
    """SIGKILL, and another task starts at the same moment."""
    round_.first.kill(signal.SIGKILL)
    round_.start("another")


def freeze(round_: Round) -> None:
    """The process stands still for a while."""
    round_.first.kill(signal.SIGSTOP)
    time.sleep(round_.chance.uniform(*FREEZE_S))
    round_.first.kill(signal.SIGCONT)


def freeze_without_its_lock(round_: Round) -> None:
    """It stands still, loses its lock, another begins, and it goes on beside that one."""
    round_.first.kill(signal.SIGSTOP)
    round_.database.ask(LOCK_HOLDER)
    round_.start("another")
    time.sleep(round_.chance.uniform(*FREEZE_S))
    round_.first.kill(signal.SIGCONT)


def end_lock_connection(round_: Round) -> None:
    """An administrator ends one of its sessions."""
    pids = [pid for (pid,) in round_.database.ask(f"SELECT pid FROM pg_stat_activity WHERE {MIGRATE}")]
    if pids:
        round_.database.ask("SELECT pg_terminate_backend(%s)", [round_.chance.choice(pids)])


def end_all(round_: Round) -> None:
    """An administrator ends all of its sessions."""
    round_.database.ask(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {MIGRATE}")


def cancel_all(round_: Round) -> None:
    """An administrator cancels what it does."""
    round_.database.ask(f"SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE {MIGRATE}")


def restart_immediate(round_: Round) -> None:
    """The server crashes and starts again."""
    round_.database.server.restart("immediate")


def restart_fast(round_: Round) -> None:
    """The server is restarted."""
    round_.database.server.restart("fast")


def cut(round_: Round) -> None:
    """Every connection is reset."""
    round_.proxy.cut()


def cut_one(round_: Round) -> None:
    """One connection is reset."""
    round_.proxy.cut_one(round_.chance)


def half_close(round_: Round) -> None:
    """One direction of one connection ends."""
    round_.proxy.half_close(round_.chance)


def delay(round_: Round) -> None:
    """Everything takes longer on the way."""
    round_.proxy.delay_s = round_.chance.uniform(0.01, 0.08)


def refuse(round_: Round) -> None:
    """Every connection is reset, and no new one is taken for a while."""
    round_.proxy.refuses = True
    round_.proxy.cut()
    round_.later(round_.chance.uniform(0.2, 1.0), round_.proxy.heal)


def swallow(round_: Round) -> None:
    """Nothing passes any more, and nobody says so; until the network is back, without the old connections."""
    round_.proxy.swallows = True
    round_.later(round_.chance.uniform(0.5, 2.0), round_.proxy.heal)


def another(round_: Round) -> None:
    """Another task of the same release."""
    round_.start("another")


def stock(round_: Round) -> None:
    """Somebody runs Django's own migrate, which takes no lock and keeps no ledger."""
    round_.start("stock", STOCK="1")


def hold_the_history(round_: Round) -> None:
    """Somebody locks the history for a moment."""
    _hold(round_, "LOCK TABLE django_migrations IN ACCESS EXCLUSIVE MODE")


def hold_the_ledger(round_: Round) -> None:
    """Somebody locks the ledger for a moment."""
    _hold(round_, "LOCK TABLE migrator_attempts, migrator_runs IN ACCESS EXCLUSIVE MODE")


def hold_a_table(round_: Round) -> None:
    """A long report."""
    _hold(round_, "SELECT count(*) FROM shop_item")


def _hold(round_: Round, sql: str) -> None:
    holder = psycopg2.connect(round_.database.url)
    try:
        with holder.cursor() as cursor:
            cursor.execute("SET lock_timeout = '200ms'")
            cursor.execute(sql)
    except psycopg2.Error:
        holder.close()
        return
    round_.later(round_.chance.uniform(0.1, 1.5), holder.close)


def _meddle(round_: Round, sql: str) -> None:
    with contextlib.suppress(psycopg2.errors.LockNotAvailable):  # this driver may be who holds it
        round_.database.ask(sql)


def forget_the_ledger(round_: Round) -> None:
    """Somebody deletes the open rows of the ledger."""
    _meddle(
        round_,
        "BEGIN; SET LOCAL lock_timeout = '100ms'; SET LOCAL session_replication_role = replica; "
        "DELETE FROM migrator_attempts WHERE finished_at IS NULL; COMMIT",
    )


def unsettle(round_: Round) -> None:
    """Somebody deletes what is settled."""
    _meddle(round_, "BEGIN; SET LOCAL lock_timeout = '100ms'; DELETE FROM migrator_settled_releases; COMMIT")


FAULTS: dict[str, tuple[int, Fault]] = {
    fault.__name__: (weight, fault)
    for weight, fault in (
        (4, kill), (4, terminate), (1, interrupt), (3, kill_beside_another), (2, freeze), (3, freeze_without_its_lock),
        (3, end_lock_connection), (2, end_all), (3, cancel_all), (2, restart_immediate), (1, restart_fast), (3, cut),
        (3, cut_one), (3, half_close), (2, delay), (2, refuse), (1, swallow), (2, another), (3, stock),
        (2, hold_the_history), (2, hold_the_ledger), (2, hold_a_table), (1, forget_the_ledger), (1, unsettle),
    )
}  # fmt: skip
"""By name: how often in proportion, and what."""


def chosen(chance: random.Random) -> list[tuple[str, int, float]]:
    """None to two faults: their names, after how many lines of the log, and how many seconds after that."""
    number = chance.choices((0, 1, 2), (1, 6, 3))[0]
    names = chance.choices(list(FAULTS), [weight for weight, _fault in FAULTS.values()], k=number)
    return [(name, chance.randint(0, 5), chance.uniform(0, 0.12)) for name in names]
