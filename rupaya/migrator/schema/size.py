"""How large a table is, without opening it: `pg_total_relation_size` would wait for a lock that somebody holds."""

from __future__ import annotations

# Of `c`, a row of pg_class: the table, its TOAST table and its indexes, as of the last VACUUM, ANALYZE or rewrite.
SIZE_BYTES = """
    (c.relpages::bigint + coalesce((SELECT t.relpages FROM pg_class t WHERE t.oid = c.reltoastrelid), 0)
        + coalesce((SELECT sum(x.relpages) FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
                    WHERE i.indrelid = c.oid), 0)) * current_setting('block_size')::bigint
"""
