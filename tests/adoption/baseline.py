"""Writes rupaya/adoption/baseline.json: `python -m rupaya.scratchdb python -m tests.adoption.baseline`.

Only before the first release that can adopt; afterwards the picture is frozen, as its migrations are.
"""

from __future__ import annotations

import json
import os
from typing import Any

import django

ENVIRONMENTS_OWN = ("position", "owner", "grants")


def without_environment(value: Any) -> Any:
    """A catalog without what differs from one environment to the next."""
    if not isinstance(value, dict):
        return value
    return {
        key: without_environment(facts)
        for key, facts in value.items()
        if key not in ENVIRONMENTS_OWN or (isinstance(facts, dict) and "type" in facts)
    }


def built() -> dict[str, Any]:
    """What the adopted migrations build, in a scratch database beside the one that Django is connected to."""
    from django.db import connection
    from django.db.migrations.loader import MigrationLoader

    from rupaya.adoption.baseline import names
    from rupaya.adoption.original import ADOPTED
    from rupaya.migrator.analysis import scratch
    from rupaya.migrator.schema import catalog

    loader = MigrationLoader(None)
    history = {key for adopted in ADOPTED for key in loader.graph.forwards_plan(adopted)}
    with scratch.database_like(connection):
        scratch.build(connection, history)
        with connection.cursor() as cursor:
            return without_environment(catalog.read(cursor, names()))  # type: ignore[no-any-return]


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "rupaya.settings"
    django.setup()
    from rupaya.adoption.baseline import PICTURE

    PICTURE.write_text(json.dumps(built(), indent=1) + "\n", encoding="utf-8")
