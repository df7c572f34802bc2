"""The contract of ``python -m ml.predict``: inputs, order, columns, unreadable files, exit."""

import csv
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from ml import predict
from ml.gates import Abstention
from ml.predictor import Predictor
from ml.reading_task import ReadingTask
from tests.unit.ml.factories import picture, picture_bytes

CODES = ReadingTask.named("blood-cell").codes
ADDED = ["prediction", "abstained", "reason", *(f"p_{code}" for code in CODES)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures at two depths, a broken one, and files that are not meant as pictures."""
    images = tmp_path / "images"
    (images / "deep").mkdir(parents=True)
    for seed, name in enumerate(("b.png", "deep/a.png", "c.jpg")):
        form = "JPEG" if name.endswith("jpg") else "PNG"
        (images / name).write_bytes(picture_bytes(seed=seed, form=form))
    (images / "broken.png").write_bytes(picture_bytes()[:200])
    (images / "notes.txt").write_text("not a picture")
    (images / "Thumbs.db").write_bytes(b"not one either")
    (images / ".hidden.png").write_bytes(picture_bytes())
    return images


@pytest.fixture
def run(tiny: Predictor, cache_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs the command on an input; yields exit status, header and rows."""

    def run(images: Path) -> tuple[int, list[str], list[dict[str, str]]]:
        out = tmp_path / "out" / "predictions.csv"
        command = ["predict", "--bundle", str(tiny.bundle.path), "--images", str(images)]
        command += ["--out", str(out), "--cache", str(cache_dir), "--device", "cpu"]
        monkeypatch.setattr(sys, "argv", command)
        status = predict.main()
        if not out.exists():
            return status, [], []
        with out.open(newline="", encoding="utf-8") as table:
            reader = csv.DictReader(table)
            return status, list(reader.fieldnames or ()), list(reader)

    return run


def table(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_folder(run, folder: Path) -> None:
    status, header, rows = run(folder)
    assert status == 0
    assert header == ["file", *ADDED]
    assert [row["file"] for row in rows] == ["b.png", "broken.png", "c.jpg", "deep/a.png"]
    for row in rows[:1] + rows[2:]:
        assert row["prediction"] in CODES
        assert (row["abstained"], row["reason"]) == ("false", "")
        probabilities = {code: float(row[f"p_{code}"]) for code in CODES}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-6)
        assert max(probabilities, key=probabilities.__getitem__) == row["prediction"]


def test_an_unreadable_file_has_no_answer_and_stops_nothing(run, folder: Path) -> None:
    row = run(folder)[2][1]
    assert row["reason"] == "unreadable"
    assert row["abstained"] == "true"
    assert {row[name] for name in ADDED if name not in {"abstained", "reason"}} == {""}


def test_a_zip_archive_keeps_its_order(run, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("deep/a.png", "broken.png", "c.jpg", "b.png"):
            archive.write(folder / name, name)
        archive.writestr("__MACOSX/._b.png", b"")
        archive.writestr("manifest.csv", "file\n")
    _, _, rows = run(path)
    assert [row["file"] for row in rows] == ["deep/a.png", "broken.png", "c.jpg", "b.png"]
    assert [bool(row["prediction"]) for row in rows] == [True, False, True, True]


def test_a_member_that_does_not_unpack_stops_nothing(run, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("b.png", "c.jpg"):
            archive.write(folder / name, name)
    spoilt = bytearray(path.read_bytes())
    start = spoilt.index(b"b.png") + len("b.png")
    spoilt[start : start + 100] = b"\xff" * 100
    path.write_bytes(spoilt)
    status, _, rows = run(path)
    assert status == 0
    assert [row["reason"] for row in rows] == ["unreadable", ""]


def test_a_csv_table_keeps_columns_and_order(run, folder: Path) -> None:
    text = '\ufeffage,file,localization\n41,c.jpg,"arm, left"\n,deep/a.png,\n7,missing.png,x\n'
    status, header, rows = run(table(folder / "cases.csv", text))
    assert status == 0
    assert header == ["age", "file", "localization", *ADDED]
    assert [row["age"] for row in rows] == ["41", "", "7"]
    assert [row["file"] for row in rows] == ["c.jpg", "deep/a.png", "missing.png"]
    assert [row["localization"] for row in rows] == ["arm, left", "", "x"]
    assert [row["reason"] for row in rows] == ["", "", "unreadable"]


def test_the_three_ways_agree(run, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(folder / "b.png", "b.png")
    first = run(folder)[2][0]
    assert run(path)[2][0] == first
    assert run(table(folder / "one.csv", "file\nb.png\n"))[2][0] == first


def test_nothing_readable_is_a_failure(run, tmp_path: Path) -> None:
    status, _, rows = run(table(tmp_path / "cases.csv", "file\nnone.png\n\n"))
    assert status == 1
    assert [row["reason"] for row in rows] == ["unreadable"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name\nb.png\n", "has no column 'file'"),
        ("file,prediction\nb.png,ig\n", "columns prediction are output columns"),
        ("file,age,age\nb.png,4,5\n", "more than one column age"),
    ],
)
def test_a_table_that_cannot_be_used(
    run, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    out = tmp_path / "out" / "predictions.csv"
    out.parent.mkdir()
    out.write_text("file\nfrom an earlier run\n")
    status, _, _ = run(table(tmp_path / "cases.csv", text))
    assert status == 2
    assert out.read_text() == "file\nfrom an earlier run\n"
    assert words in capsys.readouterr().err


def test_an_input_that_is_nothing_known(
    run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "absent")[0] == 2
    assert "not a folder, a ZIP archive or a CSV table" in capsys.readouterr().err


def test_the_input_is_never_written_over(
    run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = tmp_path / "out" / "predictions.csv"  # where the command under test writes
    cases.parent.mkdir()
    table(cases, "file,age\nb.png,40\n")
    status, _, _ = run(cases)
    assert status == 2
    assert cases.read_text() == "file,age\nb.png,40\n"
    assert "is the input itself" in capsys.readouterr().err


def test_a_large_jpeg_is_not_shrunk_under_the_size_that_is_asked_for(
    tiny: Predictor, tmp_path: Path
) -> None:
    """A network of 32 px needs little of it, but the gate of 80 px measures what was sent."""
    picture(size=(520, 520)).save(tmp_path / "large.jpg")
    asking = replace(tiny.bundle, abstention=Abstention(short_side_below_px=80))
    inputs = predict.open_inputs(tmp_path)
    (row,) = predict.predict_rows(Predictor(asking, tiny._engine), inputs)
    assert row["reason"] == ""
