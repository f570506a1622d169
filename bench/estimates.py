"""What `migrate --rehearse --rows` reckons that statements take on the live table, beside what they take."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tqdm import tqdm

from bench.contestants import Contestant, Lineup, ours
from bench.measure import BenchFailed, succeed
from bench.report import Reach, Section, middle
from bench.server import Database, Server

TITLE = "Estimates"
RUNS = 3
FACTOR_AT_MOST = 2.0
FIXTURE = "estimated"
TIMEOUT_S = 900.0  # an UPDATE of a million rows whose indexes do not fit into memory, beside other work

# As wide as a table of people's money is: about 250 bytes a row, where made-up rows have fewer.
ROWS = """
    INSERT INTO shops (name) SELECT 'shop ' || md5(n::text) FROM generate_series(1, {shops}) AS n;
    INSERT INTO sales (shop_id, amount, price, name, note, extra, at, is_paid)
    SELECT 1 + (n * 7919) % {shops}, n, (n % 100000) / 100.0, md5(n::text), md5((-n)::text) || repeat(' and more', 6),
           jsonb_build_object('n', n, 'city', md5((n % 1000)::text)),
           '2020-01-01'::timestamptz + ((n * 7919) % 100000000) * interval '1 second', false
    FROM generate_series(1::bigint, {sales}) AS n;
"""


@dataclass(frozen=True)
class Live:
    """How many rows the live table has, and on how many made-up ones the estimate rests."""

    rows: int
    made_up: int
    is_promised: bool = True
    """Whether the estimate is to be right; what larger tables give is told as it is found, once, without the UPDATE."""

    def __str__(self) -> str:
        return f"{self.rows:,}"


SIZES = (Live(100_000, 20_000), Live(1_000_000, 100_000), Live(3_000_000, 100_000, is_promised=False))
UPDATE = "UPDATE of all rows"
"""Told, and not among what is reached for: what an UPDATE does depends on the indexes and the space that are there."""
KINDS = {
    "ALTER amount TYPE": "rewrite",
    "ALTER price TYPE": "rewrite, with five indexes",
    "VALIDATE CONSTRAINT sales_price": "validate a CHECK",
    "VALIDATE CONSTRAINT sales_shop": "validate a foreign key",
    "SET NOT NULL": "SET NOT NULL",
    "INDEX sales_at": "index, timestamp",
    "INDEX sales_name": "index, text",
    "UNIQUE": "UNIQUE",
    "INDEX CONCURRENTLY sales_shop_id": "concurrent index, integer",
    "INDEX CONCURRENTLY sales_note": "concurrent index, long text",
    "UPDATE": UPDATE,
}
PROSE = """\
Eleven statements that go through every row of a table of about 250 bytes a row, estimated by `migrate --rehearse
--rows` on made-up rows (a fifth and a tenth as many, and a tenth of these), and then carried out by `migrate`. Estimate
and truth are medians, in seconds; the estimate is the middle of the range that is told. The range holds the truth in as
many runs as the last column says. Three million rows are measured once, and nothing is promised of them."""


@dataclass
class _Compared:
    """One kind of statement on one live table, over all runs."""

    low_s: list[float]
    high_s: list[float]
    truth_s: list[float]

    @property
    def estimate_s(self) -> float:
        return math.sqrt(middle(self.low_s) * middle(self.high_s))

    @property
    def ratio(self) -> float:
        return middle(self.truth_s) / self.estimate_s

    @property
    def held(self) -> int:
        return sum(low <= s <= high for low, s, high in zip(self.low_s, self.truth_s, self.high_s, strict=True))


def run(_lineup: Lineup, server: Server, runs: int) -> Section:
    """Estimate, then do it, for each size of the live table."""
    rows: list[list[str]] = []
    reaches: list[Reach] = []
    for live in SIZES:
        runs_of_it = runs if live.is_promised else 1
        compared = _compare(server, live, runs_of_it)
        for kind, one in compared.items():
            span = f"{middle(one.low_s):.2f} to {middle(one.high_s):.2f}"
            figures = [f"{one.estimate_s:.2f}", f"{middle(one.truth_s):.2f}", f"{one.ratio:.2f}"]
            rows.append([str(live), kind, span, *figures, f"{one.held} of {runs_of_it}"])
        if live.is_promised:
            worst = max(max(one.ratio, 1 / one.ratio) for kind, one in compared.items() if kind != UPDATE)
            reaches.append(Reach(f"{live} rows: the estimate that is most out, by a factor of", worst, FACTOR_AT_MOST))
    header = ["live rows", "", "range shown", "its middle", "truth", "truth ÷ middle", "within the range"]
    return Section(TITLE, PROSE, header, rows, reaches=reaches, runs=runs)


def _compare(server: Server, live: Live, runs: int) -> dict[str, _Compared]:
    found: dict[str, _Compared] = {}
    untimed: list[str] = []
    contestant = ours(FIXTURE)
    kinds = [kind for kind in KINDS.values() if live.is_promised or kind != UPDATE]
    migrate = (*contestant.command[:-1], FIXTURE, "0004" if live.is_promised else "0003")
    rehearse = (*migrate, "--rehearse", "--rows", str(live.made_up), "--format", "json")
    with _filled(server, contestant, live) as filled:
        for _ in tqdm(range(runs), desc=f"{TITLE}, {live} rows", unit="run", leave=False):
            with server.database(template=filled.name) as database:
                database.query("VACUUM ANALYZE")
                told = json.loads(_document(succeed(contestant, database, rehearse, TIMEOUT_S).output))
                succeed(contestant, database, migrate, TIMEOUT_S)
                took = {
                    statement["sql"]: statement["ms"] / 1000
                    for (statements,) in database.query("SELECT statements FROM migrator_traces")
                    for statement in statements
                }
            untimed += told["untimed"]
            for one in told["times"]:
                kind = _kind_of(one["sql"])
                if kind is None or one["low_s"] is None:
                    continue
                compared = found.setdefault(kind, _Compared([], [], []))
                compared.low_s.append(one["low_s"])
                compared.high_s.append(one["high_s"])
                compared.truth_s.append(took[one["sql"]])
    if missing := set(kinds) - set(found):
        raise BenchFailed(f"no estimate was made of: {', '.join(sorted(missing))}; {untimed}")
    return {kind: found[kind] for kind in kinds}


def _kind_of(sql: str) -> str | None:
    return next((kind for words, kind in KINDS.items() if words in sql), None)


def _document(output: str) -> str:
    """The JSON in what a command wrote, which also holds what it said meanwhile."""
    return output[output.index("{\n") : output.rindex("}") + 1]


@contextmanager
def _filled(server: Server, contestant: Contestant, live: Live) -> Iterator[Database]:
    """A database with these rows, in which everything else is pending."""
    with server.database() as database:
        succeed(contestant, database, contestant.first_step)
        database.query(ROWS.format(shops=live.rows // 20, sales=live.rows))
        yield database
