"""A list of cases as CSV that a spreadsheet opens without running any of it."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from webapp.triage.queries import Row

COLUMNS = (
    "case",
    "patient",
    "site",
    "reading_task",
    "submitted_at",
    "priority_requested",
    "priority",
    "state",
    "finding",
    "probability",
    "report_status",
    "decision",
    "decided_finding",
    "reviewer",
    "signed_at",
    "demonstration",
)
RUN_BY_SPREADSHEETS = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet takes for a formula."""


def as_csv(rows: Sequence[Row]) -> str:
    """One line a case, findings by their codes, times in UTC; a blank cell is what nobody said."""
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(COLUMNS)
    writer.writerows([harmless(cell) for cell in _cells(row)] for row in rows)
    return stream.getvalue()


def harmless(cell: Any) -> str:
    """A cell as text that no spreadsheet runs: an apostrophe before it makes it plain text."""
    text = "" if cell is None else str(cell)
    return f"'{text}" if text.startswith(RUN_BY_SPREADSHEETS) else text


def _cells(row: Row) -> Iterator[Any]:
    """What the reader may not be told before an own impression is blank."""
    case, assessment = row.case, row.assessment
    review = row.review if row.shows_answer else None
    finding = assessment.finding if row.shows_answer else None
    probability = assessment.probability if row.shows_answer else None
    yield case.id
    yield case.patient.identifier
    yield case.patient.site.name
    yield case.reading_task.code
    yield case.submitted_at.isoformat(timespec="seconds")
    yield case.priority
    yield assessment.priority
    yield row.told_state or "ready"
    yield finding.code if finding else None
    yield None if probability is None else f"{probability:.4f}"
    yield review.status if review else None
    yield review.decision if review else None
    yield review.finding.code if review and review.finding else None
    yield review.reviewer.full_name if review else None
    yield review.signed_at.isoformat(timespec="seconds") if review else None
    yield "yes" if case.is_demonstration else None
