"""Which code gave an answer."""

import functools
import tomllib
from pathlib import Path

from webapp.config import REPOSITORY


@functools.cache
def code_version() -> str:
    """The version of the package, with the revision of the checkout where there is one."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    version: str = project["project"]["version"]
    revision = git_revision(REPOSITORY / ".git")
    return f"{version}+g{revision}" if revision else version


def git_revision(git_dir: Path) -> str:
    """The commit that a checkout stands at, read from its files; empty if there is none."""
    head = _line(git_dir / "HEAD")
    if not head.startswith("ref: "):
        return head
    name = head.removeprefix("ref: ")
    if revision := _line(git_dir / name):
        return revision
    for line in _text(git_dir / "packed-refs").splitlines():
        revision, _, packed_name = line.partition(" ")
        if packed_name == name:
            return revision
    return ""


def _line(path: Path) -> str:
    return _text(path).strip()


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
