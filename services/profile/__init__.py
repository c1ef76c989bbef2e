"""Who people are and what they did.

Owns profiles (attributes, addresses, counters) and the history of events, in one
PostgreSQL schema. Promises that an event counts once, whoever repeats it and
however, and that nobody's change to a profile is lost. Never judges what an event
should lead to, and lets addresses out through `BatchGetAddresses` only.
"""
