"""`make migrate-test`: from nothing to the newest schema, back to nothing, and forward again, in a scratch database.

The rules of the schema are tried on sample rows, both schemas must be the same, and nothing may be left between them.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import django
from django.core.management.color import color_style
from django.db import Error, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder


class Roundtrip:
    """Migrates to and fro, and keeps the times."""

    def __init__(self) -> None:
        self.times_ms: dict[str, list[float]] = {}
        self._began = 0.0

    def forward(self) -> None:
        """All migrations."""
        executor = MigrationExecutor(connection, self._progress)
        executor.migrate(executor.loader.graph.leaf_nodes())

    def back(self) -> None:
        """No migration."""
        executor = MigrationExecutor(connection, self._progress)
        executor.migrate([(app, None) for app in sorted(executor.loader.migrated_apps)])

    def _progress(self, action: str, migration: Any = None, fake: bool = False) -> None:
        if action in ("apply_start", "unapply_start"):
            self._began = time.monotonic()
        elif action in ("apply_success", "unapply_success"):
            self.times_ms.setdefault(str(migration), []).append((time.monotonic() - self._began) * 1000)

    def table(self) -> str:
        """A line a migration: there, back, there again."""
        width = max(map(len, self.times_ms))
        lines = [f"{'migration':{width}}  forward      back   forward"]
        lines += [
            f"{name:{width}}" + "".join(f"  {duration:5.0f} ms" for duration in durations)
            for name, durations in self.times_ms.items()
        ]
        sums = [sum(column) for column in zip(*self.times_ms.values(), strict=False)]
        return "\n".join([*lines, f"{'all':{width}}" + "".join(f"  {total:5.0f} ms" for total in sums)])


def broken_rules() -> list[str]:
    """Bad sample rows that were taken, and good ones that were not."""
    from tests.transactions.rows import insert, insert_person
    from tests.transactions.test_rules import BAD, GOOD, insert_taken

    problems = []
    with transaction.atomic():
        insert_person()
        insert_taken()
        for table, values, rule in BAD:
            try:
                with transaction.atomic():
                    insert(table, **values)
            except Error as error:
                refused_by = getattr(getattr(error.__cause__, "diag", None), "constraint_name", None)
                if refused_by != rule:
                    problems.append(f"{table} {values}: refused by {refused_by}, not by {rule}")
            else:
                problems.append(f"{table} {values}: taken; {rule} ought to refuse it")
        for table, values in GOOD:
            try:
                with transaction.atomic():
                    insert(table, **values)
                    transaction.set_rollback(True)
            except Error as error:
                problems.append(f"{table} {values}: refused: {error}")
        transaction.set_rollback(True)
    return problems


def main() -> int:
    """Print the times and what is wrong; 1 if anything is."""
    from rupaya.migrator.analysis import scratch
    from rupaya.migrator.output import Output
    from rupaya.migrator.schema import catalog
    from rupaya.migrator.schema.diff import differences
    from rupaya.migrator.schema.dump import draw
    from rupaya.migrator.session.session import Session

    def read() -> catalog.Catalog:
        with connection.cursor() as cursor:
            return catalog.read(cursor)

    roundtrip = Roundtrip()
    with Session(Output(sys.stderr, color_style())).reading(), scratch.database_like(connection):
        roundtrip.forward()
        first = read()
        problems = broken_rules()
        roundtrip.back()
        history = MigrationRecorder.Migration._meta.db_table
        left = sorted(name for objects in read().values() for name in objects if not name.startswith(history))
        problems += [f"{name}: still there when every migration is reversed" for name in left]
        roundtrip.forward()
        second = read()
    found = differences(first, second)
    problems += [difference.compared("the first time", "the second time") for difference in found]
    if not found and draw(first) != draw(second):
        problems.append("The columns of a table are in another order the second time.")
    print(roundtrip.table())
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print(f"The schema is the same both times: {catalog.digest(second)[:12]}")
    return 1 if problems else 0


if __name__ == "__main__":
    django.setup()
    sys.exit(main())
