"""Runs a command aside: `python -m webapp.worker.aside [--idle] COMMAND...`.

It goes first when memory runs out, and ends with the process that started it, whatever becomes of
that one. `--idle`: it gets the processor when nothing else wants it.
"""

import ctypes
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

IDLE = "--idle"
PR_SET_PDEATHSIG = 1
"""Of Linux's prctl(2)."""
FIRST_TO_GO = "1000"
LEAST = "19"


def main() -> None:
    """Step aside, and become the command."""
    command = sys.argv[1:]
    is_idle = command[0] == IDLE
    if sys.platform == "linux":
        end_with_parent()
        _say("/proc/self/oom_score_adj", FIRST_TO_GO)
        if is_idle:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            # Where Linux shares the processor out by session first, priorities count within one
            # only, and the session has one of its own.
            _say("/proc/self/autogroup", LEAST)
    command = command[is_idle:]
    os.execv(command[0], command)


def end_with_parent() -> None:
    """Have the kernel end this process when the one that started it ends."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before it was asked for
        sys.exit(1)


def _say(file: str, text: str) -> None:
    with suppress(OSError):  # not every kernel has it, and not every container lets it be written
        Path(file).write_text(text)


if __name__ == "__main__":
    main()
