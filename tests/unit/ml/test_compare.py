"""Comparing runs: paired differences by subject, and every way in which a run may lie there."""

import csv
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml import compare, evaluate
from ml.compare import ComparisonError, Entry, open_entry
from ml.jsonfile import write_json
from tests.unit.ml.test_report import Elements

CODES = ("a", "b")


def write_evaluation(
    folder: Path,
    chances: dict[str, float],
    labels: dict[str, str],
    *,
    subjects: dict[str, str] | None = None,
    **report: Any,
) -> Path:
    """An evaluation in which each picture is an ``a`` with a given probability."""
    folder.mkdir(parents=True)
    findings = {code: {"in_macro": True} for code in CODES}
    write_json(
        folder / "report.json",
        {"findings": findings, "multi_label": False, "network": "net", **report},
    )
    with (folder / "predictions.csv").open("w", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(["file", "subject", "label", "prediction", "abstained", "p_a", "p_b"])
        for file, chance in chances.items():
            named = "a" if chance >= 0.5 else "b"
            subject = (subjects or {}).get(file, "")
            writer.writerow([file, subject, labels[file], named, "false", chance, 1 - chance])
    return folder


LABELS = {f"{number}.png": "a" if number % 2 else "b" for number in range(40)}


def chances(wrong: int) -> dict[str, float]:
    """Answers of which the first ``wrong`` are wrong."""
    return {
        file: 0.9 if (label == "a") != (number < wrong) else 0.1
        for number, (file, label) in enumerate(LABELS.items())
    }


def entries(tmp_path: Path, **wrong: int) -> list[Entry]:
    return [
        open_entry(name, write_evaluation(tmp_path / name, chances(count), LABELS))
        for name, count in wrong.items()
    ]


def test_differences_are_to_the_first_one(tmp_path: Path) -> None:
    found = compare.compare(entries(tmp_path, first=10, better=0, same=10), resamples=200)
    assert (found["reference"], found["image_count"]) == ("first", 40)
    first, better, same = found["entries"]
    assert first["figures"]["accuracy"]["value"] == pytest.approx(30 / 40)
    assert first["differences"] == {}
    assert better["differences"]["accuracy"]["value"] == pytest.approx(10 / 40)
    assert better["differences"]["accuracy"]["verdict"] == "better"
    assert better["differences"]["log_loss"]["value"] < 0
    assert better["differences"]["log_loss"]["verdict"] == "better"
    # the same answers differ in no resample, although each alone has a wide interval
    assert same["differences"]["accuracy"]["interval"] == (0, 0)
    assert same["differences"]["accuracy"]["verdict"] == ""
    low, high = same["figures"]["accuracy"]["interval"]
    assert high - low > 0.1


def test_the_interval_of_a_difference_is_paired(tmp_path: Path) -> None:
    """One picture of forty differs: the interval is that of a share of 1 in 40."""
    found = compare.compare(entries(tmp_path, first=11, second=10), resamples=2000)
    difference = found["entries"][1]["differences"]["accuracy"]
    assert difference["value"] == pytest.approx(1 / 40)
    assert difference["interval"] == (0, pytest.approx(3 / 40))


def test_pictures_of_a_subject_are_drawn_together(tmp_path: Path) -> None:
    """Forty pictures of two subjects: all, half or none of a resample differ."""
    whose = {file: "s" if number < 20 else "t" for number, file in enumerate(LABELS)}
    pair = [
        open_entry(name, write_evaluation(tmp_path / name, chances(wrong), LABELS, subjects=whose))
        for name, wrong in (("first", 20), ("second", 0))
    ]
    found = compare.compare(pair, resamples=200)
    assert found["subject_count"] == 2
    assert found["entries"][1]["differences"]["accuracy"]["interval"] == (0, 1)


def test_only_shared_pictures_count(tmp_path: Path) -> None:
    half = {file: chance for file, chance in chances(0).items() if int(file[:-4]) < 20}
    pair = [
        *entries(tmp_path, first=10),
        open_entry("half", write_evaluation(tmp_path / "half", half, LABELS)),
    ]
    found = compare.compare(pair, resamples=20)
    assert found["image_count"] == 20
    assert found["entries"][0]["figures"]["accuracy"]["value"] == pytest.approx(10 / 20)


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    first = entries(tmp_path, first=1)[0]
    elsewhere = write_evaluation(tmp_path / "elsewhere", {"x.png": 0.9}, {"x.png": "a"})
    with pytest.raises(ComparisonError, match="share no picture"):
        compare.compare([first, open_entry("elsewhere", elsewhere)])
    relabelled = dict.fromkeys(LABELS, "a")
    other = write_evaluation(tmp_path / "other", chances(0), relabelled)
    with pytest.raises(ComparisonError, match="other was told otherwise"):
        compare.compare([first, open_entry("other", other)])
    task = Entry("task", {"findings": {"x": {}}}, {}, None)
    with pytest.raises(ComparisonError, match="task names other findings"):
        compare.compare([first, task])
    with pytest.raises(ComparisonError, match="holds no evaluation"):
        open_entry("nothing", tmp_path)
    with pytest.raises(ComparisonError, match="named twice"):
        compare.distinct_names([tmp_path, tmp_path])
    (elsewhere / "predictions.csv").write_text("file,label\nx.png,a\n")
    with pytest.raises(ComparisonError, match="lacks p_a, p_b, prediction"):
        open_entry("broken", elsewhere)


def test_names_are_as_short_as_tells_them_apart() -> None:
    paths = [Path("/runs/a/evaluation"), Path("/runs/b/evaluation")]
    assert compare.distinct_names(paths) == ["a/evaluation", "b/evaluation"]
    assert compare.distinct_names([Path("/runs/a"), Path("/runs/b")]) == ["a", "b"]


def test_several_labels_are_read_back(tmp_path: Path) -> None:
    folder = tmp_path / "eyes"
    folder.mkdir()
    findings = {"N": {"in_macro": True}, "D": {"in_macro": True}, "O": {"in_macro": False}}
    write_json(folder / "report.json", {"findings": findings, "multi_label": True})
    (folder / "predictions.csv").write_text(
        "file,subject,label,prediction,p_N,p_D,p_O\n"
        "1,p,D|O,D|O,0.1,0.9,0.7\n2,p,N,N,0.8,0.2,0.1\n3,q,D,N,0.6,0.4,0.1\n"
    )
    found = compare.compare([open_entry("eyes", folder)], resamples=20)
    figures = found["entries"][0]["figures"]
    assert figures["accuracy"]["value"] == pytest.approx(2 / 3)
    assert figures["macro_f1"]["value"] == pytest.approx(2 / 3)
    assert figures["macro_auc"]["value"] == pytest.approx(1)


def test_the_files_say_the_same(tmp_path: Path) -> None:
    found = compare.compare(entries(tmp_path, first=10, second=4, third=12), resamples=50)
    compare.write(tmp_path / "out", found)
    stored = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert [row["name"] for row in stored["entries"]] == ["first", "second", "third"]
    with (tmp_path / "out" / "compare.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert float(rows[1]["accuracy_difference"]) == pytest.approx(6 / 40)
    assert rows[0]["accuracy_difference"] == ""
    written = (tmp_path / "out" / "compare.html").read_text()
    elements = Elements(written)
    assert elements.open == []
    assert not elements.all("script")
    assert len(elements.all("caption")) == len(elements.all("table")) == 2
    charts = [chart for chart in elements.all("svg") if chart.get("role") == "img"]
    assert len(charts) == len(compare.DRAWN)
    assert "+0.150" in written
    text = compare.as_text(found)
    assert "0.900 (" in text
    assert "+0.150 (" in text
    assert "differences are to first" in text


def test_bundles_runs_and_evaluations_side_by_side(
    tiny_bundle: Path,
    blood_like: Path,
    cache_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A run with its predictions, the same network's evaluation, and a bundle by itself."""
    evaluated = tmp_path / "evaluated"
    options = {"part": "all", "device": "cpu", "cache_dir": cache_dir}
    evaluate.evaluate(tiny_bundle, blood_like, evaluated, **options)
    run, alone = tmp_path / "run", tmp_path / "alone"
    for folder in (run / "bundle", alone):
        shutil.copytree(tiny_bundle, folder)
        shutil.copy(evaluated / "report.json", folder)
    shutil.copy(evaluated / "predictions.csv", run)
    command = ["compare", str(evaluated), str(run), str(alone), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", command)
    assert compare.main() == 0
    assert "(own pictures)" in capsys.readouterr().out
    stored = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert [row["paired"] for row in stored["entries"]] == [True, True, False]
    assert stored["entries"][1]["differences"]["accuracy"]["value"] == 0
    assert stored["entries"][2]["differences"] == {}
    parameters = [row["parameter_count"] for row in stored["entries"]]
    assert parameters == [84_183] * 3

    (alone / "report.json").unlink()  # what the bundle does not state of itself
    more = ["--data", str(blood_like), "--part", "all", "--cache", str(cache_dir)]
    monkeypatch.setattr(sys, "argv", [*command, *more])
    assert compare.main() == 0
    stored = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert [row["paired"] for row in stored["entries"]] == [True] * 3
    assert np.isclose(stored["entries"][2]["differences"]["accuracy"]["value"], 0)


def test_the_command_says_why_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["compare", str(tmp_path), "--out", str(tmp_path / "out")])
    assert compare.main() == 2
    assert "holds no evaluation" in capsys.readouterr().err
