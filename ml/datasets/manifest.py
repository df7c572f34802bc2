"""The one manifest format: which pictures there are, what they show, whose they are."""

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from ml.decode import decode


@dataclass(frozen=True)
class Record:
    """One picture of a data set."""

    file: str
    label: str
    subject: str
    """Whose picture it is; empty where the publisher does not say."""
    split: str
    """The part it is published for (``train``, ``val``); empty where there is none."""


@dataclass(frozen=True)
class Manifest:
    """A data set: its records, and a way to open their pictures."""

    records: tuple[Record, ...]
    read: Callable[[str], bytes]
    """Takes ``Record.file``; the bytes as published."""

    def open_image(self, file: str) -> Image.Image:
        """The decoded picture, in RGB. Raises Unreadable."""
        return decode(self.read(file))

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label that occurs, in alphabetical order."""
        return tuple(sorted({record.label for record in self.records}))
