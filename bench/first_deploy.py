"""The first deploy: every table onto an empty database."""

from __future__ import annotations

from bench.contestants import Contestant, Lineup
from bench.costs import cost_section
from bench.measure import Cost, in_turns, succeed
from bench.report import Section
from bench.server import Server

TITLE = "First deploy"
RUNS = 11


def run(lineup: Lineup, server: Server, runs: int) -> Section:
    """A new database each time."""

    def once(contestant: Contestant) -> Cost:
        with server.database() as database:
            return succeed(contestant, database)

    contestants = lineup.migrators_of_the_service()
    in_turns(f"{TITLE} (warming up)", contestants, 1, once)
    return cost_section(
        TITLE,
        "All tables and rows onto an empty database. Ours also keeps a ledger, and all of it is one transaction; stock "
        "Django leaves half a schema behind when a later migration fails.",
        in_turns(TITLE, contestants, runs, once),
        runs,
    )
