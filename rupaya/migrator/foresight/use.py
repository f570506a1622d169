"""Whether anybody still uses what a debt takes away: in use, not seen since, or unknown; no false "unused"."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import psycopg2
from psycopg2.extensions import connection as PgConnection  # noqa: N812 - a class, whatever its author named it

from rupaya.migrator.debts.debt import COLUMN, OPERATION, TABLE, Debt
from rupaya.migrator.errors import counted
from rupaya.migrator.foresight import baselines, presumed
from rupaya.migrator.foresight.baselines import Baseline
from rupaya.migrator.foresight.calls import INSUFFICIENT, Seen
from rupaya.migrator.foresight.dependents import Dependents
from rupaya.migrator.foresight.probe import UNKNOWN, USES, Probe
from rupaya.migrator.foresight.relations import RelationProbe, Target
from rupaya.migrator.foresight.routines import Callers, Routine, RoutineProbe, Type, TypeProbe
from rupaya.migrator.foresight.sources import Source, read_sources, standbys_unseen
from rupaya.migrator.statements import one_line

IN_USE = "in use"
NOT_SEEN = "not seen"
CANNOT_SAY = "cannot say"
SHOWN = 5


@dataclass(frozen=True)
class Use:
    """One answer about one debt."""

    debt: Debt
    answer: str
    lines: tuple[str, ...]
    """Who uses it; since when it was not seen; or why nobody can say."""

    def __str__(self) -> str:
        return f"{self.debt}: {self.answer}: " + "; ".join(self.lines)


def takes_away(debt: Debt) -> bool:
    """Whether paying a debt takes something away that somebody may use, or nobody knows that."""
    return targets_of(debt) != []


AnyTarget = Target | Routine | Type


def targets_of(debt: Debt) -> list[AnyTarget] | None:
    """What goes with a debt; None: nobody knows, because its migration is not in the shipped file."""
    if debt.kind == TABLE:
        return [Target(debt.table)]
    if debt.kind == COLUMN:
        return [Target(debt.table, debt.object)]
    if debt.kind != OPERATION:
        return []
    step = presumed.of_migration(debt.app, debt.migration)
    if step is None:
        return None
    tables = [Target(table, column) for table, columns in step.removed.items() for column in columns or [""]]
    return [*tables, *map(Routine, step.removed_routines), *map(Type, step.removed_types)]


def keep_baseline(connection: PgConnection, debts: Iterable[Debt]) -> None:
    """Remember what the statistics have now, where something that goes has come to be owed."""
    ids = [debt.id for debt in debts if takes_away(debt) and debt.id is not None]
    if ids and baselines.exists(connection):
        baselines.keep(connection, ids, read_sources(connection))


def uses(connection: PgConnection, debts: Iterable[Debt], *, watch_s: float) -> list[Use]:
    """Whether anybody still uses what these debts take away; of the others nothing.

    `connection`: autocommit, and of its own, as prepared statements are thrown away on it. Calls must not have grown
    since a baseline that is at least `watch_s` old: a watch of minutes sees no nightly job.
    """
    sources = read_sources(connection)
    found = []
    for debt in debts:
        targets = targets_of(debt)
        if targets is None:
            why = "what it takes away is not known ('manage.py presumptions' writes it down where the code is made)"
            found.append(Use(debt, CANNOT_SAY, (why,)))
        elif targets := _without_others(connection, debt, targets):
            found.append(_of_debt(connection, debt, targets, sources, watch_s))
    return found


def _without_others(connection: PgConnection, debt: Debt, targets: list[AnyTarget]) -> list[AnyTarget]:
    """Those of a whole migration that this operation takes away; the others are, or were, owed by themselves."""
    if debt.kind != OPERATION:
        return targets
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, CASE WHEN kind = %s THEN object ELSE '' END FROM migrator_debts "
            "WHERE (app, migration) = (%s, %s) AND kind IN (%s, %s)",
            [COLUMN, debt.app, debt.migration, COLUMN, TABLE],
        )
        apart: set[AnyTarget] = {Target(table, column) for table, column in cursor.fetchall()}
    return [target for target in targets if target not in apart]


def _of_debt(
    connection: PgConnection, debt: Debt, targets: Sequence[AnyTarget], sources: Sequence[Source], watch_s: float
) -> Use:
    """The worst answer of all that goes."""
    going = frozenset(target.signature for target in targets if isinstance(target, Routine))
    answers = [_of_target(connection, debt, target, going, sources, watch_s) for target in targets]
    for wanted in (IN_USE, CANNOT_SAY, NOT_SEEN):
        alike = [(target, answer) for target, answer in zip(targets, answers, strict=True) if answer.answer == wanted]
        if alike and len(targets) == 1:
            return alike[0][1]
        if alike:
            return Use(debt, wanted, tuple(f"{target}: {line}" for target, answer in alike for line in answer.lines))
    raise AssertionError("nothing was asked")


@dataclass(frozen=True)
class _Watched:
    """What one server counted since something came to be owed."""

    source: Source
    since: Baseline | None

    @property
    def has_inner(self) -> bool:
        """Whether what functions send was counted all the time."""
        return self.source.calls.has_inner and self.since is not None and self.since.has_inner

    def where(self) -> str:
        return f" on the {self.source.name}" if self.source.name else ""


def _asked(
    connection: PgConnection, target: AnyTarget, going: frozenset[str]
) -> tuple[Dependents | Callers, RelationProbe | RoutineProbe | TypeProbe]:
    """What the database itself has of it, and how statements are asked."""
    match target:
        case Routine():
            return Callers(connection, target, going), RoutineProbe(connection, target)
        case Type():
            return Callers(connection, target, going), TypeProbe(connection, target)
        case _:
            return Dependents(connection, target), RelationProbe(connection, target)


def _of_target(
    connection: PgConnection,
    debt: Debt,
    target: AnyTarget,
    going: frozenset[str],
    sources: Sequence[Source],
    watch_s: float,
) -> Use:
    try:
        inside, probe = _asked(connection, target, going)
        watched = [_Watched(source, _since(connection, debt, source, watch_s)) for source in sources]
        with probe.rights_taken_away() as why:
            if why:
                return Use(debt, IN_USE if inside.uses else CANNOT_SAY, (*inside.uses, why))
            resolved = [_resolve(probe, one) for one in watched]
        unseen = standbys_unseen(connection, sources)
    except psycopg2.Error as error:
        return Use(debt, CANNOT_SAY, (f"the server could not be asked: {one_line(str(error))}",))
    found = [*inside.uses, *(f"view {name}" for name in sorted(probe.views))]
    doubts: list[str] = []
    for one, answers in zip(watched, resolved, strict=True):
        found += [line + one.where() for line in _found(one, answers)]
        doubts += [line + one.where() for line in _doubts(one, answers, watch_s)]
        if not any(_grown(seen, one.since) and probe.may_read(seen.text) for seen in one.source.calls.seen):
            doubts += [line + one.where() for line in _scanned(one, inside.telling)]
    if found:
        return Use(debt, IN_USE, tuple(found))
    if not all(one.has_inner for one in watched):
        doubts += [f"{line}, which is not counted (pg_stat_statements.track is not all)" for line in inside.doubtful]
    doubts += inside.unseen
    doubts += [f"{name} is a copy of this server, and what is sent there cannot be seen from here" for name in unseen]
    if doubts:
        return Use(debt, CANNOT_SAY, tuple(doubts))
    latest = max(one.since.taken_at for one in watched if one.since is not None)
    return Use(debt, NOT_SEEN, (f"not seen since {latest:%Y-%m-%d %H:%M} UTC",))


def _since(connection: PgConnection, debt: Debt, source: Source, watch_s: float) -> Baseline | None:
    """The newest baseline that is old enough; else the oldest."""
    if debt.id is None or not baselines.exists(connection):
        return None
    known = baselines.of_debt(connection, debt.id, source.name)
    old_enough = [baseline for baseline in known if baseline.age_s >= watch_s]
    return old_enough[-1] if old_enough else known[0] if known else None


_Answers = Mapping[Seen, tuple[str, str]]


def _resolve(probe: Probe, watched: _Watched) -> _Answers:
    """Of all that was sent, is under way or will be sent; what is not counted by itself yet is resolved as a whole."""
    counted_ones = {seen: probe.ask(seen.text, has_inner=watched.has_inner) for seen in watched.source.calls.seen}
    others = (*watched.source.now, *watched.source.scheduled)
    return counted_ones | {seen: probe.ask(seen.text, is_cut=seen.is_cut) for seen in others}


def _found(watched: _Watched, answers: _Answers) -> list[str]:
    """Who was seen using it, who does so now, and who will."""
    source, since = watched.source, watched.since

    def using(seen: Iterable[Seen]) -> list[Seen]:
        return [one for one in seen if answers[one][0] == USES]

    calls = [seen for seen in using(source.calls.seen) if _grown(seen, since)]
    found = [_told(seen, since) for seen in sorted(calls, key=lambda seen: -seen.calls)[:SHOWN]]
    for what, those in (("running now, by", source.now), ("scheduled by pg_cron, as", source.scheduled)):
        found += [f"{what} {seen.role}: {one_line(seen.text)}" for seen in using(those)[:SHOWN]]
    return found


def _doubts(watched: _Watched, answers: _Answers, watch_s: float) -> list[str]:
    """Why "not seen" would say too much."""
    source, since, calls = watched.source, watched.since, watched.source.calls
    if calls.why:
        return [calls.why]
    if since is None:
        return ["nothing was kept from the time when it came to be owed"]
    doubts = [*calls.gaps, *([source.why_no_jobs] if source.why_no_jobs else [])]
    if since.age_s < watch_s:
        doubts.append(
            f"watched for {since.age_s / 3600:.1f} h only, of {watch_s / 3600:.0f} h: a nightly job comes once a night"
        )
    if calls.stats_reset != since.stats_reset:
        doubts.append(f"the statistics were reset on {calls.stats_reset:%Y-%m-%d %H:%M} UTC")
    if calls.dealloc != since.dealloc:
        doubts.append("statements were dropped for lack of room (pg_stat_statements.max)")
    elif calls.stats_reset == since.stats_reset and since.calls.keys() - {seen.key for seen in calls.seen}:
        doubts.append("somebody reset the counts of single statements")
    if calls.hidden > since.hidden or any(seen.text == INSUFFICIENT for seen in source.now):
        doubts.append("statements of others whose texts this role may not read (GRANT pg_read_all_stats)")
    unclear = [seen for seen in calls.seen if answers[seen][0] == UNKNOWN and _grown(seen, since)]
    unclear += [seen for seen in (*source.now, *source.scheduled) if answers[seen][0] == UNKNOWN]
    doubts += [f"{one_line(seen.text)} of {seen.role} may use it ({answers[seen][1]})" for seen in unclear[:SHOWN]]
    return doubts


def _scanned(watched: _Watched, telling: Iterable[str]) -> Iterator[str]:
    """Reads that no statement explains which was counted."""
    before = watched.since.scans if watched.since else {}
    for name in telling:
        times = watched.source.calls.scans.get(name, 0) - before[name] if name in before else 0
        if times > 0:
            yield f"{name} was read {counted(times, 'time')} by a statement that was not counted"


def _grown(seen: Seen, since: Baseline | None) -> bool:
    """Fewer calls than before are new ones too: somebody has reset this statement's count."""
    return seen.calls != (since.calls.get(seen.key, 0) if since else 0)


def _told(seen: Seen, since: Baseline | None) -> str:
    before = since.calls.get(seen.key, 0) if since else 0
    calls = seen.calls - before if seen.calls > before else seen.calls
    when = f"since {since.taken_at:%Y-%m-%d %H:%M} UTC" if since else "since the statistics were reset"
    return f"{seen.role}, {counted(calls, 'call')} {when}: {one_line(seen.text)}"
