"""Carries messages out: renders, sends, tries again, and tells how each one fared.

It owns the queue of deliveries and the templates. It promises that a delivery is sent at most
once where a provider cannot drop repeats, that every delivery ends in a state that says why, and
that throttle and ingest hear of that end. It never decides whether a message may go out, and no
address, subject or body of one ever reaches a log or an error.
"""
