"""What can go wrong while a stack is brought up, in words that say what to do."""

from pathlib import Path


class StackError(Exception):
    """A stack cannot start or go on. The text is meant for the person who started it."""


class StartFailed(StackError):
    """A process did not come up; carries the end of its log."""

    def __init__(self, name: str, problem: str, *, log: Path, tail: str, advice: str = "") -> None:
        """Say which process failed how, and show its last lines."""
        lines = [f"{name} {problem}", f"the end of its log ({log}):"]
        lines += [f"  {line}" for line in (tail or "(the log is empty)").splitlines()]
        if advice:
            lines.append(advice)
        super().__init__("\n".join(lines))
        self.name = name


class PortTaken(StackError):
    """Somebody else listens where we were told to."""

    def __init__(self, port: int, purpose: str, setting: str) -> None:
        """Name the port, what it is for, and how to choose another."""
        super().__init__(
            f"port {port} ({purpose}) is taken on 127.0.0.1; "
            f"set {setting} to another port, or start with `--ports auto` to have free ones chosen"
        )
        self.port = port


class BinaryMissing(StackError):
    """No server program was found for this machine."""


class StateInUse(StackError):
    """Another stack runs on the same state directory."""
