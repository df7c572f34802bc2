"""Splits: no subject and no near-duplicate crosses, and equal seeds give equal splits."""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from sklearn.model_selection import StratifiedGroupKFold

from ml import bundle as bundles
from ml import splits
from ml.datasets import packed
from ml.datasets.manifest import Manifest, Record
from ml.folds import QuickFolds
from ml.recipe import DataRecipe, Recipe
from ml.splits import (
    GREY_PX,
    THUMBNAIL_PX,
    Split,
    cross_folds,
    divide,
    groups_of,
    keep_apart,
    locked_split,
    look_alike_pairs,
    near_duplicate_groups,
    near_duplicate_pairs,
    source_folds,
    split_manifest,
    thumbnails,
    unite,
)
from tests.demo import newest_bundle

RECIPES = Path(__file__).parents[3] / "ml" / "recipes"
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


def test_folds_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(3)
    for seed in range(4):
        groups = random.integers(0, 90, 300)
        labels = [LABELS[int(group) % 3 if index % 4 else 0] for index, group in enumerate(groups)]
        dealt, base = (
            kind(7, shuffle=True, random_state=seed).split(labels, labels, groups)
            for kind in (QuickFolds, StratifiedGroupKFold)
        )
        for (_, ours), (_, theirs) in zip(dealt, base, strict=True):
            assert ours.tolist() == theirs.tolist()


def test_near_duplicates_are_chained() -> None:
    random = np.random.default_rng(0)
    distinct = random.integers(0, 256, (40, THUMBNAIL_PX, THUMBNAIL_PX, 3)).astype(np.uint8)
    near = (distinct[3].astype(int) + 8).clip(0, 255).astype(np.uint8)
    nearer = (distinct[3].astype(int) + 16).clip(0, 255).astype(np.uint8)
    groups = near_duplicate_groups(np.concatenate([distinct, near[None], nearer[None]]))
    assert groups[40] == groups[3]
    assert groups[41] == groups[3], "a chain of near-duplicates is one group"
    assert len(set(groups)) == 40


def grey_pictures(count: int) -> npt.NDArray[np.uint8]:
    """Pictures that look alike by nature, a bright disc on black, each with marks of its own."""
    random = np.random.default_rng(2)
    rows, columns = np.indices((GREY_PX, GREY_PX)) - (GREY_PX - 1) / 2
    disc = np.hypot(rows, columns) < 0.45 * GREY_PX
    marks = random.normal(0, 12, (count, GREY_PX, GREY_PX))
    return (disc * (120 + marks)).clip(0, 255).astype(np.uint8)


def test_a_common_look_is_no_likeness_but_a_second_exposure_is() -> None:
    pictures = grey_pictures(400)
    brighter = (pictures[7].astype(float) * 1.4 + 10).clip(0, 255).astype(np.uint8)
    together = np.concatenate([pictures, brighter[None]])
    assert list(look_alike_pairs(together)) == [(7, 400)]
    far_apart = near_duplicate_groups(np.repeat(together[..., None], 3, axis=3))
    assert far_apart[400] != far_apart[7], "the difference of thumbnails takes exposure for content"


def test_few_pictures_are_compared_without_principal_directions() -> None:
    random = np.random.default_rng(3)
    pictures = random.integers(0, 256, (12, GREY_PX, GREY_PX)).astype(np.uint8)
    again = np.concatenate([pictures, pictures[4:5]])
    assert list(look_alike_pairs(again)) == [(4, 12)]


def test_chains_of_subjects_and_near_duplicates_are_one_group() -> None:
    subjects = np.array([0, 0, 1, 2, 2, 3])
    assert unite(subjects, [(1, 2), (2, 4)]).tolist() == [0, 0, 0, 0, 0, 3]
    assert unite(subjects, []).tolist() == subjects.tolist()


def test_who_has_a_twin_in_a_later_part_is_dropped_and_no_test_moves() -> None:
    rows = records(6)
    files = [row.file for row in rows]
    before = Split((files[0], files[1], files[2]), (files[3], files[4]), (files[5],))
    # 1 is a twin of tune's 3, and 4 of the test's 5; 2 is a twin of 4, which is dropped itself.
    after = keep_apart(rows, np.array([0, 1, 4, 1, 4, 4]), before)
    assert after == Split((files[0],), (files[3],), (files[5],), (files[1], files[2], files[4]))


def manifest_of(rows: list[Record], pictures: list[Image.Image]) -> Manifest:
    contents = {}
    for row, picture in zip(rows, pictures, strict=True):
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        contents[row.file] = stream.getvalue()
    return Manifest(tuple(rows), contents.__getitem__)


def test_pictures_without_a_subject_are_grouped_by_their_pixels() -> None:
    random = np.random.default_rng(4)
    noise = [Image.fromarray(p) for p in random.integers(0, 256, (5, 48, 48, 3)).astype(np.uint8)]
    rows = [
        Record(f"{index}.png", ("a",), subject)
        for index, subject in enumerate(["p", "p", "", "", "q"])
    ]
    subjects, united = groups_of(manifest_of(rows, [*noise[:4], noise[2]]))
    assert subjects[0] == subjects[1]
    assert len(set(subjects)) == 4, "a picture without a subject is nobody else's"
    assert united[2] == united[4]
    assert len(set(united)) == 3
    nameless = [Record(row.file, row.labels) for row in rows]
    subjects, united = groups_of(manifest_of(nameless, [*noise[:4], noise[2]]))
    assert subjects.tolist() == united.tolist() == [0, 1, 2, 3, 2]


def test_published_parts_are_kept_and_leaks_are_dropped() -> None:
    rows = [
        Record(f"{index}.png", ("a",), split=part)
        for index, part in enumerate(("train", "train", "val", "val", "test"))
    ]
    parts = divide(rows, np.array([0, 1, 1, 2, 2]), DataRecipe(split="published"), 0)
    assert parts == Split(("0.png",), ("2.png",), ("4.png",), ("1.png", "3.png"))


def test_runs_need_enough_subjects() -> None:
    rows = [Record(f"{index}.png", ("a",), f"block-{index}") for index in range(3)]
    with pytest.raises(ValueError, match="too few subjects"):
        divide(rows, np.arange(3), DataRecipe(split="runs"), 0)


def test_five_folds_test_every_picture_once() -> None:
    rows = records(subjects=150)
    groups = np.array([int(row.subject) for row in rows])
    folds = cross_folds(rows, groups, DataRecipe(), 0)
    assert sorted(file for fold in folds for file in fold.test) == sorted(row.file for row in rows)
    group = dict(zip((row.file for row in rows), groups, strict=True))
    label = {row.file: row.label for row in rows}
    for fold in folds:
        train, tune, test = ({group[file] for file in part} for part in parts_of(fold))
        assert not train & tune
        assert not (train | tune) & test
        assert len(fold.tune) / len(fold.train + fold.tune) == pytest.approx(0.15, abs=0.03)
        assert sum(label[file] == "a" for file in fold.test) / len(fold.test) == pytest.approx(
            1 / 3, abs=0.05
        )
    assert len({fold.sha256 for fold in folds}) == 5


@pytest.fixture
def slices() -> list[Record]:
    """Three sources of two classes, twenty blocks each, three slices a block."""
    return [
        Record(
            f"{source}-{label}-{block}-{number}.png",
            (label,),
            f"{source}-{label}-{block}",
            source=source,
        )
        for source in ("x", "y", "z")
        for label in LABELS[:2]
        for block in range(20)
        for number in range(3)
    ]


@pytest.mark.parametrize("policy", ["runs", "subjects"])
def test_a_source_is_left_out(slices: list[Record], policy: str) -> None:
    groups = np.unique([row.subject for row in slices], return_inverse=True)[1]
    groups[0] = groups[-1]  # a slice of x is nearly one of z
    folds = source_folds(slices, groups, DataRecipe(split=policy, tune_fraction=0.15), 0)
    source = {row.file: row.source for row in slices}
    subject = {row.file: row.subject for row in slices}
    assert list(folds) == ["x", "y", "z"]
    for left_out, fold in folds.items():
        assert set(fold.test) == {file for file, name in source.items() if name == left_out}
        assert {source[file] for file in fold.train} == {"x", "y", "z"} - {left_out}
        assert {source[file] for file in fold.tune} == {"x", "y", "z"} - {left_out}
        assert not {subject[f] for f in fold.train} & {subject[f] for f in fold.tune}
    assert slices[0].file in folds["z"].dropped
    # At each border between train and tune; and the twin of a slice of z that is in tune.
    gaps = {f"{source}-{label}-16" for source in "xz" for label in "ab"} | {"x-a-0"}
    assert {subject[f] for f in folds["y"].dropped} == (gaps if policy == "runs" else set())


def test_a_single_source_cannot_be_left_out() -> None:
    with pytest.raises(ValueError, match="one source only"):
        source_folds(records(), np.arange(600), DataRecipe(), 0)


REAL = {
    "blood-pbc": ("blood-cell", 1711, 1),
    "breast-busi": ("breast-ultrasound", 78, 42),
    "skin-ham10000": ("dermoscopy", 2004, 1),
    "eye-odir5k": ("fundus", 1029, 32),
    "chest-ct": ("chest-ct", 546, 266),
}
"""Folder: its recipe, how many pictures the test has, and how many nobody uses."""


@pytest.mark.parametrize("folder", REAL)
def test_nothing_crosses_in_the_real_data(
    data_dir: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, tested, dropped = REAL[folder]
    recipe = Recipe.load(RECIPES / f"{name}.toml")
    manifest = packed.read(data_dir / folder)
    records = manifest.records
    colour, grey = thumbnails(manifest)
    monkeypatch.setattr(splits, "thumbnails", lambda _: (colour, grey))  # decoded once
    subjects = np.array([record.subject or record.file for record in records])
    pairs = list(look_alike_pairs(grey))
    if not records[0].subject:
        pairs += near_duplicate_pairs(colour)
    split = split_manifest(manifest, recipe.data, recipe.seed)
    side_of = {file: side for side, part in enumerate(parts_of(split)) for file in part}
    sides = [side_of.get(record.file) for record in records]
    used = [side is not None for side in sides]
    at: dict[str, set[int | None]] = {}
    for subject, side, is_used in zip(subjects, sides, used, strict=True):
        if is_used:
            at.setdefault(str(subject), set()).add(side)
    assert all(len(found) == 1 for found in at.values()), "a subject crosses"
    assert pairs, "every one of these sets has near-duplicates"
    assert [
        pair for pair in pairs if all(used[i] for i in pair) and sides[pair[0]] != sides[pair[1]]
    ] == []
    assert (len(split.test), len(split.dropped)) == (tested, dropped)
    facts = bundles.load(newest_bundle(name)).facts
    assert split.sha256 == facts["training"]["split_sha256"], "what is shipped learnt from another"
    assert len(side_of) + len(split.dropped) == len(records)


def parts_of(split: Split) -> tuple[tuple[str, ...], ...]:
    return split.train, split.tune, split.test
