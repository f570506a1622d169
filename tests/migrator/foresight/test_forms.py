"""Forms of constants, which `pg_stat_statements` takes out of a text, in five kinds of statement: resolved again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest

from rupaya.localdb import LocalPostgres
from rupaya.migrator.foresight.probe import UNKNOWN, USES, USES_NOT
from rupaya.migrator.foresight.relations import RelationProbe, Target
from tests.migrator.foresight.statistics_server import statistics_server

pytestmark = pytest.mark.slow

TABLE = """
    CREATE TABLE pay (id integer PRIMARY KEY, amount numeric, merchant text, note text, at timestamptz DEFAULT now(),
                      day date, tags integer[], doc jsonb, b bit(3));
    INSERT INTO pay SELECT n, n, 'm', 'x', now(), '2026-01-01', '{1,2,3}', '{"a": 1}', B'101'
        FROM generate_series(1, 20) n
"""
EXPRESSIONS = r"""
extract(year from at)
date_trunc('month', at)
at > now() - interval '1 day'
at + interval '1' day
at + interval '1 month 2 days' * 3
day + 7
day - date '2026-01-01'
current_date - 30
at::date = current_date - 1
day between symmetric date '2026-02-01' and '2026-01-01'
at at time zone interval '-08:00'
timestamp with time zone '2026-01-01' < at
time '12:00' < at::time
substring(note from 1 for 3)
overlay(note placing 'zz' from 2 for 1)
position('x' in note)
trim(both 'x' from note)
note like 'a!%' escape '!'
note similar to '%(a|b)%'
note collate "C" < 'b'
lpad(note, 5, '0')
amount::int % 5
amount * 1.18
greatest(amount, 10, 20)
case when amount > 10 then 'big' when amount > 5 then 'mid' else 'small' end
width_bucket(amount, 0, 100, 10)
id in (1, 2, 3)
id = any(array[1, 2])
id = any('{1,2}'::int[])
(id, amount) in ((1, 2), (3, 4))
row(id, amount) < row(3, 4)
id is distinct from 3
exists (select 1 where id = 5)
tags[1:2]
tags @> array[1]
2 = any(tags)
tags || 5
doc ->> 'a'
doc -> 'a' -> 0
doc #>> '{a,b}'
doc @? '$.a'
doc['a']
(doc ->> 'a')::int + 1
jsonb_build_object('k', id, 'v', note)
b = B'101'
b | x'5'::bit(3)
md5(note || 'salt')
to_date('2026', 'YYYY') < day
make_interval(days => 3)
age(at) > '1 day'
'2026-01-01'::timestamptz < at
count(*) filter (where amount > 5)
sum(amount) over (order by id rows between 3 preceding and 1 following)
lag(amount, 1, 0) over (order by id)
percentile_cont(0.5) within group (order by amount)
string_agg(note, ', ' order by id)
count(distinct note)
(select max(q) from (values (1), (2)) v(q))
(select string_agg(z::text, ',') from generate_series(1, 3) z)
cast('5' as integer)
2 + 3 * 4
true and id > 3
hashtext(note) % 10 = 3
format('%s-%s', id, 'x')
uuid '00000000-0000-0000-0000-000000000001'
inet '10.0.0.1'
int4range(1, 5) @> id
point(1, 2) <-> point(3, 4)
to_tsvector('english', note) @@ to_tsquery('a & b')
""".strip().splitlines()
FRAMES = (
    "SELECT {} FROM pay",
    "SELECT {0}, count(*) FROM pay GROUP BY {0}",
    "SELECT id FROM pay WHERE ({}) IS NOT NULL ORDER BY id LIMIT 5 OFFSET 2",
    "UPDATE pay SET note = note WHERE ({}) IS NOT NULL AND false",
    "SELECT id FROM pay ORDER BY {} FETCH FIRST 3 ROWS ONLY",
)
NOT_TOLD = {
    "SELECT at + interval '1' day, count(*) FROM pay GROUP BY at + interval '1' day",
    "SELECT b | x'5'::bit(3), count(*) FROM pay GROUP BY b | x'5'::bit(3)",
    "SELECT true and id > 3, count(*) FROM pay GROUP BY true and id > 3",
}
"""Of these it cannot be said on PostgreSQL 15, which leaves constants in GROUP BY, and takes them out above it."""


@pytest.fixture(scope="module")
def server() -> Iterator[LocalPostgres]:
    with statistics_server(TABLE) as started:
        yield started


def statements() -> Iterator[tuple[str, str]]:
    """Each, and the same with the column in it."""
    for expression in EXPRESSIONS:
        for frame in FRAMES:
            sql = frame.format(expression)
            yield sql, USES_NOT
            if sql.startswith("UPDATE"):
                yield f"{sql} AND merchant = 'm'", USES
            elif "GROUP BY" not in sql:
                yield sql.replace("SELECT ", "SELECT merchant IS NULL, ", 1), USES


def counted(url: str, sql: str) -> list[str]:
    """The texts that are kept of a statement; none, where it is no valid one."""
    with closing(psycopg2.connect(url)) as client, client.cursor() as cursor:
        try:
            cursor.execute(sql, None)
        except psycopg2.Error:
            return []
        cursor.execute("SELECT query FROM pg_stat_statements WHERE query ~ 'pay' AND query !~ 'query ~'")
        return [text for (text,) in cursor.fetchall()]


def test_no_form_of_a_constant_makes_a_use_unseen(server: LocalPostgres) -> None:
    texts: dict[str, tuple[list[str], str]] = {}
    for sql, expected in statements():
        server.psql("SELECT pg_stat_statements_reset()", database="rupaya")
        if kept := counted(server.url(), sql):
            texts[sql] = kept, expected
    with closing(psycopg2.connect(server.url())) as connection:
        connection.autocommit = True
        probe = RelationProbe(connection, Target("pay", "merchant"))
        with probe.rights_taken_away() as why:
            assert why == ""
            answers = {sql: {probe.ask(text)[0] for text in kept} for sql, (kept, _expected) in texts.items()}

    assert len(texts) > 400
    wrong = {sql: answer for sql, answer in answers.items() if answer != {texts[sql][1]}}
    assert wrong == {sql: {UNKNOWN} for sql in NOT_TOLD & wrong.keys()}
