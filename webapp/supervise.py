"""Keeps a process running: what crashes is started again, until its keeper is told to stop."""

import logging
import signal
import subprocess
import threading
from collections.abc import Sequence
from typing import Any

from webapp.config import REPOSITORY

log = logging.getLogger(__name__)

PAUSE_SECONDS = 1


def keep_running(command: Sequence[str], *, name: str, pass_fds: Sequence[int] = ()) -> None:
    """Start a command, and start it again whenever it ends, until SIGTERM or SIGINT."""
    stop = threading.Event()
    running: list[subprocess.Popen[bytes]] = []

    def end(signum: int, _frame: Any) -> None:
        stop.set()
        for process in running:
            process.send_signal(signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    while not stop.is_set():
        process = subprocess.Popen(command, cwd=REPOSITORY, pass_fds=pass_fds)
        running[:] = [process]
        if stop.is_set():  # told so before `running` knew it
            process.terminate()
        code = process.wait()
        if not stop.is_set():
            log.warning("the %s ended with %s and is started again", name, code)
            stop.wait(PAUSE_SECONDS)
