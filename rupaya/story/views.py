"""The pages: each read within limits, for staff who may view migration runs."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.backends.base.base import BaseDatabaseWrapper
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from rupaya.inspection.charts import length
from rupaya.migrator.attic import emptying
from rupaya.migrator.attic.atticstore import AtticStore
from rupaya.migrator.errors import counted, driver_text, sqlstate
from rupaya.migrator.foresight.use import takes_away
from rupaya.story import accepting, columns, live, reading, runs, state
from rupaya.story import diagram as drawing
from rupaya.story import release as ahead
from rupaya.story import timeline as chart

PERMISSION = "story.view_run"
# What the page of tables can be sorted by.
ORDERS: dict[str, tuple[str, Callable[[live.LiveTable], Any]]] = {
    "size": ("size", lambda table: (-table.total_bytes, table.name)),
    "rows": ("rows", lambda table: (-table.rows, table.name)),
    "growth": ("growth", lambda table: (-table.grown_by, table.name)),
    "name": ("name", lambda table: table.name),
}
Arguments = ParamSpec("Arguments")
View = Callable[Concatenate[HttpRequest, Arguments], HttpResponse]
Read = Callable[Concatenate[HttpRequest, BaseDatabaseWrapper, Arguments], HttpResponse]


def guarded(view: View[Arguments]) -> View[Arguments]:
    """Let in who may see the story, and say so where the database reaches a limit."""

    @wraps(view)
    def answered(request: HttpRequest, *args: Arguments.args, **kwargs: Arguments.kwargs) -> HttpResponse:
        if not request.user.has_perm(PERMISSION):
            raise PermissionDenied
        try:
            return view(request, *args, **kwargs)
        except reading.ERRORS as error:
            if sqlstate(error) not in reading.OUT_OF_TIME_SQLSTATES:
                raise
            return _render(request, "unavailable", "Not now", status=503, reason=driver_text(error))

    return admin.site.admin_view(answered)  # type: ignore[return-value]


def page(view: Read[Arguments]) -> View[Arguments]:
    """Give a view a connection that only reads, for a short while."""

    @wraps(view)
    def bounded(request: HttpRequest, *args: Arguments.args, **kwargs: Arguments.kwargs) -> HttpResponse:
        with reading.bounded() as connection:
            return view(request, connection, *args, **kwargs)

    return guarded(bounded)  # type: ignore[arg-type]  # mypy wants the request named


@page
def overview(request: HttpRequest, connection: BaseDatabaseWrapper) -> HttpResponse:
    """How the database stands to this code."""
    found = state.state(connection)
    wanted = request.GET.get("state", "")
    attempts = runs.newest_attempts(connection) if found.tables.ledger else {}
    ours = live.project_apps()
    by_app: dict[str, list[tuple[Any, Any]]] = {}
    for entry in found.entries:
        if not wanted or entry.state == wanted:
            by_app.setdefault(entry.app, []).append((entry, attempts.get((entry.app, entry.migration))))
    # What is not as it should be is open.
    groups = [
        (app, entries, app in ours or any(entry.state != "applied" for entry, _ in entries))
        for app, entries in by_app.items()
    ]
    return _render(
        request,
        "overview",
        "The schema's story",
        state=found,
        current="overview",
        groups=groups,
        wanted=wanted,
    )


@page
def run(request: HttpRequest, connection: BaseDatabaseWrapper, run_id: int) -> HttpResponse:
    tables = reading.tables(connection)
    told = runs.tell(connection, tables, run_id) if tables.ledger else None
    if told is None:
        raise Http404(f"The ledger has no run {run_id}.")
    return _render(request, "run", f"Run {run_id}", told=told, run=told.run, tables=tables, current="runs")


@page
def timeline(request: HttpRequest, connection: BaseDatabaseWrapper) -> HttpResponse:
    """The runs as a chart."""
    before = request.GET.get("before", "")
    if not reading.tables(connection).ledger:
        return _render(request, "empty", "Timeline", current="timeline")
    bars = runs.bars(connection, int(before) if before.isdecimal() and len(before) < 19 else None)
    shown = bars[: runs.RUNS_ON_A_PAGE]
    # Older runs' axis ends with them, not with today.
    until = shown[0].started_at if before and shown else None
    return _render(
        request,
        "timeline" if shown else "empty",
        "Timeline",
        current="timeline",
        bars=shown,
        lanes=chart.lanes(shown, lambda run_id: reverse("schema:run", args=[run_id]), until),
        ticks=chart.ticks(shown, until) if shown else [],
        releases=list(dict.fromkeys(bar.release for bar in reversed(shown))),
        longest_s=max([bar.duration_s for bar in shown], default=0),
        older=shown[-1].run_id if len(bars) > len(shown) else None,
        is_newest=not before,
    )


@page
def drift(request: HttpRequest, connection: BaseDatabaseWrapper) -> HttpResponse:
    """What somebody changed by hand since the last snapshot, and what of it is intended."""
    return _drift(request, connection)


@guarded
def accept(request: HttpRequest) -> HttpResponse:
    """Declare differences as intended; the page's form comes here, and anybody else is sent to the page."""
    if request.method != "POST":
        return redirect("schema:drift")
    if not request.user.has_perm(accepting.PERMISSION):
        raise PermissionDenied
    reason = request.POST.get("reason", "").strip()
    chosen = request.POST.getlist("shown" if "all" in request.POST else "chosen")
    with reading.bounded() as connection:
        looked = state.drift(connection, reading.tables(connection))
        if problem := accepting.why_not(connection, looked, chosen, reason):
            return _drift(request, connection, problem=problem, chosen=chosen, reason=reason, status=422)
    count = accepting.declare(looked.comparison, chosen, reason=reason, user=request.user)  # type: ignore[arg-type]
    state.forget()
    messages.success(request, f"{counted(count, 'difference')} accepted as intended.")
    return redirect("schema:drift")


def _drift(
    request: HttpRequest,
    connection: BaseDatabaseWrapper,
    *,
    problem: str = "",
    chosen: Collection[str] = (),
    reason: str = "",
    status: int = 200,
) -> HttpResponse:
    looked = state.drift(connection, reading.tables(connection))
    known = accepting.kept(connection)
    can_accept = bool(looked.lines) and looked.tells and request.user.has_perm(accepting.PERMISSION)
    return _render(
        request,
        "drift",
        "Drift",
        status=status,
        current="drift",
        drift=looked,
        remedy=state.DRIFT_REMEDY,
        groups=list(accepting.offers(looked.comparison, known).items()) if looked.comparison else [],
        accepted=accepting.shown(known, looked.comparison) if looked.comparison else [],
        is_cut=len(known) >= accepting.MAX_SHOWN,
        can_accept=can_accept and accepting.may_write(connection),
        lacks_right=accepting.NO_RIGHT if can_accept and not accepting.may_write(connection) else "",
        problem=problem,
        chosen=chosen,
        reason=reason,
        reason_max=accepting.REASON_MAX_CHARACTERS,
        ddl=state.drifted_ddl(connection) if looked.lines else [],
        last_run=state.state(connection).last_run,
    )


@guarded
def release(request: HttpRequest) -> HttpResponse:
    """What this release would do; it is read on another connection, to which this one's locks would be somebody's."""
    with reading.bounded() as connection:
        last_run = state.state(connection).last_run
    is_quiet = last_run is None or not last_run.is_alive
    found = state.keep(("release",), ahead.KEPT_FOR_S, lambda: ahead.read(last_run))
    can_ask_use = is_quiet and any(takes_away(owed.debt) for owed in found.owed)
    asks_use = can_ask_use and bool(request.GET.get("use"))
    return _render(
        request,
        "release",
        "This release",
        current="release",
        found=ahead.with_use(found) if asks_use else found,
        can_ask_use=can_ask_use,
        asks_use=asks_use,
    )


@page
def attic(request: HttpRequest, connection: BaseDatabaseWrapper) -> HttpResponse:
    """What was put away instead of dropped."""
    found = emptying.listed(connection) if AtticStore(connection).exists() else []
    return _render(
        request,
        "attic",
        "Attic",
        current="attic",
        kept=found,
        total_bytes=sum(one.size_bytes for one in found),
        purged_after_days=emptying.PURGED_AFTER.days,
        now=timezone.now(),
    )


@page
def tables(request: HttpRequest, connection: BaseDatabaseWrapper) -> HttpResponse:
    """Every table with its size, its upkeep, and its indexes that are of no use."""
    found = live.tables(connection)
    by = request.GET.get("by", "")
    by = by if by in ORDERS else "size"
    ours = {name for names in live.project_tables().values() for name in names}
    biggest = max([table.total_bytes for table in found], default=1)
    since = live.statistics_since(connection)
    # Where statistics were never reset, they are as old as the database, which is no younger than its first run.
    counted_since = since or runs.first_started(connection, reading.tables(connection))
    return _render(
        request,
        "tables",
        "Tables",
        current="tables",
        tables=[(table, length(table.total_bytes / biggest)) for table in sorted(found, key=ORDERS[by][1])],
        orders=[(name, title) for name, (title, _) in ORDERS.items()],
        by=by,
        is_cut=len(found) >= live.MAX_TABLES,
        unused=[(table, index) for table in found if table.name in ours for index in table.unused_indexes],
        unused_tell=counted_since is None or timezone.now() - counted_since >= live.UNUSED_AFTER,
        unused_days=live.UNUSED_AFTER.days,
        invalid=[(table, index) for table in found for index in table.invalid_indexes],
        since=since,
    )


@page
def table(request: HttpRequest, connection: BaseDatabaseWrapper, name: str) -> HttpResponse:
    details = live.details(connection, name)
    if details is None:
        raise Http404(f"There is no table {name}.")
    model = live.models_of_tables().get(name)
    return _render(
        request,
        "table",
        f"Table {name}",
        current="tables",
        details=details,
        table=details.table,
        since=live.statistics_since(connection),
        model=model._meta.verbose_name_plural if model else "",
        changelist=_changelist(request, model),
    )


@page
def column(request: HttpRequest, connection: BaseDatabaseWrapper, name: str, column: str) -> HttpResponse:
    told = columns.tell(connection, reading.tables(connection), name, column)
    if told is None:
        raise Http404(f"There is no column {column} of a table {name}.")
    return _render(request, "column", f"Column {name}.{column}", current="tables", told=told, table=told.details.table)


@page
def diagram(request: HttpRequest, connection: BaseDatabaseWrapper) -> HttpResponse:
    """The tables and what refers to what."""
    ours = live.project_tables()
    app = request.GET.get("app", "")
    named = [name.strip() for name in request.GET.get("tables", "").split(",") if name.strip()]
    wanted: list[str] | None
    if named:
        wanted, shown = named, ", ".join(named)
    elif request.GET.get("all"):
        wanted, shown = None, "all"
    elif app in ours:
        wanted, shown = ours[app], app
    else:
        wanted, shown = [name for names in ours.values() for name in names], "project"
    shapes, keys = live.shapes(connection, wanted)
    return _render(
        request,
        "diagram",
        "Entity-relationship diagram",
        current="diagram",
        shapes=shapes,
        keys=keys,
        apps=sorted(ours),
        shown=shown,
        is_named=bool(named),
        picture=drawing.draw(drawing.arrange(shapes, keys), lambda name: reverse("schema:table", args=[name])),
    )


def _changelist(request: HttpRequest, model: Any) -> str:
    """The address of a model's rows in the admin site, for who may see them."""
    if model is None or model not in admin.site._registry:
        return ""
    if not admin.site._registry[model].has_view_permission(request):
        return ""
    try:
        return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    except NoReverseMatch:
        return ""


def _render(request: HttpRequest, template: str, title: str, *, status: int = 200, **context: object) -> HttpResponse:
    return TemplateResponse(
        request,
        f"schema/{template}.html",
        {**admin.site.each_context(request), "title": title, **context},
        status=status,
    )
