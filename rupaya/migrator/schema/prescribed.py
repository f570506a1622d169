"""Grants and owners that an environment has by its own rule, so that nobody takes them for changes by hand.

The rule is the database's: who may do what with tables to come, the role that migrations run as has declared by ALTER
DEFAULT PRIVILEGES (`docs/runbook.md`, "Two database roles"). What was granted on older tables by the same rule is no
drift; less than the rule, more than it, another role, PUBLIC and the right to pass a right on are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rupaya.migrator.schema.diff import Difference

# What an application needs of rows. TRUNCATE, TRIGGER, REFERENCES and MAINTAIN are never prescribed.
_OF_ROWS = {
    "r": frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"}),
    "S": frozenset({"USAGE", "SELECT", "UPDATE"}),
}
_OBJECT_TYPES = {
    "table": "r",
    "partitioned table": "r",
    "foreign table": "r",
    "view": "r",
    "materialized view": "r",
    "sequence": "S",
}
# Written by migrations alone: the application may read it, and no more.
HISTORY = "django_migrations"
_HISTORY_RIGHTS = frozenset({"SELECT"})

_MIGRATING_ROLE = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass(%s)"
_DEFAULTS = """
    SELECT d.defaclobjtype::text, pg_get_userbyid(a.grantee), array_agg(DISTINCT a.privilege_type::text)
    FROM pg_default_acl d, aclexplode(d.defaclacl) a
    WHERE pg_get_userbyid(d.defaclrole) = %s AND a.grantee NOT IN (0, d.defaclrole) AND NOT a.is_grantable
      AND d.defaclnamespace IN (0, (SELECT oid FROM pg_namespace WHERE nspname = current_schema()))
    GROUP BY 1, 2
"""


@dataclass(frozen=True)
class Prescribed:
    """The rule, as it was read."""

    owner: str
    """The role that migrations run as: it owns the history."""
    grants: Mapping[tuple[str, str], frozenset[str]]
    """By kind of object (as in `pg_default_acl`) and role."""

    def covers(self, difference: Difference) -> bool:
        """Whether what is there now is what the rule says."""
        if difference.fact == "owner":
            return bool(self.owner) and difference.whole_new == self.owner
        if difference.fact != "grants" or difference.on:
            return False
        object_type = _OBJECT_TYPES.get(difference.kind, "")
        rule = self.grants.get((object_type, difference.role), frozenset()) & _OF_ROWS.get(object_type, frozenset())
        if difference.name == HISTORY:
            rule &= _HISTORY_RIGHTS
        return bool(rule) and frozenset(difference.whole_new or ()) == rule


def read_prescribed(cursor: Any) -> Prescribed:
    """The rule of the database that a cursor leads to."""
    cursor.execute(_MIGRATING_ROLE, [HISTORY])
    row = cursor.fetchone()
    owner = str(row[0]) if row else ""
    cursor.execute(_DEFAULTS, [owner])
    return Prescribed(owner, {(kind, role): frozenset(rights) for kind, role, rights in cursor.fetchall()})
