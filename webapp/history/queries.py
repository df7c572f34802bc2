"""What there is of one lesion or eye, as far as the one who asks may be told."""

import datetime as dt
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import joinedload, selectinload

from webapp.accounts.models import User
from webapp.assessments.models import (
    AssessedImage,
    Assessment,
    Prediction,
    Purpose,
    worst_over_mark,
)
from webapp.cases.models import Case, Image, Region
from webapp.catalogue.models import Finding
from webapp.db import db
from webapp.registry.models import ModelVersion
from webapp.reviews.models import Decision, Review
from webapp.reviews.queries import latest_reviews, may_see_answer


@dataclass(frozen=True, slots=True)
class Look:
    """One case of a lesion or an eye."""

    case: Case
    images: Sequence[Image]
    """Those of it that show the lesion or eye; the others count for nothing here."""
    review: Review | None
    """The decision that counts; None where nobody has signed."""
    shows_answer: bool
    """Whether the reader may be told what was found."""
    readings: Sequence[Assessment]
    """Of each model version the latest, the current one first; none where the reader may not be
    told."""

    @property
    def is_void(self) -> bool:
        return self.review is not None and self.review.decision is Decision.VOID

    @property
    def current(self) -> Assessment | None:
        """The reading that counts."""
        return self.readings[0] if self.readings else None

    @property
    def shows_others(self) -> bool:
        """Whether a decision on the case may have been made for another lesion or eye."""
        return len(self.images) < len(self.case.images)

    def answers(
        self, reading: Assessment, images: Sequence[Image] | None = None
    ) -> list[AssessedImage]:
        """What the model answered for the images, or for some of them, in one of the readings; the
        most severe answer first, and of those the most probable."""
        image_ids = {image.id for image in (self.images if images is None else images)}
        answered = [
            read
            for read in reading.images
            if read.image_id in image_ids and read.abstained is False
        ]
        return sorted(answered, key=_severity, reverse=True)

    def also(self, reading: Assessment, images: Sequence[Image] | None = None) -> Prediction | None:
        """What these answers are not told without, as `Assessment.also` says of all images."""
        answers = self.answers(reading, images)
        most_severe = answers[0].finding if answers else None
        return worst_over_mark(answers, than=most_severe) if most_severe else None


@dataclass(frozen=True, slots=True)
class Point:
    """How probable a finding was in one reading."""

    case: Case
    at: dt.datetime
    """When the case was sent."""
    probability: float


@dataclass(frozen=True, slots=True)
class Series:
    """What one model version said, the oldest first: the answers of one are compared, those of
    several are not."""

    version: ModelVersion
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class Change:
    """Where another model version took over."""

    at: dt.datetime
    """Between the two cases."""
    former: str
    version: str


@dataclass(frozen=True, slots=True)
class Trend:
    """How the probability of a finding moved."""

    finding: Finding
    series: Sequence[Series]
    changes: Sequence[Change]


def looks(*, actor: User, region: Region) -> Sequence[Look]:
    """Every case of a lesion or an eye, the newest first."""
    cases = db.session.scalars(
        select(Case)
        .where(Case.id.in_(select(Image.case_id).where(Image.region_id == region.id)))
        .order_by(Case.submitted_at.desc(), Case.id.desc())
        .options(selectinload(Case.images))
    ).all()
    case_ids = [case.id for case in cases]
    shown = may_see_answer(actor=actor, case_ids=case_ids)
    reviews = latest_reviews(case_ids)
    readings = _readings(shown)
    return [
        Look(
            case,
            [image for image in case.images if image.region_id == region.id],
            reviews.get(case.id),
            case.id in shown,
            readings.get(case.id, []),
        )
        for case in cases
    ]


def images(looks: Sequence[Look]) -> Sequence[Image]:
    """Every picture, those of the newest case first."""
    return [image for look in looks for image in look.images]


def pair(looks: Sequence[Look]) -> tuple[Image | None, Image | None]:
    """What is compared unless asked otherwise: the first pictures of the case before the last one,
    and of the last one; void cases only where there are no others."""
    valid = [look for look in looks if not look.is_void] or looks
    firsts = [look.images[0] for look in valid]
    later = firsts[0] if firsts else None
    return (firsts[1] if len(firsts) > 1 else later), later


def probability(look: Look, reading: Assessment, finding: Finding) -> float | None:
    """The highest among the images that the model answered for; None where there is none."""
    return max(
        (
            said.probability
            for read in look.answers(reading)
            for said in read.predictions
            if said.finding_id == finding.id
        ),
        default=None,
    )


def telling_finding(looks: Sequence[Look], findings: Sequence[Finding]) -> Finding:
    """The finding whose trend says most: the most severe that was ever an answer, or else could
    be."""
    answers = [
        read.finding
        for look in looks
        if not look.is_void
        for reading in look.readings
        for read in look.answers(reading)
        if read.finding is not None
    ]
    return max(answers or findings, key=lambda finding: finding.severity)


def trend(looks: Sequence[Look], finding: Finding) -> Trend:
    """How the probability of a finding moved over the cases that are not void."""
    valid = [look for look in reversed(looks) if not look.is_void]
    points: dict[ModelVersion, list[Point]] = {}
    for look in valid:
        for reading in look.readings:
            value = probability(look, reading, finding)
            if value is not None:
                point = Point(look.case, look.case.submitted_at, value)
                points.setdefault(reading.model_version, []).append(point)
    by_version = sorted(points.items(), key=lambda item: item[0].id)
    return Trend(finding, [Series(*item) for item in by_version], list(_changes(valid)))


def _severity(read: AssessedImage) -> tuple[int, float]:
    return read.finding.severity if read.finding else 0, read.probability or 0.0


def _changes(valid: Sequence[Look]) -> Iterator[Change]:
    read = [(look, look.current) for look in valid if look.current is not None]
    for (earlier, former), (later, reading) in itertools.pairwise(read):
        if former.model_version_id != reading.model_version_id:
            begun, ended = earlier.case.submitted_at, later.case.submitted_at
            yield Change(
                begun + (ended - begun) / 2,
                former.model_version.version,
                reading.model_version.version,
            )


def _readings(case_ids: frozenset[int]) -> dict[int, list[Assessment]]:
    """What was read of cases, by their numbers: of each model version the latest."""
    found = db.session.scalars(
        select(Assessment)
        .where(
            Assessment.case_id.in_(case_ids),
            Assessment.purpose == Purpose.TRIAGE,
            Assessment.completed_at.is_not(None),
        )
        .order_by(Assessment.superseded_at.is_not(None), Assessment.id.desc())
        .options(
            joinedload(Assessment.model_version),
            joinedload(Assessment.finding),
            selectinload(Assessment.images).options(
                joinedload(AssessedImage.finding),
                selectinload(AssessedImage.predictions).joinedload(Prediction.finding),
            ),
        )
    )
    readings: dict[int, list[Assessment]] = {}
    for reading in found:
        kept = readings.setdefault(reading.case_id, [])
        if reading.model_version_id not in [other.model_version_id for other in kept]:
            kept.append(reading)
    return readings
