"""One page about a data set, which needs nothing else: no script, no network, no fonts."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from ml.datasets import packed
from ml.datasets.manifest import Manifest, Record
from ml.datasets.survey import (
    Column,
    Look,
    Spread,
    Twin,
    columns,
    examples,
    looks,
    tally,
    twins,
)
from ml.report import environment, picture_of

EXAMPLES = 10
"""Pictures a class on the contact sheet."""
PAIRS = 24
"""Duplicates that are shown."""
COMBINATIONS = 8
ROW_PX = 24
WIDE_PX = 640


def describe(path: Path, out: Path) -> None:
    """Write the page about a manifest, or the folder of one, to ``out``.

    Raises FileNotFoundError when the manifest or its archive is missing.
    """
    manifest = packed.read(path)
    facts = packed.read_facts(path.parent if path.is_file() else path)
    text = page(manifest, facts, path.resolve().parent.name if path.is_file() else path.name)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")


def page(manifest: Manifest, facts: dict[str, Any], name: str) -> str:
    """The page's HTML. ``facts`` are those of ``dataset.json``; ``name`` stands in for a title."""
    seen, unreadable = looks(manifest)
    records = [record for record in manifest.records if record.file in seen]
    pairs = twins(records, [seen[record.file] for record in records])
    named = Counter(record.subject for record in manifest.records if record.subject)
    classes = dict(tally(label for record in manifest.records for label in record.labels))
    several = [record.label for record in manifest.records if len(record.labels) > 1]
    short = [min(look.width, look.height) for look in seen.values()]
    return (
        environment()
        .get_template("dataset.html")
        .render(
            title=facts.get("title", name),
            publisher=facts.get("publisher", ""),
            url=facts.get("url", ""),
            licence=facts.get("licence", "not stated"),
            total=len(manifest.records),
            read=len(seen),
            unreadable=unreadable,
            subjects=len(named),
            unnamed=len(manifest.records) - named.total(),
            most=max(named.values(), default=0),
            classes=classes,
            several=len(several),
            combined=tally(several)[:COMBINATIONS],
            imbalance=max(classes.values()) / min(classes.values()),
            balance=bars(classes, len(manifest.records)),
            sizes=tally(f"{look.width} x {look.height}" for look in seen.values()),
            short=(min(short, default=0), max(short, default=0)),
            kinds=tally(kind(look) for look in seen.values()),
            columns=[column_facts(column) for column in columns(manifest.records)],
            sheet=[
                (label, [uri(manifest, record) for record in examples(records, label, EXAMPLES)])
                for label in classes
            ],
            twins=pairs,
            exact=sum(pair.exact for pair in pairs),
            disagreeing=sum(pair.disagree for pair in pairs),
            across=sum(pair.across for pair in pairs),
            shown_twins=[twin_facts(manifest, pair) for pair in pairs[:PAIRS]],
        )
    )


def kind(look: Look) -> str:
    """Format, stored channels, and whether they carry colour, in words."""
    return f"{look.form} {look.mode}, {'grey' if look.is_grey else 'colour'}"


def uri(manifest: Manifest, record: Record) -> tuple[str, str]:
    """The picture's file, and the picture small, as a data URI."""
    return record.file, picture_of(manifest.open_image(record.file))


def twin_facts(manifest: Manifest, twin: Twin) -> dict[str, Any]:
    """What the page shows of a pair."""
    both = (twin.first, twin.second)
    first, second = (uri(manifest, record)[1] for record in both)
    return {
        "first": first,
        "second": second,
        "files": [record.file for record in both],
        "labels": [record.label for record in both],
        "disagree": twin.disagree,
        "exact": twin.exact,
    }


def column_facts(column: Column) -> dict[str, Any]:
    """What the page shows of a metadata column: a chart, a table of shares, or a number."""
    spreads, counts = column.numbers or {}, column.counts or {}
    return {
        "name": column.name,
        "v": "" if math.isnan(column.association) else f"{column.association:.2f}",
        "chart": boxes(column.name, spreads) if spreads else None,
        "missing": sum(spread.missing for spread in spreads.values()),
        "categories": column.categories,
        "rows": [
            (label, [row[name] / row.total() for name in column.categories])
            for label, row in counts.items()
        ],
        "different": column.different,
    }


def bars(classes: dict[str, int], total: int) -> Markup:
    """A bar a class, with its count and its share of the pictures."""
    left, room, most = 150, WIDE_PX - 150 - 110, max(classes.values())
    parts = []
    for index, (label, number) in enumerate(classes.items()):
        y, width = index * ROW_PX, max(1.0, number / most * room)
        parts.append(
            f'<text class="row" x="{left - 8}" y="{y + 16}" text-anchor="end">'
            f"{escape(label)}</text>"
            f'<rect class="bar" x="{left}" y="{y + 4}" width="{width:.1f}" height="16" rx="2"/>'
            f'<text class="share" x="{left + width + 8:.1f}" y="{y + 16}">'
            f"{number:,} ({number / total:.1%})</text>"
        )
    says = "; ".join(f"{label} {number}" for label, number in classes.items())
    return svg(WIDE_PX, len(classes) * ROW_PX, f"Pictures by class: {says}", parts, "chart--wide")


def boxes(name: str, spreads: dict[str, Spread]) -> Markup:
    """A line a class over the range of a number, a box over its middle half, its median."""
    told = {label: spread for label, spread in spreads.items() if spread.count}
    low = min(spread.quantiles[0] for spread in told.values())
    high = max(spread.quantiles[-1] for spread in told.values())
    left, room = 120, 280

    def x(value: float) -> float:
        return round(left + (value - low) / (high - low) * room, 1)

    parts = []
    for index, (label, spread) in enumerate(told.items()):
        y = index * ROW_PX + 12
        least, first, median, third, most = map(x, spread.quantiles)
        parts.append(
            f'<text class="row" x="{left - 8}" y="{y + 4}" text-anchor="end">{escape(label)}</text>'
            f'<line class="whisker" x1="{least}" x2="{most}" y1="{y}" y2="{y}"/>'
            f'<rect class="box" x="{first}" y="{y - 7}" width="{third - first:.1f}" height="14"/>'
            f'<line class="median" x1="{median}" x2="{median}" y1="{y - 7}" y2="{y + 7}"/>'
        )
    height = len(told) * ROW_PX
    for value in (low, (low + high) / 2, high):
        parts.append(
            f'<text class="tick" x="{x(value)}" y="{height + 14}" text-anchor="middle">'
            f"{value:g}</text>"
        )
    says = "; ".join(f"{label} median {spread.quantiles[2]:g}" for label, spread in told.items())
    return svg(left + room + 20, height + 20, f"{name} by class: {says}", parts)


def svg(width: float, height: float, says: str, parts: list[str], kind: str = "") -> Markup:
    """A chart that is one picture to assistive software, with the sentence that it shows."""
    return Markup(  # noqa: S704  (numbers and escaped text)
        f'<svg class="chart {kind}" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-label="{escape(says)}">{"".join(parts)}</svg>'
    )
