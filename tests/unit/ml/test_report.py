"""The evaluation: its figures, its part of the data, and its page."""

import csv
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml import evaluate
from ml.datasets import packed
from ml.datasets.manifest import Manifest, Record
from ml.evaluate import EvaluationError
from ml.predictor import ImageAssessment
from ml.recipe import DataRecipe
from ml.report import PICTURE_PX, page, picture_of
from ml.splits import split_manifest
from tests.unit.ml.factories import picture

RESAMPLES = 40


def finding(code: str, malignancy: str = "none", *, in_macro: bool = True) -> dict[str, Any]:
    return {"code": code, "name": code.upper(), "malignancy": malignancy, "in_macro": in_macro}


def facts_of(*findings: dict[str, Any], multi_label: bool = False, **more: Any) -> dict[str, Any]:
    """The parts of ``bundle.json`` that an evaluation reads."""
    return {
        "reading_task": {
            "code": "test",
            "name": "Test task",
            "description": "A drawing.",
            "modality": "Drawing",
            "multi_label": multi_label,
        },
        "version": "1",
        "findings": list(findings),
        "operating_points": {each["code"]: {"threshold": 0.5} for each in findings},
        **more,
    }


SKIN = facts_of(
    finding("mel", "malignant"),
    finding("bcc", "malignant"),
    finding("nv", "benign"),
    malignancy={"threshold": 0.6},
)
EYE = facts_of(finding("N"), finding("D"), finding("O", in_macro=False), multi_label=True)


def answer(prediction: str, *chances: float, reason: str | None = None) -> ImageAssessment:
    codes = ("mel", "bcc", "nv") if prediction in ("mel", "bcc", "nv") else ("N", "D", "O")
    return ImageAssessment(
        prediction, dict(zip(codes, chances, strict=True)), reason is not None, reason
    )


def skin_record(number: int, label: str, subject: str = "", **metadata: str) -> Record:
    return Record(f"{number}.jpg", (label,), subject, metadata=metadata)


SKIN_RECORDS = [
    skin_record(0, "mel", "s1", age="80", sex="male", localization="back"),
    skin_record(1, "mel", "s1", age="80", sex="male", localization="back"),
    skin_record(2, "bcc", "s2", age="61", sex="female"),
    skin_record(3, "nv", "s3", age="30", sex="female"),
    skin_record(4, "nv", "s4", sex="Female"),
]
SKIN_ANSWERS = [
    answer("mel", 0.7, 0.2, 0.1),
    answer("nv", 0.3, 0.2, 0.5, reason="uncertain"),
    answer("bcc", 0.1, 0.8, 0.1),
    answer("nv", 0.1, 0.1, 0.8),
    answer("mel", 0.6, 0.1, 0.3),
]


def skin_report() -> dict[str, Any]:
    return evaluate.report(SKIN, SKIN_RECORDS, SKIN_ANSWERS, resamples=RESAMPLES)


def test_the_report_of_five_pictures() -> None:
    figures = skin_report()
    assert (figures["image_count"], figures["subject_count"]) == (5, 4)
    assert figures["accuracy"]["value"] == pytest.approx(3 / 5)
    assert figures["findings"]["mel"]["recall"] == pytest.approx(1 / 2)
    assert figures["confusion"] == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    assert figures["abstention"] == {
        "coverage": pytest.approx(4 / 5),
        "accuracy_when_answered": pytest.approx(3 / 4),
        "reasons": {"uncertain": 1},
    }
    # two melanomata at 0.7 and 0.3 against 0.1, 0.1, 0.6: five of six pairs are ordered
    assert figures["findings"]["mel"]["auc"] == pytest.approx(5 / 6)
    point = figures["findings"]["mel"]["operating_point"]
    assert point["threshold"] == 0.5
    assert point["sensitivity"]["value"] == pytest.approx(1 / 2)
    assert point["specificity"]["value"] == pytest.approx(2 / 3)


def test_the_prediction_counts_not_the_highest_probability() -> None:
    """A decision that weighs the findings may name a less probable one."""
    answers = [*SKIN_ANSWERS[:4], answer("nv", 0.6, 0.1, 0.3)]
    figures = evaluate.report(SKIN, SKIN_RECORDS, answers, resamples=RESAMPLES)
    assert figures["accuracy"]["value"] == pytest.approx(4 / 5)


def test_malignant_against_benign_is_the_sum_of_the_malignant_findings() -> None:
    malignancy = skin_report()["malignancy"]
    # malignant: 0.9, 0.5, 0.9; benign: 0.2, 0.7
    assert malignancy["malignant_findings"] == ["mel", "bcc"]
    assert malignancy["image_count"] == 3
    assert malignancy["auc"] == pytest.approx(5 / 6)
    point = malignancy["operating_point"]
    assert point["threshold"] == 0.6
    assert point["sensitivity"]["value"] == pytest.approx(2 / 3)
    assert point["specificity"]["value"] == pytest.approx(1 / 2)
    squares = (0.01 + 0.25 + 0.01 + 0.04 + 0.49) / 5
    assert malignancy["brier_score"]["value"] == pytest.approx(squares)


def test_one_malignant_finding_brings_its_own_operating_point() -> None:
    facts = facts_of(finding("mel", "malignant"), finding("bcc", "benign"), finding("nv", "benign"))
    found = evaluate.report(facts, SKIN_RECORDS, SKIN_ANSWERS, resamples=RESAMPLES)["malignancy"]
    assert found["operating_point"]["threshold"] == 0.5


def test_a_task_without_malignant_findings_has_no_such_figure() -> None:
    facts = facts_of(finding("mel"), finding("bcc"), finding("nv"))
    assert evaluate.report(facts, SKIN_RECORDS, SKIN_ANSWERS, resamples=9)["malignancy"] is None


def test_several_labels() -> None:
    records = [
        Record("0.jpg", ("D", "O"), "p1"),
        Record("1.jpg", ("N",), "p2"),
        Record("2.jpg", ("D",), "p3"),
    ]
    answers = [
        answer("D|O", 0.1, 0.9, 0.6),
        answer("N", 0.8, 0.1, 0.2),
        answer("N", 0.4, 0.3, 0.1, reason="uncertain"),
    ]
    figures = evaluate.report(EYE, records, answers, resamples=RESAMPLES)
    assert figures["multi_label"] is True
    assert figures["accuracy"]["value"] == pytest.approx(2 / 3)
    # N: 1 hit, 1 false; D: 1 hit, 1 missed; O does not count
    assert figures["micro_f1"]["value"] == pytest.approx(4 / 6)
    assert figures["macro_f1"]["value"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert figures["findings"]["O"]["in_macro"] is False
    assert figures["confusion"] == [[1, 0, 0], [1, 1, 1], [0, 1, 1]]
    assert [error["file"] for error in figures["worst_errors"]] == ["2.jpg"]
    assert set(figures["worst_errors"][0]["probabilities"]) == {"N", "D"}


def test_subgroups_are_by_band_and_mark_the_small_ones() -> None:
    rows = skin_report()["subgroups"]
    by_kind: dict[str, list[tuple[str, int, int]]] = {}
    for row in rows:
        counts = (row["name"], row["image_count"], row["subject_count"])
        by_kind.setdefault(row["kind"], []).append(counts)
        assert row["small"] is True
    assert by_kind == {
        "age": [
            ("30 to 44", 1, 1),
            ("60 to 74", 1, 1),
            ("75 and over", 2, 1),
            ("unknown", 1, 1),
        ],
        "sex": [("female", 3, 3), ("male", 2, 1)],
        "body site": [("back", 2, 1), ("unknown", 3, 3)],
    }
    male = next(row for row in rows if row["name"] == "male")
    assert male["accuracy"]["value"] == pytest.approx(1 / 2)
    assert np.isnan(male["macro_auc"]["value"])  # only melanomata


def test_a_group_of_twenty_subjects_is_not_small() -> None:
    records = [skin_record(k, "nv", sex="male" if k < 20 else "female") for k in range(39)]
    answers = [answer("nv", 0.1, 0.1, 0.8)] * 39
    rows = evaluate.report(SKIN, records, answers, resamples=RESAMPLES)["subgroups"]
    assert [(row["name"], row["small"]) for row in rows] == [("female", True), ("male", False)]


def test_the_worst_errors_are_the_surest_ones() -> None:
    errors = skin_report()["worst_errors"]
    assert [error["file"] for error in errors] == ["1.jpg", "4.jpg"]  # true at 0.30, 0.30
    assert errors[0] == {
        "file": "1.jpg",
        "label": "mel",
        "prediction": "nv",
        "probabilities": {"mel": 0.3, "nv": 0.5},
        "abstained": True,
        "reason": "uncertain",
    }


def test_labels_that_are_no_findings_are_refused() -> None:
    with pytest.raises(EvaluationError, match="labels vasc are no findings"):
        evaluate.report(SKIN, [skin_record(0, "vasc")], SKIN_ANSWERS[:1])
    with pytest.raises(EvaluationError, match="no picture"):
        evaluate.report(SKIN, [], [])


class Elements(HTMLParser):
    """What a page consists of, and whether its elements are closed in order."""

    VOID = {"meta", "img", "br", "link", "line", "circle", "rect", "polyline"}

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.seen if name == tag]


def served(figures: dict[str, Any]) -> dict[str, Any]:
    """Figures with what an evaluation adds to a report."""
    return {
        **figures,
        "bundle_sha256": "0" * 64,
        "engine": "onnxruntime",
        "name": "test",
        "version": "1",
        "network": "plain-cnn",
        "part": "test",
        "split_sha256": "f" * 64,
        "latency": {"median_ms": 20.0, "p95_ms": 31.5, "image_count": 5, "thread_count": 2},
        "size": {
            "bundle_bytes": 8_300_000,
            "weights_bytes": 7_200_000,
            "parameter_count": 3_400_000,
        },
    }


@pytest.fixture(scope="module")
def skin_page() -> str:
    figures = served(skin_report())
    pictures = {error["file"]: picture_of(picture()) for error in figures["worst_errors"]}
    return page(SKIN, figures, pictures)


def test_the_page_needs_nothing_else(skin_page: str) -> None:
    elements = Elements(skin_page)
    assert elements.open == []
    assert not elements.all("script")
    assert not elements.all("link")
    assert not re.search(r"\son\w+=", skin_page)
    assert not re.search(r"(src|href)=\"(?!data:image/jpeg;base64,|#)", skin_page)
    assert "url(" not in skin_page
    assert "default-src 'none'" in skin_page
    assert "color-scheme: light dark" in skin_page


def test_the_page_can_be_read_aloud(skin_page: str) -> None:
    elements = Elements(skin_page)
    assert elements.all("html")[0]["lang"] == "en"
    assert all(image["alt"] for image in elements.all("img"))
    assert len(elements.all("caption")) == len(elements.all("table"))
    assert all(header.get("scope") for header in elements.all("th"))
    charts = [chart for chart in elements.all("svg") if chart.get("role") == "img"]
    assert len(charts) == 2 + 3 + 3 + 2  # malignancy, ROC, precision-recall, calibration
    assert all(chart["aria-label"] for chart in charts)
    names = {anchor["href"] for anchor in elements.all("a")}
    targets = {f"#{attributes['id']}" for _, attributes in elements.seen if "id" in attributes}
    assert names <= targets


def test_the_page_says_what_was_measured(skin_page: str) -> None:
    text = re.sub(r"<[^>]+>", " ", skin_page)
    for words in ("Malignant against benign", "Body site", "95th percentile", "31.5 ms", "8.3"):
        assert words in text
    assert "undefined" in text  # the men's AUC
    assert "few" in text
    assert not re.search(r"\bnan\b", text.lower())
    assert "None" not in text


def test_the_page_escapes_what_data_sets_name_their_files() -> None:
    records = [Record("<b>&.jpg", ("nv",)), *SKIN_RECORDS]
    answers = [answer("mel", 0.9, 0.05, 0.05), *SKIN_ANSWERS]
    figures = served(evaluate.report(SKIN, records, answers, resamples=RESAMPLES))
    pictures = {error["file"]: picture_of(picture()) for error in figures["worst_errors"]}
    written = page(SKIN, figures, pictures)
    assert "&lt;b&gt;&amp;.jpg" in written
    assert "<b>&.jpg" not in written


def test_the_page_of_one_class_has_words_for_what_is_missing() -> None:
    records = [skin_record(k, "nv") for k in range(3)]
    answers = [answer("nv", 0.1, 0.1, 0.8)] * 3
    written = page(SKIN, served(evaluate.report(SKIN, records, answers, resamples=RESAMPLES)), {})
    assert "every picture shows this finding" in written
    assert "No curve: no picture of this finding" in written
    assert "Worst errors" not in written


def test_pictures_are_shrunk() -> None:
    small = picture_of(picture(size=(3000, 2000)))
    assert small.startswith("data:image/jpeg;base64,")
    assert len(small) < PICTURE_PX**2 * 2


def trained_on(split_sha256: str, **recipe: Any) -> dict[str, Any]:
    return {
        "reading_task": {"code": "blood-cell"},
        "version": "1",
        "training": {"recipe": {"seed": 3, **recipe}, "split_sha256": split_sha256},
    }


def test_the_test_part_is_the_one_of_the_recipe(blood_like: Path) -> None:
    manifest = packed.read(blood_like)
    split = split_manifest(manifest, DataRecipe(), 3)
    old = trained_on(split.sha256, tune_fraction=0.15)
    new = trained_on(split.sha256, data={"split": "locked", "tune_fraction": 0.15})
    for facts in (old, new):
        test = evaluate.part_of(facts, manifest, "test")
        assert {record.file for record in test} == {f"{number}.png" for number in range(8)}
        tune = evaluate.part_of(facts, manifest, "tune")
        assert {record.file for record in tune} == set(split.tune)
        assert len(evaluate.part_of(facts, manifest, "all")) == 88


def test_other_data_than_the_bundles_are_refused(blood_like: Path) -> None:
    with pytest.raises(EvaluationError, match="not the data it was fitted to"):
        evaluate.part_of(trained_on("0" * 64, tune_fraction=0.15), packed.read(blood_like), "test")


def test_data_that_cannot_be_divided_are_refused(blood_like: Path) -> None:
    whole = packed.read(blood_like)
    few = Manifest(whole.records[:8], whole.read)
    with pytest.raises(EvaluationError, match="cannot be divided as the bundle's were"):
        evaluate.part_of(trained_on("0" * 64, tune_fraction=0.15), few, "test")


def test_the_command_writes_page_figures_and_predictions(
    tiny_bundle: Path,
    blood_like: Path,
    cache_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    command = ["evaluate", "--bundle", str(tiny_bundle), "--data", str(blood_like)]
    options = ["--out", str(out), "--part", "all", "--device", "cpu", "--cache", str(cache_dir)]
    monkeypatch.setattr(sys, "argv", [*command, *options])
    assert evaluate.main() == 0
    assert "balanced accuracy " in capsys.readouterr().out
    figures = json.loads((out / "report.json").read_text())
    assert figures["image_count"] == 88
    assert figures["subject_count"] == 44
    assert 0 < figures["latency"]["median_ms"] <= figures["latency"]["p95_ms"]
    assert figures["size"]["bundle_bytes"] > figures["size"]["weights_bytes"] > 0
    assert figures["findings"]["platelet"]["auc"] is None
    with (out / "predictions.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert [row["subject"] for row in rows[:3]] == ["s0", "s0", "s1"]
    right = sum(row["label"] == row["prediction"] for row in rows)
    assert figures["accuracy"]["value"] == pytest.approx(right / 88)
    assert Elements((out / "report.html").read_text()).open == []


def test_the_command_says_why_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "--bundle", str(tmp_path), "--data", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", [*command, "--out", str(tmp_path)])
    assert evaluate.main() == 2
    assert "bundle.json is missing" in capsys.readouterr().err
