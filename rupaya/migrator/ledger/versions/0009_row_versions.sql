-- By this a run knows that nobody has changed anything since, without reading the whole catalog once more.
ALTER TABLE migrator_snapshots ADD COLUMN row_versions text;
COMMENT ON COLUMN migrator_snapshots.row_versions IS
    'A hash of the versions of the catalog''s rows just before it was read; NULL where an older release has read it.';
