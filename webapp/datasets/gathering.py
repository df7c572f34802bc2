"""What the house has to teach: its cases whose finding is known, and by whom or what.

The finding is the latest outcome where there is one, and else that of the signed decision. Void
and demonstration cases are never learnt from, nor is one without a finding, and only those of
patients who consent are.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from sqlalchemy import exists, or_, select
from sqlalchemy.orm import aliased, joinedload, selectinload

from webapp import storage
from webapp.assessments.services import metadata_fed
from webapp.cases.models import Case, Consent, Image, Sex
from webapp.catalogue.models import ReadingTask
from webapp.catalogue.wording import translated
from webapp.datasets.house import pseudonym, side_of
from webapp.datasets.models import Dataset, LabelSource, LeftOut, Side, Snapshot
from webapp.datasets.queries import locked_test
from webapp.db import db
from webapp.errors import NotFound
from webapp.reviews.models import Decision, Impression, Outcome, Review
from webapp.reviews.queries import latest_reviews

CASES_AT_ONCE = 500
COLUMNS = ("sha256", "subject", "labels", "side", "label_source", "age", "sex", "localization")
"""Of the table of the house's pictures."""
AGE_BANDS = ((30, "under 30"), (45, "30 to 44"), (60, "45 to 59"), (75, "60 to 74"))
OLDEST, UNKNOWN = "75 and over", "unknown"
_BAND_LABELS = {"under 30": _l("under 30"), OLDEST: _l("75 and over")}
"""As reports of models have the bands, so that their figures can be laid beside these counts."""


@dataclass(frozen=True)
class Known:
    """All that is on record of what a case shows."""

    review: Review | None
    outcome: Outcome | None
    impression: Impression | None
    """The own one of whoever signed, from before they did."""

    @property
    def label(self) -> tuple[str, LabelSource] | None:
        """The code of the finding, and how it is known; None where it is not."""
        said = self.outcome or self.review
        if said is None or said.finding is None:
            return None
        return said.finding.code, self._source

    @property
    def _source(self) -> LabelSource:
        if self.outcome is not None or self.review is None:
            return LabelSource.OUTCOME
        if self.review.decision is Decision.OVERRIDE:
            return LabelSource.OVERRIDE
        is_own = self.impression and self.impression.finding_id == self.review.finding_id
        return LabelSource.IMPRESSION if is_own else LabelSource.AGREEMENT


@dataclass(frozen=True)
class Lesson:
    """A case that can be learnt from."""

    case: Case
    finding_code: str
    source: LabelSource
    side: Side

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What is known of it, as a model is given it."""
        fed: Mapping[str, Any] = metadata_fed(self.case)["raw"]
        return fed


@dataclass(frozen=True)
class Gathered:
    """What the house has to teach, and how many cases it leaves out for which reason."""

    lessons: Sequence[Lesson]
    left_out: Mapping[LeftOut, int]

    def counts(self) -> dict[str, Any]:
        """As `Snapshot.counts` has them."""
        rows = self.rows()
        by_side = {
            "findings": Counter((row["labels"], row["side"]) for row in rows),
            "label_sources": Counter((row["label_source"], row["side"]) for row in rows),
        }
        subgroups = {
            "age": Counter((age_band(row["age"]), row["side"]) for row in rows),
            "sex": Counter((row["sex"] or UNKNOWN, row["side"]) for row in rows),
            "localization": Counter((row["localization"] or UNKNOWN, row["side"]) for row in rows),
        }
        return {
            "images": len(rows),
            "cases": len(self.lessons),
            "patients": len({lesson.case.patient_id for lesson in self.lessons}),
            **{name: _nested(counter) for name, counter in by_side.items()},
            "subgroups": {name: _nested(counter) for name, counter in subgroups.items()},
            "left_out": {reason.value: number for reason, number in self.left_out.items()},
        }

    def rows(self) -> list[dict[str, str]]:
        """The table of the pictures, by their hashes. One that several cases show is there once:
        as the surest of them has it, and never on an earlier side than any of them."""
        found: dict[str, dict[str, str]] = {}
        sides = list(Side)
        for lesson in sorted(self.lessons, key=_surest_first):
            for image in lesson.case.images:
                row = found.setdefault(image.sha256, _row(lesson, image))
                row["side"] = max(Side(row["side"]), lesson.side, key=sides.index).value
        return [found[sha256] for sha256 in sorted(found)]

    def manifest(self) -> bytes:
        """That table as CSV."""
        stream = io.StringIO()
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows())
        return stream.getvalue().encode()


def gather(reading_task: ReadingTask, *, includes_agreement: bool) -> Gathered:
    """The cases of the house that can be learnt from today."""
    locked = frozenset(locked_test(reading_task).parts)
    tested = _pictures_of_test_patients(reading_task)
    lessons: list[Lesson] = []
    left_out: Counter[LeftOut] = Counter()
    for case, known in _known_cases(reading_task):
        side = side_of(case.patient_id)
        held_back = locked if side is Side.TEST else locked | tested
        reason = _against(case, known, includes_agreement=includes_agreement)
        if reason is None and not held_back.isdisjoint(_hashes(case.images)):
            reason = LeftOut.LOCKED
        if reason is not None or known.label is None:
            left_out[reason or LeftOut.UNDECIDED] += 1
        else:
            lessons.append(Lesson(case, *known.label, side))
    return Gathered(lessons, dict(left_out))


def age_band(text: str) -> str:
    """The band of an age in years."""
    if not text:
        return UNKNOWN
    return next((name for below, name in AGE_BANDS if float(text) < below), OLDEST)


def base_subgroups(dataset: Dataset) -> dict[str, dict[str, int]]:
    """Pictures of a registered data set by what it says of whom they show, as `Snapshot.counts` has
    the house's own; nothing where its table is not in the store.

    Raises:
        storage.CorruptBlob, storage.Away: as `storage.get`.
    """
    try:
        table = storage.get(dataset.content_sha256 or "").decode("utf-8")
    except NotFound:
        return {}
    rows = list(csv.DictReader(io.StringIO(table, newline="")))
    found = {
        "age": Counter(_band(row.get("age") or "") for row in rows),
        "sex": Counter(row.get("sex") or UNKNOWN for row in rows),
        "localization": Counter(row.get("localization") or UNKNOWN for row in rows),
    }
    return {kind: dict(counts) for kind, counts in found.items() if counts.keys() - {UNKNOWN}}


def _band(age: str) -> str:
    try:
        return age_band(age)
    except ValueError:
        return UNKNOWN


def document(snapshot: Snapshot) -> dict[str, Any]:
    """All that a snapshot is, to be taken out beside its table: what is learnt from, by content
    hash, who froze it and when. It names no patient."""
    base = snapshot.dataset
    return {
        "snapshot": snapshot.id,
        "reading_task": snapshot.reading_task.code,
        "frozen_at": snapshot.created_at.isoformat(timespec="seconds"),
        "frozen_by": snapshot.created_by.username if snapshot.created_by else None,
        "note": snapshot.note,
        "includes_agreement": snapshot.includes_agreement,
        "own": {"manifest_sha256": snapshot.manifest_sha256, **snapshot.counts},
        "base": base
        and {
            "name": base.name,
            "source": base.source,
            "licence": base.licence,
            "content_sha256": base.content_sha256,
            "images": base.image_count,
            "subjects": base.subject_count,
            "findings": base.counts,
            "sides": base.sides,
            "subgroups": base_subgroups(base),
        },
    }


def subgroup_words(name: str, kind: str) -> str:
    """What pages call a subgroup of a kind (`age`, `sex` or `localization`)."""
    if name == UNKNOWN:
        return _("unknown")
    if kind == "sex":
        return str(Sex(name).label)
    if kind == "age":
        return str(_BAND_LABELS.get(name, name.replace(" to ", "\N{EN DASH}")))
    return translated(name)


def _against(case: Case, known: Known, *, includes_agreement: bool) -> LeftOut | None:
    """What keeps a case out of every training, if anything does."""
    if known.review is not None and known.review.decision is Decision.VOID:
        return LeftOut.VOID
    if known.label is None:
        return LeftOut.UNDECIDED
    if case.patient.consent is not Consent.GIVEN:
        refused = case.patient.consent is Consent.WITHDRAWN
        return LeftOut.WITHDRAWN if refused else LeftOut.NOT_ASKED
    if known.label[1] is LabelSource.AGREEMENT and not includes_agreement:
        return LeftOut.AGREEMENT
    return None


def _known_cases(reading_task: ReadingTask) -> Iterator[tuple[Case, Known]]:
    """The cases of a reading task of which somebody has said what they show, in order."""
    last_id = 0
    while cases := db.session.scalars(
        select(Case)
        .where(
            Case.id > last_id,
            Case.reading_task_id == reading_task.id,
            ~Case.is_demonstration,
            or_(
                exists().where(Review.case_id == Case.id),
                exists().where(Outcome.case_id == Case.id),
            ),
        )
        .order_by(Case.id)
        .limit(CASES_AT_ONCE)
        .options(joinedload(Case.patient), selectinload(Case.images))
    ).all():
        ids = [case.id for case in cases]
        last_id = ids[-1]
        reviews, outcomes = latest_reviews(ids), _latest_outcomes(ids)
        impressions = _impressions(ids)
        for case in cases:
            review = reviews.get(case.id)
            impression = impressions.get((case.id, review.reviewer_id)) if review else None
            yield case, Known(review, outcomes.get(case.id), impression)


def _latest_outcomes(case_ids: Sequence[int]) -> dict[int, Outcome]:
    later = aliased(Outcome)
    found = db.session.scalars(
        select(Outcome)
        .where(
            Outcome.case_id.in_(case_ids),
            ~exists().where(later.case_id == Outcome.case_id, later.version > Outcome.version),
        )
        .options(joinedload(Outcome.finding))
    )
    return {outcome.case_id: outcome for outcome in found}


def _impressions(case_ids: Sequence[int]) -> dict[tuple[int, int], Impression]:
    """By case and reader. They are saved before an answer is shown, and never changed."""
    found = db.session.scalars(select(Impression).where(Impression.case_id.in_(case_ids)))
    return {(impression.case_id, impression.reader_id): impression for impression in found}


def _pictures_of_test_patients(reading_task: ReadingTask) -> frozenset[str]:
    """The same picture may be filed for somebody else too: who is learnt from must not have it."""
    rows = db.session.execute(
        select(Image.sha256, Image.original_sha256, Case.patient_id)
        .join(Image.case)
        .where(Case.reading_task_id == reading_task.id)
    )
    return frozenset(
        sha256
        for kept, original, patient_id in rows
        if side_of(patient_id) is Side.TEST
        for sha256 in (kept, original)
    )


def _hashes(images: Sequence[Image]) -> Iterator[str]:
    for image in images:
        yield from (image.sha256, image.original_sha256)


def _surest_first(lesson: Lesson) -> tuple[int, int]:
    return list(LabelSource).index(lesson.source), -lesson.case.id


def _row(lesson: Lesson, image: Image) -> dict[str, str]:
    known = lesson.metadata
    return {
        "sha256": image.sha256,
        "subject": pseudonym(lesson.case.patient_id),
        "labels": lesson.finding_code,
        "side": lesson.side.value,
        "label_source": lesson.source.value,
        **{name: _text(known.get(name)) for name in ("age", "sex", "localization")},
    }


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _nested(counter: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for (name, side), number in sorted(counter.items()):
        found.setdefault(name, {})[side] = number
    return found
