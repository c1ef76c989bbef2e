"""Ingest: where events come in.

Owns the door. Promises that an acknowledged event is durable in the event log,
that each record of a batch stands or falls alone, and that a person's events
keep their order. Never judges, never waits for anybody who does.
"""
