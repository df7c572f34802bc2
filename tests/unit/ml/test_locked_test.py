"""What is locked away: named by its bytes, once, and only of the data that a bundle was made of."""

import csv
import hashlib
from pathlib import Path

import pytest

from ml import locked_test
from ml.bundle import load
from ml.datasets.manifest import Manifest, Record
from ml.locked_test import rows_of
from ml.splits import Split
from tests import datasets
from tests.unit.ml.factories import make_bundle


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_what_is_held_back_is_named_by_its_bytes() -> None:
    pictures = {name: name[:1].encode() for name in ("a1", "a2", "b1", "c1", "d1")}
    records = tuple(Record(name, ("x",), subject=f"of {name}") for name in pictures)
    split = Split(train=("d1",), tune=("a1", "b1"), test=("a2",), dropped=("c1",))
    rows = rows_of(Manifest(records, pictures.__getitem__), split)
    assert [digest for digest, _, _ in rows] == sorted(map(sha256, (b"a", b"b", b"c")))
    parts = {digest: (subject, part) for digest, subject, part in rows}
    assert parts[sha256(b"a")] == ("of a2", "test")  # also where the same is among those to tune on
    assert parts[sha256(b"b")] == ("of b1", "tune")
    assert parts[sha256(b"c")] == ("of c1", "dropped")


def test_a_data_set_is_divided_as_the_tables_say(tmp_path: Path) -> None:
    pictures = {name: name.encode() for name in ("a", "b", "c", "d")}
    manifest = Manifest(tuple(Record(name, ("x",)) for name in pictures), pictures.__getitem__)
    rows = [(sha256(name.encode()), "", part) for name, part in (("a", "test"), ("b", "dropped"))]
    locked_test.write(tmp_path / "one.csv", rows)
    locked_test.write(tmp_path / "other.csv", [(sha256(b"c"), "", "tune")])
    assert locked_test.parts_of(manifest, tmp_path) == {
        "train": ["d"],
        "tune": ["c"],
        "test": ["a"],
        "dropped": ["b"],
    }


def test_the_table_is_made_of_the_data_of_a_bundle_and_of_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    data = datasets.write(tmp_path / "data", datasets.rows(("basophil", "platelet")))
    split = Split(train=("basophil/0.png",), tune=(), test=("platelet/1.png",))

    def divided(facts: dict[str, object], manifest: Manifest) -> Split:
        assert facts == load(bundle).facts
        return split

    words = ["locked_test", "--bundle", str(bundle), "--data", str(data), "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", words)
    monkeypatch.setattr(locked_test, "recorded_split", divided)
    assert locked_test.main() == 0
    with (tmp_path / "blood-cell.csv").open(newline="") as table:
        (row,) = csv.DictReader(table)
    digest = sha256(datasets.drawn("platelet/1.png"))
    assert row == {"sha256": digest, "subject": "platelet-1", "part": "test"}

    def refuse(*_: object) -> Split:
        raise locked_test.EvaluationError("other data")

    monkeypatch.setattr(locked_test, "recorded_split", refuse)
    assert locked_test.main() == 2
    assert "other data" in capsys.readouterr().err
