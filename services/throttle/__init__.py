"""Throttle: as much as a person wants, counted exactly.

Owns consent, frequency caps and the places that sends take under them. Promises
that no cap is ever exceeded, that none refuses while there is room, and that a
repeated question gets the first answer. Never sends, never waits for a provider.
"""
