"""Sends events by the million from a file or a pipe, in constant memory, and can go on later."""
