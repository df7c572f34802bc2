"""The process manager, as honcho has it, but that Ctrl-C is a good end and no error."""

import signal
import sys

from honcho.command import main as honcho

INTERRUPTED = 128 + signal.SIGINT


def main() -> None:
    """Run honcho with this process's arguments; exits 0 where Ctrl-C ended it, else as honcho."""
    try:
        honcho()
    except SystemExit as end:
        sys.exit(0 if end.code == INTERRUPTED else end.code)


if __name__ == "__main__":
    main()
