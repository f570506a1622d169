"""No page of people and money reads a big table whole, and none asks many questions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from bench import people
from bench.contestants import PROJECT
from tests.conftest import new_database
from tests.faults.migrator import query
from tests.server.service import manage

# Enough for PostgreSQL to prefer an index where there is one.
USERS = 10_000
MOST_QUERIES = 20
# A person's page counts what is theirs, in nine tables, and has five pictures.
MOST_OF_A_PERSON = 40

Told = list[dict[str, Any]]


@pytest.fixture(scope="module")
def filled_url(server_url: str, _template: str) -> Iterator[str]:
    with new_database(server_url, template=_template) as url:
        people.load(url, USERS, progress=False)
        yield url


@pytest.fixture(scope="module")
def told(filled_url: str) -> Told:
    crawled = subprocess.run(
        [sys.executable, "-m", "bench.crawl", "plans", str(USERS), "5"],
        cwd=PROJECT,
        env=os.environ | {"DATABASE_URL": filled_url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert crawled.returncode == 0, crawled.stderr
    pages: Told = json.loads(crawled.stdout)
    return pages


@pytest.mark.slow
def test_no_page_reads_a_big_table_whole(told: Told) -> None:
    assert [(page["address"], page["read_whole"]) for page in told if page["read_whole"]] == []


def test_no_page_asks_more_than_twenty_questions(told: Told) -> None:
    asked = [page for page in told if not page["what"].startswith("site")]
    most = {"user: row": MOST_OF_A_PERSON}
    assert [
        (page["address"], page["queries"]) for page in asked if page["queries"] > most.get(page["what"], MOST_QUERIES)
    ] == []


def test_every_kind_of_page_was_looked_at(told: Told) -> None:
    from django.apps import apps

    models = {
        model._meta.model_name
        for app in ("accounts", "transactions")
        for model in apps.get_app_config(app).get_models()
    }
    for what in ("list", "search", "row", "history"):
        assert {page["what"].partition(":")[0] for page in told if page["what"].endswith(what)} == models, what
    kinds = {page["what"].partition(": ")[2] for page in told}
    assert kinds >= {"another page", "order", "filter", "date", "what belongs to it"}


def test_the_same_people_are_made_each_time(database_url: str, migrated_url: str, filled_url: str) -> None:
    migrated = manage(PROJECT, "migrate", "--noinput", DATABASE_URL=database_url)
    assert migrated.returncode == 0, migrated.stderr
    sql = """
        SELECT md5(string_agg(t::text, '' ORDER BY transaction_id))
        FROM (SELECT transaction_id, user_id, amount, merchant, transaction_date FROM transactions) t
    """
    sums = []
    for url in (database_url, migrated_url):
        people.load(url, 50, progress=False)
        sums.append(query(url, sql))
    assert sums[0] == sums[1]
    with pytest.raises(people.PeopleThereError, match="has people already"):
        people.load(filled_url, 50, progress=False)
