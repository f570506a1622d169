"""Views of ours out of the way while a column that they use gets another type."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.adoption.baseline import ALL

# As they are now, and not as they were first made: newer migrations may have run.
_VIEWS = """
    SELECT v.oid::regclass::text, pg_get_viewdef(v.oid), array_to_string(v.reloptions, ', '),
        obj_description(v.oid, 'pg_class'),
        ARRAY(SELECT format('GRANT %%s ON %%s TO %%s', a.privilege_type, v.oid::regclass,
                            CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
              FROM aclexplode(v.relacl) a WHERE a.grantee <> v.relowner)
    FROM pg_class v
    WHERE v.relkind = 'v' AND v.relnamespace = coalesce(current_schema(), 'public')::regnamespace
      AND v.relname = ANY(%s) AND EXISTS (
        SELECT FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
        JOIN pg_attribute c ON d.refclassid = 'pg_class'::regclass AND c.attrelid = d.refobjid
            AND c.attnum = d.refobjsubid
        WHERE r.ev_class = v.oid AND c.attrelid = to_regclass(%s) AND c.attname = %s)
    ORDER BY 1
"""


@contextmanager
def without_views(connection: BaseDatabaseWrapper, table: str, column: str) -> Iterator[None]:
    """Drop our views that use this column and make them again afterwards, in one transaction; none where it is ''."""
    if not column:
        yield
        return
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        cursor.execute(_VIEWS, [list(ALL), table, column])
        views = cursor.fetchall()
        for name, *_ in views:
            cursor.execute(f"DROP VIEW {name}")
        yield
        for name, definition, options, comment, grants in views:
            cursor.execute(f"CREATE VIEW {name} {f'WITH ({options})' if options else ''} AS {definition}")
            if comment:
                cursor.execute(f"COMMENT ON VIEW {name} IS %s", [comment])
            for grant in grants:
                cursor.execute(grant)
