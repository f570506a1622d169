-- In the place of migrator_settled, which older releases go on using: a new table, for a column that is added needs a lock
-- that a backup might keep from it.
CREATE TABLE migrator_settled_releases (
    digest text PRIMARY KEY,
    history text NOT NULL,
    held text[] NOT NULL,
    run_id bigint NOT NULL,
    settled_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE migrator_settled_releases IS
    'Releases whose migrations were applied to their end, post_migrate included, and the history then. State, not history.';
