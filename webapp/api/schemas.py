"""What goes into the API and comes out of it. The document is made from these, and so are the
checks: neither can say what the other does not."""

import datetime as dt
import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema
from werkzeug.datastructures import FileStorage

from webapp import imaging
from webapp.assessments.models import AssessedImage, Assessment, Failure, State
from webapp.cases.models import OLDEST_YEARS, Laterality, Sex, Side
from webapp.cases.models import Case as CaseRow
from webapp.cases.services import FIRST_BIRTH_YEAR
from webapp.catalogue.models import Priority
from webapp.exports.table import facts
from webapp.history.forms import LABEL_LENGTH
from webapp.rendering import DISCLAIMER
from webapp.reviews.models import Decision, ReportStatus
from webapp.reviews.models import Review as ReviewRow
from webapp.reviews.queries import Basis
from webapp.reviews.services import TEXT_LENGTH_MAX
from webapp.triage.filters import Scope, Sort
from webapp.triage.forms import IDENTIFIER_LENGTH, NOTE_LENGTH
from webapp.triage.queries import MAX_PAGE_NUMBER, Page, Row

Picture = Annotated[InstanceOf[FileStorage], WithJsonSchema({"type": "string", "format": "binary"})]
Text = Annotated[str, Field(max_length=TEXT_LENGTH_MAX)]
Unsaid = SkipJsonSchema[None]
"""Of what may be left out, and cannot be sent as null: a query and a form have none."""


def _leave_out_null(schema: dict[str, Any]) -> None:
    for described in schema["properties"].values():
        if described.get("default", ...) is None:
            del described["default"]


class Input(BaseModel):
    """Something that is sent. What it does not name is refused: it would be left out in silence."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        json_schema_extra=_leave_out_null,
    )


class Once(Input):
    """What makes a request that is sent again the same one."""

    idempotency_key: Annotated[
        str, Field(alias="Idempotency-Key", pattern="^[!-~]+$", min_length=1, max_length=128)
    ]
    """Any text of your own, another one for each thing to be done. The same key with the same
    content again does nothing more, and gives the same answer."""


def _day(text: object) -> dt.date:
    """Pydantic would take a number as well, for seconds since 1970."""
    if not isinstance(text, str) or not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        raise ValueError("a day is written as 2026-03-01")
    return dt.date.fromisoformat(text)


Day = Annotated[dt.date, BeforeValidator(_day)]


class CaseQuery(Input):
    """The filters of the worklist, and which page of it."""

    identifier: Annotated[str, Field(max_length=IDENTIFIER_LENGTH)] = ""
    """How the patient's identifier begins."""
    state: (
        Literal[State.SCHEDULED, State.IN_PROGRESS, State.COMPLETED, State.ABSTAINED, State.FAILED]
        | Unsaid
    ) = None
    priority: Priority | Unsaid = None
    """How soon it must be looked at, as it is now: a finding may have raised it."""
    reading_task: Annotated[str, Field(max_length=60)] = ""
    """Its code, such as `blood-cell`."""
    finding: Annotated[str, Field(max_length=121)] = ""
    """Named by the model or by the decision, or over its mark and more severe than what the model
    names: the codes, such as `blood-cell/basophil`."""
    status: ReportStatus | Unsaid = None
    reviewer: Annotated[str, Field(max_length=80)] = ""
    """The user name of who signed the decision that counts."""
    first_day: Day | Unsaid = None
    """On which it was sent, or later; days are in UTC."""
    last_day: Day | Unsaid = None
    show: Scope = Scope.OPEN
    """`open`: undecided, unless only a decided case can fit; `mine`: those of them that you have
    taken; `all`."""
    sort: Sort = Sort.DUE
    page: Annotated[int, Field(ge=1, le=MAX_PAGE_NUMBER)] = 1


class NewCase(Input):
    """A case to be read: the patient, the question, and the images."""

    reading_task: Annotated[str, Field(min_length=1, max_length=60)]
    """The code of what is to be read, such as `blood-cell`."""
    identifier: Annotated[str, Field(min_length=1, max_length=IDENTIFIER_LENGTH)]
    """What the site knows the patient by."""
    images: Annotated[list[Picture], Field(min_length=1, max_length=imaging.MAX_IMAGES)]
    """JPEG, PNG, WebP, TIFF, BMP, HEIC or single-frame DICOM, of 25 MB at most each."""
    site: Annotated[str, Field(min_length=1, max_length=120)] | Unsaid = None
    """The name of the patient's site; needed by those who have several."""
    birth_year: Annotated[int, Field(ge=FIRST_BIRTH_YEAR, le=2200)] | Unsaid = None
    sex: Sex = Sex.UNKNOWN
    priority: Priority = Priority.ROUTINE
    age_at_acquisition_years: Annotated[int, Field(ge=0, le=OLDEST_YEARS)] | Unsaid = None
    """When the images were taken; follows from the birth year where it is left out."""
    body_site: Annotated[str, Field(min_length=1, max_length=60)] | Unsaid = None
    """One of the places that the model of the reading task knows, where it asks for one."""
    laterality: Laterality = Laterality.UNKNOWN
    """The side, for a reading task of what there are two of."""
    lesion: Annotated[str, Field(max_length=LABEL_LENGTH)] = ""
    """Which lesion of the patient the images show, where the reading task is about lesions: one on
    record by its name, or a new one."""
    eye: Side | Unsaid = None
    """Which eye, where the reading task is about eyes."""
    note: Annotated[str, Field(max_length=NOTE_LENGTH)] = ""
    confirm_duplicates: bool = False
    """Images are filed for another patient as well, and that is right."""
    confirm_told: bool = False
    """What is left out here, or differs from what a DICOM file says, is right as it is sent."""


class NewReview(Input):
    """A decision to be signed."""

    basis: Annotated[str, Field(min_length=1, max_length=80)]
    """The `basis` of the result that you decide on. If there is another one by now, the decision is
    refused, and you look again."""
    decision: Literal[Decision.AGREE, Decision.OVERRIDE, Decision.UNCERTAIN]
    finding: Annotated[str, Field(min_length=1, max_length=60)] | None = None
    """The code of the finding, for `override` alone."""
    comment: Text = ""
    reason: Text = ""
    """Why a signed decision is amended, for an amendment alone."""


class Output(BaseModel):
    """Something that is answered."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Status(Output):
    """Where a case stands. It names no patient, and nothing that was found."""

    case: int
    reading_task: str
    submitted_at: dt.datetime
    priority_requested: Priority
    priority: Priority
    """How soon it must be looked at, as it is now."""
    due_at: dt.datetime
    state: State | Literal["ready"]
    """`ready` in place of what came of it, for those who save their own impression first."""
    own_impression_first: bool
    """You are told what was found once you have saved your own impression, on the case's page."""
    demonstration: bool
    """It only demonstrates, with a published picture."""

    @classmethod
    def of(cls, row: Row) -> Self:
        told = facts(row) | {
            "due_at": row.assessment.due_at,
            "own_impression_first": not row.shows_answer,
        }
        return cls.model_validate(told)


class Case(Status):
    """A case in a list. Before an own impression, what was found and decided is null."""

    patient: str
    site: str
    finding: str | None
    """The code of the model's answer; null where it gave none."""
    probability: float | None
    also_finding: str | None
    """The code of the most severe finding over its mark that is more severe than `finding`; null
    where there is none."""
    also_probability: float | None
    report_status: ReportStatus | None
    decision: Decision | None
    decided_finding: str | None
    reviewer: str | None
    signed_at: dt.datetime | None


class CasePage(Output):
    """A page of a list of cases."""

    cases: list[Case]
    page: int
    has_next: bool
    total: int
    """On all pages, counted no further than 1000."""
    total_is_capped: bool
    disclaimer: str

    @classmethod
    def of(cls, page: Page) -> Self:
        return cls(
            cases=[Case.of(row) for row in page.items],
            page=page.number,
            has_next=page.has_next,
            total=page.total.number,
            total_is_capped=page.total.is_capped,
            disclaimer=str(DISCLAIMER),
        )


class Answer(Output):
    """What the model says of a case: the most severe finding that it names in an image."""

    finding: str
    name: str
    malignancy: str
    urgency: Priority
    recommendation: str
    probability: float
    also_finding: str | None
    """The code of the most severe finding over its mark that is more severe than `finding`; null
    where there is none."""
    also_probability: float | None


class Prediction(Output):
    """The calibrated probability of one finding on one image."""

    finding: str
    probability: float
    supported: bool
    """Whether it reaches the model's operating point."""


class ImageReading(Output):
    """What the model says of one image."""

    position: int
    """0 for the first."""
    sha256: str
    """Of the image as it is stored."""
    finding: str | None
    """Null where the model held its answer back, or has not read it."""
    abstained: bool | None
    abstention_reason: str | None
    possible: list[str] | None
    """The findings that stay possible, the most probable first: one that is there is among them as
    often as the model's `coverage` says. Null where it states no such set, or has not read it."""
    predictions: list[Prediction]

    @classmethod
    def of(cls, read: AssessedImage) -> Self:
        coverage = read.assessment.model_version.facts.coverage
        states_set = coverage is not None and bool(read.predictions)
        return cls(
            position=read.position,
            sha256=read.image_sha256,
            finding=read.finding.code if read.finding and not read.abstained else None,
            abstained=read.abstained,
            abstention_reason=read.abstention_reason or None,
            possible=[finding.code for finding in read.possible] if states_set else None,
            predictions=[
                Prediction(
                    finding=said.finding.code,
                    probability=said.probability,
                    supported=said.supported,
                )
                for said in read.predictions
            ],
        )


class Model(Output):
    """Which model reads the case, and how it was run."""

    version: str
    licence: str
    intended_use: str
    bundle_sha256: str
    coverage: float | None
    """Of the findings that stay possible, on images like those that the model was tuned on."""
    engine: str | None
    code_version: str | None


class Review(Output):
    """A signed decision."""

    version: int
    """From 1; a later one is an amendment."""
    status: ReportStatus
    decision: Decision
    finding: str | None
    comment: str
    reason: str | None
    reviewer: str
    signed_at: dt.datetime

    @classmethod
    def of(cls, review: ReviewRow) -> Self:
        return cls(
            version=review.version,
            status=review.status,
            decision=review.decision,
            finding=review.finding.code if review.finding else None,
            comment=review.comment,
            reason=review.reason,
            reviewer=review.reviewer.full_name,
            signed_at=review.signed_at,
        )


class Result(Output):
    """What was said of a case, by the model and by the clinician whose decision counts."""

    case: int
    patient: str
    basis: str
    """Names what is told here; a decision on it sends it back."""
    state: State
    failure: Failure | None
    completed_at: dt.datetime | None
    answer: Answer | None
    """Null until the case has been read, and where the model held its answer back."""
    images: list[ImageReading]
    input_sha256: str
    """Over all that the model was fed."""
    model: Model
    review: Review | None
    """Null as long as nobody has signed."""
    disclaimer: str

    @classmethod
    def of(cls, case: CaseRow, reading: Assessment, basis: Basis) -> Self:
        return cls(
            case=case.id,
            patient=case.patient.identifier,
            basis=basis.mark,
            state=reading.state,
            failure=reading.failure,
            completed_at=reading.completed_at,
            answer=_answer(reading),
            images=[ImageReading.of(image) for image in reading.images],
            input_sha256=reading.input_sha256,
            model=Model(
                version=reading.model_version.version,
                licence=reading.model_version.licence,
                intended_use=reading.model_version.intended_use,
                bundle_sha256=reading.model_version.bundle_sha256,
                coverage=reading.model_version.facts.coverage,
                engine=reading.engine,
                code_version=reading.code_version,
            ),
            review=Review.of(basis.review) if basis.review else None,
            disclaimer=str(DISCLAIMER),
        )


def _answer(reading: Assessment) -> Answer | None:
    finding, terms = reading.finding, reading.terms
    if reading.state is not State.COMPLETED:
        return None
    if finding is None or terms is None or reading.probability is None:
        return None
    return Answer(
        finding=finding.code,
        name=finding.name,
        malignancy=terms.malignancy,  # as the answer was given, whatever was changed since
        urgency=terms.urgency,
        recommendation=terms.recommendation,
        probability=reading.probability,
        also_finding=reading.also.finding.code if reading.also else None,
        also_probability=reading.also.probability if reading.also else None,
    )


class FieldError(Output):
    """What is wrong with one part of what was sent."""

    field: str
    detail: str


class Problem(Output):
    """Why something was refused, as RFC 9457 has it."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    """For programs: it stays the same when the words change."""
    request_id: str | None
    """Names the request to an administrator."""
    errors: list[FieldError]
    """By field, where fields are what is wrong."""
