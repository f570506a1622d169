-- What old code would not survive of a migration that was applied: owed, until it is paid or cancelled.
-- Without a foreign key to runs, which are never deleted: it needs no lock on them, which a backup might keep from it.
CREATE TABLE migrator_debts (
    debt_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    app text NOT NULL,
    migration text NOT NULL,
    operation text NOT NULL,
    action text NOT NULL,
    kind text NOT NULL,
    table_name text NOT NULL,
    object text NOT NULL,
    payment jsonb NOT NULL,
    breaks text NOT NULL,
    details jsonb NOT NULL DEFAULT '{}',
    state text NOT NULL DEFAULT 'owed' CHECK (state IN ('owed', 'paid', 'cancelled', 'undone')),
    release text NOT NULL,
    run_id bigint NOT NULL,
    owed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    settled_run_id bigint,
    settled_at timestamptz,
    settled_by text NOT NULL DEFAULT '',
    CHECK ((state = 'owed') = (settled_at IS NULL))
);
CREATE INDEX idx_migrator_debts_migration ON migrator_debts (app, migration);
CREATE UNIQUE INDEX idx_migrator_debts_owed ON migrator_debts (app, migration, operation, kind, table_name, object)
    WHERE state = 'owed';
COMMENT ON TABLE migrator_debts IS
    'What is owed of applied migrations, for code of an older release would not survive it, and what became of that.';
COMMENT ON COLUMN migrator_debts.state IS
    'owed; paid; cancelled before it was paid; undone: paid, and its migration unapplied since.';
COMMENT ON COLUMN migrator_debts.settled_by IS
    'Of a cancelled debt: the migration that made it pointless; empty if its own was unapplied.';
CREATE OR REPLACE FUNCTION migrator_refuse_forgetting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % refused: what was owed is kept', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER refuse_forgetting BEFORE DELETE OR TRUNCATE ON migrator_debts
    FOR EACH STATEMENT EXECUTE FUNCTION migrator_refuse_forgetting();
