-- Calls are counted by each server for itself: a replica's baselines are kept beside the primary's.
ALTER TABLE migrator_use_baselines ADD COLUMN source text NOT NULL DEFAULT '';
COMMENT ON COLUMN migrator_use_baselines.source IS 'Which server counted: empty for the primary.';
