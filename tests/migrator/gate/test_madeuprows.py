"""Made-up rows: every table of a real project gets some, and rules are kept to."""

from __future__ import annotations

import re

import psycopg2
import pytest

from rupaya.migrator.analysis.gate import madeuprows
from rupaya.migrator.analysis.gate.madeuprows import Filled, fill
from rupaya.migrator.analysis.gate.makers import MadeUpColumn, maker_of
from rupaya.migrator.analysis.gate.regextexts import matching
from tests.conftest import new_database

PATTERNS = [
    r"^[^@\s]+@[^@\s]+$",
    r"^\+[1-9]\d{1,14}$",
    r"^[A-Z]{3}$",
    r"^\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}$",
    r"^(open|closed)$",
    r"^(?!root)[a-z][a-z0-9_]*$",
    r"x?y*z+",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_text_that_is_made_from_a_pattern_matches_it(pattern: str) -> None:
    make = matching(pattern)

    assert all(re.search(pattern, make(number)) for number in range(1, 500))


def test_another_number_makes_another_text() -> None:
    make = matching(r"^[A-Z]{3}\d+$")

    assert len({make(number) for number in range(10_000)}) == 10_000


def test_a_small_integer_holds_its_value_in_whatever_row() -> None:
    make = maker_of(MadeUpColumn("n", "int2", "N", "smallint", -1, True, False, False, ()))

    assert make is not None
    assert max(int(make(number) or 0) for number in (32_767, 32_768, 1_000_000)) == 32_767


def test_a_pattern_that_is_none_is_said() -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        matching("[")


def filled(url: str) -> Filled:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            return fill(cursor)
    finally:
        connection.close()


def test_every_table_of_the_service_gets_rows(migrated_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(madeuprows, "ROWS", 300)

    made = filled(migrated_url)

    assert made.empty == {}
    assert len(made.counts) > 20
    assert all(count > 0 for count in made.counts.values()), made.counts


TABLES = """
    CREATE TYPE mood AS ENUM ('sad', 'ok');
    CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
    CREATE DOMAIN code AS varchar(8) CHECK (VALUE ~ '^[A-Z]{2}-[0-9]{5}$') NOT NULL;
    CREATE TABLE parent (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, code code UNIQUE,
                         self bigint REFERENCES parent);
    CREATE TABLE child (
        parent_id bigint PRIMARY KEY REFERENCES parent, mood mood NOT NULL, n positive NOT NULL, a int, b int,
        kind varchar(5) NOT NULL CHECK (kind IN ('card', 'bank')),
        starts timestamptz NOT NULL, ends timestamptz NOT NULL,
        data jsonb NOT NULL, at inet NOT NULL, tags text[] NOT NULL, span tstzrange NOT NULL,
        amount numeric(6, 2) NOT NULL,
        short char(2) NOT NULL, twice int GENERATED ALWAYS AS (a * 2) STORED, seconds interval NOT NULL,
        CHECK (num_nonnulls(a, b) = 1), CHECK (ends > starts), CHECK (amount BETWEEN 5 AND 6)
    );
    CREATE TABLE pairs (left_id bigint NOT NULL REFERENCES parent, right_id bigint NOT NULL REFERENCES parent,
                        UNIQUE (left_id, right_id));
    CREATE TABLE impossible (id int CHECK (id > 5 AND id < 5 AND id IS NOT NULL));
    CREATE TABLE first (id int PRIMARY KEY, second_id int);
    CREATE TABLE second (id int PRIMARY KEY, first_id int NOT NULL REFERENCES first);
    ALTER TABLE first ADD FOREIGN KEY (second_id) REFERENCES second;
"""


def test_types_checks_domains_and_foreign_keys_are_kept_to(server_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(madeuprows, "ROWS", 300)
    with new_database(server_url) as url:
        with psycopg2.connect(url) as connection, connection.cursor() as cursor:
            cursor.execute(TABLES)
        connection.close()

        made = filled(url)

        assert made.empty == {}
        assert made.counts == {
            "parent": 300,
            "child": 300,
            "pairs": 300,
            "impossible": 300,
            "first": 300,
            "second": 300,
        }
        with psycopg2.connect(url) as connection, connection.cursor() as cursor:
            # Rows that no rule allows are there all the same, and the rule is there for new ones.
            cursor.execute("SELECT conname FROM pg_constraint WHERE NOT convalidated")
            assert cursor.fetchall() == [("impossible_id_check",)]
        connection.close()


PARTITIONED = """
    CREATE TABLE day (id bigint, on_day date, PRIMARY KEY (id, on_day)) PARTITION BY RANGE (on_day);
    CREATE TABLE day_1 PARTITION OF day FOR VALUES FROM ('2031-01-01') TO ('2031-01-02');
    CREATE TABLE kind (name text) PARTITION BY LIST (name);
    CREATE TABLE kind_some PARTITION OF kind FOR VALUES IN ('card', 'bank');
    CREATE TABLE number (id int, CHECK (id > 5)) PARTITION BY RANGE (id);
    CREATE TABLE number_more PARTITION OF number FOR VALUES FROM (10) TO (20) PARTITION BY HASH (id);
    CREATE TABLE number_0 PARTITION OF number_more FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE number_1 PARTITION OF number_more FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    CREATE TABLE number_others PARTITION OF number DEFAULT;
    CREATE TABLE hashed (id int) PARTITION BY HASH (id);
    CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 1, REMAINDER 0);
    CREATE TABLE nowhere (id int) PARTITION BY RANGE (id);
"""


def test_partitioned_tables_get_rows_that_their_partitions_take(
    server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(madeuprows, "ROWS", 300)
    with new_database(server_url) as url:
        with psycopg2.connect(url) as connection, connection.cursor() as cursor:
            cursor.execute(PARTITIONED)
        connection.close()

        made = filled(url)

        assert list(made.empty) == ["nowhere"]
        some = {name: made.counts[name] for name in ("day", "day_1", "kind", "kind_some", "hashed", "hashed_0")}
        assert some == dict.fromkeys(some, 300)
        assert made.counts["number"] == 300
        assert sum(made.counts.get(f"number_{name}", 0) for name in ("0", "1", "others")) == 300
