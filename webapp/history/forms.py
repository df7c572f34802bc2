"""What clinicians fill in to name a lesion or an eye, and to look at its course."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import Form, HiddenField, SelectField, StringField
from wtforms.fields import SelectChoice
from wtforms.validators import Length

from webapp.accounts.models import User
from webapp.cases.models import Case, Image, Region, Side
from webapp.cases.queries import normal_identifier
from webapp.catalogue.models import Finding, RegionKind
from webapp.catalogue.wording import translated
from webapp.errors import Invalid, NotFound
from webapp.history import queries
from webapp.history.queries import Look
from webapp.rendering import day, day_marks

LABEL_LENGTH = Region.label.type.length


def lesion_field() -> StringField:
    """The label of a lesion: one that the patient has already, or a new one."""
    return StringField(
        _l("Lesion"),
        [Length(max=LABEL_LENGTH, message=_l("At most %(max)d characters."))],
        filters=[lambda text: normal_identifier(text or "")],
    )


def eye_field() -> SelectField:
    """Which eye it is, if that is known."""
    sides = [SelectChoice(side.value, side.label) for side in Side]
    return SelectField(_l("Eye"), choices=[SelectChoice("", _l("Unknown")), *sides], default="")


class RegionForm(FlaskForm):
    """Which lesion or eye of the patient a case shows, and what the page said of it."""

    lesion = lesion_field()
    eye = eye_field()
    shown = HiddenField()

    def __init__(self, case: Case) -> None:
        super().__init__()
        kind = case.reading_task.region_kind
        if kind is not RegionKind.LESION:
            del self.lesion
        if kind is not RegionKind.EYE:
            del self.eye
        if not self.is_submitted():
            label = case.region.label if case.region else ""
            (self.lesion or self.eye).data = label
            self.shown.data = str(case.region_id or "")

    def label(self) -> str:
        """What was named, once the form is valid; empty where nobody knows."""
        return (self.lesion or self.eye).data or ""

    def shown_id(self) -> int | None:
        """Of what the page said; 0, which none has, for what is no number."""
        text = self.shown.data or ""
        return (int(text) if text.isascii() and text.isdecimal() else 0) if text else None


class CourseForm(Form):
    """Which two pictures are compared, and of which finding the probability is drawn; what cannot
    be used is left out."""

    earlier = SelectField(_l("On the left"))
    later = SelectField(_l("On the right"))
    finding = SelectField(_l("Finding"))

    def __init__(self, arguments: Any, looks: Sequence[Look], findings: Sequence[Finding]) -> None:
        super().__init__(arguments)
        self._images = {str(image.id): image for image in queries.images(looks)}
        self._findings = {str(finding.id): finding for finding in findings}
        pictures = [choice for look in looks for choice in _pictures_of(look)]
        self.earlier.choices = self.later.choices = pictures
        self.finding.choices = [
            SelectChoice(key, translated(f.name)) for key, f in self._findings.items()
        ]
        usual = queries.pair(looks)
        for field, image in zip((self.earlier, self.later), usual, strict=True):
            if field.data not in self._images:
                field.data = str(image.id) if image else None
        if self.finding.data not in self._findings:
            self.finding.data = str(queries.telling_finding(looks, findings).id)

    def pair(self) -> list[Image]:
        """The pictures to be shown side by side; one where there are no two."""
        chosen = dict.fromkeys(filter(None, (self.earlier.data, self.later.data)))
        return [self._images[key] for key in chosen]

    def chosen_finding(self) -> Finding:
        return self._findings[self.finding.data]


def _pictures_of(look: Look) -> list[SelectChoice]:
    """One line a picture: when, which case, and which of its pictures."""
    case = look.case
    parts = [day(case.submitted_at), _("case %(id)s", id=case.id)]
    if look.is_void:
        parts.append(_("void"))
    count = len(case.images)
    return [
        SelectChoice(
            str(image.id),
            ", ".join(
                [*parts, _("image %(number)s of %(count)s", number=number, count=count)]
                if count > 1
                else parts
            ),
            render_kw=day_marks(case.submitted_at),
        )
        for number, image in enumerate(case.images, 1)
    ]


@dataclass(frozen=True, slots=True)
class KnownRegions:
    """What a script asks while a form is filled in: which lesions a patient has already."""

    site_id: int
    identifier: str
    reading_task_id: int

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
                "identifier": str(identifier),
                "reading_task_id": int(reading_task_id),
            }:
                pass
            case _:
                raise Invalid("known_regions")
        if len(actor.site_ids) == 1:
            (site_id,) = actor.site_ids  # the form does not ask for it
        if site_id not in actor.site_ids:
            raise NotFound("site")
        return cls(site_id, normal_identifier(identifier), reading_task_id)
