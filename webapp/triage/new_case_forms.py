"""What clinicians fill in for a new case, and what a script asks before it is sent."""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from babel.lists import format_list
from flask import current_app, url_for
from flask_babel import get_locale, ngettext
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf.file import MultipleFileField
from itsdangerous import BadSignature, Signer
from markupsafe import Markup, escape
from wtforms import (
    BooleanField,
    Field,
    HiddenField,
    RadioField,
    SelectField,
    StringField,
)
from wtforms.fields import SelectChoice
from wtforms.validators import InputRequired, Length, ValidationError

from webapp import imaging
from webapp.accounts.models import Site, User
from webapp.cases.models import Image, Laterality, Particulars, Patient, Region, Sex
from webapp.cases.queries import normal_identifier, regions_of
from webapp.catalogue.models import Priority, ReadingTask, RegionKind
from webapp.catalogue.wording import translated
from webapp.db import now
from webapp.errors import Conflict, ImageRejected, Invalid, NotFound
from webapp.history.forms import eye_field, lesion_field
from webapp.triage.forms import (
    IDENTIFIER_LENGTH,
    PatientForm,
    add_errors,
    age_field,
    birth_year_field,
    choices,
    filed_elsewhere,
    note_field,
    number_or_none,
    sex_field,
)
from webapp.triage.services import Submission, Upload
from webapp.triage.told import told_by

_SHA256 = re.compile("[0-9a-f]{64}")
_REGION_FIELDS = {RegionKind.LESION: "lesion", RegionKind.EYE: "eye"}
_UNKNOWN = SelectChoice("", _l("Unknown"))


class NewCaseForm(PatientForm):
    """A new case: the patient, the question, and the images.

    Validating it cleans the images; each one that cannot be kept has a sentence of its own.
    """

    form_token = HiddenField()
    site_id = SelectField(
        _l("Site"), [InputRequired(_l("Choose the patient's site."))], coerce=number_or_none
    )
    identifier = StringField(
        _l("Patient identifier"),
        [
            InputRequired(_l("Enter the identifier that your site knows the patient by.")),
            Length(max=IDENTIFIER_LENGTH, message=_l("At most %(max)d characters.")),
        ],
        filters=[lambda text: normal_identifier(text or "")],
    )
    birth_year = birth_year_field()
    sex = sex_field()
    reading_task = RadioField(
        _l("Kind of image"),
        [InputRequired(_l("Choose what is to be read."))],
        coerce=number_or_none,
    )
    priority = SelectField(
        _l("Priority"),
        choices=choices(Priority),
        coerce=Priority,
        default=Priority.ROUTINE,
    )
    age_at_acquisition_years = age_field()
    body_site = SelectField(_l("Body site"), default="")
    laterality = SelectField(
        _l("Side"), choices=choices(Laterality), coerce=Laterality, default=Laterality.UNKNOWN
    )
    lesion = lesion_field()
    eye = eye_field()
    note = note_field()
    images = MultipleFileField(_l("Images"))
    confirm_told = BooleanField(
        _l("This is right: send what the form says, not what the DICOM file says")
    )
    confirm_duplicates = BooleanField(_l("This is right: file it for this patient as well"))

    def __init__(
        self,
        *,
        actor: User,
        reading_tasks: Sequence[ReadingTask],
        body_sites: Mapping[int, Sequence[str]],
        patient: Patient | None = None,
        region: Region | None = None,
    ) -> None:
        super().__init__(obj=patient)
        self._signer = Signer(current_app.secret_key or "", salt=f"new-case-{actor.id}")
        self._sites = sorted(actor.sites, key=lambda site: site.name)
        self.reading_tasks = reading_tasks
        self.uploads: list[Upload] = []
        self.taken_over: list[str] = []
        """Sentences on fields that were filled in from a DICOM file."""
        self._refusals: list[str] = []
        self.reading_task.choices = [
            SelectChoice(str(task.id), translated(task.name)) for task in reading_tasks
        ]
        if len(reading_tasks) == 1 and not self.is_submitted():
            self.reading_task.data = reading_tasks[0].id  # as of sites: there is no choice
        self.site_id.choices = _sites_to_choose(self._sites)
        if len(self._sites) == 1:
            del self.site_id
        self.body_sites = body_sites
        self.body_site.choices = _body_sites_to_choose(body_sites)
        if not body_sites:
            del self.body_site
        self.side_task_ids = [task.id for task in reading_tasks if task.has_sides]
        if not self.side_task_ids:
            del self.laterality
        self._follow(region)
        self.known_lesions = _lesions_of(patient) if patient else []
        if not self.is_submitted():
            self.renew_token()

    def _follow(self, region: Region | None) -> None:
        """Ask for what images of the reading tasks show, and begin with one that is on record."""
        self.region_kinds = {task.id: task.region_kind for task in self.reading_tasks}
        for kind, name in _REGION_FIELDS.items():
            if kind not in self.region_kinds.values():
                del self[name]
            elif region is not None and region.reading_task.region_kind is kind:
                self[name].data = region.label
        if region is not None and region.reading_task_id in self.region_kinds:
            self.reading_task.data = region.reading_task_id

    def tasks_that_follow(self, kind: str) -> list[int]:
        """The numbers of the reading tasks whose images show this."""
        return [task_id for task_id, one in self.region_kinds.items() if one == kind]

    def renew_token(self) -> None:
        """Make this another form, whose sending makes another case."""
        self.form_token.data = self._signer.sign(secrets.token_hex(12)).decode()

    def validate(self, extra_validators: Mapping[str, Sequence[Any]] | None = None) -> bool:
        """Clean the images first: what DICOM files tell belongs into fields that were left blank,
        and is to be confirmed by whoever sends it."""
        self._clean_images()
        differing = [] if self.confirm_told.data else self._take_over_what_is_told()
        is_valid = super().validate(extra_validators)
        add_errors(self.confirm_told, *differing)
        if self.taken_over:
            told = "; ".join(self.taken_over)
            self.form_errors.append(_("Check what the DICOM file tells: %(told)s.", told=told))
        return is_valid and not self.errors

    def validate_form_token(self, field: Field) -> None:
        """The token must be one that was made for this user."""
        try:
            self._signer.unsign(field.data or "")
        except BadSignature as error:
            self.renew_token()
            raise ValidationError(_("This form had expired. Please send it again.")) from error

    def validate_identifier(self, field: Field) -> None:
        """Spaces alone are no identifier."""
        if not field.data:
            raise ValidationError(_("Enter the identifier that your site knows the patient by."))

    def validate_body_site(self, field: Field) -> None:
        """A place that the model of the reading task knows, where it asks for one at all."""
        known = self.body_sites.get(self.reading_task.data)
        if field.data and known and field.data not in known:
            raise ValidationError(_("The model of this reading task does not know this place."))

    def validate_age_at_acquisition_years(self, field: Field) -> None:
        """Nobody was older when an image was taken than they can be today."""
        birth_year = self.birth_year.data
        if birth_year is not None and field.data > max(0, now().year - birth_year):
            raise ValidationError(
                _("Someone born in %(year)s cannot have been so old.", year=birth_year)
            )

    def validate_images(self, field: Field) -> None:
        """Say of each image that is refused why."""
        files = field.data or []
        if not files:
            raise ValidationError(_("Add at least one image."))
        if len(files) > imaging.MAX_IMAGES:
            raise ValidationError(
                _(
                    "%(count)s images are too many: at most %(limit)s make a case.",
                    count=len(files),
                    limit=imaging.MAX_IMAGES,
                )
            )
        field.errors = [*field.errors, *self._refusals]
        if self._refusals:
            raise ValidationError(
                ngettext(
                    "%(num)s image cannot be kept, so nothing was sent. Please choose again.",
                    "%(num)s images cannot be kept, so nothing was sent. Please choose again.",
                    len(self._refusals),
                )
            )
        try:
            self._told()
        except Conflict as error:
            raise ValidationError(
                _("The files are of different patients. Send a case for each.")
            ) from error

    def _clean_images(self) -> None:
        files = self.images.data or []
        for file in files if len(files) <= imaging.MAX_IMAGES else ():
            try:
                cleaned = imaging.clean(file.read(imaging.MAX_BYTES + 1))
            except ImageRejected as error:
                sentence = imaging.explain(error.reason, error.facts)
                self._refusals.append(f"{file.filename}: {sentence}")
            else:
                self.uploads.append(Upload(cleaned, file.filename))

    def _told(self) -> dict[Field, Any]:
        """What DICOM files tell, by the field that it belongs to."""
        task_id = self.reading_task.data
        told = told_by(
            (upload.cleaned.dicom for upload in self.uploads),
            body_sites=self.body_sites.get(task_id, ()),
        )
        by_field = {
            self.identifier: told.identifier,
            self.birth_year: told.birth_year,
            self.sex: told.sex,
            self.age_at_acquisition_years: told.age_at_acquisition_years,
        }
        if self.laterality and task_id in self.side_task_ids:
            by_field[self.laterality] = told.laterality
        if self.eye and self.region_kinds.get(task_id) is RegionKind.EYE:
            by_field[self.eye] = told.laterality
        if self.body_site:
            by_field[self.body_site] = told.body_site
        return {field: value for field, value in by_field.items() if value is not None}

    def _take_over_what_is_told(self) -> list[str]:
        """Fill in what was left blank; returns a sentence on each field that says otherwise."""
        try:
            told = self._told()
        except Conflict:
            return []  # said at the images
        differing = []
        for field, value in told.items():
            in_words = translated if field is self.body_site else _label
            facts = {"field": field.label.text, "told": in_words(value)}
            if field.data in (None, "", Sex.UNKNOWN, Laterality.UNKNOWN):
                field.data, field.raw_data, field.process_errors = value, [str(value)], []
                self.taken_over.append(_("%(field)s: %(told)s", **facts))
            elif field.data != value:
                facts["entered"] = in_words(field.data)
                differing.append(
                    _("%(field)s: the file says %(told)s; you entered %(entered)s.", **facts)
                )
        return differing

    def submission(self) -> Submission:
        """What the form asks for, once it is valid."""
        return Submission(
            form_token=self.form_token.data,
            site_id=self.site_id.data if self.site_id else self._sites[0].id,
            identifier=self.identifier.data,
            birth_year=self.birth_year.data,
            sex=self.sex.data,
            reading_task_id=self.reading_task.data,
            priority=self.priority.data,
            age_at_acquisition_years=self.age_at_acquisition_years.data,
            body_site=self._body_site(),
            note=self.note.data or "",
            uploads=tuple(self.uploads),
            confirm_duplicates=self.confirm_duplicates.data,
            laterality=self._laterality(),
            region=self._region(),
        )

    def _region(self) -> str:
        """As the reading task asks for it: another field may be left from another one's choice."""
        kind = self.region_kinds.get(self.reading_task.data)
        return self[_REGION_FIELDS[kind]].data or "" if kind else ""

    def _body_site(self) -> str | None:
        """Where the reading task asks for it: the field may be left from another one's choice."""
        is_asked = self.body_site and self.reading_task.data in self.body_sites
        return self.body_site.data or None if is_asked else None

    def _laterality(self) -> Laterality:
        """As `_body_site`."""
        is_asked = self.laterality and self.reading_task.data in self.side_task_ids
        return self.laterality.data if is_asked else Laterality.UNKNOWN

    def explain(self, conflict: Conflict) -> None:
        """Say at the fields concerned what stands against the case."""
        match conflict.reason:
            case "patient_differs":
                self._explain_patient(conflict.facts["on_record"])
            case "filed_elsewhere":
                add_errors(
                    self.confirm_duplicates,
                    *(
                        f"{self._name_of(image)}: {filed_elsewhere(image)}"
                        for image in conflict.facts["images"]
                    ),
                )
            case "form_used":
                self.renew_token()
                case_id = conflict.facts["case_id"]
                link = Markup('<a href="{}">{}</a>').format(
                    url_for("triage.case", case_id=case_id), _("case %(id)s", id=case_id)
                )
                sentence = _(
                    "This form was already sent and became {case}. What it says now is not the"
                    " same, and was not filed. Send it again to file another case."
                )
                self.form_errors.append(escape(sentence).format(case=link))
            case "other_modality":
                add_errors(
                    self.images,
                    *(
                        f"{upload.file_name}: {other_modality(upload, conflict.facts['expected'])}"
                        for upload in conflict.facts["files"]
                    ),
                )
            case "no_model":
                add_errors(self.reading_task, _("No model reads this at present."))
            case _:
                raise conflict

    def _name_of(self, filed: Image) -> str:
        """What the upload with the content of an image on file is called."""
        return next(upload.file_name for upload in self.uploads if upload.shows(filed))

    def _explain_patient(self, on_record: Particulars) -> None:
        birth_year, sex = on_record.birth_year, on_record.sex
        advice = _("Check the identifier, or correct the patient on record first.")
        if birth_year not in (None, self.birth_year.data) and self.birth_year.data is not None:
            sentence = _(
                "On record, this patient was born in %(recorded)s; you entered %(entered)s.",
                recorded=birth_year,
                entered=self.birth_year.data,
            )
            add_errors(self.birth_year, f"{sentence} {advice}")
        if Sex.UNKNOWN not in (sex, self.sex.data) and sex is not self.sex.data:
            sentence = _(
                "On record, this patient's sex is %(recorded)s; you entered %(entered)s.",
                recorded=sex.label,
                entered=self.sex.data.label,
            )
            add_errors(self.sex, f"{sentence} {advice}")


@dataclass(frozen=True, slots=True)
class ImageCheck:
    """What a script asks before it sends images: whether they are filed for someone else."""

    sha256s: tuple[str, ...]
    """Of the files as they are."""
    site_id: int
    identifier: str

    @classmethod
    def parse(cls, asked: Any, *, actor: User) -> Self:
        """
        Raises:
            Invalid: this is no such question.
            NotFound: the site is not one of the actor's.
        """
        match asked:
            case {
                "site_id": int() | None as site_id,
                "sha256s": list(sha256s),
                "identifier": str(identifier),
            }:
                pass
            case _:
                raise Invalid("image_check")
        if len(actor.site_ids) == 1:
            (site_id,) = actor.site_ids  # the form does not ask for it
        if site_id not in actor.site_ids:
            raise NotFound("site")
        hashes = [text for text in sha256s if isinstance(text, str) and _SHA256.fullmatch(text)]
        return cls(tuple(hashes[: imaging.MAX_IMAGES]), site_id, normal_identifier(identifier))


def other_modality(upload: Upload, expected: Sequence[str]) -> str:
    """A sentence on a DICOM file that shows something else than the reading task reads."""
    return _(
        "This DICOM file is of the modality %(modality)s; this reading task reads %(expected)s.",
        modality=upload.cleaned.dicom.modality if upload.cleaned.dicom else "",
        expected=format_list(list(expected), style="or", locale=get_locale()),
    )


def _sites_to_choose(sites: Sequence[Site]) -> list[SelectChoice]:
    """Where there are several, none is chosen beforehand: nobody would notice the wrong one."""
    prompt = [SelectChoice("", _l("Choose"))] if len(sites) > 1 else []
    return prompt + [SelectChoice(str(site.id), site.name) for site in sites]


def _body_sites_to_choose(body_sites: Mapping[int, Sequence[str]]) -> list[SelectChoice]:
    """All places that any model knows, each once."""
    known = dict.fromkeys(site for sites in body_sites.values() for site in sites)
    return [_UNKNOWN, *(SelectChoice(site, _capitalised(translated(site))) for site in known)]


def _lesions_of(patient: Patient) -> list[str]:
    lesions = (
        region.label
        for region in regions_of(patient)
        if region.reading_task.region_kind is RegionKind.LESION
    )
    return list(dict.fromkeys(lesions))


def _capitalised(text: str) -> str:
    """With a capital first; the others stay, which German nouns need."""
    return text[:1].upper() + text[1:]


def _label(value: Any) -> Any:
    """A value for a sentence: a choice by its words."""
    return getattr(value, "label", value)
