"""Bundles as ZIP archives: made of a folder, and opened with suspicion, since one may be anything.

Nothing of an archive is ever run or unpickled. Its names are compared with a narrow pattern before
they lead to a file, and its sizes are counted while it is unpacked, whatever it says of them.
"""

import io
import re
import stat
import zipfile
from pathlib import Path, PurePosixPath

from webapp.errors import Invalid

MAX_BYTES = 1_000_000_000
"""Of an archive, and of what is in it."""
MAX_ENTRIES = 500
SUFFIXES = {
    *(".json", ".safetensors", ".md", ".txt", ".csv", ".html", ".svg"),
    *(".jpg", ".jpeg", ".png", ".webp"),
}
"""Of files that a bundle has: descriptions, weights that are numbers only, and pictures."""

_NAME = re.compile(r"[A-Za-z0-9][\w.+-]{0,119}(/[A-Za-z0-9][\w.+-]{0,119}){0,4}", re.ASCII)
_NOT_SENT_ON_PURPOSE = re.compile(r"(^|/)(__MACOSX/|\._|\.DS_Store$|Thumbs\.db$|desktop\.ini$)")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1
_FACTS = "bundle.json"
_DAY = (1980, 1, 1, 0, 0, 0)
_PIECE = 1_000_000


def pack(folder: Path) -> bytes:
    """The files of a folder as an archive: of the same files the same bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _DAY)
            archive.writestr(entry, path.read_bytes())
    return packed.getvalue()


class BundleArchive:
    """An archive that holds a bundle, at its top or in one folder."""

    def __init__(self, data: bytes) -> None:
        """
        Raises:
            Invalid: `archive_size`, `archive_format`, `archive_entries`, `archive_encrypted`,
                `archive_method`, `archive_link`, `archive_name`, `archive_kind`, `archive_twice`
                or `no_bundle`: it is none that can be used.
        """
        if len(data) > MAX_BYTES:
            raise Invalid("archive_size", limit_mb=MAX_BYTES // 1_000_000)
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
            entries = self._zip.infolist()
        except Exception as error:  # of hostile bytes, nearly any
            raise Invalid("archive_format") from error
        if len(entries) > MAX_ENTRIES:
            raise Invalid("archive_entries", limit=MAX_ENTRIES)
        self._entries: dict[str, zipfile.ZipInfo] = {}
        for entry in entries:
            if not (entry.is_dir() or _NOT_SENT_ON_PURPOSE.search(entry.filename)):
                self._take(entry)
        self._folder = self._find_bundle()

    def _take(self, entry: zipfile.ZipInfo) -> None:
        name = entry.filename
        if entry.flag_bits & _ENCRYPTED:
            raise Invalid("archive_encrypted")
        if entry.compress_type not in _METHODS:
            raise Invalid("archive_method")
        mode = entry.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise Invalid("archive_link", name=_shown(name))
        if not _NAME.fullmatch(name):
            raise Invalid("archive_name", name=_shown(name))
        if PurePosixPath(name).suffix.lower() not in SUFFIXES:
            raise Invalid("archive_kind", name=_shown(name))
        if name in self._entries:
            raise Invalid("archive_twice", name=_shown(name))
        self._entries[name] = entry

    def _find_bundle(self) -> str:
        """The folder that everything is in, with its slash; empty where there is none."""
        if _FACTS in self._entries:
            return ""
        folders = {name.partition("/")[0] for name in self._entries}
        folder = folders.pop() if len(folders) == 1 else ""
        if f"{folder}/{_FACTS}" not in self._entries:
            raise Invalid("no_bundle")
        return f"{folder}/"

    def unpack(self, folder: Path) -> None:
        """Write the bundle's files into an empty folder.

        Raises:
            Invalid: `archive_damaged`, or `archive_size`: more comes out than it may.
        """
        left = MAX_BYTES
        for name, entry in self._entries.items():
            path = folder / name.removeprefix(self._folder)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                left -= self._write(entry, path, left)
            except Invalid:
                raise
            except OSError as error:
                if isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError):
                    raise Invalid("archive_name", name=_shown(name)) from error
                raise  # the disk is full, which is not the archive's fault
            except Exception as error:  # of hostile bytes, nearly any
                raise Invalid("archive_damaged") from error

    def read(self, name: str, limit: int) -> bytes | None:
        """One of the bundle's files; None where there is none.

        Raises:
            Invalid: `archive_damaged`, or `archive_size`: it is longer than the limit.
        """
        entry = self._entries.get(self._folder + name)
        if entry is None:
            return None
        try:
            with self._zip.open(entry) as packed:
                data = packed.read(limit + 1)
        except Exception as error:  # of hostile bytes, nearly any
            raise Invalid("archive_damaged") from error
        if len(data) > limit:
            raise Invalid("archive_size", limit_mb=limit // 1_000_000)
        return data

    def _write(self, entry: zipfile.ZipInfo, path: Path, limit: int) -> int:
        written = 0
        with self._zip.open(entry) as packed, path.open("xb") as file:
            while piece := packed.read(_PIECE):
                written += len(piece)
                if written > limit:
                    raise Invalid("archive_size", limit_mb=MAX_BYTES // 1_000_000)
                file.write(piece)
        return written


def _shown(name: str) -> str:
    """A name from outside, so that it can be told."""
    return name[:80].encode("unicode_escape").decode()
