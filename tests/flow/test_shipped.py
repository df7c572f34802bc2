"""Every shipped bundle: the command that reads a folder, what it refuses, how large it is."""

import csv
import itertools
import sys
from collections.abc import Callable, Collection
from pathlib import Path

import pytest
from PIL import Image

from ml import bundle as bundles
from ml import predict
from ml import predictor as predictors
from ml.bundle import FACTS
from ml.engines import export_all
from ml.predictor import Predictor
from ml.refusal import measure, of_no_task
from tests import made
from tests.unit.ml.factories import picture_bytes
from webapp.config import REPOSITORY

SHIPPED = sorted(path.parent for path in (REPOSITORY / "ml" / "bundles").glob(f"*/*/{FACTS}"))
BUNDLE_MEGABYTES = 25
ALL_MEGABYTES = 100
EVERY = 4
"""Of the pictures of no task, which differ least from their neighbours, every fourth is shown."""
KNOWN = {"age": "70", "sex": "male", "localization": "back"}
MOST_DIFFERENCE = 1e-3
"""Of probabilities on another machine."""


@pytest.fixture(scope="module", autouse=True)
def exported() -> None:
    export_all([bundles.load(path) for path in SHIPPED], made.engines())


@pytest.fixture(scope="module", params=SHIPPED, ids=lambda path: "/".join(path.parts[-2:]))
def shipped(request: pytest.FixtureRequest) -> Predictor:
    return predictors.load(request.param, device="cpu", cache_dir=made.engines())


Command = Callable[..., list[dict[str, str]]]


@pytest.fixture
def predicted(shipped: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """What `python -m ml.predict` makes of a table, with columns for what is known of patients."""

    def predicted(
        rows: list[dict[str, str]], known: Collection[str] = tuple(KNOWN)
    ) -> list[dict[str, str]]:
        table, out = tmp_path / "cases.csv", tmp_path / "predictions.csv"
        with table.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=["file", *known], restval="")
            writer.writeheader()
            writer.writerows(rows)
        command = ["--bundle", shipped.bundle.path, "--images", table, "--out", out]
        command += ["--device", "cpu", "--cache", made.engines()]
        monkeypatch.setattr(sys, "argv", ["predict", *map(str, command)])
        assert predict.main() == 0
        with out.open(newline="") as file:
            reader = csv.DictReader(file)
            said = list(reader)
        codes = [f"p_{code}" for code in shipped.bundle.codes]
        added = ["prediction", "abstained", "reason"]
        assert reader.fieldnames == ["file", *known, *added, *codes]
        return said

    return predicted


def test_the_command_says_what_the_bundle_says_of_its_own_pictures(
    shipped: Predictor, predicted: Command
) -> None:
    tests = shipped.bundle.facts["self_test"]
    rows = [
        {"file": str(shipped.bundle.path / test["file"])}
        | {name: test["metadata"].get(name, "") for name in KNOWN}
        for test in tests
    ]
    said = predicted(rows)
    assert [one["file"] for one in said] == [row["file"] for row in rows]
    for one, test in zip(said, tests, strict=True):
        probabilities = {code: float(one[f"p_{code}"]) for code in shipped.bundle.codes}
        assert probabilities == pytest.approx(test["probabilities"], abs=MOST_DIFFERENCE)
        assert one["abstained"] == ("true" if one["reason"] else "false")
        if not shipped.bundle.facts["reading_task"].get("multi_label"):
            assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
            assert one["prediction"] == max(probabilities, key=probabilities.__getitem__)
        else:
            assert set(one["prediction"].split("|")) <= probabilities.keys()


def test_what_is_known_of_a_patient_counts_where_the_bundle_reads_it(
    shipped: Predictor, predicted: Command
) -> None:
    codes = [f"p_{code}" for code in shipped.bundle.codes]
    file = str(shipped.bundle.path / shipped.bundle.facts["self_test"][0]["file"])
    rows = [{"file": file}, {"file": file, **KNOWN}, {"file": file, **KNOWN, "age": "5"}]
    blank, old, young = predicted(rows)
    (alone,) = predicted([{"file": file}], known=())
    told = ["prediction", "abstained", "reason", *codes]
    assert [blank[name] for name in told] == [alone[name] for name in told]
    reads_it = shipped.bundle.facts["metadata"]["encoding_version"] != "none"
    for code in codes:
        assert len({one[code] for one in (blank, old, young)}) == (3 if reads_it else 1)


def test_what_is_held_back_is_told_all_the_same(
    shipped: Predictor, predicted: Command, tmp_path: Path
) -> None:
    (tmp_path / "noise.png").write_bytes(picture_bytes())
    (noise,) = predicted([{"file": "noise.png"}])
    assert noise["abstained"] == "true"
    assert noise["reason"]
    assert noise["prediction"]
    assert all(float(noise[f"p_{code}"]) >= 0 for code in shipped.bundle.codes)


def test_what_is_no_picture_of_its_task_is_refused(shipped: Predictor) -> None:
    strange = list(itertools.islice(of_no_task(), 0, None, EVERY))
    others = [
        Image.open(path / test["file"]).convert("RGB")
        for path in SHIPPED
        if path.parts[-2].split("-")[0] != shipped.bundle.path.parts[-2].split("-")[0]
        for test in bundles.load(path).facts["self_test"]
    ]
    assert (len(strange), len(others)) >= (25, 8)
    of_none, of_others = measure(shipped, strange), measure(shipped, others)
    assert of_none.refused >= 0.95 * of_none.count
    assert of_others.refused == of_others.count


def test_a_drawn_chest_is_not_answered() -> None:
    (path,) = (path for path in SHIPPED if path.parts[-2] == "chest-ct")
    chest = predictors.load(path, device="cpu", cache_dir=made.engines())
    (test,) = chest.bundle.facts["self_test"]
    (answer,) = chest.predict([Image.open(path / test["file"])])
    assert (Path(test["file"]).name, answer.abstained) == ("phantom.png", True)


def test_they_are_small() -> None:
    sizes = {
        path: sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6
        for path in SHIPPED
    }
    assert len(sizes) == 6
    assert max(sizes.values()) <= BUNDLE_MEGABYTES
    assert sum(sizes.values()) <= ALL_MEGABYTES
