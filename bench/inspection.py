"""The admin's pages over ten million transactions, beside Django's own ModelAdmin on the same rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from bench import people
from bench.contestants import PROJECT, Contestant, Lineup, ours
from bench.measure import BenchFailed, succeed
from bench.report import Reach, Section, as_ratio, in_ms, middle
from bench.server import Database, Server

TITLE = "The admin at ten million rows"
RUNS = 1
AT_MOST_MS = 150
TIMEOUT_S = 3600
KINDS = {
    "list": "a list",
    "another page": "another page of it",
    "order": "in another order",
    "filter": "a filter",
    "date": "a year, a month, a day",
    "search": "a search",
    "row": "a row",
    "what belongs to it": "what belongs to a person",
    "history": "a row's history",
    "home page": "the home page",
    "the schema's story": "the schema's story",
}
Times = dict[str, list[float]]


def run(_lineup: Lineup, server: Server, _runs: int) -> Section:
    """BENCH_USERS (1,000,000) people with ten times as many transactions; every page of ours, some of Django's."""
    users = int(os.environ.get("BENCH_USERS") or people.USERS)
    with server.database() as database:
        succeed(ours(), database)
        people.load(database.url, users)
        # A visitor of each kind first, so that both meet a server that has read its indexes.
        own = [_crawl(database, "rupaya.settings", users, each) for each in (1, 0)][-1]
        stock = _crawl(database, "bench.fixtures.stock_admin", users, 1)
    return section(own, stock, users)


def section(own: Times, stock: Times, users: int) -> Section:
    """Both sites' times by kind of page."""
    rows, worst = [], 0.0
    for kind, called in KINDS.items():
        mine, theirs = _of(own, kind), _of(stock, kind)
        if not mine:
            continue
        worst = max(worst, p95(mine))
        rows.append([
            called, f"{len(mine)}", in_ms(middle(mine) / 1000), in_ms(p95(mine) / 1000),
            in_ms(middle(theirs) / 1000) if theirs else "–", in_ms(max(theirs) / 1000) if theirs else "–",
            as_ratio(middle(mine) / middle(theirs)) if theirs else "–",
        ])  # fmt: skip
    listed = {kind: _of(own, kind) for kind in KINDS}
    every = [ms for times in listed.values() for ms in times]
    return Section(
        TITLE,
        f"{users:,} users, {users * 10:,} transactions and the tables that go with them, made by `python -m "
        "bench.people`. Every list of every model, every link that it shows, searches and rows: time in the server, "
        "middleware and template included. Django's own ModelAdmin has the same columns, filters, orders and indexes, "
        "and is asked for one page of each kind of each model; a query that takes it more than 5 s is stopped, and "
        "counted as if it had ended then.",
        ["page", "measured", "ours, median", "ours, p95", "Django's, median", "Django's, slowest", "ratio of medians"],
        rows,
        reaches=[Reach("p95 of all pages", p95(every), AT_MOST_MS, " ms"),
                 Reach("p95 of the slowest kind of page, the home page included", worst, AT_MOST_MS, " ms")],
        notes=["A worker reads migrations and catalog when it starts, before its first page, and so does this."],
    )  # fmt: skip


def p95(values: list[float]) -> float:
    """What 95 in 100 do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]


def _of(times: Times, kind: str) -> list[float]:
    return [ms for what, found in times.items() if what.partition(": ")[2] == kind for ms in found]


def _crawl(database: Database, settings: str, users: int, each: int) -> Times:
    crawler = Contestant("crawler", (sys.executable, "-m", "bench.crawl", "time", str(users), str(each)),
                         variables={"PYTHONPATH": str(PROJECT), "DJANGO_SETTINGS_MODULE": settings})  # fmt: skip
    done = subprocess.run(
        crawler.command, cwd=PROJECT, env=crawler.environment(database), capture_output=True, text=True,
        timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    if done.returncode:
        raise BenchFailed(done.stderr)
    times: Times = json.loads(done.stdout)
    return times
