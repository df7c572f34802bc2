"""What is in a data set: counts, sizes, channels, classes against metadata, and duplicates."""

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from operator import attrgetter

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from ml.datasets.manifest import Manifest, Record
from ml.decode import Unreadable, decode
from ml.splits import (
    grey_thumbnail,
    look_alike_pairs,
    near_duplicate_pairs,
    thumbnail,
)

GREY_WITHIN = 4
"""A thumbnail whose channels differ by no more than this, of 255, is grey."""
MOST_CATEGORIES = 24
"""A metadata column with more different texts is free text."""
FEWEST_NUMBERS = 10
"""A metadata column with fewer different numbers is categories."""


@dataclass(frozen=True)
class Look:
    """One picture as it is on disk, and small."""

    width: int
    height: int
    mode: str
    """Pillow's name of its channels (``L``, ``RGB`` ...)."""
    form: str
    """The file's format (``JPEG`` ...)."""
    sha256: str
    colour: npt.NDArray[np.uint8]
    grey: npt.NDArray[np.uint8]

    @property
    def is_grey(self) -> bool:
        """Whether its channels say the same, however many there are."""
        spread = self.colour.max(axis=2).astype(int) - self.colour.min(axis=2)
        return int(spread.max()) <= GREY_WITHIN


@dataclass(frozen=True)
class Twin:
    """Two pictures of different subjects that are alike, or the same file."""

    first: Record
    second: Record
    exact: bool

    @property
    def disagree(self) -> bool:
        """Whether they are labelled differently."""
        return set(self.first.labels) != set(self.second.labels)

    @property
    def across(self) -> bool:
        """Whether they are published for different parts."""
        return self.first.split != self.second.split


@dataclass(frozen=True)
class Spread:
    """A number within one class: quantiles at 0, 25, 50, 75 and 100 %, and how many lack it."""

    quantiles: tuple[float, ...]
    count: int
    missing: int


@dataclass(frozen=True)
class Column:
    """A metadata column against the classes."""

    name: str
    numbers: dict[str, Spread] | None = None
    categories: tuple[str, ...] = ()
    counts: dict[str, Counter[str]] | None = None
    association: float = float("nan")
    """Cramer's V of category and class: 0 says nothing about it, 1 gives it away."""
    different: int = 0
    """Different texts, where they are too many to show."""


def looks(manifest: Manifest) -> tuple[dict[str, Look], list[str]]:
    """Every picture by file, and the files that cannot be read."""
    found: dict[str, Look] = {}
    unreadable: list[str] = []
    for record in tqdm(manifest.records, desc="looking", unit="image"):
        try:
            found[record.file] = look(manifest.read(record.file))
        except (Unreadable, OSError, KeyError):
            unreadable.append(record.file)
    return found, unreadable


def look(data: bytes) -> Look:
    """One picture. Raises Unreadable."""
    picture = decode(data)
    with Image.open(io.BytesIO(data)) as header:
        width, height = header.size
        mode, form = header.mode, header.format or ""
    digest = hashlib.sha256(data).hexdigest()
    return Look(width, height, mode, form, digest, thumbnail(picture), grey_thumbnail(picture))


def twins(records: Sequence[Record], looks_of: Sequence[Look]) -> list[Twin]:
    """Pairs of equal files, and of near-duplicates, that no common subject explains.

    Near-duplicates are those that splits keep together: without any subject by the difference of
    thumbnails as well.
    """
    places: dict[str, list[int]] = {}
    for index, seen in enumerate(looks_of):
        places.setdefault(seen.sha256, []).append(index)
    exact = {pair for indices in places.values() for pair in combinations(indices, 2)}
    near = set(look_alike_pairs(np.array([seen.grey for seen in looks_of])))
    if not any(record.subject for record in records):
        near |= set(near_duplicate_pairs(np.array([seen.colour for seen in looks_of])))
    return [
        Twin(records[first], records[second], (first, second) in exact)
        for first, second in sorted(exact | near, key=lambda pair: (pair not in exact, pair))
        if not records[first].subject or records[first].subject != records[second].subject
    ]


def tally(values: Iterable[str]) -> list[tuple[str, int]]:
    """How often each value occurs, the most frequent first."""
    return sorted(Counter(values).items(), key=lambda entry: (-entry[1], entry[0]))


def by_class(records: Iterable[Record], value: Callable[[Record], str]) -> dict[str, Counter[str]]:
    """For each label, how often each value occurs; a record counts for all of its labels."""
    found: dict[str, Counter[str]] = {}
    for record in records:
        for label in record.labels:
            found.setdefault(label, Counter())[value(record)] += 1
    return dict(sorted(found.items()))


def columns(records: Sequence[Record]) -> list[Column]:
    """Every metadata column against the classes; the source and the published part among them."""
    names = sorted({name for record in records for name in record.metadata})
    facts = [name for name in ("source", "split") if len({getattr(r, name) for r in records}) > 1]
    found = [column(records, name, partial(_particular, name)) for name in names]
    return found + [column(records, name, attrgetter(name)) for name in facts]


def _particular(name: str, record: Record) -> str:
    return record.metadata.get(name, "")


def column(records: Sequence[Record], name: str, value: Callable[[Record], str]) -> Column:
    """One column: numbers, categories, or free text."""
    different = {value(record) for record in records} - {""}
    if len(different) >= FEWEST_NUMBERS and all(map(is_number, different)):
        labels = sorted({label for record in records for label in record.labels})
        return Column(name, numbers={label: spread(records, label, value) for label in labels})
    if len(different) > MOST_CATEGORIES:
        return Column(name, different=len(different))
    counts = by_class(records, lambda record: value(record) or "unknown")
    categories = [
        category for category, _ in tally(c for row in counts.values() for c in row.elements())
    ]
    return Column(name, categories=tuple(categories), counts=counts, association=cramer(counts))


def spread(records: Iterable[Record], label: str, value: Callable[[Record], str]) -> Spread:
    """The numbers of one class."""
    texts = [value(record) for record in records if label in record.labels]
    numbers = [float(text) for text in texts if text]
    quantiles = np.quantile(numbers, (0, 0.25, 0.5, 0.75, 1)) if numbers else np.full(5, np.nan)
    return Spread(tuple(map(float, quantiles)), len(numbers), len(texts) - len(numbers))


def cramer(counts: dict[str, Counter[str]]) -> float:
    """Cramer's V (1946) of a table of counts; NaN with one row or one column."""
    names = sorted({name for row in counts.values() for name in row})
    table = np.array([[row[name] for name in names] for row in counts.values()], float)
    least = min(table.shape) - 1
    if least < 1:
        return float("nan")
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    chi_squared = ((table - expected) ** 2 / expected).sum()
    return float(np.sqrt(chi_squared / table.sum() / least))


def is_number(text: str) -> bool:
    """Whether a text is a finite number."""
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def examples(records: Sequence[Record], label: str, count: int) -> list[Record]:
    """Up to ``count`` records of a class, evenly spread over the manifest."""
    shown = [record for record in records if label in record.labels]
    places = np.linspace(0, len(shown) - 1, min(count, len(shown))).round().astype(int)
    return [shown[place] for place in places]
