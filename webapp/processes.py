"""The process manager, as honcho has it, but that Ctrl-C is at any time a good end."""

import signal
import sys

from honcho import command
from honcho import manager as honcho

INTERRUPTED = 128 + signal.SIGINT


class Manager(honcho.Manager):
    """One that may be told to end before it knows the numbers of all its processes: honcho's own
    would fail then, and leave those behind that it had started."""

    _is_to_end = False

    def terminate(self) -> None:
        """End all processes, as soon as all have started."""
        if super()._all_started():
            super().terminate()
        else:
            self._is_to_end = True

    def _all_started(self) -> bool:
        """Asked by honcho's loop after whatever happens."""
        has_started: bool = super()._all_started()
        if has_started and self._is_to_end:
            super().terminate()
        return has_started


def main() -> None:
    """Run honcho with this process's arguments; exits 0 where Ctrl-C ended it, else as honcho."""
    command.Manager = Manager
    try:
        command.main()
    except SystemExit as end:
        sys.exit(0 if end.code == INTERRUPTED else end.code)


if __name__ == "__main__":
    main()
