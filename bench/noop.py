"""A start with nothing to migrate: what nearly every container start is."""

from __future__ import annotations

from contextlib import ExitStack

from bench.contestants import Contestant, Lineup, floors
from bench.costs import cost_section, reaches_of
from bench.measure import Cost, in_turns, succeed
from bench.report import Section
from bench.server import Server

TITLE = "Nothing to migrate"
RUNS = 25
AT_MOST_OF_STOCK = 0.25
AT_MOST_OF_KNEX = 0.3


def run(lineup: Lineup, server: Server, runs: int) -> Section:
    """Migrate a database for each contestant, then measure it again and again."""
    contestants = lineup.migrators_of_the_service()
    with ExitStack() as stack:
        databases = {each.name: stack.enter_context(server.database()) for each in [*contestants, *floors()]}
        for contestant in contestants:
            succeed(contestant, databases[contestant.name])

        def once(contestant: Contestant) -> Cost:
            return succeed(contestant, databases[contestant.name])

        in_turns(f"{TITLE} (warming up)", contestants, 1, once)
        costs = in_turns(TITLE, [*contestants, *floors()], runs, once)
    return cost_section(
        TITLE,
        "A database that has everything already: what nearly every container start meets.",
        costs,
        runs,
        [
            *reaches_of(costs, "stock Django", AT_MOST_OF_STOCK),
            *reaches_of(costs, "knex migrate:latest", AT_MOST_OF_KNEX),
        ],
    )
