"""A list of cases as CSV that a spreadsheet opens without running any of it."""

import csv
import datetime as dt
import io
from collections.abc import Sequence
from typing import Any

from webapp.assessments.models import State
from webapp.rendering import DISCLAIMER
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
    "also_finding",
    "also_probability",
    "report_status",
    "decision",
    "decided_finding",
    "reviewer",
    "signed_at",
    "demonstration",
    "disclaimer",
)
RUN_BY_SPREADSHEETS = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet takes for a formula."""


def as_csv(rows: Sequence[Row]) -> str:
    """One line a case, findings by their codes, times in UTC; a blank cell is what nobody said. The
    disclaimer is in each, since lines are taken apart."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS)
    writer.writeheader()
    for row in rows:
        told = facts(row) | {"disclaimer": DISCLAIMER}
        writer.writerow({name: harmless(_cell(fact)) for name, fact in told.items()})
    return stream.getvalue()


def harmless(cell: Any) -> str:
    """A cell as text that no spreadsheet runs: an apostrophe before it makes it plain text."""
    text = "" if cell is None else str(cell)
    return f"'{text}" if text.startswith(RUN_BY_SPREADSHEETS) else text


def facts(row: Row) -> dict[str, Any]:
    """What may be told of a case, by the names of the columns. What the reader may not be told
    before an own impression is None, and so is the finding that a model named and held back."""
    case, assessment = row.case, row.assessment
    review = row.review if row.shows_answer else None
    is_answered = row.shows_answer and assessment.state is State.COMPLETED
    finding = assessment.finding if is_answered else None
    also = row.also if is_answered else None
    return {
        "case": case.id,
        "patient": case.patient.identifier,
        "site": case.patient.site.name,
        "reading_task": case.reading_task.code,
        "submitted_at": case.submitted_at,
        "priority_requested": case.priority,
        "priority": assessment.priority,
        "state": row.told_state or "ready",
        "finding": finding.code if finding else None,
        "probability": assessment.probability if is_answered else None,
        "also_finding": also.finding.code if also else None,
        "also_probability": also.probability if also else None,
        "report_status": review.status if review else None,
        "decision": review.decision if review else None,
        "decided_finding": review.finding.code if review and review.finding else None,
        "reviewer": review.reviewer.full_name if review else None,
        "signed_at": review.signed_at if review else None,
        "demonstration": case.is_demonstration,
    }


def _cell(fact: Any) -> Any:
    match fact:
        case dt.datetime():
            return fact.isoformat(timespec="seconds")
        case bool():
            return "yes" if fact else None
        case float():
            return f"{fact:.4f}"
        case _:
            return fact
