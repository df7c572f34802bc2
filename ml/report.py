"""The evaluation report as one page that needs nothing else: no script, no network, no fonts."""

import base64
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from ml import charts

PAGES = Path(__file__).parent / "pages"
PICTURE_PX = 240
TILES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro F1",
    "macro_auc": "Macro AUC",
}
OVERALL = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "weighted_accuracy": "Weighted accuracy",
    "kappa": "Cohen's kappa",
    "macro_auc": "Area under the ROC curve, macro",
    "log_loss": "Log loss",
    "brier_score": "Brier score",
    "expected_calibration_error": "Expected calibration error",
    "risk_coverage_area": "Area under the risk-coverage curve",
}
AVERAGES = ("macro", "micro", "weighted")
SHARES = ("accuracy", "balanced_accuracy", "weighted_accuracy", "kappa", "macro_auc")
"""Figures whose best is 1 and that are drawn on a line from 0 to 1."""
PARTS = {
    "test": "test part, which chose nothing",
    "tune": "tune part, which the model's limits were set on: read these figures as optimistic",
    "all": "whole data set, which the model must not have met before",
}


def environment() -> Environment:
    """Templates of this package's pages, with the ways in which they write numbers."""
    pages = Environment(
        loader=FileSystemLoader(PAGES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters.update(
        number=number,
        signed=signed,
        interval=interval,
        percent=percent,
        count=count,
        megabytes=megabytes,
    )
    pages.globals.update(charts=charts, is_number=is_number)
    return pages


def page(facts: Mapping[str, Any], figures: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    """The report's HTML from ``bundle.json``, ``report.json`` and data URIs by file."""
    kinds: dict[str, list[Any]] = {}
    for row in figures["subgroups"]:
        kinds.setdefault(row["kind"], []).append(row)
    return (
        environment()
        .get_template("report.html")
        .render(
            facts=facts,
            figures=figures,
            pictures=pictures,
            names={finding["code"]: finding["name"] for finding in facts["findings"]},
            codes=[finding["code"] for finding in facts["findings"]],
            kinds=kinds,
            tiles=TILES,
            overall=OVERALL,
            averages=AVERAGES,
            shares=SHARES,
            part=PARTS[figures["part"]],
        )
    )


def picture_of(image: Image.Image) -> str:
    """A picture, shrunk to PICTURE_PX, as a data URI."""
    small = image.convert("RGB")
    small.thumbnail((PICTURE_PX, PICTURE_PX))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def is_number(value: Any) -> bool:
    """Whether there is a figure: neither None nor NaN."""
    return value is not None and not math.isnan(value)


def number(value: float | None, digits: int = 3) -> str:
    """A figure, or the word that there is none."""
    return f"{value:.{digits}f}" if value is not None and is_number(value) else "undefined"


def signed(value: float) -> str:
    """A difference with its sign; zero has none."""
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}") if value else "0.000"


def interval(limits: tuple[float | None, float | None], digits: int = 3) -> str:
    """``0.984 to 0.994``; empty where there is none."""
    low, high = limits
    if not (is_number(low) and is_number(high)):
        return ""
    return f"{number(low, digits)} to {number(high, digits)}"


def percent(value: float | None, digits: int = 0, sign: str = "\N{NARROW NO-BREAK SPACE}%") -> str:
    """A share in per cent; a dash where it is undefined."""
    if value is None or not is_number(value):
        return "\N{EN DASH}"
    return f"{value * 100:.{digits}f}{sign}"


def count(value: int) -> str:
    """A count with its thousands apart."""
    return f"{value:,}"


def megabytes(value: int) -> str:
    """Bytes as MB of a million."""
    return f"{value / 1e6:.1f}\N{NARROW NO-BREAK SPACE}MB"
