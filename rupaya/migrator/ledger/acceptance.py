"""Changes by hand that somebody declared as intended, with a reason: known from then on, until they change again.

An acceptance is of one fact of one object as it is on both sides, whole, and for grants of one role. Another value of
the same fact is another difference, which nobody has accepted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings

from rupaya.migrator.schema.diff import Difference
from rupaya.migrator.schema.prescribed import Prescribed, read_prescribed

_IDENTITY = ("kind", "on", "name", "fact", "role", "old_hash", "new_hash")
Identity = tuple[str, ...]


@dataclass(frozen=True)
class Acceptance:
    """By whom, when and why one difference was accepted."""

    by: str
    reason: str
    at: datetime

    def __str__(self) -> str:
        return f"accepted by {self.by} on {self.at:%Y-%m-%d}: {self.reason}"


@dataclass(frozen=True)
class Kept:
    """One acceptance as the ledger keeps it."""

    acceptance: Acceptance
    side: str
    """What the database was compared with."""
    about: tuple[str, str, str, str, str]
    """Kind, relation, name, fact and role of the difference."""
    old_hash: str
    new_hash: str
    line: str
    release: str
    database_user: str


@dataclass(frozen=True)
class Sorted:
    """Differences by what they mean."""

    drift: tuple[Difference, ...] = ()
    accepted: tuple[tuple[Difference, Acceptance], ...] = ()
    prescribed: tuple[Difference, ...] = ()
    """Owners and grants that are as the environment's own rule says."""


def sort(cursor: Any, side: str, differences: Iterable[Difference]) -> Sorted:
    """Tell drift from what is known. `side` is what the database was compared with, such as ``in the code``.

    The role may lack the right to read the ledger: what it cannot read is not accepted.
    """
    found = list(differences)
    if not found:
        return Sorted()
    rule = read_prescribed(cursor)
    accepted = _accepted(cursor, side)
    return _sorted(found, rule, accepted)


def _sorted(found: Sequence[Difference], rule: Prescribed, accepted: dict[Identity, Acceptance]) -> Sorted:
    prescribed = [difference for difference in found if rule.covers(difference)]
    others = [difference for difference in found if difference not in prescribed]
    known = [
        (difference, accepted[identity]) for difference in others if (identity := _identity(difference)) in accepted
    ]
    drift = [difference for difference in others if _identity(difference) not in accepted]
    return Sorted(tuple(drift), tuple(known), tuple(prescribed))


def accept(
    connection: Any, side: str, differences: Iterable[Difference], lines: Iterable[str], *, reason: str, by: str
) -> int:
    """Declare differences as intended; returns how many. They must be what the person who says so was shown.

    `connection`: Django's or the driver's. `by`: who says so, as people know them; the database's role is kept too.

    Raises:
        ValueError: if no reason is given.
        psycopg2.Error: if the ledger has no such table yet, or the role may not write to it.
    """
    if not reason.strip():
        raise ValueError("A reason must be given for accepting what was changed by hand.")
    count = 0
    with connection.cursor() as cursor:
        for difference, line in zip(differences, lines, strict=True):
            cursor.execute(
                "INSERT INTO migrator_accepted_drift (side, kind, relation, name, fact, role, old_hash, new_hash, "
                "line, reason, release, accepted_by) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                [side, *_identity(difference), line, reason.strip(), getattr(settings, "RELEASE", "unknown"), by],
            )
            count += 1
    return count


def newest(cursor: Any, limit: int) -> list[Kept]:
    """The newest acceptances, the last one first; none where the role may not read them."""
    if not may(cursor, "SELECT"):
        return []
    cursor.execute(
        "SELECT side, kind, relation, name, fact, role, old_hash, new_hash, line, release, database_user, accepted_by, "
        "reason, accepted_at FROM migrator_accepted_drift ORDER BY acceptance_id DESC LIMIT %s",
        [limit],
    )
    return [Kept(Acceptance(*row[11:]), row[0], row[1:6], *row[6:11]) for row in cursor.fetchall()]


def may(cursor: Any, privilege: str) -> bool:
    """Whether this role has a privilege (SELECT, INSERT) on the table of acceptances, which an old ledger has not."""
    cursor.execute(
        "SELECT coalesce(has_table_privilege(to_regclass('migrator_accepted_drift'), %s), false)", [privilege]
    )
    return bool(cursor.fetchone()[0])


def identity_hash(difference: Difference) -> str:
    """By what a difference is known from the page that shows it to the request that accepts it."""
    return hashlib.sha256("\0".join(_identity(difference)).encode()).hexdigest()


def _identity(difference: Difference) -> Identity:
    return tuple(str(getattr(difference, part)) for part in _IDENTITY)


def _accepted(cursor: Any, side: str) -> dict[Identity, Acceptance]:
    """The newest acceptance of each difference from this side."""
    # In two steps, because a failed query would end the caller's transaction.
    if not may(cursor, "SELECT"):
        return {}
    cursor.execute(
        "SELECT kind, relation, name, fact, role, old_hash, new_hash, accepted_by, reason, accepted_at "
        "FROM migrator_accepted_drift WHERE side = %s ORDER BY acceptance_id",
        [side],
    )
    return {tuple(row[:7]): Acceptance(*row[7:]) for row in cursor.fetchall()}
