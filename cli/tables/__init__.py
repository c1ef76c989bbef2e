"""Brings tables of any size in: in constant memory, in batches, gone on with after a stop."""
