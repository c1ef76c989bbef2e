"""Decides which message follows which event, and makes sure that it follows once.

It owns campaigns, enrollments and decisions. It promises that an event's position in the log and
what follows from the event are committed together, that an exception stops a waiting message at
once, and that every refusal has its reason on record. It never sees an address, never renders and
never sends.
"""
