"""Whether a database's catalog has changed: told by the versions of its rows, without reading what they say.

Reading all that PostgreSQL knows of three hundred tables takes a tenth of a second; this takes a tenth of that, and no
lock. Any write gives a row another `xmin` or another place, so that what is equal has not changed; what differs may be
the same all the same (a temporary table, REINDEX, a restored dump), and has to be read.
"""

from __future__ import annotations

from typing import Any

# Everything from which `catalog` prints, but for what comes with the server: its objects have lower numbers.
_FIRST_OF_USERS = 16384
_CATALOGS = {
    "pg_attrdef": "true",
    "pg_attribute": f"attrelid >= {_FIRST_OF_USERS} AND attnum > 0",
    "pg_class": f"oid >= {_FIRST_OF_USERS}",
    "pg_collation": f"oid >= {_FIRST_OF_USERS}",
    "pg_constraint": f"oid >= {_FIRST_OF_USERS}",
    "pg_depend": "true",
    "pg_description": f"objoid >= {_FIRST_OF_USERS}",
    "pg_enum": "true",
    "pg_extension": "true",
    "pg_index": f"indexrelid >= {_FIRST_OF_USERS}",
    "pg_inherits": "true",
    "pg_language": "true",
    "pg_namespace": "true",
    "pg_opclass": f"oid >= {_FIRST_OF_USERS}",
    "pg_operator": f"oid >= {_FIRST_OF_USERS}",
    "pg_policy": "true",
    "pg_proc": f"oid >= {_FIRST_OF_USERS}",
    "pg_range": f"rngtypid >= {_FIRST_OF_USERS}",
    "pg_rewrite": f"oid >= {_FIRST_OF_USERS}",
    "pg_sequence": "true",
    "pg_trigger": "true",
    "pg_type": f"oid >= {_FIRST_OF_USERS}",
}
# Nobody may read the rows of roles, but everybody their names. What the names of objects are printed as depends on the
# search path; how expressions are, on the server's version.
_PARTS = (
    "current_setting('server_version_num')",
    "current_setting('search_path')",
    "current_schema()",
    "(SELECT sum(hashtextextended(rolname::text, oid::bigint)) FROM pg_roles)",
    *(
        f"(SELECT concat(count(*), ':', sum(hashtextextended(ctid::text, xmin::text::bigint))) FROM {catalog} "  # noqa: S608 - constants
        f"WHERE {condition})"
        for catalog, condition in _CATALOGS.items()
    ),
)
_ROW_VERSIONS = f"SELECT md5(concat_ws(' ', {', '.join(_PARTS)}))"


def row_versions(cursor: Any) -> str:
    """A hash of which versions of which rows the catalog has; equal only if nothing in it was written between."""
    cursor.execute(_ROW_VERSIONS)
    return str(cursor.fetchone()[0])
