-- What was put away instead of dropped, under which name it stands, and what became of it.
-- Without foreign keys to runs and debts, which are never deleted: it needs no lock on them.
CREATE TABLE migrator_attic (
    item_id text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('column', 'table', 'values')),
    table_name text NOT NULL,
    object text NOT NULL,
    app text NOT NULL,
    migration text NOT NULL,
    reason text NOT NULL CHECK (reason IN ('debt', 'rollback', 'backfill')),
    fingerprint text NOT NULL DEFAULT '',
    release text NOT NULL,
    run_id bigint NOT NULL,
    put_away_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    details jsonb NOT NULL DEFAULT '{}',
    state text NOT NULL DEFAULT 'kept' CHECK (state IN ('kept', 'restored', 'purged', 'forgotten')),
    settled_run_id bigint,
    settled_at timestamptz,
    CHECK ((state = 'kept') = (settled_at IS NULL))
);
CREATE INDEX idx_migrator_attic_migration ON migrator_attic (app, migration);
COMMENT ON TABLE migrator_attic IS
    'Columns and tables that migrations, debts and rollbacks took out of use, kept with their rows until they are purged.';
COMMENT ON COLUMN migrator_attic.item_id IS
    'It stands in the database as migrator_attic_ITEM: a column of its table, or a table in the schema migrator_attic.';
COMMENT ON COLUMN migrator_attic.state IS
    'kept; restored under its real name; purged, dropped for good later; forgotten, dropped for good at once.';
CREATE TRIGGER refuse_forgetting BEFORE DELETE OR TRUNCATE ON migrator_attic
    FOR EACH STATEMENT EXECUTE FUNCTION migrator_refuse_forgetting();
