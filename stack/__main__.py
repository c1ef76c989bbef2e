"""`python -m stack`: a stack without the `beckon` command, for the tests and the curious."""

import argparse
import asyncio
import sys
from pathlib import Path

from stack import plan
from stack.errors import StackError
from stack.up import Stack, up


def main() -> None:
    """Read the command line and run until told to end."""
    parser = argparse.ArgumentParser(prog="python -m stack")
    parser.add_argument("--state", type=Path, help="folder that keeps everything")
    parser.add_argument("--ports", choices=("fixed", "auto"), default="fixed")
    parser.add_argument("--services", nargs="*", default=plan.SERVICES, choices=plan.SERVICES)
    parser.add_argument("--sinks", choices=("file", "memory", "none"), default="file")
    parser.add_argument("-v", "--verbose", action="store_true", help="show every log")
    chosen = parser.parse_args()
    stack = Stack(
        chosen.state,
        ports=chosen.ports,
        services=chosen.services,
        sinks=chosen.sinks,
        verbose=chosen.verbose,
        tell=lambda line: print(line, flush=True),
    )
    try:
        asyncio.run(up(stack))
    except StackError as error:
        sys.exit(f"stack: {error}")


if __name__ == "__main__":
    main()
