"""Splits: no subject and no near-duplicate crosses, and equal seeds give equal splits."""

import numpy as np
import pytest

from ml.datasets.manifest import Manifest, Record
from ml.recipe import DataRecipe
from ml.splits import THUMBNAIL_PX, Split, locked_split, near_duplicate_groups, thumbnails

LABELS = ("a", "b", "c")


def records(count: int = 600, subjects: int = 0) -> list[Record]:
    """Two thirds for training; three labels; subjects, if any, of unequal size."""
    random = np.random.default_rng(1)
    return [
        Record(
            file=f"{index}.png",
            labels=(LABELS[index % 3],),
            subject=str(int(random.integers(subjects))) if subjects else "",
            split="val" if index % 3 == 2 and index % 2 else "train",
        )
        for index in range(count)
    ]


def split(rows: list[Record], groups: list[int] | None = None, seed: int = 0) -> Split:
    numbers = np.arange(len(rows)) if groups is None else np.array(groups)
    return locked_split(rows, numbers, DataRecipe(), seed)


def test_parts_are_disjoint_and_complete() -> None:
    rows = records()
    parts = split(rows)
    together = [*parts.train, *parts.tune, *parts.test, *parts.dropped]
    assert sorted(together) == sorted(row.file for row in rows)
    assert set(parts.test) == {row.file for row in rows if row.split == "val"}
    assert len(parts.tune) / (len(parts.train) + len(parts.tune)) == pytest.approx(0.15, abs=0.01)


def test_labels_are_spread_evenly() -> None:
    rows = records()
    parts = split(rows)
    label = {row.file: row.label for row in rows}
    for name in LABELS:
        share = [sum(label[f] == name for f in part) / len(part) for part in parts_of(parts)]
        assert share[0] == pytest.approx(share[1], abs=0.02)


def test_no_subject_crosses() -> None:
    rows = records(subjects=150)
    parts = split(rows, [int(row.subject) for row in rows])
    subject = {row.file: row.subject for row in rows}
    sides = [{subject[file] for file in part} for part in (parts.train, parts.tune, parts.test)]
    assert all(sides)
    assert not sides[0] & sides[1]
    assert not (sides[0] | sides[1]) & sides[2]
    assert {subject[file] for file in parts.dropped} <= sides[2]


def test_the_seed_decides() -> None:
    rows = records()
    assert split(rows).sha256 == split(rows).sha256
    assert split(rows).sha256 != split(rows, seed=1).sha256


def test_near_duplicates_are_chained() -> None:
    random = np.random.default_rng(0)
    distinct = random.integers(0, 256, (40, THUMBNAIL_PX, THUMBNAIL_PX, 3)).astype(np.uint8)
    near = (distinct[3].astype(int) + 8).clip(0, 255).astype(np.uint8)
    nearer = (distinct[3].astype(int) + 16).clip(0, 255).astype(np.uint8)
    groups = near_duplicate_groups(np.concatenate([distinct, near[None], nearer[None]]))
    assert groups[40] == groups[3]
    assert groups[41] == groups[3], "a chain of near-duplicates is one group"
    assert len(set(groups)) == 40


def test_no_near_duplicate_crosses_in_the_real_data(blood: Manifest) -> None:
    groups = near_duplicate_groups(thumbnails(blood))
    parts = locked_split(blood.records, groups, DataRecipe(), 20)
    side_of = {file: side for side, part in enumerate(parts_of(parts)) for file in part}
    sides: dict[int, set[int]] = {}
    for record, group in zip(blood.records, groups, strict=True):
        if record.file in side_of:
            sides.setdefault(int(group), set()).add(side_of[record.file])
    assert all(len(found) == 1 for found in sides.values())
    assert len(parts.dropped) == 1, "one training picture is a near-duplicate of a test picture"


def parts_of(split: Split) -> tuple[tuple[str, ...], ...]:
    return split.train, split.tune, split.test
