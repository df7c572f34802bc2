"""Tables and archives, read with suspicion: each may be anything at all."""

import csv
import io
import re
import unicodedata
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from webapp import imaging
from webapp.errors import Invalid

MAX_TABLE_BYTES = 2_000_000
MAX_ROWS = 500
MAX_ENTRIES = 5_000
COLUMNS = (
    "file",
    "identifier",
    "birth_year",
    "sex",
    "reading_task",
    "priority",
    "age",
    "body_site",
    "side",
    "note",
)
SEVERAL_FILES = "|"
"""Stands between the names of several pictures of one case."""

_SEPARATORS = ",;\t"
_NOT_SENT_ON_PURPOSE = re.compile(r"(^|/)(__MACOSX/|\._|\.DS_Store$|Thumbs\.db$|desktop\.ini$)")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row that has anything in it."""

    number: int
    """Its line, as a spreadsheet counts lines: 1 is that of the names."""
    values: Mapping[str, str]
    """The cells by column; those that are empty are left out."""


def read_table(data: bytes) -> Sequence[TableRow]:
    """The rows of a table in CSV: UTF-8, with comma, semicolon or tab.

    Raises:
        Invalid: `table_size`, `table_encoding`, `table_format`, `table_columns` (`unknown`,
            `repeated`, `is_file_missing`), `table_cells`, `table_empty` or `table_rows`: it is none
            that can be used.
    """
    if len(data) > MAX_TABLE_BYTES:
        raise Invalid("table_size", limit_mb=MAX_TABLE_BYTES // 1_000_000)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Invalid("table_encoding") from error
    if "\0" in text:  # UTF-16 without its mark
        raise Invalid("table_encoding")
    head = text.split("\n", 1)[0]
    separator = max(_SEPARATORS, key=head.count)
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error as error:
        raise Invalid("table_format") from error
    if not lines:
        raise Invalid("table_empty")
    columns = _columns(lines[0])
    rows = [
        TableRow(number, values)
        for number, line in enumerate(lines[1:], 2)
        if (values := _cells(columns, line, number))
    ]
    if not rows:
        raise Invalid("table_empty")
    if len(rows) > MAX_ROWS:
        raise Invalid("table_rows", limit=MAX_ROWS, count=len(rows))
    return rows


def _columns(names: Sequence[str]) -> Sequence[str]:
    columns = [name.strip().lower().replace(" ", "_") for name in names]
    while columns and not columns[-1]:
        columns.pop()  # spreadsheets add empty ones
    unknown = [name for name in columns if name not in COLUMNS]
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if unknown or repeated or "file" not in columns:
        raise Invalid(
            "table_columns",
            unknown=[name[:40] for name in unknown][:10],
            repeated=repeated,
            is_file_missing="file" not in columns,
        )
    return columns


def _cells(columns: Sequence[str], line: Sequence[str], number: int) -> dict[str, str]:
    if any(cell.strip() for cell in line[len(columns) :]):
        raise Invalid("table_cells", number=number)
    cells = zip(columns, line, strict=False)
    return {name: cell.strip() for name, cell in cells if cell.strip()}


class Archive:
    """A ZIP of pictures. Names in it are only ever compared, and lead to no file."""

    def __init__(self, data: bytes) -> None:
        """
        Raises:
            Invalid: `archive_size`, `archive_format`, `archive_encrypted`, `archive_method` or
                `archive_entries`: it is none that can be used.
        """
        if len(data) > imaging.MAX_ARCHIVE_BYTES:
            raise Invalid("archive_size", limit_mb=imaging.MAX_ARCHIVE_BYTES // 1_000_000)
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
            entries = self._zip.infolist()
        except Exception as error:  # of hostile bytes, nearly any
            raise Invalid("archive_format") from error
        if len(entries) > MAX_ENTRIES:
            raise Invalid("archive_entries", limit=MAX_ENTRIES)
        self._entries: dict[str, list[zipfile.ZipInfo]] = {}
        for entry in entries:
            name = _normal(entry.filename)
            if entry.is_dir() or _NOT_SENT_ON_PURPOSE.search(name):
                continue
            if entry.flag_bits & _ENCRYPTED:
                raise Invalid("archive_encrypted")
            if entry.compress_type not in _METHODS:
                raise Invalid("archive_method")
            self._entries.setdefault(name, []).append(entry)

    @property
    def names(self) -> Sequence[str]:
        """Of all files, with their folders."""
        return list(self._entries)

    def find(self, name: str) -> Sequence[str]:
        """The files that a table may mean by a name: the one at this path, or else those that are
        called so in whichever folder."""
        wanted = _normal(name)
        if wanted in self._entries:
            return [wanted] * len(self._entries[wanted])
        return [path for path in self._entries if path.rpartition("/")[2] == wanted]

    def read(self, name: str) -> bytes:
        """A file, as far as a picture may be large and one byte more.

        Raises:
            Invalid: `archive_damaged`: it cannot be read.
        """
        (entry,) = self._entries[name]
        try:
            with self._zip.open(entry) as file:
                return file.read(imaging.MAX_BYTES + 1)
        except Exception as error:  # as above
            raise Invalid("archive_damaged") from error


def _normal(name: str) -> str:
    """A path as it is compared: with slashes, and letters composed, which Macs take apart."""
    path = unicodedata.normalize("NFC", name).replace("\\", "/")
    return path.removeprefix("./").strip()
