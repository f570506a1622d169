-- What a payment or a rollback took away and kept: where it lies, and what it takes to have it back.
CREATE TABLE migrator_attic (
    attic_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    table_name text NOT NULL,
    column_name text NOT NULL DEFAULT '',
    app text NOT NULL,
    migration text NOT NULL,
    reason text NOT NULL CHECK (reason IN ('paid', 'unapplied')),
    debt_id bigint,
    details jsonb NOT NULL,
    state text NOT NULL DEFAULT 'kept' CHECK (state IN ('kept', 'returned', 'purged')),
    release text NOT NULL,
    run_id bigint NOT NULL,
    put_away_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    settled_at timestamptz,
    settled_run_id bigint,
    CHECK ((state = 'kept') = (settled_at IS NULL))
);
CREATE INDEX idx_migrator_attic_kept ON migrator_attic (table_name, column_name) WHERE state = 'kept';
COMMENT ON TABLE migrator_attic IS
    'Columns and tables that were put away instead of dropped, under the name migrator_attic_ and their number.';
COMMENT ON COLUMN migrator_attic.column_name IS 'Empty: the whole table.';
COMMENT ON COLUMN migrator_attic.reason IS
    'paid: its removal was owed and was paid; unapplied: the migration that made it was rolled back.';
COMMENT ON COLUMN migrator_attic.state IS 'kept; returned under its own name; purged for good.';
CREATE TRIGGER refuse_forgetting BEFORE DELETE OR TRUNCATE ON migrator_attic
    FOR EACH STATEMENT EXECUTE FUNCTION migrator_refuse_forgetting();
