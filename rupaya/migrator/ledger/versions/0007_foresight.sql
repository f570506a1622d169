-- What was found before and during runs: drift that is intended, how far a run is, and who still uses what is owed.
CREATE TABLE migrator_accepted_drift (
    acceptance_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    side text NOT NULL,
    kind text NOT NULL,
    relation text NOT NULL,
    name text NOT NULL,
    fact text NOT NULL,
    role text NOT NULL,
    old_hash text NOT NULL,
    new_hash text NOT NULL,
    line text NOT NULL,
    reason text NOT NULL CHECK (reason <> ''),
    release text NOT NULL,
    accepted_by text NOT NULL,
    database_user text NOT NULL DEFAULT session_user,
    accepted_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE migrator_accepted_drift IS
    'Changes by hand that somebody declared as intended, by the whole values on both sides: another value is new drift.';
COMMENT ON COLUMN migrator_accepted_drift.side IS 'What the database was compared with: the last snapshot, or the code.';
CREATE TRIGGER refuse_rewriting BEFORE UPDATE OR DELETE OR TRUNCATE ON migrator_accepted_drift
    FOR EACH STATEMENT EXECUTE FUNCTION migrator_refuse_changes();

CREATE TABLE migrator_progress (
    run_id bigint PRIMARY KEY,
    what text NOT NULL,
    phase text NOT NULL,
    percent real,
    basis text NOT NULL,
    running_s real NOT NULL,
    estimated_s real,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE migrator_progress IS 'How far a run under way is: one row a run, overwritten while a statement runs.';
COMMENT ON COLUMN migrator_progress.basis IS 'Where the percent is from; "time" where there is only the time so far.';

CREATE TABLE migrator_use_baselines (
    baseline_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    debt_ids bigint[] NOT NULL,
    taken_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    stats_reset timestamptz,
    dealloc bigint,
    readable boolean NOT NULL,
    calls jsonb NOT NULL,
    scans jsonb NOT NULL
);
COMMENT ON TABLE migrator_use_baselines IS
    'Calls of statements and scans of tables when something came to be owed: use is what grew since.';
CREATE TABLE migrator_paid_in_use (
    debt_id bigint NOT NULL,
    run_id bigint NOT NULL,
    reason text NOT NULL CHECK (reason <> ''),
    evidence jsonb NOT NULL,
    database_user text NOT NULL DEFAULT session_user,
    insisted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (debt_id, run_id)
);
COMMENT ON TABLE migrator_paid_in_use IS 'Debts that somebody had paid although they were, or may have been, in use.';
CREATE TRIGGER refuse_rewriting BEFORE UPDATE OR DELETE OR TRUNCATE ON migrator_paid_in_use
    FOR EACH STATEMENT EXECUTE FUNCTION migrator_refuse_changes();
