"""The parts of a split: what is read of a data set, kept, and served in batches."""

import io
from collections import Counter
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from ml.datasets.manifest import Manifest, Record
from ml.metadata import encoding
from ml.parts import Part, TrainBatches, centre, drop_fields, read_part
from ml.preprocess import PreprocessSpec
from ml.recipe import DataRecipe, MetadataRecipe, Recipe, TrainingRecipe
from tests.unit.ml.factories import picture, reading_task

TASK = reading_task("a", "b", "c")
RECIPE = Recipe("test", "1", preprocess=PreprocessSpec(40, 32), metadata=MetadataRecipe("ham-19"))


class Shelf:
    """Pictures by name, counting how often each is taken."""

    def __init__(self) -> None:
        self.taken: Counter[str] = Counter()

    def read(self, file: str) -> bytes:
        self.taken[file] += 1
        stream = io.BytesIO()
        picture(seed=int(file)).save(stream, "PNG")
        return stream.getvalue()


def records(*labels: tuple[str, ...], **metadata: str) -> tuple[Record, ...]:
    return tuple(Record(str(n), label, metadata=metadata) for n, label in enumerate(labels))


def plain(targets: torch.Tensor, metadata: torch.Tensor | None = None) -> Part:
    """A part whose pictures are each of one grey: its number."""
    count = len(targets)
    frames = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 32, 32, 3)
    nothing = torch.empty(count, 0)
    return Part(
        tuple(map(str, range(count))), frames, targets, nothing if metadata is None else metadata
    )


def test_a_part_holds_frames_targets_and_metadata_in_order() -> None:
    shelf = Shelf()
    shown = records(("b",), ("a",), ("c",), age="60", sex="male")
    part = read_part(Manifest(shown, shelf.read), ("2", "0"), RECIPE, TASK, 36)
    assert part.files == ("2", "0")
    assert part.targets.tolist() == [[0, 0, 1], [0, 1, 0]]
    expected = RECIPE.preprocess.frame(picture(seed=2), 36)
    assert (part.frames[0].numpy() == expected).all()
    vector = encoding("ham-19").encode({"age": "60", "sex": "male"}).vector
    assert (part.metadata.numpy() == vector).all()
    inner = centre(part, 32)
    assert (inner.frames[0].numpy() == RECIPE.preprocess.frame(picture(seed=2))).all()


def test_several_findings_of_a_picture_are_all_targets() -> None:
    several = replace(TASK, multi_label=True)
    manifest = Manifest(records(("a", "c"), ("b",)), Shelf().read)
    part = read_part(manifest, ("0", "1"), RECIPE, several)
    assert part.targets.tolist() == [[1, 0, 1], [0, 1, 0]]
    with pytest.raises(ValueError, match=r"a\|c is not of test"):
        read_part(manifest, ("0", "1"), RECIPE, TASK)


def test_a_label_that_is_no_finding_is_refused() -> None:
    manifest = Manifest(records(("a",), ("x",)), Shelf().read)
    with pytest.raises(ValueError, match="1: x is not of test, whose findings are a, b, c"):
        read_part(manifest, ("0", "1"), RECIPE, TASK)


def test_pictures_are_decoded_once(tmp_path: Path) -> None:
    shelf = Shelf()
    files = tuple(map(str, range(7)))
    manifest = Manifest(records(*[("a",)] * 7), shelf.read)
    first = read_part(manifest, files, RECIPE, TASK, cache=tmp_path)
    shelf.taken.clear()
    again = read_part(manifest, files, RECIPE, TASK, cache=tmp_path)
    assert torch.equal(first.frames, again.frames)
    assert torch.equal(first.frames, read_part(manifest, files, RECIPE, TASK).frames)
    assert len(list(tmp_path.glob("*.npy"))) == 1


def test_a_cache_is_not_taken_for_another(tmp_path: Path) -> None:
    """Other files, another size or framing, or other pictures of the same names."""
    files = ("0", "1")
    manifest = Manifest(records(("a",), ("a",)), Shelf().read)
    other = Manifest(manifest.records, lambda file: Shelf().read(str(int(file) + 5)))
    squashed = replace(RECIPE, preprocess=replace(RECIPE.preprocess, framing="squash"))
    for source, wanted, recipe, size in (
        (manifest, files, RECIPE, None),
        (manifest, files[:1], RECIPE, None),
        (manifest, files, RECIPE, 36),
        (manifest, files, squashed, None),
        (other, files, RECIPE, None),
    ):
        kept = read_part(source, wanted, recipe, TASK, size, cache=tmp_path)
        assert torch.equal(kept.frames, read_part(source, wanted, recipe, TASK, size).frames)
    assert len(list(tmp_path.glob("*.npy"))) == 5


def test_half_a_cache_is_made_anew(tmp_path: Path) -> None:
    manifest = Manifest(records(("a",), ("a",)), Shelf().read)
    spoilt = replace(manifest, read=lambda file: b"" if file == "0" else Shelf().read(file))
    with pytest.raises(Exception, match="cannot identify"):
        read_part(spoilt, ("1", "0", "1"), RECIPE, TASK, cache=tmp_path)
    assert not list(tmp_path.glob("*.npy"))
    read_part(manifest, ("1", "0", "1"), RECIPE, TASK, cache=tmp_path)
    assert len(list(tmp_path.glob("*.npy"))) == 1


def test_fields_are_made_unknown_each_by_itself() -> None:
    known = encoding("ham-19")
    full = known.encode({"age": 80, "sex": "female", "localization": "back"}).vector
    vectors = np.repeat(full[None], 2000, axis=0)
    dropped = drop_fields(vectors, known, 0.25, np.random.default_rng(0))
    gone = {
        name: (dropped == known.blank(vectors, name))[:, start:stop].all(axis=1)
        for name, start, stop in (("age", 0, 1), ("sex", 1, 4), ("localization", 4, 19))
    }
    for missing in gone.values():
        assert 0.2 < missing.mean() < 0.3
    assert 0.03 < (gone["age"] & gone["sex"]).mean() < 0.1
    assert (vectors == full).all()
    assert drop_fields(vectors, known, 0.0, np.random.default_rng(0)) is vectors


def test_batches_blank_fields_anew_each_epoch() -> None:
    recipe = replace(RECIPE, metadata=MetadataRecipe("ham-19", field_dropout=0.5))
    vector = encoding("ham-19").encode({"age": 80, "sex": "male"}).vector
    part = plain(torch.eye(3)[torch.arange(32) % 3], torch.from_numpy(vector).repeat(32, 1))
    batches = TrainBatches(part, replace(recipe, training=TrainingRecipe(batch_size=32)))
    seen = []
    for epoch in (0, 1, 0):
        batches.epoch = epoch
        [(_, metadata, _)] = list(batches)
        seen.append(metadata)
    assert torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[0], seen[1])
    assert 4 < int((seen[0][:, 0] == 0).sum()) < 28


def numbers(batches: TrainBatches) -> list[list[int]]:
    """Which pictures are in each batch, by their grey."""
    spec = RECIPE.preprocess
    return [
        [round(float(grey) * spec.std[0] + spec.mean[0]) for grey in pixels[:, 0, 16, 16]]
        for pixels, _, _ in batches
    ]


def step_batches(batch_size: int, accumulate: int, pieces: int) -> TrainBatches:
    training = TrainingRecipe(batch_size=batch_size, accumulate_batches=accumulate)
    recipe = replace(RECIPE, metadata=MetadataRecipe(), training=training)
    batches = TrainBatches(plain(torch.eye(3)[torch.arange(50) % 3]), recipe)
    batches.pieces = pieces
    return batches


def test_a_step_sees_the_same_pictures_in_how_many_batches_it_may_come() -> None:
    whole = numbers(step_batches(16, 1, 1))
    assert [len(batch) for batch in whole] == [16, 16, 16]
    for batch_size, accumulate, pieces in ((8, 2, 2), (16, 1, 2), (4, 4, 8)):
        found = numbers(step_batches(batch_size, accumulate, pieces))
        assert len(found) == 3 * pieces
        starts = range(0, len(found), pieces)
        assert [[*chain(*found[start : start + pieces])] for start in starts] == whole


def test_processes_share_out_a_step_without_overlap() -> None:
    whole = numbers(step_batches(16, 1, 1))
    shares = []
    for rank in range(2):
        batches = step_batches(16, 1, 2)
        batches.rank, batches.ranks = rank, 2
        assert len(batches) == 3
        shares.append(numbers(batches))
    assert [first + second for first, second in zip(*shares, strict=True)] == whole


def test_oversampled_copies_differ_in_brightness() -> None:
    data = DataRecipe(sampling="oversample", synthetic_brightness=0.5)
    targets = torch.eye(2)[torch.tensor([0] * 30 + [1])]
    part = replace(plain(targets), frames=torch.full((31, 32, 32, 3), 100, dtype=torch.uint8))
    training = TrainingRecipe(batch_size=60)
    recipe = replace(RECIPE, metadata=MetadataRecipe(), data=data, training=training)
    [(pixels, _, shown)] = list(TrainBatches(part, recipe))
    assert shown.sum(dim=0).tolist() == [30, 30]
    greys = (pixels[:, 0, 0, 0] * 128 + 127).round()
    assert (greys[shown[:, 0] == 1] == 100).all()
    assert len(greys[shown[:, 1] == 1].unique()) > 20
