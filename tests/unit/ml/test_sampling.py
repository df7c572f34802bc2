"""Which training pictures an epoch shows."""

import numpy as np
import pytest

from ml.recipe import DataRecipe
from ml.sampling import Draw, Floats, draw, neighbours, smote, strata

CLASSES = np.array([0] * 60 + [1] * 30 + [2] * 10)
TARGETS = np.eye(3, dtype=np.float32)[CLASSES]


def drawn(seed: int = 0, **settings: object) -> Draw:
    return draw(TARGETS, DataRecipe(**settings), np.random.default_rng(seed))  # type: ignore[arg-type]


def counts(found: Draw) -> list[int]:
    return np.bincount(CLASSES[found.order]).tolist()


def test_natural_sampling_shows_everything_once() -> None:
    found = drawn()
    assert sorted(found.order) == list(range(100))
    assert list(found.order) != list(range(100))
    assert not found.copies.any()


def test_weighted_sampling_shows_classes_equally_often() -> None:
    many = sum(np.array(counts(drawn(seed, sampling="weighted"))) for seed in range(50))
    assert many.sum() == 5000
    assert np.abs(many / 5000 - 1 / 3).max() < 0.03


def test_oversampling_raises_the_rare_and_keeps_all() -> None:
    found = drawn(sampling="oversample")
    assert counts(found) == [60, 60, 60]
    assert sorted(found.order[~found.copies]) == list(range(100))
    assert set(CLASSES[found.order[found.copies]]) == {1, 2}
    assert counts(drawn(sampling="oversample", samples_per_class=40)) == [60, 40, 40]


def test_undersampling_lowers_the_common_anew_each_epoch() -> None:
    assert counts(drawn(sampling="undersample")) == [10, 10, 10]
    first = drawn(1, sampling="undersample", samples_per_class=20)
    assert counts(first) == [20, 20, 10]
    assert len(set(first.order)) == 50
    assert set(first.order) != set(drawn(2, sampling="undersample", samples_per_class=20).order)


@pytest.mark.parametrize("sampling", ["natural", "weighted", "oversample", "undersample"])
def test_a_draw_follows_its_seed_and_has_one_length(sampling: str) -> None:
    first, again, other = (drawn(seed, sampling=sampling) for seed in (1, 1, 2))
    assert (first.order == again.order).all()
    assert (first.order != other.order).any()
    assert len(first.order) == len(other.order)


def test_unknown_sampling_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown sampling magic; known are natural, weighted"):
        drawn(sampling="magic")


def test_a_picture_of_several_findings_goes_by_the_rarest() -> None:
    targets = np.array([[1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 1, 0]], np.float32)
    assert strata(targets).tolist() == [0, 0, 1, 2, 1]


def test_smote_moves_copies_toward_their_own_kind() -> None:
    random = np.random.default_rng(0)
    metadata: Floats = (CLASSES[:, None] * 10 + random.random((100, 2))).astype(np.float32)
    near = neighbours(metadata, TARGETS, 5)
    for index, found in enumerate(near):
        assert len(found) == 5
        assert index not in found
        assert (CLASSES[found] == CLASSES[index]).all()
    made = drawn(sampling="oversample")
    moved = smote(metadata, made, near, random)
    originals = metadata[made.order]
    assert (moved[~made.copies] == originals[~made.copies]).all()
    assert (moved[made.copies] != originals[made.copies]).any(axis=1).all()
    assert (np.floor(moved[:, 0] / 10) == CLASSES[made.order]).all()


def test_smote_leaves_a_class_of_one_alone() -> None:
    metadata, targets = np.ones((3, 2), np.float32), np.eye(2, dtype=np.float32)[[0, 0, 1]]
    near = neighbours(metadata, targets, 5)
    assert [len(found) for found in near] == [1, 1, 0]
    copies = Draw(np.array([2, 2]), np.array([True, True]))
    assert (smote(metadata, copies, near, np.random.default_rng(0)) == 1).all()
