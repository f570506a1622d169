"""What the early exit, a run and a preview print when there is nothing to do: log filters search for it."""

NOTHING_TO_MIGRATE = "Nothing to migrate"
