"""The model card: what a bundle is, how good it is, and what it must not be used for."""

from collections.abc import Mapping, Sequence
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
{images["test"]} in the locked test, which chose nothing. {images["dropped"]} picture(s) left out,
which would have stood on both sides. Split `{training["split_sha256"]}`.
{_left_out(recipe["data"].get("leave_out"))}{_missing(training)}
## How it was made
{recipe["network"]["name"]} from {recipe["network"]["init"]} weights, at most
{recipe["training"]["epochs"]} epochs; {_framing(facts["preprocess"])} Of the patient it
{facts["metadata"]["description"]}. Temperature {facts["calibration"]["temperature"]:.3f}.
Fitted by code revision `{training["code_revision"]}`, bundled by
`{training.get("bundled_by", training["code_revision"])}`.
{_quoted_first(training["quoted_first"])}
## Figures on the locked test
Intervals are 95 % bootstrap intervals by subject. Every picture counts, whether or not the model
abstained.

| figure | value | interval |
| --- | --- | --- |
{_headline(figures)}

| finding | pictures | precision | recall | F1 | AUC | sensitivity at specificity 0.90 |
| --- | --- | --- | --- | --- | --- | --- |
{_findings(figures)}
{_malignancy(figures["malignancy"])}
Confusion ({_pairs(task.multi_label)}; {", ".join(task.codes)}):

```
{_confusion(figures["confusion"])}
```

## Subgroups
{_subgroups(figures["subgroups"])}

## When it does not answer
{_gates(gates)}

On the locked test it answered {held_back["coverage"]:.2%} of the pictures,
{held_back["accuracy_when_answered"]:.2%} of those rightly.
Held back: {_reasons(held_back["reasons"])}.

## From which probability on a finding counts
{_decision(facts["decision"]["kind"], task.multi_label)} Set on the tune part. The last column is
the probability from which on a finding is in the set that holds the truth with
{facts["conformal_coverage"]:.0%} coverage for each finding; * where too few subjects had it, so
that rare findings were fitted together.

| finding | operating point | sensitivity on tune | specificity on tune | in the set from |
| --- | --- | --- | --- | --- |
{_operating_points(facts["operating_points"], facts["conformal"])}

## Known limits and shortcuts
{_list(task.known_limits)}

Licence of the weights: {task.licence}.
"""


def _quoted_first(quoted: Mapping[str, Any] | None) -> str:
    """The figures that stand before all others, where there are such."""
    if not quoted:
        return ""
    return (
        f"\n## Figures to go by\n{quoted['name']}. {quoted['description']} "
        f"{quoted['image_count']} pictures; 95 % bootstrap intervals by subject.\n\n"
        f"| figure | value | interval |\n| --- | --- | --- |\n{_headline(quoted['figures'])}\n"
    )


def _left_out(labels: Sequence[str] | None) -> str:
    """That part of the data is not read, where its labels are no findings."""
    if not labels:
        return ""
    return f"Pictures labelled {', '.join(labels)}, which is no finding here, are in no part.\n"


def _missing(training: Mapping[str, Any]) -> str:
    """That the figures are of a part of the locked test, where the rest was not there."""
    tested = training.get("data", {}).get("locked_test", {})
    if not tested.get("missing_count"):
        return ""
    whole = tested["image_count"] + tested["missing_count"]
    return (
        f"\n**Of the {whole} pictures of the locked test {tested['image_count']} were there: the "
        "figures below are of these alone.**\n"
    )


def _list(sentences: tuple[str, ...]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _number(value: float | None) -> str:
    return "undefined" if value is None or value != value else f"{value:.4f}"  # NaN is not itself


def _framing(preprocess: Mapping[str, Any]) -> str:
    native, size = preprocess["native_short_side_px"], preprocess["size_px"]
    if preprocess["framing"] == "squash":
        return f"the whole picture is squeezed to {native} px square and {size} px are read."
    return f"the short side is scaled to {native} px and the centre square of {size} px is read."


def _headline(figures: Mapping[str, Any]) -> str:
    return "\n".join(
        f"| {name.replace('_', ' ')} | {_number(entry['value'])} | {_interval(entry)} |"
        for name, entry in figures.items()
        if isinstance(entry, dict) and "interval" in entry
    )


def _interval(entry: Mapping[str, Any]) -> str:
    low, high = entry["interval"]
    return f"{_number(low)} to {_number(high)}"


def _findings(figures: Mapping[str, Any]) -> str:
    lines = []
    for code, row in figures["findings"].items():
        values = [_number(row[name]) for name in ("precision", "recall", "f1")]
        low, high = row["auc_interval"]
        values.append(f"{_number(row['auc'])} ({_number(low)} to {_number(high)})")
        values.append(_number(row["sensitivity_at_specificity"]["0.90"]["value"]))
        lines.append(f"| {code} | {row['image_count']} | " + " | ".join(values) + " |")
    return "\n".join(lines)


def _malignancy(figures: Mapping[str, Any] | None) -> str:
    if not figures:
        return ""
    low, high = figures["auc_interval"]
    point = figures["operating_point"]
    return (
        f"\nMalignant ({', '.join(figures['malignant_findings'])}) against benign: AUC "
        f"{_number(figures['auc'])} ({_number(low)} to {_number(high)}); at the operating point of "
        f"{_number(point['threshold'])} sensitivity {_number(point['sensitivity']['value'])}, "
        f"specificity {_number(point['specificity']['value'])}.\n"
    )


def _pairs(multi_label: bool) -> str:
    if multi_label:
        return "pictures that show the finding of the row and were named that of the column"
    return "true by row, named by column"


def _confusion(counts: list[list[int]]) -> str:
    return "\n".join(" ".join(f"{count:5d}" for count in row) for row in counts)


def _subgroups(rows: list[Mapping[str, Any]]) -> str:
    if not rows:
        return "The data set says nothing of patients by which pictures could be told apart."
    head = (
        "Groups of fewer than 20 subjects are marked *: their figures say little.\n\n"
        "| group | pictures | accuracy | interval | macro AUC |\n| --- | --- | --- | --- | --- |\n"
    )
    return head + "\n".join(
        f"| {row['kind']}: {row['name']}{'*' if row['small'] else ''} | {row['image_count']} | "
        f"{_number(row['accuracy']['value'])} | {_interval(row['accuracy'])} | "
        f"{_number(row['macro_auc']['value'])} |"
        for row in rows
    )


def _gates(gates: Mapping[str, Any]) -> str:
    limits = [
        f"short side under {gates['short_side_below_px']} px: `too_small`",
        f"all but one colour (contrast under {gates['contrast_below']:g} of 255): `blank`",
        f"mean grey value under {gates['brightness_below']:.1f}: `too_dark`",
        f"mean grey value over {gates['brightness_above']:.1f}: `too_bright`",
        f"sharpness under {gates['sharpness_below']:.2f}: `blurred`",
        f"looks or features unlike the training pictures' (distance over "
        f"{gates['strangeness_above']:.3f} or {gates['novelty_above']:.3f}): `unfamiliar`",
        f"confidence under {gates['confidence_below']:.3f}, or no finding over its operating "
        "point where there may be several: `uncertain`",
    ]
    if gates.get("otherness_above") is not None:
        limits.insert(
            -1,
            "looks more like other pictures than like its own (log odds over "
            f"{gates['otherness_above']:.3f}): `unfamiliar`. This was learnt from training "
            "pictures of the other reading tasks and from patterns made by rules, so that it knows "
            "those tasks; pictures of any other kind were not shown to it",
        )
    if gates["set_size_above"] is not None:
        limits.append(f"more than {gates['set_size_above']} findings remain possible: `ambiguous`")
    return _list(tuple(limits))


def _reasons(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "none"


def _decision(kind: str, multi_label: bool) -> str:
    if multi_label:
        return "A picture is named by all findings that reach their operating point."
    if kind == "balanced":
        return (
            "A picture is named by the finding whose probability stands out most from its share of "
            "the training pictures, so that rare findings are named as readily as common ones."
        )
    return "A picture is named by its most probable finding."


def _operating_points(
    points: Mapping[str, Mapping[str, Any]], conformal: Mapping[str, Mapping[str, Any]]
) -> str:
    return "\n".join(
        f"| {code} | {_number(point['threshold'])} | {_number(point['tune_sensitivity'])} | "
        f"{_number(point['tune_specificity'])} | {_number(conformal[code]['threshold'])}"
        f"{'*' if conformal[code]['pooled'] else ''} |"
        for code, point in points.items()
    )
