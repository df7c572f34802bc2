"""The bench itself runs, on a small scale; its figures mean nothing there."""

from pathlib import Path

from tests.bench.__main__ import measure, table
from tests.bench.parts import Bench, percentile
from tests.stack import Stack
from tests.unit.ml.factories import make_bundle, picture_bytes


def test_every_part_gives_its_figures(tmp_path: Path) -> None:
    pictures = [picture_bytes(seed=seed, form="JPEG") for seed in range(4)]
    environment = {"LOCKED_TESTS_DIR": str(tmp_path), "TRAINING_PRIORITY": "normal"}
    with Stack(bundle=make_bundle(tmp_path / "bundle"), environment=environment) as stack:
        figures = measure(
            Bench(stack, pictures),
            cases=60,
            uploads=1,
            heat_maps=1,
            drain=8,
            seconds=1,
            folder=tmp_path,
            recipe="s2-blood-plain",
        )
    by_name = {figure.name: figure.value for figure in figures}
    assert len(by_name) == len(figures) == 18
    assert by_name["drain by two children"] > 0
    assert by_name["upload to result, median"] > 0
    assert by_name["heat map, the first of a process"] > 0
    assert all(figure.name in table(figures) for figure in figures)


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile([5.0, 1.0, 3.0, 2.0, 4.0], 95) == 5.0
    assert percentile([float(value) for value in range(1, 101)], 95) == 95.0
    assert percentile([7.0], 50) == 7.0
