"""What the early exit asks of the ledger, in a place that it can import without Django."""

HISTORY_HASH = """(
    SELECT md5(coalesce(string_agg(app || '.' || name, ',' ORDER BY app COLLATE "C", name COLLATE "C"), ''))
    FROM django_migrations
)"""
"""SQL: what the history is, so that one that has changed since a release was settled is noticed at once."""

IS_SETTLED = f"""
    SELECT held FROM migrator_settled_releases WHERE digest = %s AND history = {HISTORY_HASH}
"""  # noqa: S608 - constants
"""SQL: a row if this very release, by its digest, has nothing to do on this very history."""
