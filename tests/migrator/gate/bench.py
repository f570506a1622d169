"""Tries cases one by one, each on a fresh copy of the shop's database; prints a line of JSON for each.

`python -m tests.migrator.gate.bench NAME ...`, with DATABASE_URL naming a server on which databases may be created.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence

SHOP = "tests.migrator.gate.shop"
_at_hand: list[type] = []


def case_at_hand() -> type:
    """The migration class that the shop's second migration is just now."""
    return _at_hand[-1]


def results(names: Sequence[str]) -> Iterator[dict[str, object]]:
    """What the gate says of each case."""
    from django.db import connection, connections, migrations
    from django.db.migrations.loader import MigrationLoader

    from rupaya.migrator.analysis import scratch
    from rupaya.migrator.analysis.gate import gate, madeuprows
    from rupaya.migrator.analysis.gate.trials import try_on_empty_tables, try_on_rows
    from tests.migrator.gate.cases import CASES

    def lead_to(name: str) -> None:
        connection.close()
        connection.settings_dict["NAME"] = connections["default"].settings_dict["NAME"] = name

    _at_hand.append(type("Migration", (migrations.Migration,), {"dependencies": [("shop", "0001_initial")]}))
    live = connection.settings_dict["NAME"]
    with scratch.database_like(connection):
        executor = scratch.build(connection, {("shop", "0001_initial")})
        release = gate.deployed(connection, executor.loader.project_state(("shop", "0001_initial")))
        empty_name = connection.settings_dict["NAME"]
        with scratch.copied(connection, live):
            connection.ensure_connection()
            with connection.connection.cursor() as cursor:
                filled = madeuprows.fill(cursor)
                cursor.execute("VACUUM ANALYZE")  # as autovacuum may: the findings must be the same
            full_name = connection.settings_dict["NAME"]
            for case in (case for case in CASES if case.name in names):
                attributes = {"dependencies": [("shop", "0001_initial")], "operations": list(case.operations)}
                _at_hand[:] = [
                    type("Migration", (migrations.Migration,), {"__module__": __name__} | attributes | case.attributes)
                ]
                sys.modules.pop(f"{SHOP}.migrations.0002_case", None)
                new = [MigrationLoader(None).disk_migrations["shop", "0002_case"]]
                lead_to(empty_name)
                with scratch.copied(connection, live):
                    empty = try_on_empty_tables(connection, new, release.setting)
                lead_to(full_name)
                with scratch.copied(connection, live):
                    full = try_on_rows(connection, new, release.setting, filled)
                lead_to(full_name)
                verdict = gate.assess(new, empty, full, release)
                yield {
                    "name": case.name,
                    "rules": [found.rule for found in verdict.findings],
                    "told": [str(found) for found in verdict.findings],
                    "excuses": verdict.excuses,
                    "notes": verdict.notes,
                }


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.migrator.gate.settings"
    import django

    sys.modules["tests.migrator.gate.bench"] = sys.modules["__main__"]  # one list of what is at hand, not two
    django.setup()
    for result in results(sys.argv[1:]):
        print(json.dumps(result), flush=True)
