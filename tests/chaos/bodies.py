"""Random migrations, and for each a question to the database that tells what it has of it."""

from __future__ import annotations

import random
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

BASE = "0001_initial"
ROWS = 300
PLACES = range(2, 9)
"""The numbers that a round's migrations may have; each has a counter row and columns of its own."""

BASE_TEXT = f'''
from django.db import migrations, models

PLACES = range({PLACES.start}, {PLACES.stop})
PREPARE = """
CREATE TABLE counters (place int PRIMARY KEY, n int NOT NULL);
INSERT INTO counters SELECT i, 0 FROM generate_series({PLACES.start}, {PLACES.stop - 1}) i;
CREATE TABLE marks (place int NOT NULL);
INSERT INTO shop_item (name) SELECT 'item ' || i FROM generate_series(1, {ROWS}) i;
CREATE PROCEDURE commit_it() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$;
"""


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel("Item", [
            ("id", models.BigAutoField(primary_key=True)),
            ("name", models.CharField(max_length=50)),
            *[(f"gone_{{place}}", models.TextField(null=True)) for place in PLACES],
            *[(f"filled_{{place}}", models.BigIntegerField(null=True)) for place in PLACES],
        ]),
        migrations.RunSQL(PREPARE),
    ]
'''


@dataclass(frozen=True)
class Kind:
    """What a migration does."""

    name: str
    body: Callable[[int], str]
    """The class body for a place: what stands between its head and its end."""
    probe: str
    """SQL with the place as %(place)s and the name as %(name)s: 1 where it was done once, 0 where nothing is there."""
    atomic: bool = True
    repeatable: bool = True
    fails: bool = False
    """Whether it must never be recorded."""


@dataclass(frozen=True)
class Written:
    """A migration of a round."""

    kind: Kind
    place: int

    @property
    def name(self) -> str:
        return f"{self.place:04d}_{self.kind.name}"

    def text(self, after: str) -> str:
        """The text of its file."""
        return (
            "from django.db import connection, migrations, models, transaction\n"
            "from django_pg_migration_tools.operations import SaferAddIndexConcurrently\n"
            "from rupaya.migrator.operations import Backfill\n\n\n" + self.kind.body(self.place).replace("AFTER", after)
        )


def _class(operations: str, head: str = 'phase = "expand"') -> str:
    return (
        "class Migration(migrations.Migration):\n"
        f"    {head}\n"
        '    dependencies = [("shop", "AFTER")]\n'
        f"    operations = [{operations}]\n"
    )


def _sql(*statements: str, atomic: bool = True) -> Callable[[int], str]:
    head = 'phase = "expand"' if atomic else 'phase = "expand"; atomic = False'
    return lambda place: _class(
        ", ".join(f"migrations.RunSQL({sql.format(place=place)!r}, migrations.RunSQL.noop)" for sql in statements), head
    )


def _python(code: str, head: str = 'phase = "expand"') -> Callable[[int], str]:
    def body(place: int) -> str:
        function = textwrap.indent(textwrap.dedent(code).replace("PLACE", str(place)), "    ")
        return (
            "def change(apps, schema_editor):\n    connection = schema_editor.connection\n"
            f"    cursor = connection.cursor()\n{function}\n\n\n"
            + _class("migrations.RunPython(change, migrations.RunPython.noop)", head)
        )

    return body


def _operation(operation: str, head: str = 'phase = "expand"') -> Callable[[int], str]:
    return lambda place: _class(operation.replace("PLACE", str(place)), head)


COUNTED = "SELECT n FROM counters WHERE place = %(place)s"
TABLE = "SELECT count(*) FROM pg_class WHERE relname = 'made_' || %(place)s"
COLUMN = "SELECT count(*) FROM pg_attribute WHERE attname = 'added_' || %(place)s AND NOT attisdropped"
INDEX = """
    SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE c.relname = 'index_' || %(place)s AND i.indisvalid
"""
ANYTHING = "SELECT count(*) FROM pg_class WHERE relname = 'broken_' || %(place)s"
OWED = """
    SELECT count(*) FROM migrator_debts WHERE migration = %(name)s AND state IN ('owed', 'paid')
"""
MARKED = "SELECT CASE count(*) WHEN 0 THEN 0 WHEN 3 THEN 1 ELSE 2 END FROM marks WHERE place = %(place)s"

GOOD = (
    Kind("table", _sql("CREATE TABLE made_{place} (i int)", "SELECT pg_sleep(0.05)"), TABLE),
    Kind("count", _sql("UPDATE counters SET n = n + 1 WHERE place = {place}", "SELECT pg_sleep(0.03)"), COUNTED),
    Kind(
        "python",
        _python("""
            for _ in range(3):
                cursor.execute("INSERT INTO marks VALUES (PLACE)")
                cursor.execute("SELECT pg_sleep(0.02)")
        """),
        MARKED,
    ),
    Kind("column", _operation('migrations.AddField("item", "added_PLACE", models.IntegerField(null=True))'), COLUMN),
    Kind("required", _operation('migrations.AddField("item", "added_PLACE", models.IntegerField(default=7))'), COLUMN),
    Kind("gone", _operation('migrations.RemoveField("item", "gone_PLACE")'), OWED),
    Kind(
        "index",
        _operation('migrations.AddIndex("item", models.Index(fields=["name"], name="index_PLACE"))'),
        INDEX,
    ),
    Kind(
        "concurrently",
        _operation(
            'SaferAddIndexConcurrently("item", models.Index(fields=["name"], name="index_PLACE"))', "atomic = False"
        ),
        INDEX,
        atomic=False,
    ),
    Kind(
        "backfill",
        _operation(
            'Backfill("Item", set="filled_PLACE = id", where="filled_PLACE IS NULL", batch_size=60, pause_s=0.01)',
            "atomic = False",
        ),
        "",
        atomic=False,
    ),
    Kind(
        "once",
        _sql("SELECT pg_sleep(0.02)", "UPDATE counters SET n = n + 1 WHERE place = {place}", atomic=False),
        COUNTED,
        atomic=False,
        repeatable=False,
    ),
    Kind(
        "again",
        _python(
            """
            cursor.execute("SELECT pg_sleep(0.02)")
            cursor.execute("UPDATE counters SET n = 1 WHERE place = PLACE")
            """,
            'phase = "expand"; atomic = False; idempotent = True',
        ),
        COUNTED,
        atomic=False,
    ),
    Kind(
        "procedure",
        _sql("UPDATE counters SET n = 1 WHERE place = {place}", "CALL commit_it()", atomic=False),
        COUNTED,
        atomic=False,
        repeatable=False,
    ),
    Kind(
        "closing",
        _python(
            """
            cursor.execute("UPDATE counters SET n = 1 WHERE place = PLACE")
            connection.close()
            connection.cursor().execute("SELECT pg_sleep(0.02)")
            """,
            'phase = "expand"; atomic = False; idempotent = True',
        ),
        COUNTED,
        atomic=False,
    ),
    Kind(
        "settings",
        _sql(
            "SET datestyle = 'German'; SET search_path = pg_catalog, public",
            "UPDATE counters SET n = n + 1 WHERE place = {place}",
        ),
        COUNTED,
    ),
)

CREATE = 'cursor.execute("CREATE TABLE broken_PLACE (i int)")\n'
BAD = tuple(
    Kind(name, body, ANYTHING, fails=True)
    for name, body in {
        "divides": _sql("CREATE TABLE broken_{place} (i int)", "SELECT 1 / 0"),
        "swallows": _python(
            CREATE + "try:\n    cursor.execute('SELECT 1 / 0')\nexcept Exception:\n    cursor.execute('ROLLBACK')\n"
        ),
        "rolls_back": _sql("CREATE TABLE broken_{place} (i int); ROLLBACK;"),
        "commits": _sql("BEGIN; CREATE TABLE broken_{place} (i int); COMMIT;"),
        "commits_and_fails": _sql("CREATE TABLE broken_{place} (i int); COMMIT;", "SELECT 1 / 0"),
        "chains": _sql("CREATE TABLE broken_{place} (i int); COMMIT AND CHAIN;"),
        "driver_commits": _python(CREATE + "connection.connection.commit()\n"),
        "driver_rolls_back": _python(CREATE + "connection.connection.rollback()\n"),
        "autocommit": _python(CREATE + "connection.set_autocommit(True)\n"),
        "driver_autocommit": _python(
            CREATE + "connection.connection.commit()\nconnection.connection.autocommit = True\n"
        ),
        "calls_procedure": _sql("CREATE TABLE broken_{place} (i int)", "CALL commit_it()"),
        "reopens": _python(
            CREATE + "connection.connection.close()\nconnection.connection = None\nconnection.connect()\n"
            "connection.cursor().execute('SELECT 1')\n"
        ),
        "closes": _python(CREATE + "connection.connection.close()\n"),
        "raises": _python(CREATE + "raise ValueError('no')\n"),
        "exits": _python(CREATE + "raise SystemExit(0)\n"),
        "savepoint": _python(CREATE + "cursor.execute('COMMIT; BEGIN; SAVEPOINT s')\ncursor.execute('SELECT 1')\n"),
        "second_connection": _python(
            "import psycopg2\nparameters = connection.get_connection_params()\n"
            "parameters.pop('cursor_factory', None)\nother = psycopg2.connect(**parameters)\n"
            "other.cursor().execute('CREATE TABLE broken_PLACE (i int)')\nother.commit()\nother.close()\n"
            "raise RuntimeError('after that')\n"
        ),
    }.items()
)

FIXED = Kind("fixed", _sql("UPDATE counters SET n = n + 1 WHERE place = {place}"), COUNTED)
"""What stands in a failing migration's file once somebody has corrected it."""


def chosen(chance: random.Random) -> list[Written]:
    """Two to four migrations; in three rounds of ten, one of them fails."""
    kinds = [chance.choice(GOOD) for _ in range(chance.randint(2, 4))]
    if chance.random() < 0.3:
        kinds[chance.randrange(len(kinds))] = chance.choice(BAD)
    return [Written(kind, place) for place, kind in zip(PLACES, kinds, strict=False)]
