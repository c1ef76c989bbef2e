"""Everything one machine needs to run Beckon: embedded servers, a supervisor, development sinks.

Nothing in production imports this package: there, PostgreSQL, Redis and a collector are given by
address, and an orchestrator keeps the processes alive.
"""
