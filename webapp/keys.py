"""Secret keys, made once and kept in the instance, outside the database."""

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path


def kept_key(path: Path) -> str:
    """The key in `path`, made if there is none; processes that start together get the same one."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=".key-")  # mode 0600
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(32))
                file.flush()
                os.fsync(descriptor)
            with suppress(FileExistsError):
                os.link(draft, path)  # whole or not at all, and never over another's
        finally:
            os.unlink(draft)
    return path.read_text().strip()
