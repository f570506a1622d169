-- The schema as each run left it.
CREATE TABLE migrator_snapshots (
    snapshot_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id bigint NOT NULL REFERENCES migrator_runs,
    taken_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    server_version_num integer NOT NULL,
    hash text NOT NULL,
    catalog jsonb NOT NULL,
    drift jsonb NOT NULL DEFAULT '[]'
);
CREATE INDEX idx_migrator_snapshots_run_id ON migrator_snapshots (run_id);
COMMENT ON TABLE migrator_snapshots IS
    'The schema that migrations build, as each run left it, and what people had changed by hand before that run.';
CREATE OR REPLACE FUNCTION migrator_refuse_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % refused: the record of migrations is append-only', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER refuse_rewriting BEFORE UPDATE OR DELETE OR TRUNCATE ON migrator_snapshots
    FOR EACH STATEMENT EXECUTE FUNCTION migrator_refuse_changes();
