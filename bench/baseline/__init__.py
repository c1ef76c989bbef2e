"""The same job done the conventional way: FastAPI, Celery, Redis and PostgreSQL, tuned for two cores.

It keeps what the mesh keeps (history, profiles, counters, one row a message) and promises what a careful team would promise:
an event is accepted only after PostgreSQL has it on disk, an event id counts once, a repeated task sends under the same
idempotency key and takes no second cap slot.
"""
