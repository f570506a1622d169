"""Slow proofs of the attic, left to `make attic-test`."""
