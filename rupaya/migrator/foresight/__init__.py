"""Knowing before and seeing during: live rows, live use, and how far a run is. Reads, and changes nothing."""
