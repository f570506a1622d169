"""The worst stall of traffic while a column and an index are added behind a reader that idles in its transaction."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psycopg2

from bench.contestants import Contestant, Lineup
from bench.measure import BenchFailed, in_turns, start, succeed
from bench.report import Reach, Section, as_ratio, in_s, middle, ratio
from bench.server import Database, Server
from bench.traffic import CLIENTS, QUERIES_PER_SECOND, Traffic

TITLE = "Worst stall of traffic"
RUNS = 3
ROWS = 1_000_000
READER_S = 20.0
CALM_S = 2.0
GIVE_UP_S = 120.0
AT_MOST_S = 1.5


@dataclass(frozen=True)
class Stall:
    """How traffic and migration fared."""

    worst_s: float
    answered_per_s: float
    """While the reader's transaction was open and the migrator at work."""
    deploy_s: float


def run(lineup: Lineup, server: Server, runs: int) -> Section:
    """A table of a million rows under traffic, and one deploy."""

    def once(contestant: Contestant) -> Stall:
        with server.database() as database:
            succeed(contestant, database, contestant.first_step)
            database.query("INSERT INTO busy_entry (amount) SELECT n FROM generate_series(1, %s) n", ROWS)
            database.query("VACUUM ANALYZE busy_entry")
            return deploy_behind_a_reader(contestant, database)

    stalls = in_turns(TITLE, lineup.migrators("busy"), runs, once)
    worst = {name: [stall.worst_s for stall in those] for name, those in stalls.items()}
    return Section(
        TITLE,
        f"{ROWS:,} rows, {CLIENTS} clients that read and write {QUERIES_PER_SECOND} times a second, and a reader that "
        f"idles in its transaction for {READER_S:g} s. Behind it, ADD COLUMN and a plain CREATE INDEX are deployed, "
        "the same two migrations for all. The worst query is the slowest single one while that lasted.",
        ["", "worst query", "ours ÷ it", "queries answered a second behind the reader", "deploy took"],
        [
            [
                name,
                in_s(middle(worst[name])),
                "" if name == "ours" else as_ratio(ratio(worst["ours"], worst[name])),
                f"{middle([stall.answered_per_s for stall in those]):.0f}",
                in_s(middle([stall.deploy_s for stall in those])),
            ]
            for name, those in stalls.items()
        ],
        reaches=[Reach("worst query of any run, ours", max(worst["ours"]), AT_MOST_S, " s")],
        runs=runs,
    )


def deploy_behind_a_reader(contestant: Contestant, database: Database) -> Stall:
    """Deploy while a reader keeps its transaction open, and see how long traffic waits.

    Raises:
        BenchFailed: if the deploy fails, or a query does.
    """
    reader = psycopg2.connect(database.url)
    with Traffic(database, ROWS) as traffic:
        time.sleep(CALM_S)
        with reader.cursor() as cursor:
            cursor.execute("SELECT amount FROM busy_entry WHERE id = 1")
        opened = time.monotonic()
        began = time.monotonic()
        process = start(contestant, database)
        closed = None
        try:
            while process.poll() is None and time.monotonic() - began < GIVE_UP_S:
                if closed is None and time.monotonic() - opened >= READER_S:
                    reader.close()
                    closed = time.monotonic()
                time.sleep(0.01)
            ended = time.monotonic()
        finally:
            reader.close()
            if process.poll() is None:
                process.kill()
            status = process.wait()
        time.sleep(CALM_S)
    if traffic.errors:
        raise BenchFailed(f"{contestant.name}: traffic met errors: {traffic.errors[0]}")
    if status != 0 or closed is None:
        raise BenchFailed(f"{contestant.name} ended with {status} after {ended - began:.1f} s behind a reader")
    answered = [query for query in traffic.queries if began <= query.began + query.seconds <= closed]
    return Stall(
        worst_s=max(query.seconds for query in traffic.queries if query.began + query.seconds >= began),
        answered_per_s=len(answered) / (closed - began),
        deploy_s=ended - began,
    )
