"""Runs a command aside: `python -m webapp.worker.aside PARENT [--idle] COMMAND...`.

It goes first when memory runs out, and ends with the process that started it, whose number PARENT
is, whatever becomes of that one. `--idle`: it gets the processor when nothing else wants it.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

IDLE = "--idle"
PR_SET_PDEATHSIG = 1
"""Of Linux's prctl(2)."""
FIRST_TO_GO = "1000"
LEAST = "19"


def aside(command: Sequence[str], *, idle: bool) -> list[str]:
    """How this process runs a command aside."""
    return [
        *(sys.executable, "-m", "webapp.worker.aside", str(os.getpid())),
        *([IDLE] if idle else []),
        *command,
    ]


def main() -> None:
    """Step aside, and become the command."""
    parent, *command = sys.argv[1:]
    is_idle = command[0] == IDLE
    if sys.platform == "linux":
        _end_with(int(parent))
        _say("/proc/self/oom_score_adj", FIRST_TO_GO)
        if is_idle:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            # Where Linux shares the processor out by session first, priorities count within one
            # only, and the session has one of its own.
            _say("/proc/self/autogroup", LEAST)
    command = command[is_idle:]
    os.execv(command[0], command)


def _end_with(parent: int) -> None:
    """Have the kernel end this process when its parent ends. That one tells its number itself: it
    may have ended before this line, and whoever inherited its children would be taken for it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def _say(file: str, text: str) -> None:
    with suppress(OSError):  # not every kernel has it, and not every container lets it be written
        Path(file).write_text(text)


if __name__ == "__main__":
    main()
