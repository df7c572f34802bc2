"""The one manifest format: which pictures there are, what they show, whose they are."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from PIL import Image

from ml.decode import decode

SEPARATOR = "|"
"""Joins the labels of a picture that shows more than one finding."""


@dataclass(frozen=True)
class Record:
    """One picture of a data set."""

    file: str
    labels: tuple[str, ...]
    """What it shows: one label, or several where findings do not exclude each other."""
    subject: str = ""
    """Whose picture it is; empty where the publisher does not say."""
    split: str = ""
    """The part it is published for (``train``, ``val``); empty where there is none."""
    source: str = ""
    """Which of several collections it is from; empty where there is one."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What is known of the patient, as published (``age``, ``sex``, ``localization`` ...)."""
    licence: str = ""
    """The terms that it may be used under; empty where they are those of the whole set."""

    @property
    def label(self) -> str:
        """All labels as one text."""
        return SEPARATOR.join(self.labels)


@dataclass(frozen=True)
class Manifest:
    """A data set: its records, and a way to open their pictures."""

    records: tuple[Record, ...]
    read: Callable[[str], bytes]
    """Takes ``Record.file``; the bytes as published."""

    def open_image(self, file: str) -> Image.Image:
        """The decoded picture, in RGB. Raises Unreadable."""
        return decode(self.read(file))

    def without(self, labels: Collection[str]) -> "Manifest":
        """The same without the pictures that show one of ``labels``."""
        kept = (record for record in self.records if not set(record.labels) & set(labels))
        return replace(self, records=tuple(kept)) if labels else self

    @property
    def labels(self) -> tuple[str, ...]:
        """Every single label that occurs, in alphabetical order."""
        return tuple(sorted({label for record in self.records for label in record.labels}))
