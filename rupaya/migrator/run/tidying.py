"""The attic by hand and by rule: brought back to be looked at, or dropped for good; alone, and in the ledger."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from functools import partial

from rupaya.migrator.attic import emptying, facts
from rupaya.migrator.attic.bringing import bring_back
from rupaya.migrator.attic.emptying import AtticEntry
from rupaya.migrator.attic.item import COLUMN, VALUES
from rupaya.migrator.errors import HistoryRefused, TableLocked, counted, sqlstate
from rupaya.migrator.ledger.ledger import Ledger
from rupaya.migrator.run import again, comingback, order
from rupaya.migrator.run.drift import Drift
from rupaya.migrator.session.session import Session
from rupaya.migrator.sessionsettings import session_settings
from rupaya.migrator.sqlstates import RETRYABLE

_AGE = re.compile(r"(\d+)\s*([dh])")


def age(text: str) -> timedelta:
    """``30d`` or ``12h``.

    Raises:
        ValueError: if it is neither.
    """
    found = _AGE.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r} is no age: write 30d for days or 12h for hours")
    number = int(found[1])
    return timedelta(days=number) if found[2] == "d" else timedelta(hours=number)


def purge(session: Session, older_than: timedelta) -> int:
    """Drop for good what was put away longer ago; how many there were.

    Raises:
        TableLocked: if a table stays locked; what was purged before is purged.
    """
    with session.opened():
        # Every day, and mostly for nothing: no lock, and no row in the ledger.
        if not emptying.due(emptying.listed(session.connection), older_than, datetime.now(UTC)):
            session.output.say(f"Nothing in the attic is older than {older_than}.")
            _say_size(session)
            return 0
    done = 0
    with order.alone("attic purge", session) as ledger:
        found = emptying.due(emptying.listed(session.connection), older_than, datetime.now(UTC))
        for number, kept in enumerate(found, 1):
            _purge_one(session, ledger, kept)
            done += 1
            session.output.say(
                f"✓ purged {kept.item} ({number} of {len(found)}; about {size(kept.size_bytes)})",
                success=True,
                item=kept.item.label,
                size_bytes=kept.size_bytes,
            )
        _say_size(session)
    session.output.say(f"Purged {counted(done, 'item')}; a column's space is given back when its rows are rewritten.")
    return done


def _say_size(session: Session) -> None:
    """What is left, once a day: the log's metric of the attic, and its alarm, wait for this line."""
    left = emptying.listed(session.connection)
    size_bytes = sum(kept.size_bytes for kept in left)
    session.output.say(
        f"The attic holds {counted(len(left), 'item')}, about {size(size_bytes)}", attic_bytes=size_bytes
    )


def _purge_one(session: Session, ledger: Ledger, kept: AtticEntry) -> None:
    def purged() -> None:
        with session_settings(session.connection, lock_timeout=session.conf.lock_timeout_ms):
            emptying.purge(session.connection, kept.item, ledger.run_id)

    def became() -> str:
        return again.asked(ledger.connection, partial(comingback.became, kept.item), f"the {kept.item}")

    def failed(error: Exception, tries: int) -> Exception:
        if sqlstate(error) not in RETRYABLE:
            return error
        return TableLocked(f"Purging the {kept.item}", error, tries, became())

    again.tried(
        purged,
        conf=session.conf,
        stop=session.stop,
        deadline=time.monotonic() + session.conf.deadline_s,
        stopped=became,
        failed=failed,
    )


def restore(session: Session, name: str) -> None:
    """Bring one thing back under its real name, for somebody to look at and to copy from: without any rule it had, as
    living code does not know it.

    Raises:
        HistoryRefused: if there is no such thing, more than one, or something else by that name.
    """
    with order.alone("attic restore", session) as ledger:
        connection = session.connection
        found = [
            kept for kept in emptying.listed(connection) if name in (kept.item.label, kept.item.id, kept.item.name)
        ]
        if not found:
            raise HistoryRefused(
                f"Nothing in the attic is called {name}.", "Nothing was changed.", "See 'manage.py attic list'."
            )
        if len(found) > 1:
            raise HistoryRefused(
                f"{len(found)} things in the attic are called {name}.",
                "Nothing was changed.",
                f"Name one by its id: {', '.join(kept.item.id for kept in found)}.",
            )
        item = found[0].item
        if item.kind == VALUES:
            raise HistoryRefused(
                f"The {item} are what a backfill overwrote.",
                "They come back by unapplying its migration; nothing was changed.",
                f"Read them where they are: {found[0].relation}.",
            )
        taken = (
            facts.column(connection, item.table, item.object) is not None
            if item.kind == COLUMN
            else facts.is_there(connection, item.table)
        )
        if taken or not found[0].relation:
            raise HistoryRefused(
                f"The {item} cannot be restored: "
                + ("something else has that name now." if taken else "what was kept of it has been dropped."),
                "Nothing was changed.",
                f"Read it where it is: {item.name} in {found[0].relation}." if taken else "Restore it from a backup.",
            )
        drift = Drift(connection, ledger, session.conf.lock_timeout_ms)
        drift.look(session.output)
        drift.say_or_refuse(session.output, "warn")
        with drift.watching(), session_settings(connection, lock_timeout=session.conf.lock_timeout_ms):
            bring_back(connection, item, ledger.run_id, bare=True)
        if drift.snapshot is not None:  # else the next run would take it for somebody's doing
            drift.keep_or_say(session.output, ())
        session.output.say(
            f"✓ restored {item}, without the rules it had: no model knows it. Copy from it what is needed and drop it "
            "then; to go back to the release that had it, use 'manage.py rollback' instead.",
            success=True,
        )


def size(size_bytes: int) -> str:
    amount = float(size_bytes)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError("unreachable")
