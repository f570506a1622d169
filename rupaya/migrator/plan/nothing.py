"""What is said when there is nothing to do, by the early exit, a run and a preview: log filters search for it."""

NOTHING_TO_MIGRATE = "Nothing to migrate"
