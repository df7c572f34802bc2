"""The model card: what a bundle is, how good it is, and what it must not be used for."""

from collections.abc import Mapping
from typing import Any

from ml.reading_task import ReadingTask


def model_card(task: ReadingTask, facts: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    """Markdown from the facts of ``bundle.json`` and the figures of ``report.json``."""
    training = facts["training"]
    images, recipe = training["images"], training["recipe"]
    gates, held_back = facts["abstention"], figures["abstention"]
    return f"""# {task.name}, version {facts["version"]}

{task.description} {task.modality}.

It supports a decision and never makes one.

## Use
{task.intended_use}

Not for:
{_list(task.not_for)}

## Data
{task.data_source}. Licence {task.data_licence}.

{images["train"]} pictures to learn from, {images["tune"]} to stop, calibrate and set thresholds by,
{images["test"]} in the locked test, which chose nothing. {images["dropped"]} picture(s) left out as
near-duplicates of the test. Split `{training["split_sha256"]}`.

## How it was made
{recipe["network"]["name"]} from {recipe["network"]["init"]} weights, at most
{recipe["training"]["epochs"]} epochs; the picture's short side is scaled to
{facts["preprocess"]["native_short_side_px"]} px and the centre square of
{facts["preprocess"]["size_px"]} px is read. Temperature
{facts["calibration"]["temperature"]:.3f}. Code revision `{training["code_revision"]}`.

## Figures on the locked test
Intervals are 95 % bootstrap intervals. Every picture counts, whether or not the model abstained.

| figure | value | interval |
| --- | --- | --- |
{_headline(figures)}

| finding | pictures | precision | recall | F1 | AUC |
| --- | --- | --- | --- | --- | --- |
{_findings(figures)}

Confusion (true by row, predicted by column; {", ".join(task.codes)}):

```
{_confusion(figures["confusion"])}
```

## When it does not answer
- confidence under {gates["confidence_below"]:.3f}: `uncertain`
- picture unlike the training pictures (distance over {gates["novelty_above"]:.3f}): `unfamiliar`
- short side under {gates["short_side_below_px"]} px: `too_small`
- all but one colour (contrast under {gates["contrast_below"]:g} of 255): `blank`

On the locked test it answered {held_back["coverage"]:.2%} of the pictures,
{held_back["accuracy_when_answered"]:.2%} of those rightly.
Held back: {_reasons(held_back["reasons"])}.

| finding | operating point | sensitivity on tune | specificity on tune |
| --- | --- | --- | --- |
{_operating_points(facts["operating_points"])}

## Known limits and shortcuts
{_list(task.known_limits)}

Licence of the weights: {task.licence}.
"""


def _list(sentences: tuple[str, ...]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _number(value: float) -> str:
    return "undefined" if value != value else f"{value:.4f}"  # NaN differs from itself


def _headline(figures: Mapping[str, Any]) -> str:
    return "\n".join(
        f"| {name.replace('_', ' ')} | {_number(entry['value'])} | "
        f"{_number(entry['interval'][0])} to {_number(entry['interval'][1])} |"
        for name, entry in figures.items()
        if isinstance(entry, dict) and "interval" in entry
    )


def _findings(figures: Mapping[str, Any]) -> str:
    return "\n".join(
        f"| {code} | {row['image_count']} | "
        + " | ".join(_number(row[name]) for name in ("precision", "recall", "f1", "auc"))
        + " |"
        for code, row in figures["findings"].items()
    )


def _confusion(counts: list[list[int]]) -> str:
    return "\n".join(" ".join(f"{count:5d}" for count in row) for row in counts)


def _reasons(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "none"


def _operating_points(points: Mapping[str, Mapping[str, float]]) -> str:
    return "\n".join(
        f"| {code} | {_number(point['threshold'])} | {_number(point['tune_sensitivity'])} | "
        f"{_number(point['tune_specificity'])} |"
        for code, point in points.items()
    )
