"""How much of the random a test tries: a little each time, more for who asks for it.

Without a word each run tries the same examples, so that a red run is about what was changed.
`make test T=… TEST_EFFORT=20` tries twenty times as many, others each time.
"""

import os

EFFORT = int(os.environ.get("TEST_EFFORT", "1"))


def examples(count: int) -> int:
    """Return how many to try where `count` is the least that makes sense."""
    return count * EFFORT
