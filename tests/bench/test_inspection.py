"""The benchmark of the admin's pages still finds both sites' pages; its figures are nobody's business here."""

from __future__ import annotations

import pytest

from bench.contestants import ours
from bench.inspection import KINDS, _crawl, section
from bench.measure import succeed
from bench.people import load
from bench.server import Server

USERS = 300


@pytest.mark.slow
def test_every_kind_of_page_is_asked_for_on_both_sites() -> None:
    with Server() as server, server.database() as database:
        succeed(ours(), database)
        load(database.url, USERS)
        own = _crawl(database, "rupaya.settings", USERS, 1)
        stock = _crawl(database, "bench.fixtures.stock_admin", USERS, 1)

    found = section(own, stock, USERS)

    assert {row[0] for row in found.rows} == set(KINDS.values())
    assert [row[0] for row in found.rows if row[4] == "–"] == ["what belongs to a person", "the schema's story"]
