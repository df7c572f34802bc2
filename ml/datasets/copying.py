"""Take a data set in: look at every picture, and keep a copy that nothing changes any more.

In the copy each picture is named by the SHA-256 of its bytes, and is there once. So the table names
the pictures as well, and the hash of the table names the whole.
"""

import hashlib
import zipfile
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from ml.datasets import packed
from ml.datasets.manifest import Manifest, Record
from ml.datasets.survey import Look, look, twins
from ml.decode import Unreadable

EXAMPLES = 5
"""Files that are named of each problem."""
PUBLISHED_FILE = "published_file"
"""The column of the copy that keeps the name that a picture had."""
UNREADABLE_FILES = (Unreadable, OSError, KeyError, RuntimeError, zipfile.BadZipFile)
"""What reading a picture out of a folder or an archive raises, and decoding it."""


@dataclass(frozen=True)
class Trouble:
    """What stands against some pictures."""

    kind: str
    """``unreadable``, ``unknown_labels``, ``same_bytes`` or ``contradictory``."""
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Copied:
    """What was taken in."""

    content_sha256: str
    records: tuple[Record, ...]
    """By their new names; ``published_file`` of the metadata is the old one."""
    near_count: int
    """Pairs that are alike though no common subject explains it."""
    disagree_count: int
    """Those of them that are labelled differently."""
    troubles: tuple[Trouble, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Pictures by label; one with several counts for each."""
        labels = Counter(label for record in self.records for label in record.labels)
        return dict(sorted(labels.items()))

    @property
    def subject_count(self) -> int:
        return len({record.subject for record in self.records if record.subject})


class _Intake:
    """What has been looked at so far."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[Record, Look]] = {}
        self.contradictory: set[str] = set()
        self.troubles: dict[str, list[str]] = {}

    def refuse(self, kind: str, file: str) -> None:
        self.troubles.setdefault(kind, []).append(file)

    def take(self, record: Record, seen: Look) -> bool:
        """Whether the picture is new."""
        known = self.kept.get(seen.sha256)
        if known is None:
            self.kept[seen.sha256] = (record, seen)
        elif set(known[0].labels) == set(record.labels):
            self.refuse("same_bytes", record.file)
        else:
            self.refuse("contradictory", record.file)
            self.contradictory.add(seen.sha256)
        return known is None

    @property
    def sound(self) -> list[tuple[Record, Look]]:
        """What is left, named by what it is."""
        return [
            (_renamed(record, seen), seen)
            for sha256, (record, seen) in self.kept.items()
            if sha256 not in self.contradictory
        ]


def copy(manifest: Manifest, folder: Path, *, codes: Collection[str], multi_label: bool) -> Copied:
    """Write ``manifest.csv`` and ``images.zip`` of the pictures that can be learnt from.

    What cannot be read, is labelled with none of ``codes`` or is there twice is left out, and told.
    """
    intake = _Intake()
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / packed.ARCHIVE, "w", zipfile.ZIP_STORED) as archive:
        for record in manifest.records:
            if not _is_known(record, codes, multi_label=multi_label):
                intake.refuse("unknown_labels", record.file)
                continue
            try:
                data = manifest.read(record.file)
                seen = look(data)
            except UNREADABLE_FILES:
                intake.refuse("unreadable", record.file)
                continue
            if intake.take(record, seen):
                # Without the moment: the same pictures are the same archive.
                archive.writestr(zipfile.ZipInfo(_name(seen)), data)
    records = [record for record, _ in intake.sound]
    pairs = twins(records, [seen for _, seen in intake.sound]) if records else []
    packed.write_manifest(folder / packed.MANIFEST, records)
    return Copied(
        content_sha256=hashlib.sha256((folder / packed.MANIFEST).read_bytes()).hexdigest(),
        records=tuple(records),
        near_count=len(pairs),
        disagree_count=sum(pair.disagree for pair in pairs),
        troubles=tuple(
            Trouble(kind, len(files), tuple(files[:EXAMPLES]))
            for kind, files in intake.troubles.items()
        ),
    )


def sha256_of(record: Record) -> str:
    """The hash that a picture of a copy is named by."""
    return PurePosixPath(record.file).stem


def _is_known(record: Record, codes: Collection[str], *, multi_label: bool) -> bool:
    return set(record.labels) <= set(codes) and (multi_label or len(record.labels) == 1)


def _renamed(record: Record, seen: Look) -> Record:
    published = {PUBLISHED_FILE: record.file}
    return replace(record, file=_name(seen), metadata={**record.metadata, **published})


def _name(seen: Look) -> str:
    form = seen.form.lower() or "bin"
    return f"{seen.sha256}.{'jpg' if form == 'jpeg' else form}"
