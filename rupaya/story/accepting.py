"""Changes by hand that are intended: which can be declared so, what was, and whether it still is as it was then."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.options import get_content_type_for_model
from django.contrib.auth.models import AbstractBaseUser
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.inspection.editing import with_reason
from rupaya.migrator.analysis.schemadiff import CODE_SIDE, LIVE_SIDE, Comparison
from rupaya.migrator.ledger.acceptance import Acceptance, Kept, accept, identity_hash, may, newest
from rupaya.migrator.ledger.snapshots import last_snapshot
from rupaya.migrator.schema.diff import Difference, differences, hash_now
from rupaya.story import reading
from rupaya.story.models import AcceptedDrift
from rupaya.story.state import Drift

PERMISSION = "story.add_accepteddrift"
MAX_SHOWN = 200
REASON_MAX_CHARACTERS = 1000
WRITE_TIMEOUT_MS = 3000
NO_RIGHT = (
    "The role that this site works as may not write into the migrator's ledger. Run 'manage.py schemadiff --accept "
    "REASON' as the role that migrates, or let that role run: GRANT INSERT ON migrator_accepted_drift TO the site's."
)


@dataclass(frozen=True)
class Offer:
    """A difference as the page shows it."""

    key: str
    """By which the page's form names it: the difference with its whole values, so that another one is not accepted."""
    line: str
    before: Acceptance | None
    """Of this very fact, when it was another value: it was accepted, and has changed again."""


@dataclass(frozen=True)
class Shown:
    """What somebody declared as intended, and how it stands now."""

    line: str
    sides: tuple[str, ...]
    """What the database was compared with."""
    acceptance: Acceptance
    release: str
    database_user: str
    standing: str
    """as accepted, changed again, taken back or accepted again."""

    @property
    def is_in_force(self) -> bool:
        """Whether it is still as it was declared intended."""
        return self.standing == AS_ACCEPTED


AS_ACCEPTED, CHANGED, TAKEN_BACK, ANEW = "as accepted", "changed again", "taken back", "accepted again"


def offers(comparison: Comparison, known: Sequence[Kept]) -> dict[str, list[Offer]]:
    """What differs, by the object that it belongs to, the objects with most differences first."""
    before = {kept.about: kept.acceptance for kept in reversed(known) if kept.side == comparison.side}
    found: dict[str, list[Offer]] = defaultdict(list)
    for difference, line in zip(comparison.differences, comparison.lines, strict=True):
        offer = Offer(identity_hash(difference), line, before.get(_about(difference)))
        found[difference.on or difference.name].append(offer)
    return dict(sorted(found.items(), key=lambda group: (-len(group[1]), group[0])))


def kept(connection: BaseDatabaseWrapper) -> list[Kept]:
    with connection.cursor() as cursor:
        return newest(cursor, MAX_SHOWN)


def shown(known: Sequence[Kept], comparison: Comparison) -> list[Shown]:
    """The acceptances, each with how it stands to the database now; those that changed again first."""
    together: dict[tuple[object, ...], list[Kept]] = defaultdict(list)
    counts: dict[tuple[object, ...], int] = defaultdict(int)
    for one in known:
        said = (one.about, one.acceptance.by, one.acceptance.reason)
        # Against the snapshot and against the code are one act.
        counts[one.side, said] += 1
        together[said, counts[one.side, said]].append(one)
    latest: dict[tuple[object, ...], Kept] = {}
    for one in known:
        latest.setdefault((one.side, one.about), one)
    found = []
    for group in together.values():
        first = group[-1]
        is_latest = latest[first.side, first.about] is first
        found.append(
            Shown(
                first.line,
                tuple(one.side.removeprefix("in ") for one in reversed(group)),
                first.acceptance,
                first.release,
                first.database_user,
                _standing(first, comparison) if is_latest else ANEW,
            )
        )
    order = [CHANGED, AS_ACCEPTED, TAKEN_BACK, ANEW]
    return sorted(found, key=lambda one: order.index(one.standing))


def may_write(connection: BaseDatabaseWrapper) -> bool:
    """Whether the role that serves may write acceptances: beside a migrating role of its own, it may not."""
    with connection.cursor() as cursor:
        return may(cursor, "INSERT")


def why_not(connection: BaseDatabaseWrapper, looked: Drift, chosen: Collection[str], reason: str) -> str:
    """What stands against accepting these; nothing was accepted then."""
    there = {identity_hash(one) for one in looked.comparison.differences} if looked.comparison else set()
    if not looked.tells or not looked.comparison:
        return f"What differs now need not be changed by hand, and nothing was accepted. {looked.reason}".strip()
    if not chosen:
        return "Choose what is intended: nothing was chosen, and nothing was accepted."
    if not set(chosen) <= there:
        return (
            "Something that you chose is not as you saw it any more, and nothing was accepted. What differs now is "
            "below: look again."
        )
    if not reason:
        return "Say why, in a few words: someone who reads it in a year must understand it. Nothing was accepted."
    if len(reason) > REASON_MAX_CHARACTERS:
        return f"The reason is longer than {REASON_MAX_CHARACTERS} characters. Nothing was accepted."
    return "" if may_write(connection) else NO_RIGHT


def declare(comparison: Comparison, chosen: Collection[str], *, reason: str, user: AbstractBaseUser) -> int:
    """Declare the chosen differences as intended, in the ledger and in the site's log; returns how many.

    Against the code too: what is the snapshot's whole value there is accepted in the same breath, and another is not.

    Raises:
        django.db.Error: if the role may not, or somebody holds the tables.
    """
    picked = [one for one in comparison.differences if identity_hash(one) in chosen]
    if not picked:
        return 0
    by = f"{user} on the admin site"
    connection = connections[DEFAULT_DB_ALIAS]
    with transaction.atomic(using=connection.alias):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true)",
                [str(WRITE_TIMEOUT_MS), str(reading.LOCK_TIMEOUT_MS)],
            )
        lines = [one.compared(comparison.side, LIVE_SIDE) for one in picked]
        accept(connection, comparison.side, picked, lines, reason=reason, by=by)
        snapshot = last_snapshot(connection.connection)
        about = {_about(one) for one in picked}
        portable = differences(snapshot.catalog, comparison.live, portable=True) if snapshot else []
        of_code = [one for one in portable if _about(one) in about]
        accept(
            connection,
            CODE_SIDE,
            of_code,
            [one.compared(CODE_SIDE, LIVE_SIDE) for one in of_code],
            reason=reason,
            by=by,
        )
        more = f" and {len(lines) - 1} more" if len(lines) > 1 else ""
        LogEntry.objects.using(connection.alias).create(
            user_id=str(user.pk),
            content_type_id=get_content_type_for_model(AcceptedDrift).pk,
            object_id=None,
            object_repr=(lines[0][:150] + more)[:200],
            action_flag=CHANGE,
            change_message=with_reason("Accepted as intended: " + "; ".join(lines) + ".", reason),
        )
    return len(picked)


def _about(difference: Difference) -> tuple[str, str, str, str, str]:
    return difference.kind, difference.on, difference.name, difference.fact, difference.role


def _standing(one: Kept, comparison: Comparison) -> str:
    now = hash_now(comparison.live, one.about, portable=one.side == CODE_SIDE)
    if now == one.new_hash:
        return AS_ACCEPTED
    return TAKEN_BACK if now == one.old_hash else CHANGED
