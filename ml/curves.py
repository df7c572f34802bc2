"""Learning curves of a run, as one SVG file that stands by itself."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import escape

PANELS = (
    ("loss", ("train_loss", "tune_loss")),
    ("share", ("tune_accuracy", "tune_balanced_accuracy", "tune_auc", "tune_macro_f1")),
)
"""What is drawn on one scale: a name, and columns of the table of epochs."""
COLOURS = ("#1f5fa8", "#b3541e", "#2f7d4f", "#7a4a9c")
WIDTH, HEIGHT, LEFT, TOP, GAP = 300, 180, 48, 34, 70
STYLE = (
    "text{font:11px system-ui,sans-serif;fill:#333}.end{text-anchor:end}.mid{text-anchor:middle}"
    "rect{fill:#fff;stroke:#999}line{stroke:#ddd}line.best{stroke:#999;stroke-dasharray:3 3}"
    "polyline{fill:none;stroke-width:1.6}circle{stroke:none}"
)

Row = Mapping[str, str]


def write_curves(file: Path, rows: Sequence[Row], monitor: str) -> None:
    """Draw the rows of ``epochs.csv``; an upright line marks the best epoch by ``monitor``."""
    best = best_epoch(rows, monitor)
    panels = [
        _panel(index, name, columns, rows, best) for index, (name, columns) in enumerate(PANELS)
    ]
    width = LEFT + len(PANELS) * (WIDTH + GAP)
    height = TOP + HEIGHT + 36 + 15 * max(len(columns) for _, columns in PANELS)
    title = f"Learning curves over {len(rows)} epochs; best by {monitor}: epoch {best}"
    file.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>"
        f'<text x="{LEFT}" y="16">{escape(title)}</text>{"".join(panels)}</svg>\n',
        encoding="utf-8",
    )


def best_epoch(rows: Sequence[Row], monitor: str) -> int:
    """The epoch whose monitored figure is best: the least loss, or the most of all else."""
    sign = 1 if monitor.endswith("loss") else -1
    defined = [row for row in rows if _number(row, monitor) is not None] or list(rows)
    return int(min(defined, key=lambda row: sign * (_number(row, monitor) or 0.0))["epoch"])


def _panel(index: int, name: str, columns: Sequence[str], rows: Sequence[Row], best: int) -> str:
    lines = {column: _points(rows, column) for column in columns}
    values = [y for points in lines.values() for _, y in points] or [0.0]
    low, high = min(values), max(values)
    high = high if high > low else low + 1
    last = max(int(row["epoch"]) for row in rows) or 1
    left = LEFT + index * (WIDTH + GAP)

    def x(epoch: float) -> float:
        return round(left + epoch / last * WIDTH, 1)

    def y(value: float) -> float:
        return round(TOP + (high - value) / (high - low) * HEIGHT, 1)

    bottom = TOP + HEIGHT
    parts = [f'<rect x="{left}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}"/>']
    for value in (low, (low + high) / 2, high):
        parts.append(f'<line x1="{left}" x2="{left + WIDTH}" y1="{y(value)}" y2="{y(value)}"/>')
        parts.append(f'<text class="end" x="{left - 5}" y="{y(value) + 4}">{value:.3g}</text>')
    for epoch in (0, last):
        parts.append(f'<text class="mid" x="{x(epoch)}" y="{bottom + 15}">{epoch}</text>')
    middle = left + WIDTH / 2
    parts.append(f'<text class="mid" x="{middle}" y="{bottom + 15}">{name} by epoch</text>')
    parts.append(f'<line class="best" x1="{x(best)}" x2="{x(best)}" y1="{TOP}" y2="{bottom}"/>')
    for order, (column, points) in enumerate(lines.items()):
        colour, row = COLOURS[order], bottom + 34 + 15 * order
        path = " ".join(f"{x(epoch)},{y(value)}" for epoch, value in points)
        parts.append(f'<polyline stroke="{colour}" points="{path}"/>')
        parts += [f'<circle fill="{colour}" cx="{x(e)}" cy="{y(v)}" r="2"/>' for e, v in points]
        parts.append(f'<circle fill="{colour}" cx="{left + 5}" cy="{row - 4}" r="4"/>')
        parts.append(f'<text x="{left + 16}" y="{row}">{column.replace("_", " ")}</text>')
    return "".join(parts)


def _points(rows: Sequence[Row], column: str) -> list[tuple[int, float]]:
    found = ((int(row["epoch"]), _number(row, column)) for row in rows)
    return [(epoch, value) for epoch, value in found if value is not None]


def _number(row: Row, column: str) -> float | None:
    """A figure of the table; None where it is not defined or not kept."""
    value = float(row.get(column) or "nan")
    return value if value == value else None  # NaN differs from itself
