"""Erasing patients: on request, or since the time for which cases are kept is over.

What names or shows a patient goes: pictures, thumbnails and heat maps (but for those that another
patient has too), identifiers, years of birth, names of lesions, notes, names of files, and what was
written of them. What counts stays: that there was a case, of what age and sex, what the model said,
what was decided, and the record, which knows patients by their row's number only. The database
keeps what people signed; of a patient who is marked as erased it lets go of the texts, and of
nothing else.
"""

import datetime as dt
import json
import logging
import secrets
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Text, and_, cast, func, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute

from webapp import audit, storage
from webapp.accounts.models import Site, User
from webapp.assessments import leases
from webapp.assessments.models import AssessedImage, Assessment, Leased, State
from webapp.cases.models import (
    Case,
    CaseMove,
    Consent,
    FormerCase,
    FormerParticulars,
    Image,
    Patient,
    Region,
    Side,
)
from webapp.cases.queries import find_patient, normal_identifier
from webapp.db import db, now, on_commit, transaction
from webapp.erasures import queries
from webapp.erasures.models import Cause, Erasure
from webapp.errors import Conflict, Invalid, NotFound
from webapp.explanations.models import Explanation
from webapp.imports.models import Import, ImportRow, RowState
from webapp.imports.problems import Problem, Trouble
from webapp.reproductions.models import Reproduction
from webapp.reviews.models import Outcome, Review, SecondRead
from webapp.training import services as training

log = logging.getLogger(__name__)

ERASED = "[erased]"
"""What stands where a text was; the database lets no other text take its place."""
REASON_LENGTH_MAX = 500
AT_ONCE = 20
"""Patients that one round of the sweeper erases at most."""


def erase_named(*, actor: User | None, site: Site, identifier: str, reason: str) -> Erasure:
    """Erase the patient whom a site knows by this identifier.

    Raises:
        NotFound: `patient`: there is none, which is put on record.
        Invalid: as `erase`.
        Conflict: as `erase`.
    """
    identifier = normal_identifier(identifier)
    if identifier and identifier.casefold() in reason.casefold():
        raise Invalid("reason_names_patient")
    patient = find_patient(site_id=site.id, identifier=identifier)
    if patient is None or patient.erased_at is not None:
        with transaction():
            audit.record(actor=actor, action="erasure.found_nobody", subject=site)
        raise NotFound("patient")
    return erase(actor=actor, patient=patient, reason=reason, cause=Cause.REQUEST)


def erase(*, actor: User | None, patient: Patient, reason: str, cause: Cause) -> Erasure:
    """Erase a patient. Pictures leave the store once this is committed; what the store does not let
    go of then is removed later by the sweeper.

    Raises:
        Invalid: `reason`: there is none, or it is too long.
        Conflict: `erased`: somebody has erased them already.
    """
    reason = reason.strip()
    if not 0 < len(reason) <= REASON_LENGTH_MAX:
        raise Invalid("reason", limit=REASON_LENGTH_MAX)
    with transaction():
        db.session.refresh(patient, with_for_update=True)
        if patient.erased_at is not None:
            raise Conflict("erased")
        case_ids = db.session.scalars(
            select(Case.id).where(Case.patient_id == patient.id).order_by(Case.id)
        ).all()
        former = patient.identifier
        _end_open_work(case_ids)
        rows = _rows_of_imports(patient, case_ids)
        pictures = queries.pictures(case_ids)
        blobs = {sha256 for kind in pictures.values() for sha256 in kind}
        blobs = blobs.union(*(row.blobs for row in rows))
        removed = {name: len(sha256s) for name, sha256s in pictures.items()}
        removed |= _clear_particulars(patient, case_ids)
        removed |= _clear_texts(patient, case_ids)
        removed["import_rows"] = _clear_rows_of_imports(rows)
        _clear_warnings(former)
        shared = storage.named(blobs)
        erasure = Erasure(
            patient=patient,
            cause=cause,
            reason=reason,
            erased_by=actor,
            erased_at=patient.erased_at or now(),
            removed=removed,
            remains=queries.remains(patient, case_ids) | {"shared_pictures": len(shared)},
            blobs_left=sorted(blobs - shared),
        )
        db.session.add(erasure)
        _end_training(actor, patient)
        audit.record(
            actor=actor,
            action="patient.erased",
            subject=patient,
            cause=cause,
            image_count=removed["images"],
            case_ids=list(case_ids),
        )
        on_commit(lambda: let_go(erasure))
    return erasure


def let_go(erasure: Erasure) -> None:
    """Remove the pictures of an erased patient from the store, but for those that somebody else has
    by now. What the store does not let go of is left for another time.

    Nobody files a picture meanwhile: whoever has just stored the same one finds it gone, and stores
    it again.
    """
    with transaction():
        storage.hold_all()
        blobs = set(erasure.blobs_left)
        left = sorted(blobs - storage.named(blobs))
        try:
            while left:
                storage.remove(left[-1])
                left.pop()
        except OSError:
            log.warning("pictures of an erased patient are still in the store", exc_info=True)
        erasure.blobs_left = left


def let_go_of_the_rest() -> int:
    """Remove what the store did not let go of before; says of how many patients that was."""
    unfinished = db.session.scalars(
        select(Erasure).where(cast(Erasure.blobs_left, Text) != "[]").limit(AT_ONCE)
    ).all()
    for erasure in unfinished:
        let_go(erasure)
    return len(unfinished)


def erase_old(*, days: int) -> int:
    """Erase patients whose latest case was sent, or who were registered, so long ago; says how many
    it were. Demonstration cases show no patient, and are left as they are."""
    before = now() - dt.timedelta(days=days)
    later = select(Case.id).where(
        Case.patient_id == Patient.id,
        or_(Case.submitted_at >= before, Case.is_demonstration),
    )
    old = db.session.scalars(
        select(Patient)
        .where(Patient.erased_at.is_(None), Patient.created_at < before, ~later.exists())
        .order_by(Patient.id)
        .limit(AT_ONCE)
    ).all()
    for patient in old:
        erase(actor=None, patient=patient, reason=f"{days} days", cause=Cause.RETENTION)
    return len(old)


def _end_open_work(case_ids: Collection[int]) -> None:
    """Nobody reads or explains their pictures any more, and no list waits for them."""
    of_cases = Assessment.case_id.in_(case_ids)
    assessment_ids = select(Assessment.id).where(of_cases)
    image_ids = select(AssessedImage.id).where(AssessedImage.assessment_id.in_(assessment_ids))
    _cancel(Assessment, of_cases)
    _cancel(Explanation, Explanation.assessed_image_id.in_(image_ids))
    _cancel(Reproduction, Reproduction.assessment_id.in_(assessment_ids))
    db.session.execute(
        update(Assessment)
        .where(of_cases, Assessment.settled_at.is_(None))
        .values(settled_at=now()),
        execution_options={"synchronize_session": "fetch"},
    )


def _end_training(actor: User | None, patient: Patient) -> None:
    """Trainers have pictures of them in the folders of runs: what goes on ends, and what could be
    taken up again cannot, so that the trainer removes its folder."""
    for run in queries.training_runs(patient):
        if run.state.is_open:
            training.cancel(actor=actor, run=run)
        elif run.state is State.FAILED:
            run.state, run.failure, run.trouble = State.CANCELLED, None, None
    db.session.flush()


def _cancel(kind: type[Leased], condition: ColumnElement[bool]) -> None:
    rows = db.session.scalars(
        select(kind)
        .where(kind.state.in_([State.SCHEDULED, State.IN_PROGRESS]), condition)
        .order_by(kind.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    for row in rows:
        row.state = State.CANCELLED
        leases.let_go(row)
    db.session.flush()


def _clear_particulars(patient: Patient, case_ids: Collection[int]) -> dict[str, int]:
    """Who they were, and what a picture's file or a lesion's name may tell of it."""
    patient.identifier = f"erased {patient.id} {secrets.token_hex(4)}"
    patient.birth_year = None
    patient.consent = Consent.NOT_ASKED  # nothing is learnt from them any more
    patient.erased_at = now()
    db.session.flush()
    regions = db.session.scalars(
        select(Region).where(Region.patient_id == patient.id, Region.label.not_in(list(Side)))
    ).all()
    for region in regions:
        region.label = region.key = f"erased {region.id}"
    notes = _set(Case, Case.id.in_(case_ids) & (Case.note != ""), note="")
    _set(Case, Case.id.in_(case_ids), age_is_derived=False)
    had_year = FormerParticulars.birth_year.is_not(None)
    _set(
        FormerParticulars, had_year & (FormerParticulars.patient_id == patient.id), birth_year=None
    )
    names = _set(
        Image,
        Image.case_id.in_(case_ids),
        original_file_name="",
        sop_instance_uid=None,
        study_instance_uid=None,
    )
    explained = (
        select(AssessedImage.id)
        .join(AssessedImage.assessment)
        .where(Assessment.case_id.in_(case_ids))
    )
    _set(Explanation, Explanation.assessed_image_id.in_(explained), heat_map_sha256=None)
    return {"identifiers": 1, "regions": len(regions), "notes": notes, "file_names": names}


def _clear_texts(patient: Patient, case_ids: Collection[int]) -> dict[str, int]:
    """What people wrote of them, in rows that are kept otherwise."""
    reviews = select(Review.id).where(Review.case_id.in_(case_ids))
    moved = or_(CaseMove.from_patient_id == patient.id, CaseMove.to_patient_id == patient.id)
    of_cases = Review.case_id.in_(case_ids)
    texts: Sequence[tuple[type[Any], InstrumentedAttribute[Any], ColumnElement[bool]]] = (
        (Review, Review.comment, of_cases),
        (Review, Review.reason, of_cases),
        (Outcome, Outcome.note, Outcome.case_id.in_(case_ids)),
        (SecondRead, SecondRead.comment, SecondRead.review_id.in_(reviews)),
        (CaseMove, CaseMove.reason, moved),
        (FormerCase, FormerCase.note, FormerCase.case_id.in_(case_ids)),
        (FormerCase, FormerCase.reason, FormerCase.case_id.in_(case_ids)),
    )
    counts = [
        _set(kind, and_(condition, text.is_not(None), text != ""), **{text.key: ERASED})
        for kind, text, condition in texts
    ]
    return {"texts": sum(counts)}


def _set(kind: type[Any], condition: ColumnElement[bool], **values: Any) -> int:
    """Change rows; says how many."""
    count = db.session.scalar(select(func.count()).select_from(kind).where(condition)) or 0
    if count:
        db.session.execute(
            update(kind).where(condition).values(**values),
            execution_options={"synchronize_session": "fetch"},
        )
    return count


def _rows_of_imports(patient: Patient, case_ids: Collection[int]) -> Sequence[ImportRow]:
    """The rows of tables that are theirs: filed for them, or naming them and not filed."""
    rows = db.session.scalars(
        select(ImportRow)
        .join(ImportRow.owner)
        .where(
            Import.site_id == patient.site_id,
            or_(ImportRow.case_id.in_(case_ids), ImportRow.case_id.is_(None)),
        )
        .order_by(ImportRow.id)
    )
    return [row for row in rows if row.case_id is not None or _names(row, patient.identifier)]


def _names(row: ImportRow, identifier: str) -> bool:
    said = (row.particulars or {}).get("identifier") or row.values.get("identifier", "")
    return normal_identifier(said) == identifier


def _clear_rows_of_imports(rows: Sequence[ImportRow]) -> int:
    for row in rows:
        if row.case_id is None:
            row.state = RowState.REFUSED
            row.problems = [Problem.of(Trouble.NOT_FILED).plain()]
        else:
            row.problems = []
        row.values, row.particulars, row.images = {}, None, None
        row.owner.unmatched = []
    db.session.flush()
    return len(rows)


def _clear_warnings(identifier: str) -> None:
    """What tables were told of a picture that was filed for them as well."""
    names_them = cast(ImportRow.problems, Text).contains(json.dumps(identifier), autoescape=True)
    for row in db.session.scalars(select(ImportRow).where(names_them)):
        row.problems = [
            {**problem, "facts": {**problem["facts"], "identifier": ERASED}}
            if problem["facts"].get("identifier") == identifier
            else problem
            for problem in row.problems
        ]
    db.session.flush()
