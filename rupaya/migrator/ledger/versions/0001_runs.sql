-- Runs and attempts at migrations, append-only; and which sets of migrations were applied to their end.
CREATE TABLE migrator_runs (
    run_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    command text NOT NULL,
    release text NOT NULL,
    git_sha text NOT NULL,
    environment text NOT NULL,
    task text NOT NULL,
    python_version text NOT NULL,
    django_version text NOT NULL,
    database_user text NOT NULL DEFAULT session_user,
    backend_pid integer NOT NULL DEFAULT pg_backend_pid(),
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    outcome text NOT NULL DEFAULT 'started'
        CHECK (outcome IN ('started', 'succeeded', 'failed', 'interrupted')),
    exit_code integer,
    error text,
    CHECK ((outcome = 'started') = (finished_at IS NULL))
);
CREATE TABLE migrator_attempts (
    attempt_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id bigint NOT NULL REFERENCES migrator_runs,
    batch integer NOT NULL,
    app text NOT NULL,
    name text NOT NULL,
    direction text NOT NULL CHECK (direction IN ('apply', 'unapply')),
    phase text NOT NULL CHECK (phase IN ('expand', 'contract')),
    faked boolean NOT NULL DEFAULT false,
    atomic boolean NOT NULL,
    fingerprint text NOT NULL,
    file_hash text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    tries integer NOT NULL DEFAULT 0,
    outcome text NOT NULL DEFAULT 'started'
        CHECK (outcome IN ('started', 'succeeded', 'failed', 'interrupted', 'rolled back')),
    sqlstate text,
    error text,
    CHECK ((outcome = 'started') = (finished_at IS NULL))
);
CREATE INDEX idx_migrator_attempts_migration ON migrator_attempts (app, name, attempt_id DESC);
CREATE INDEX idx_migrator_attempts_run_id ON migrator_attempts (run_id);
CREATE TABLE migrator_settled (
    digest text PRIMARY KEY,
    run_id bigint NOT NULL REFERENCES migrator_runs,
    held text[] NOT NULL,
    settled_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE migrator_settled IS
    'Sets of migrations whose application, post_migrate included, was completed. State, not history.';
CREATE OR REPLACE FUNCTION migrator_refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD.finished_at IS NULL THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION '% of % refused: the record of migrations is append-only', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER refuse_rewriting BEFORE UPDATE OR DELETE ON migrator_runs
    FOR EACH ROW EXECUTE FUNCTION migrator_refuse_rewriting();
CREATE TRIGGER refuse_truncating BEFORE TRUNCATE ON migrator_runs
    FOR EACH STATEMENT EXECUTE FUNCTION migrator_refuse_rewriting();
CREATE TRIGGER refuse_rewriting BEFORE UPDATE OR DELETE ON migrator_attempts
    FOR EACH ROW EXECUTE FUNCTION migrator_refuse_rewriting();
CREATE TRIGGER refuse_truncating BEFORE TRUNCATE ON migrator_attempts
    FOR EACH STATEMENT EXECUTE FUNCTION migrator_refuse_rewriting();
