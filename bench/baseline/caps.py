"""Consent and the frequency cap, judged by one atomic script in Redis."""

from typing import TYPE_CHECKING

import redis

if TYPE_CHECKING:
    from redis.commands.core import Script

# KEYS: the person's consent, the person's recent messages. ARGV: message, now (ms), window (ms), limit, channel.
# A message that already holds a slot is allowed again: tasks are acknowledged late, so a task may run twice.
_RESERVE = """
if redis.call('HGET', KEYS[1], ARGV[5]) == 'unsubscribed' then return -1 end
if redis.call('ZSCORE', KEYS[2], ARGV[1]) then return 1 end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[2] - ARGV[3])
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[4]) then return 0 end
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 1
"""

ALLOWED = 1


class Caps:
    """Reserves a message's slot in Redis."""

    def __init__(self, url: str, *, limit: int, window_ms: int) -> None:
        """Connect lazily; hiredis parses when it is installed, as it is in the benchmark's requirements."""
        self._redis = redis.Redis.from_url(url, protocol=2)
        self._script: Script = self._redis.register_script(_RESERVE)
        self._limit = limit
        self._window_ms = window_ms

    def reserve(self, profile: str, message: str, *, now_ms: int, channel: str = "webhook") -> bool:
        """Take a slot for the message, or say that the person may not get it."""
        verdict = self._script(
            keys=[f"consent:{{{profile}}}", f"cap:{{{profile}}}"],
            args=[message, now_ms, self._window_ms, self._limit, channel],
        )
        return bool(verdict == ALLOWED)
