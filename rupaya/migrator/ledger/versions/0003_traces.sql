-- What attempts executed. A table of its own, without a foreign key to attempts, which are never deleted: it needs no
-- lock on them, which a backup might keep from it. And json, not jsonb, which refuses what a statement may contain.
CREATE TABLE migrator_traces (
    attempt_id bigint PRIMARY KEY,
    statements json NOT NULL,
    omitted integer NOT NULL,
    blockers json NOT NULL
);
COMMENT ON TABLE migrator_traces IS
    'What each attempt executed, without parameters, and the sessions that it was seen to wait for.';
CREATE TRIGGER refuse_rewriting BEFORE UPDATE OR DELETE OR TRUNCATE ON migrator_traces
    FOR EACH STATEMENT EXECUTE FUNCTION migrator_refuse_changes();
