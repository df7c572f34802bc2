"""What clinicians fill in to name a lesion or an eye, and to look at its course."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import Field, Form, HiddenField, SelectField, StringField
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
    """Which lesion or eye of the patient each image of a case shows, and what the page said of
    them. Its fields are as many as the images: see `of`."""

    shown = HiddenField()

    @classmethod
    def of(cls, case: Case) -> "RegionForm":
        """The form for a case whose images are followed."""
        is_eye = case.reading_task.region_kind is RegionKind.EYE
        names = [f"image_{number}" for number, _image in enumerate(case.images, 1)]
        fields = {name: eye_field() if is_eye else lesion_field() for name in names}
        return type(cls.__name__, (cls,), fields)(case, names)

    def __init__(self, case: Case, names: Sequence[str]) -> None:
        super().__init__()
        self.of_images = [self[name] for name in names]
        if len(names) > 1:
            for number, field in enumerate(self.of_images, 1):
                field.label.text = _(
                    "Image %(number)s of %(count)s", number=number, count=len(names)
                )
        if not self.is_submitted():
            self.shown.data = case.regions_mark
            for field, image in zip(self.of_images, case.images, strict=True):
                field.data = image.region.label if image.region else ""

    def labels(self) -> list[str]:
        """What was named, image by image, once the form is valid; empty where nobody knows."""
        return [field.data or "" for field in self.of_images]

    def explain(self, case: Case) -> None:
        """Show both versions; sending the form again then keeps the one in its fields."""
        recorded = [image.region.name if image.region else "" for image in case.images]
        self.form_errors.append(
            _(
                "Someone has said otherwise meanwhile. On record now: %(recorded)s. You entered:"
                " %(entered)s. Save again to keep what you entered.",
                recorded=f"{case.patient.identifier}, {self._in_words(recorded)}",
                entered=self._in_words([_entered(field) for field in self.of_images]),
            )
        )
        self.shown.data = case.regions_mark

    def _in_words(self, names: Sequence[str]) -> str:
        said = [name or _("not said") for name in names]
        if len(said) == 1:
            return said[0]
        labels = [str(field.label.text) for field in self.of_images]
        return "; ".join(f"{label}: {name}" for label, name in zip(labels, said, strict=True))


def _entered(field: Field) -> str:
    """In words what a lesion or an eye was said to be; empty where nobody knows."""
    is_side = isinstance(field, SelectField) and field.data
    return str(Side(field.data).label if is_side else field.data or "")


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
                [*parts, _("image %(number)s of %(count)s", number=image.position + 1, count=count)]
                if count > 1
                else parts
            ),
            render_kw=day_marks(case.submitted_at),
        )
        for image in look.images
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
