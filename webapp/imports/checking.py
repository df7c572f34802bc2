"""Rows of a table, checked as the form of a new case is: before anything is filed."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from operator import itemgetter
from typing import Any

from webapp import imaging
from webapp.accounts.models import User
from webapp.cases.models import OLDEST_YEARS, Laterality, Patient, Sex
from webapp.cases.queries import find_patient, images_filed_elsewhere, normal_identifier
from webapp.cases.services import FIRST_BIRTH_YEAR, plain_text, store_image
from webapp.catalogue.models import Priority, ReadingTask
from webapp.db import now
from webapp.errors import Conflict, ImageRejected, Invalid
from webapp.imports.problems import Problem, Trouble
from webapp.imports.queries import case_with_images
from webapp.imports.reading import SEVERAL_FILES, Archive
from webapp.triage.services import Upload, of_other_modality
from webapp.triage.told import Told, told_by

IDENTIFIER_LENGTH = Patient.identifier.type.length
NOTE_LENGTH = 4000

_SEXES = {"f": Sex.FEMALE, "m": Sex.MALE, "o": Sex.OTHER, "u": Sex.UNKNOWN}
_SIDES = {"l": Laterality.LEFT, "r": Laterality.RIGHT, "u": Laterality.UNKNOWN}


@dataclass(frozen=True, slots=True, kw_only=True)
class Particulars:
    """What a case is to say, beside its images."""

    identifier: str = ""
    birth_year: int | None = None
    sex: Sex = Sex.UNKNOWN
    reading_task_id: int | None = None
    priority: Priority = Priority.ROUTINE
    age: int | None = None
    body_site: str | None = None
    side: Laterality = Laterality.UNKNOWN
    note: str = ""

    def plain(self) -> dict[str, Any]:
        """As they are kept in a row."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Particulars":
        kinds: dict[str, Any] = {"sex": Sex, "priority": Priority, "side": Laterality}
        typed = {name: kind(plain[name]) for name, kind in kinds.items() if name in plain}
        return cls(**{**plain, **typed})


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of checking a row."""

    problems: Sequence[Problem]
    particulars: Particulars
    images: Sequence[Mapping[str, Any]]
    """`NewImage`s as plain values; stored, unless the row is refused."""

    @property
    def is_refused(self) -> bool:
        return any(not problem.is_warning for problem in self.problems)


class _Wrong(Exception):
    def __init__(self, trouble: Trouble, **facts: Any) -> None:
        self.problem = Problem(trouble, facts)


class Checker:
    """Checks the rows of one import."""

    def __init__(
        self,
        *,
        actor: User,
        site_id: int,
        archive: Archive,
        reading_tasks: Sequence[ReadingTask],
        body_sites: Mapping[int, Sequence[str]],
    ) -> None:
        self._actor = actor
        self._site_id = site_id
        self._archive = archive
        self._reading_tasks = reading_tasks
        self._body_sites = body_sites

    def check(self, values: Mapping[str, str]) -> Checked:
        """Everything that stands against a row; its images are stored if nothing does."""
        problems: list[Problem] = []
        task = _attempt(problems, self._reading_task, values.get("reading_task", ""))
        uploads = self._uploads(values.get("file", ""), problems)
        body_sites = self._body_sites.get(task.id, ()) if task else ()
        told = self._told(uploads, body_sites, problems)
        particulars = _particulars(values, told, body_sites, problems)
        if task:
            particulars = replace(particulars, reading_task_id=task.id)
            problems += _of_modalities(uploads, task)
        if particulars.identifier:
            problems += self._of_records(particulars, uploads)
        checked = Checked(problems, particulars, ())
        if checked.is_refused:
            return checked
        stored = [
            store_image(cleaned=one.cleaned, original_file_name=one.file_name) for one in uploads
        ]
        return replace(checked, images=[asdict(image) for image in stored])

    def _reading_task(self, text: str) -> ReadingTask:
        if not text and len(self._reading_tasks) == 1:
            return self._reading_tasks[0]
        for task in self._reading_tasks:
            if text.casefold() in (task.code.casefold(), task.name.casefold()):
                return task
        known = ", ".join(task.code for task in self._reading_tasks)
        raise _Wrong(Trouble.READING_TASK, known=known)

    def _uploads(self, text: str, problems: list[Problem]) -> list[Upload]:
        names = [name.strip() for name in text.split(SEVERAL_FILES) if name.strip()]
        if not names:
            problems.append(Problem.of(Trouble.NO_FILE))
        if len(names) > imaging.MAX_IMAGES:
            problems.append(Problem.of(Trouble.TOO_MANY_FILES, limit=imaging.MAX_IMAGES))
            return []
        uploads = (_attempt(problems, self._upload, name) for name in names)
        return [upload for upload in uploads if upload]

    def _upload(self, name: str) -> Upload:
        found = self._archive.find(name)
        if not found:
            raise _Wrong(Trouble.FILE_MISSING, file=name)
        if len(found) > 1:
            raise _Wrong(Trouble.FILE_AMBIGUOUS, file=name)
        try:
            return Upload(imaging.clean(self._archive.read(found[0])), name)
        except ImageRejected as error:
            facts = {"reason": error.reason, "facts": error.facts}
            raise _Wrong(Trouble.IMAGE, file=name, **facts) from error
        except Invalid as error:
            raise _Wrong(Trouble.ARCHIVE_DAMAGED, file=name) from error

    def _told(
        self, uploads: Iterable[Upload], body_sites: Collection[str], problems: list[Problem]
    ) -> Told:
        try:
            return told_by((one.cleaned.dicom for one in uploads), body_sites=body_sites)
        except Conflict:
            problems.append(Problem.of(Trouble.SEVERAL_PATIENTS))
            return Told()

    def _of_records(self, particulars: Particulars, uploads: Sequence[Upload]) -> Iterable[Problem]:
        """What stands against the row on record, as far as the actor may see it."""
        original_sha256s = [one.cleaned.original_sha256 for one in uploads]
        patient = find_patient(site_id=self._site_id, identifier=particulars.identifier)
        if patient and _differ(patient, particulars):
            yield Problem.of(Trouble.PATIENT_DIFFERS)
        filed_as = patient and case_with_images(
            patient=patient,
            reading_task_id=particulars.reading_task_id,
            original_sha256s=original_sha256s,
        )
        if filed_as:
            yield Problem.of(Trouble.ALREADY_FILED, case_id=filed_as)
        for image in images_filed_elsewhere(
            actor=self._actor,
            original_sha256s=original_sha256s,
            stored_sha256s=[one.cleaned.sha256 for one in uploads],
            sop_instance_uids=[uid for one in uploads if (uid := one.cleaned.sop_instance_uid)],
            site_id=self._site_id,
            identifier=particulars.identifier,
        ):
            yield Problem.of(
                Trouble.FILED_ELSEWHERE,
                identifier=image.case.patient.identifier,
                case_id=image.case_id,
            )


def compare(rows: Sequence[tuple[int, Checked]]) -> dict[int, list[Problem]]:
    """What rows that could be filed alone have against each other, by their numbers."""
    found: dict[int, list[Problem]] = {number: [] for number, _ in rows}
    patients: dict[str, tuple[int, Particulars]] = {}
    pictures: dict[str, tuple[int, Particulars]] = {}
    for number, checked in rows:
        said = checked.particulars
        first, known = patients.setdefault(said.identifier, (number, said))
        if _differ(known, said):
            found[number].append(Problem.of(Trouble.DIFFERS_FROM_ROW, row=first))
        met = {pictures.setdefault(name, (number, said)) for name in _names(checked)}
        for first, known in sorted(met - {(number, said)}, key=itemgetter(0)):
            is_same = (known.identifier, known.reading_task_id) == (
                said.identifier,
                said.reading_task_id,
            )
            trouble = Trouble.SAME_AS_ROW if is_same else Trouble.IN_OTHER_ROW
            found[number].append(Problem.of(trouble, row=first))
    return found


def _names(checked: Checked) -> set[str]:
    """What pictures are the same by: their bytes, before and after, and their names in DICOM."""
    keys = ("original_sha256", "sha256", "sop_instance_uid")
    return {image[key] for image in checked.images for key in keys if image[key]}


def _attempt(problems: list[Problem], parse: Callable[[str], Any], text: str) -> Any:
    """What can be made of a text; None, and a problem, where nothing can."""
    try:
        return parse(text)
    except _Wrong as wrong:
        problems.append(wrong.problem)
        return None


def _of_modalities(uploads: Sequence[Upload], task: ReadingTask) -> list[Problem]:
    return [
        Problem.of(
            Trouble.OTHER_MODALITY,
            file=upload.file_name,
            modality=upload.cleaned.dicom.modality if upload.cleaned.dicom else "",
        )
        for upload in of_other_modality(uploads=uploads, reading_task=task)
    ]


def _differ(known: Patient | Particulars, said: Particulars) -> bool:
    """What was left blank says nothing."""
    years, sexes = {known.birth_year, said.birth_year}, {known.sex, said.sex}
    return len(years - {None}) > 1 or len(sexes - {Sex.UNKNOWN}) > 1


def _particulars(
    values: Mapping[str, str], told: Told, body_sites: Collection[str], problems: list[Problem]
) -> Particulars:
    """What the table says, and where it is silent what DICOM files tell."""
    parsers: dict[str, Callable[[str], Any]] = {
        "identifier": _identifier,
        "birth_year": _birth_year,
        "sex": _sex,
        "priority": _priority,
        "age": _age,
        "side": _side,
        "note": _note,
    }
    if body_sites:
        parsers["body_site"] = lambda text: _body_site(text, body_sites)
    told_texts = _by_column(told)
    said = {}
    for name, parse in parsers.items():
        text = values.get(name) or told_texts.get(name)
        if text is None:
            continue
        said[name] = _attempt(problems, parse, text)
        told_text = told_texts.get(name)
        if said[name] is not None and told_text not in (None, str(said[name])):
            facts = {"column": name, "told": told_text}
            problems.append(Problem.of(Trouble.DIFFERS_FROM_DICOM, **facts))
    if "identifier" not in said:
        problems.append(Problem.of(Trouble.IDENTIFIER, limit=IDENTIFIER_LENGTH))
    known = {name: value for name, value in said.items() if value is not None}
    if not _age_fits(known.get("age"), known.get("birth_year")):
        problems.append(Problem.of(Trouble.AGE, limit=OLDEST_YEARS))
    return Particulars(**known)


def _by_column(told: Told) -> dict[str, str]:
    """As a table would say it."""
    columns = {
        "identifier": told.identifier,
        "birth_year": told.birth_year,
        "sex": told.sex,
        "age": told.age_at_acquisition_years,
        "side": told.laterality,
        "body_site": told.body_site,
    }
    return {name: str(value) for name, value in columns.items() if value is not None}


def _age_fits(age: int | None, birth_year: int | None) -> bool:
    return age is None or birth_year is None or age <= max(0, now().year - birth_year)


def _identifier(text: str) -> str:
    identifier = normal_identifier(text)
    if not 1 <= len(identifier) <= IDENTIFIER_LENGTH:
        raise _Wrong(Trouble.IDENTIFIER, limit=IDENTIFIER_LENGTH)
    return identifier


def _birth_year(text: str) -> int:
    year, last = _number(text), now().year
    if year is None or not FIRST_BIRTH_YEAR <= year <= last:
        raise _Wrong(Trouble.BIRTH_YEAR, first=FIRST_BIRTH_YEAR, last=last)
    return year


def _age(text: str) -> int:
    age = _number(text)
    if age is None or age > OLDEST_YEARS:
        raise _Wrong(Trouble.AGE, limit=OLDEST_YEARS)
    return age


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 4 else None


def _sex(text: str) -> Sex:
    sex = _SEXES.get(text.casefold()) or _member(Sex, text)
    if sex is None:
        raise _Wrong(Trouble.SEX)
    return sex


def _side(text: str) -> Laterality:
    side = _SIDES.get(text.casefold()) or _member(Laterality, text)
    if side is None:
        raise _Wrong(Trouble.SIDE)
    return side


def _priority(text: str) -> Priority:
    priority = _member(Priority, text)
    if priority is None:
        raise _Wrong(Trouble.PRIORITY, known=", ".join(Priority))
    return priority


def _member(kind: Any, text: str) -> Any:
    value = text.casefold()
    return kind(value) if value in list(kind) else None


def _body_site(text: str, known: Collection[str]) -> str | None:
    site = text.casefold()
    if site in ("", "unknown"):
        return None
    if site not in known:
        raise _Wrong(Trouble.BODY_SITE, known=", ".join(known))
    return site


def _note(text: str) -> str:
    note = plain_text(text)
    if len(note) > NOTE_LENGTH:
        raise _Wrong(Trouble.NOTE, limit=NOTE_LENGTH)
    return note
