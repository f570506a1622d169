"""Whether anybody still uses what a debt takes away: in use, not seen since, or not to be told; no false "unused"."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import psycopg2
from psycopg2.extensions import connection as PgConnection  # noqa: N812 - a class, whatever its author named it

from rupaya.migrator.debts.debt import COLUMN, TABLE, Debt
from rupaya.migrator.errors import counted
from rupaya.migrator.foresight import baselines
from rupaya.migrator.foresight.baselines import Baseline
from rupaya.migrator.foresight.calls import Calls, Seen, read_calls, running
from rupaya.migrator.foresight.probe import UNKNOWN, USES, Probe, Target
from rupaya.migrator.statements import one_line

IN_USE = "in use"
NOT_SEEN = "not seen"
CANNOT_SAY = "cannot say"
SHOWN = 5

# Bodies are texts to the server; one that has both names is taken for a use, for the target's going would break it.
_FUNCTIONS = r"""
    SELECT DISTINCT 'function ' || p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND NOT starts_with(p.proname, 'migrator_')
      AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid
                      AND e.deptype = 'e')
      AND ((p.prosrc ~* ('\m' || %(table)s || '\M')
            AND (%(column)s = '' OR p.prosrc ~* ('\m' || %(column)s || '\M')))
           OR EXISTS (SELECT FROM pg_trigger t WHERE t.tgfoid = p.oid AND t.tgrelid = %(oid)s::oid
                      AND p.prosrc ~* ('\m' || %(column)s || '\M') AND %(column)s <> '')
           OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                      AND d.refclassid = 'pg_class'::regclass AND d.refobjid = %(oid)s::oid
                      AND (%(number)s = 0 OR d.refobjsubid IN (0, %(number)s))))
"""
_TRIGGERS = """
    SELECT 'trigger ' || t.tgname || ' on ' || t.tgrelid::regclass FROM pg_trigger t
    WHERE t.tgrelid = %(oid)s::oid AND NOT t.tgisinternal AND %(number)s <> 0
      AND %(number)s = ANY (t.tgattr::smallint[])
"""
_FOREIGN_KEYS = """
    SELECT 'foreign key ' || c.conname || ' of ' || c.conrelid::regclass FROM pg_constraint c
    WHERE c.contype = 'f' AND c.confrelid = %(oid)s::oid AND c.conrelid <> c.confrelid
      AND (%(number)s = 0 OR %(number)s = ANY (c.confkey))
"""


@dataclass(frozen=True)
class Use:
    """One answer about one debt."""

    debt: Debt
    answer: str
    lines: tuple[str, ...]
    """Who uses it; since when it was not seen; or why that cannot be told."""

    def __str__(self) -> str:
        return f"{self.debt}: {self.answer}: " + "; ".join(self.lines)


def target_of(debt: Debt) -> Target | None:
    """What goes with a debt, if it is a table or a column."""
    if debt.kind == TABLE:
        return Target(debt.table)
    return Target(debt.table, debt.object) if debt.kind == COLUMN else None


def keep_baseline(connection: PgConnection, debts: Iterable[Debt]) -> None:
    """Remember what the statistics have now, where something that goes has come to be owed."""
    ids = [debt.id for debt in debts if target_of(debt) is not None and debt.id is not None]
    if ids and baselines.exists(connection):
        baselines.keep(connection, ids, read_calls(connection))


def uses(connection: PgConnection, debts: Iterable[Debt], *, watch_s: float) -> list[Use]:
    """Whether anybody still uses what these debts take away; of the others nothing.

    `connection`: autocommit, and of its own, for prepared statements are thrown away on it. Calls must not have grown
    since a baseline that is at least `watch_s` old: a watch of minutes sees no nightly job.
    """
    calls = read_calls(connection)
    now = running(connection)
    return [_of_debt(connection, debt, target, calls, now, watch_s) for debt in debts if (target := target_of(debt))]


def _of_debt(
    connection: PgConnection, debt: Debt, target: Target, calls: Calls, now: Sequence[Seen], watch_s: float
) -> Use:
    try:
        found, views = _by_catalog(connection, target), dict[str, str]()
        probe = Probe(connection, target)
        with probe.rights_taken_away() as why:
            if why:
                return Use(debt, IN_USE if found else CANNOT_SAY, (*found, why))
            views = probe.views
            resolved = probe.ask_all({seen.text for seen in (*calls.seen, *now)})
    except psycopg2.Error as error:
        return Use(debt, CANNOT_SAY, (f"the server could not be asked: {one_line(str(error))}",))
    found += [f"view {name}" for name in sorted(views)]
    known = baselines.of_debt(connection, debt.id) if debt.id is not None and baselines.exists(connection) else []
    old_enough = [baseline for baseline in known if baseline.age_s >= watch_s]
    since = old_enough[-1] if old_enough else known[0] if known else None
    is_using = [seen for seen in calls.seen if resolved[seen.text][0] == USES and _grown(seen, since)]
    found += [_told(seen, since) for seen in sorted(is_using, key=lambda seen: -seen.calls)[:SHOWN]]
    found += [f"running now, by {seen.role}: {one_line(seen.text)}" for seen in now if resolved[seen.text][0] == USES]
    if found:
        return Use(debt, IN_USE, tuple(found))
    if doubts := _doubts(calls, since, resolved, watch_s):
        return Use(debt, CANNOT_SAY, tuple(doubts))
    assert since is not None  # noqa: S101 - without one there is a doubt
    return Use(debt, NOT_SEEN, (f"not seen since {since.taken_at:%Y-%m-%d %H:%M} UTC",))


def _doubts(calls: Calls, since: Baseline | None, resolved: dict[str, tuple[str, str]], watch_s: float) -> list[str]:
    """Why "not seen" would say too much."""
    if calls.why:
        return [calls.why]
    if since is None:
        return ["nothing was kept from the time when it came to be owed"]
    doubts = []
    if since.age_s < watch_s:
        doubts.append(
            f"watched for {since.age_s / 3600:.1f} h only, of {watch_s / 3600:.0f} h: a nightly job comes once a night"
        )
    if calls.stats_reset != since.stats_reset:
        doubts.append(f"the statistics were reset on {calls.stats_reset:%Y-%m-%d %H:%M} UTC")
    if calls.dealloc != since.dealloc:
        doubts.append("statements were forgotten for want of room (pg_stat_statements.max)")
    if calls.hidden > since.hidden:
        doubts.append("statements of others whose texts this role may not read (GRANT pg_read_all_stats)")
    unclear = [seen for seen in calls.seen if resolved[seen.text][0] == UNKNOWN and _grown(seen, since)]
    doubts += [
        f"{one_line(seen.text)} of {seen.role} may use it ({resolved[seen.text][1]})" for seen in unclear[:SHOWN]
    ]
    return doubts


def _grown(seen: Seen, since: Baseline | None) -> bool:
    return seen.calls > (since.calls.get(seen.key, 0) if since else 0)


def _told(seen: Seen, since: Baseline | None) -> str:
    calls = seen.calls - (since.calls.get(seen.key, 0) if since else 0)
    when = f"since {since.taken_at:%Y-%m-%d %H:%M} UTC" if since else "since the statistics were reset"
    return f"{seen.role}, {counted(calls, 'call')} {when}: {one_line(seen.text)}"


def _by_catalog(connection: PgConnection, target: Target) -> list[str]:
    """Functions, triggers and foreign keys that name it; views are found with the probe."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.oid, coalesce(a.attnum, 0) FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid "
            "AND a.attname = %s WHERE c.oid = to_regclass(quote_ident(%s))",
            [target.column, target.table],
        )
        row = cursor.fetchone()
        if row is None:
            return []
        asked = {"oid": row[0], "number": row[1], "table": target.table, "column": target.column}
        found = []
        for sql in (_FUNCTIONS, _TRIGGERS, _FOREIGN_KEYS):
            cursor.execute(sql, asked)
            found += [name for (name,) in cursor.fetchall()]
        return found
