"""Values of enums as people write them: `fcm` for `PLATFORM_FCM`."""

from typing import Any

from cli.output import enum_prefix
from cli.problems import usage


def choice(enum: Any, text: str, what: str) -> Any:
    """Return the value of a generated enum.

    Raises:
        Problem: There is none of this name.
    """
    prefix = enum_prefix(enum.keys()[0])
    known = {name.removeprefix(prefix).lower(): number for name, number in enum.items() if number}
    wanted = text.lower().replace("-", "_")
    if wanted not in known:
        raise usage(f"{what} {text!r} is none", hint=f"known: {', '.join(known)}")
    return known[wanted]
