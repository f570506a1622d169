"""What the adopted migrations build: a frozen picture, because the role that adopts may not create a scratch database.

Migrations that were applied anywhere are never edited, so the picture never changes; a test compares the two.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from rupaya.adoption.original import TABLES, Key
from rupaya.migrator.schema import dump as picture
from rupaya.migrator.schema.catalog import Catalog, Names, relation_names

PICTURE = Path(__file__).with_name("baseline.json")

# What each migration makes that the original does not have, in the order of the plan.
CREATED: dict[Key, tuple[str, ...]] = {
    ("accounts", "0001_initial"): ("users_groups", "users_user_permissions"),
    ("accounts", "0003_complete_api_schema"): ("phone_otps",),
    ("transactions", "0002_complete_api_schema"): ("recurring_transactions", "budgets"),
    ("transactions", "0005_summary_views"): ("monthly_expense_summary", "monthly_income_summary", "budget_progress"),
}
ALL = (*TABLES, *(name for names in CREATED.values() for name in names))
UPDATED_AT_FUNCTION = "set_updated_at()"


def names() -> Names:
    """The names of all that the picture shows."""
    return {**relation_names(ALL), "functions": frozenset({UPDATED_AT_FUNCTION})}


@cache
def baseline() -> Catalog:
    """The picture: relations, and the function of their triggers."""
    read: Catalog = json.loads(PICTURE.read_text(encoding="utf-8"))
    return read


def create(relations: tuple[str, ...]) -> str:
    """SQL that makes these relations, with all that belongs to them."""
    shown = baseline()["relations"]
    owned = {name: facts for name, facts in shown.items() if facts.get("owned_by", "").split(".")[0] in relations}
    return picture.draw(
        {
            "extensions": {},
            "types": {},
            "functions": {},
            "relations": {name: shown[name] for name in relations} | owned,
        }
    )
