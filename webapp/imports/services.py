"""Send a table and an archive, have them checked, decide, and have the cases filed.

An import is a row that is work, with a lease, as an assessment is; it needs no model, so whoever
sweeps also does this work (`work`). A row of the table is filed by the service that files every
case, under a token of its own: a row that is filed twice, after a crash, is one case.
"""

import datetime as dt
import logging
import math
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Text, cast, select
from sqlalchemy.orm import joinedload, selectinload

from webapp import audit, storage
from webapp.accounts.models import User
from webapp.cases.models import Laterality
from webapp.cases.services import NewImage
from webapp.catalogue.models import ReadingTask, RegionKind
from webapp.db import db, now, on_commit, transaction
from webapp.dicom import DicomFacts
from webapp.errors import Conflict, DomainError, NotFound
from webapp.imaging import CleanImage, Notice
from webapp.imports.checking import Checked, Checker, Particulars, compare
from webapp.imports.models import (
    UNCONFIRMED_DAYS,
    Import,
    ImportRow,
    ImportState,
    RowState,
    blobs,
)
from webapp.imports.problems import Problem, Trouble
from webapp.imports.reading import SEVERAL_FILES, Archive, TableRow
from webapp.permissions import Permission
from webapp.storage import CorruptBlob
from webapp.triage import queries as triage_queries
from webapp.triage import services as triage
from webapp.triage.services import Submission, Upload

log = logging.getLogger(__name__)

LEASE_SECONDS = 60
SLICE_SECONDS = 10
MAX_ATTEMPTS = 3
MAX_UNMATCHED = 100
ROWS_AT_ONCE = 20
"""Rows whose pictures are removed in one transaction: nobody files any meanwhile."""
SALT_BYTES = 16
"""Before an archive in the store: no two are the same then, so each can be removed. A ZIP may have
anything before it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """An import that somebody works on."""

    import_id: int
    lease_token: str


def start(
    *, actor: User, site_id: int, table: Sequence[TableRow], file_name: str, archive: bytes
) -> Import:
    """Take a table and its archive to be checked. Nothing of it is a case yet.

    Raises:
        NotFound: the site is not one of the actor's.
        Invalid: the archive is none that can be used.
    """
    if not actor.can(Permission.SUBMIT_CASES) or site_id not in actor.site_ids:
        raise NotFound("site", site_id=site_id)
    unmatched = _unmatched(table, Archive(archive))
    archive_sha256 = storage.put(secrets.token_bytes(SALT_BYTES) + archive)
    with transaction():
        begun = Import(
            site_id=site_id,
            created_by_id=actor.id,
            created_at=now(),
            state=ImportState.CHECKING,
            archive_sha256=archive_sha256,
            file_name=file_name[: Import.file_name.type.length],
            unmatched=unmatched[:MAX_UNMATCHED],
            rows=[
                ImportRow(
                    number=row.number,
                    values=dict(row.values),
                    state=RowState.WAITING,
                    attempt_count=0,
                    problems=[],
                )
                for row in table
            ],
        )
        db.session.add(begun)
        audit.record(actor=actor, action="import.started", subject=begun, row_count=len(table))
    return begun


def confirm(*, actor: User, subject: Import) -> None:
    """Have the rows filed that nothing stands against.

    Raises:
        Conflict: `import_state`: it does not wait for that.
    """
    with transaction():
        held = _hold(subject.id)
        ready_count = sum(row.state is RowState.READY for row in held.rows)
        if held.state is not ImportState.CHECKED or not ready_count:
            raise Conflict("import_state", state=held.state)
        held.state = ImportState.FILING
        audit.record(actor=actor, action="import.confirmed", subject=held, ready_count=ready_count)


def cancel(*, actor: User, subject: Import) -> None:
    """Forget what was sent, before any of it is filed.

    Raises:
        Conflict: `import_state`: it is too late.
    """
    with transaction():
        held = _hold(subject.id)
        if held.state not in (ImportState.CHECKING, ImportState.CHECKED):
            raise Conflict("import_state", state=held.state)
        _forget(held)
        audit.record(actor=actor, action="import.cancelled", subject=held)


def end_unconfirmed() -> None:
    """Forget imports that were checked, and that nobody has had filed for days."""
    before = now() - dt.timedelta(days=UNCONFIRMED_DAYS)
    old = select(Import.id).where(Import.state == ImportState.CHECKED, Import.created_at < before)
    for import_id in db.session.scalars(old.order_by(Import.id)).all():
        with transaction():
            held = _hold(import_id)
            if held.state is ImportState.CHECKED:  # somebody may have confirmed it just now
                _forget(held)
                audit.record(actor=None, action="import.expired", subject=held)


def let_go(*, until: float = math.inf) -> None:
    """Remove the pictures of rows that became no case, and will become none, from the store, but
    for those that somebody else has by now. What is left at that time, or what the store does not
    let go of, is left for another time."""
    try:
        while time.monotonic() < until and _let_go_of_some():
            pass
    except OSError:
        log.warning("pictures of imports are still in the store", exc_info=True)


def work() -> bool:
    """Go on with an import for a few seconds. False if none waits."""
    claim = _claim()
    if claim is None:
        return False
    until = time.monotonic() + SLICE_SECONDS
    try:
        if db.session.get_one(Import, claim.import_id).state is ImportState.CHECKING:
            _check_rows(claim, until)
        else:
            _file_rows(claim, until)
    finally:
        _release(claim)
    return True


# Checking


def _check_rows(claim: Claim, until: float) -> None:
    subject = db.session.get_one(Import, claim.import_id)
    checker = _checker(subject)
    while time.monotonic() < until:
        row = _next_row(claim, RowState.WAITING)
        if row is None:
            _end_check(claim)
            return
        if checker is None:
            checked = Checked([Problem.of(Trouble.ARCHIVE_DAMAGED, file="")], Particulars(), ())
        else:
            checked = checker.check(row.values)
        _write_checked(claim, row, checked)


def _checker(subject: Import) -> Checker | None:
    """None where the archive is gone, or damaged."""
    try:
        archive = Archive(storage.get(subject.archive_sha256 or "")[SALT_BYTES:])
    except (NotFound, CorruptBlob):
        log.exception("the archive of import %s cannot be fetched", subject.id)
        return None
    return Checker(
        actor=subject.created_by,
        site_id=subject.site_id,
        archive=archive,
        reading_tasks=triage_queries.offered_reading_tasks(),
        body_sites=triage_queries.body_sites(),
    )


def _write_checked(claim: Claim, row: ImportRow, checked: Checked) -> None:
    with transaction():
        if _held(claim) is None:
            on_commit(partial(storage.remove_unnamed, blobs(checked.images)))
            return
        storage.hold(blobs(checked.images))
        row.state = RowState.REFUSED if checked.is_refused else RowState.READY
        row.attempt_count = 0
        row.problems = [problem.plain() for problem in checked.problems]
        row.particulars = checked.particulars.plain()
        row.images = [dict(image) for image in checked.images]


def _end_check(claim: Claim) -> None:
    """Hold the rows against each other, and forget the archive: its pictures are clean now."""
    with transaction():
        held = _held(claim)
        if held is None:
            return
        ready = [row for row in held.rows if row.state is RowState.READY]
        found = compare([(row.number, _checked(row)) for row in ready])
        for row in ready:
            problems = found[row.number]
            row.problems = [*row.problems, *(problem.plain() for problem in problems)]
            if any(not problem.is_warning for problem in problems):
                row.state = RowState.REFUSED
        _forget_archive(held)
        held.state = ImportState.CHECKED
        on_commit(let_go)
        audit.record(actor=None, action="import.checked", subject=held, row_count=len(held.rows))


def _checked(row: ImportRow) -> Checked:
    return Checked((), Particulars.from_plain(row.particulars or {}), row.images or ())


def _unmatched(table: Sequence[TableRow], archive: Archive) -> list[str]:
    named = {
        path
        for row in table
        for name in row.values.get("file", "").split(SEVERAL_FILES)
        for path in archive.find(name)
    }
    return [name for name in archive.names if name not in named]


def _forget_archive(held: Import) -> None:
    """What was sent is not kept: names and places may be in it."""
    if held.archive_sha256:
        storage.remove(held.archive_sha256)
    held.archive_sha256 = None


# Letting go


def _forget(held: Import) -> None:
    """Keep nothing of what was sent. Its pictures leave the store once this is committed; until
    then a row stays, which says nothing but which they are."""
    _forget_archive(held)
    held.state, held.ended_at = ImportState.CANCELLED, now()
    held.lease_token = held.lease_expires_at = None
    held.unmatched = []
    held.rows = [row for row in held.rows if row.images]
    for row in held.rows:
        row.state, row.values, row.particulars, row.problems = RowState.REFUSED, {}, None, []
    on_commit(partial(let_go, until=time.monotonic() + SLICE_SECONDS))


def _let_go_of_some() -> bool:
    """False if there is nothing to let go of."""
    has_pictures = cast(ImportRow.images, Text).not_in(["null", "[]"])
    with transaction():
        storage.hold_all()
        rows = db.session.scalars(
            select(ImportRow)
            .where(ImportRow.state == RowState.REFUSED, has_pictures)
            .options(joinedload(ImportRow.owner))
            .order_by(ImportRow.id)
            .limit(ROWS_AT_ONCE)
            .execution_options(populate_existing=True)
        ).all()
        storage.remove_unnamed(set().union(*(row.blobs for row in rows)))
        for row in rows:
            row.images = None
            if row.owner.state is ImportState.CANCELLED:
                db.session.delete(row)
    return bool(rows)


# Filing


def _file_rows(claim: Claim, until: float) -> None:
    while time.monotonic() < until:
        row = _next_row(claim, RowState.READY)
        if row is None:
            _end_filing(claim)
            return
        _file(claim, row)


def _file(claim: Claim, row: ImportRow) -> None:
    subject = row.owner
    actor = db.session.get_one(User, subject.created_by_id)
    case_id = None
    try:
        if actor.is_active:
            case_id = triage.submit(actor=actor, submission=_submission(row)).id
    except Conflict as conflict:
        # Filed before, and corrected since: the token is this row's alone.
        case_id = conflict.facts.get("case_id")
    except (DomainError, CorruptBlob):
        log.warning("row %s of import %s is left out", row.number, subject.id, exc_info=True)
    with transaction():
        if _held(claim) is None:
            return
        row.case_id = case_id
        row.state = RowState.REFUSED if case_id is None else RowState.FILED
        if case_id is None:
            row.problems = [*row.problems, Problem.of(Trouble.NOT_FILED).plain()]


def _submission(row: ImportRow) -> Submission:
    said = Particulars.from_plain(row.particulars or {})
    known = {problem["trouble"] for problem in row.problems}
    task = db.session.get(ReadingTask, said.reading_task_id)
    is_of_an_eye = task is not None and task.region_kind is RegionKind.EYE
    has_side = said.side is not Laterality.UNKNOWN
    return Submission(
        form_token=f"import-{row.import_id}-{row.number}",
        site_id=row.owner.site_id,
        identifier=said.identifier,
        birth_year=said.birth_year,
        sex=said.sex,
        reading_task_id=said.reading_task_id or 0,
        priority=said.priority,
        age_at_acquisition_years=said.age,
        body_site=said.body_site,
        note=said.note,
        uploads=tuple(_upload(NewImage(**image)) for image in row.images or ()),
        confirm_duplicates=bool(known & {Trouble.FILED_ELSEWHERE, Trouble.IN_OTHER_ROW}),
        laterality=Laterality.UNKNOWN if is_of_an_eye else said.side,
        region=said.side.value if is_of_an_eye and has_side else "",
    )


def _end_filing(claim: Claim) -> None:
    with transaction():
        held = _held(claim)
        if held is None:
            return
        held.state, held.ended_at = ImportState.FINISHED, now()
        on_commit(let_go)
        filed_count = sum(row.state is RowState.FILED for row in held.rows)
        audit.record(actor=None, action="import.finished", subject=held, filed_count=filed_count)


# Leases


def _claim() -> Claim | None:
    """Take the import that has waited longest, if nobody else works on it."""
    moment = now()
    with transaction():
        subject = db.session.scalars(
            select(Import)
            .where(
                Import.state.in_([state for state in ImportState if state.is_open]),
                (Import.lease_expires_at.is_(None)) | (Import.lease_expires_at < moment),
            )
            .order_by(Import.id)
            .limit(1)
            .with_for_update(skip_locked=True, of=Import)
            .execution_options(populate_existing=True)
        ).one_or_none()
        if subject is None:
            return None
        subject.lease_token = secrets.token_hex(16)
        subject.lease_expires_at = moment + dt.timedelta(seconds=LEASE_SECONDS)
        return Claim(subject.id, subject.lease_token)


def _held(claim: Claim) -> Import | None:
    """The claimed import, locked, if its lease is still this claim's."""
    return db.session.scalars(
        select(Import)
        .where(Import.id == claim.import_id, Import.lease_token == claim.lease_token)
        .with_for_update(of=Import)
        .execution_options(populate_existing=True)
    ).one_or_none()


def _hold(import_id: int) -> Import:
    """An import, locked, with its rows as they are now."""
    return db.session.scalars(
        select(Import)
        .where(Import.id == import_id)
        .options(selectinload(Import.rows))
        .with_for_update(of=Import)
        .execution_options(populate_existing=True)
    ).one()


def _next_row(claim: Claim, state: RowState) -> ImportRow | None:
    """The next row in a state, counted as tried: one that ends every process that tries it is given
    up. None where there is no more, or the claim is lost."""
    with transaction():
        held = _held(claim)
        if held is None:
            return None
        held.lease_expires_at = now() + dt.timedelta(seconds=LEASE_SECONDS)
        while row := db.session.scalars(
            select(ImportRow)
            .where(ImportRow.import_id == held.id, ImportRow.state == state)
            .order_by(ImportRow.number)
            .limit(1)
        ).one_or_none():
            row.attempt_count += 1
            if row.attempt_count <= MAX_ATTEMPTS:
                return row
            row.state = RowState.REFUSED
            row.problems = [*row.problems, Problem.of(Trouble.GAVE_UP).plain()]
            db.session.flush()
    return None


def _release(claim: Claim) -> None:
    with transaction():
        held = _held(claim)
        if held is not None:
            held.lease_token = held.lease_expires_at = None


def _upload(image: NewImage) -> Upload:
    """A stored picture as it was when it had just been cleaned."""
    cleaned = CleanImage(
        data=storage.get(image.sha256),
        media_type=image.media_type,
        width_px=image.width_px,
        height_px=image.height_px,
        sha256=image.sha256,
        thumbnail=storage.get(image.thumbnail_sha256),
        original_sha256=image.original_sha256,
        notices=tuple(Notice(notice) for notice in image.notices),
        dicom=_names_only(image),
    )
    return Upload(cleaned, image.original_file_name)


def _names_only(image: NewImage) -> DicomFacts | None:
    """What a DICOM file tells of the picture; what it told of the case was checked."""
    if image.sop_instance_uid is None:
        return None
    return DicomFacts(
        sop_instance_uid=image.sop_instance_uid,
        study_instance_uid=image.study_instance_uid,
        modality="",
        identifier="",
        birth_year=None,
        age_years=None,
        sex=None,
        side=None,
        body_part="",
    )
