"""Writes people out: one with everything that is kept, or a segment as a table."""
