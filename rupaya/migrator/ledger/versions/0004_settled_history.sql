-- The history as it was when a set of migrations was settled: the early exit compares it with the present one.
ALTER TABLE migrator_settled ADD COLUMN IF NOT EXISTS history text;
