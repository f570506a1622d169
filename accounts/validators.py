"""Rules for values that people give."""
