"""When an erasure is complete."""

from collections.abc import Collection

# All that keep anything of a person. Ingest keeps nothing: what stands in the log is trimmed.
SERVICES = frozenset({"profile", "trigger", "throttle", "delivery"})


def is_complete(answered: Collection[str]) -> bool:
    """Say whether all services that keep anything of a person have told what they removed."""
    return SERVICES.issubset(answered)
