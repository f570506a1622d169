"""What a code sends all the time, and whether it failed or waited."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg2

WAITS_AT_MOST_S = 1.5
OTHER = "gen_random_uuid()::text"
"""A value that no other row has."""
DIFFERENT = dict.fromkeys(("serial", "shelf", "tag", "lot", "mark"), OTHER)


def upsert(table: str, key: str, **values: str) -> str:
    """An INSERT that changes the row if there is one of this key, as bulk_create(update_conflicts=True) sends it."""
    changed = ", ".join(f"{column} = EXCLUDED.{column}" for column in values if column != key)
    return (
        f"INSERT INTO {table} ({', '.join(values)}) VALUES ({', '.join(values.values())}) "
        f"ON CONFLICT ({key}) DO UPDATE SET {changed}"
    )


# Worked out once: a random number for each row would find several, and two who lock several lock each other out.
ANY_ROW = "(SELECT 1 + floor(random() * 1000)::integer)"
OLD = (
    "INSERT INTO shop_item (name, colour, amount, maker_id) VALUES ('old', 'green', 3, 1)",
    "INSERT INTO shop_item (name, colour, amount, maker_id) VALUES ('old', NULL, 3, 1)",
    f"UPDATE shop_item SET name = 'changed', colour = 'blue', amount = 4 WHERE id = {ANY_ROW}",
    f"SELECT id, name, colour, amount, maker_id FROM shop_item WHERE id = {ANY_ROW}",
    """UPDATE shop_item SET note = '{"old": 2}', address = '10.0.0.3' WHERE id = """ + ANY_ROW,
    "SELECT id FROM shop_item WHERE id < 99 AND address = '10.0.0.3' AND note = '{\"old\": 2}'",
    upsert("shop_item", "id", id=ANY_ROW, name="'old'", colour="'grey'", amount="6", maker_id="1"),
    upsert("shop_maker", "name", name="'one'", city="'there'"),
    f"INSERT INTO shop_part (code, kind, serial, shelf, place, weight, maker_id, tag, lot, mark) "
    f"VALUES ({OTHER}, 'old', {OTHER}, {OTHER}, 1, 2, NULL, {OTHER}, {OTHER}, {OTHER})",
    f"UPDATE shop_part SET kind = 'changed', tag = {OTHER}, lot = {OTHER}, mark = {OTHER}, weight = 3 "
    f"WHERE id = {ANY_ROW}",
    upsert("shop_part", "id", id="5", code="'5'", kind="'b'", place="5", weight="6", **DIFFERENT),
    "SELECT id, kind, serial, shelf, place, weight, maker_id, tag, lot, mark FROM shop_part WHERE code = '6'",
    f"INSERT INTO crates_crate (label, item_id, part_id) VALUES ('old', {ANY_ROW}, 7)",
)


@dataclass
class Sent:
    """What became of it."""

    statements: int = 0
    failed: set[str] = field(default_factory=set)
    upserts: int = 0
    slowest_s: float = 0.0

    def check(self) -> None:
        """Nothing failed, and nothing waited for long."""
        assert not self.failed
        assert self.statements > self.upserts > 0
        assert self.slowest_s < WAITS_AT_MOST_S


@contextmanager
def traffic(url: str, statements: Sequence[str]) -> Iterator[Sent]:
    """Send these in turn for as long as the block runs."""
    sent = Sent()
    over = threading.Event()

    def work() -> None:
        connection = psycopg2.connect(url)
        connection.autocommit = True
        with connection.cursor() as cursor:
            while not over.is_set():
                for statement in statements:
                    began = time.monotonic()
                    try:
                        cursor.execute(statement)
                    except psycopg2.Error as error:
                        sent.failed.add(f"{statement}: {error}")
                    sent.slowest_s = max(sent.slowest_s, time.monotonic() - began)
                    sent.statements += 1
                    sent.upserts += "ON CONFLICT" in statement
                over.wait(0.002)
        connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield sent
    finally:
        over.set()
        thread.join()
