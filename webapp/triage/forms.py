"""What clinicians fill in of a patient, and to move a case to another one."""

import re
from collections.abc import Iterable
from typing import Any, Protocol

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import (
    BooleanField,
    Field,
    Form,
    HiddenField,
    IntegerField,
    SelectField,
    StringField,
    TextAreaField,
)
from wtforms.fields import SelectChoice
from wtforms.validators import (
    InputRequired,
    Length,
    NumberRange,
    Optional,
    StopValidation,
    ValidationError,
)

from webapp.cases.models import OLDEST_YEARS, Case, Consent, Image, Particulars, Patient, Sex
from webapp.cases.queries import normal_identifier
from webapp.cases.services import FIRST_BIRTH_YEAR, plain_text
from webapp.db import now
from webapp.errors import Conflict
from webapp.reviews.forms import review_in_words
from webapp.reviews.models import Review
from webapp.reviews.queries import latest_reviews
from webapp.triage.services import Destination, Shown

IDENTIFIER_LENGTH = Patient.identifier.type.length
NOTE_LENGTH = 4000
REASON_LENGTH = 1000

_NOT_READ_AGAIN = {
    "not_failed": _l("This case has not failed, or someone has sent it to be read again already."),
    "impression_first": _l("Save your own impression of this case first."),
    "void": _l("This case is void. It is not read again."),
    "still_read": _l("The model is still reading this case. Wait for its answer first."),
    "same_model": _l("Today's model has been given this case already."),
    "no_model": _l("No model reads this at present."),
}


class WholeNumberField(IntegerField):
    """An integer that says plainly what it wants."""

    def process_formdata(self, valuelist: list[Any]) -> None:
        self.data = None  # what was emptied is not what it began with
        try:
            super().process_formdata([value for value in valuelist if value.strip()])
        except ValueError as error:
            raise ValueError(_("Enter a whole number in digits.")) from error

    def pre_validate(self, form: Form) -> None:
        """What is no number is not held to more."""
        if self.process_errors:
            raise StopValidation


class _Labelled(Protocol):
    @property
    def value(self) -> str: ...

    @property
    def label(self) -> str: ...


def choices(members: Iterable[_Labelled]) -> list[SelectChoice]:
    return [SelectChoice(member.value, member.label) for member in members]


def number_or_none(text: str | int | None) -> int | None:
    return int(text) if text else None


def one_line_end(text: str | None) -> str | None:
    """Browsers send each line end as two characters, which must not count against the limit."""
    return text.replace("\r\n", "\n") if text else text


def add_errors(field: Field, *sentences: str) -> None:
    field.errors = [*field.errors, *sentences]


def birth_year_field() -> WholeNumberField:
    return WholeNumberField(_l("Birth year"), [Optional()])


def sex_field() -> SelectField:
    return SelectField(_l("Sex"), choices=choices(Sex), coerce=Sex, default=Sex.UNKNOWN)


def age_field() -> WholeNumberField:
    return WholeNumberField(
        _l("Age when the images were taken"),
        [
            Optional(),
            NumberRange(0, OLDEST_YEARS, _l("Enter an age from %(min)s to %(max)s years.")),
        ],
    )


def note_field() -> TextAreaField:
    return TextAreaField(
        _l("Note"),
        [Optional(), Length(max=NOTE_LENGTH, message=_l("At most %(max)d characters."))],
        filters=[one_line_end],
    )


def reason_field() -> TextAreaField:
    return TextAreaField(
        _l("Reason"),
        [
            InputRequired(_l("Give the reason.")),
            Length(max=REASON_LENGTH, message=_l("At most %(max)d characters.")),
        ],
        filters=[one_line_end],
    )


class PatientForm(FlaskForm):
    """The particulars of a patient on record."""

    birth_year = birth_year_field()
    sex = sex_field()

    def validate_birth_year(self, field: Field) -> None:
        """Nobody is born after today."""
        this_year = now().year
        if not FIRST_BIRTH_YEAR <= field.data <= this_year:
            raise ValidationError(
                _(
                    "Enter a year from %(first)s to %(last)s.",
                    first=FIRST_BIRTH_YEAR,
                    last=this_year,
                )
            )


class CorrectionForm(PatientForm):
    """A correction of them: what is to be on record, and what was when the page was made."""

    shown = HiddenField()

    def __init__(self, patient: Patient, *, is_sent: bool = True) -> None:
        """`is_sent` is false where what was sent is another form of the same page."""
        super().__init__(obj=patient, **({} if is_sent else {"formdata": None}))
        if not (is_sent and self.is_submitted()):
            self._show(Particulars.of(patient))

    def validate_shown(self, field: Field) -> None:
        """A page that does not say what it showed cannot be told from a stale one."""
        try:
            self.shown_particulars()
        except ValueError as error:
            raise ValidationError(_("Load this page again before you correct anything.")) from error

    def shown_particulars(self) -> Particulars:
        """
        Raises:
            ValueError: the field does not say them.
        """
        birth_year, _space, sex = (self.shown.data or "").partition(" ")
        return Particulars(birth_year=number_or_none(birth_year), sex=Sex(sex))

    def corrected(self) -> Particulars:
        """What is to be on record, once the form is valid."""
        return Particulars(birth_year=self.birth_year.data, sex=self.sex.data)

    def explain(self, conflict: Conflict) -> None:
        """Show both versions; sending the form again then keeps the one in its fields."""
        on_record: Particulars = conflict.facts["on_record"]
        self.form_errors.append(
            _(
                "Someone has changed this patient meanwhile. On record now: %(recorded)s."
                " You entered: %(entered)s. Save again to keep what you entered.",
                recorded=on_record.in_words,
                entered=self.corrected().in_words,
            )
        )
        self._show(on_record)

    def _show(self, particulars: Particulars) -> None:
        self.shown.data = f"{particulars.birth_year or ''} {particulars.sex}"


class ConsentForm(FlaskForm):
    """What a patient says of training on their images. Each answer is a button."""

    consent = HiddenField()
    shown = HiddenField()

    def validate_consent(self, field: Field) -> None:
        """It is an answer of somebody who was asked."""
        if field.data not in (Consent.GIVEN, Consent.WITHDRAWN):
            raise ValidationError(_("Say whether the patient consents."))

    def validate_shown(self, field: Field) -> None:
        """A page that does not say what it showed cannot be told from a stale one."""
        if field.data not in list(Consent):
            raise ValidationError(_("Load this page again before you record consent."))

    def explain(self, conflict: Conflict) -> str:
        """Both versions, in a sentence; the buttons beside it then go by the one on record."""
        return _(
            "Someone has recorded another answer meanwhile. On record now: %(recorded)s. You chose:"
            " %(entered)s. Nothing is changed: choose again if that is still right.",
            recorded=conflict.facts["on_record"].label,
            entered=Consent(self.consent.data).label,
        )


class MoveForm(FlaskForm):
    """Filing a case for another patient of its site."""

    identifier = StringField(
        _l("Patient identifier"),
        [
            InputRequired(_l("Enter the identifier of the patient that the case is of.")),
            Length(max=IDENTIFIER_LENGTH, message=_l("At most %(max)d characters.")),
        ],
        filters=[lambda text: normal_identifier(text or "")],
    )
    reason = reason_field()
    registers = BooleanField(_l("This patient is not on record yet: register them"))
    confirm_duplicates = BooleanField(_l("This is right: file it for this patient as well"))
    shown = HiddenField()

    def __init__(self, case: Case, review: Review | None) -> None:
        super().__init__()
        if not self.is_submitted():
            self._show(case.patient_id, review)

    def validate_identifier(self, field: Field) -> None:
        """Spaces alone are no identifier."""
        if not field.data:
            raise ValidationError(_("Enter the identifier of the patient that the case is of."))

    def validate_reason(self, field: Field) -> None:
        """Nor are they a reason."""
        if not plain_text(field.data):
            raise ValidationError(_("Give the reason."))

    def validate_shown(self, field: Field) -> None:
        """A page that does not say what it showed cannot be told from a stale one."""
        if not re.fullmatch(r"[0-9]{1,9} [0-9]{1,9}", field.data or ""):
            raise ValidationError(_("Load this page again before you move the case."))

    def was_shown(self) -> Shown:
        """How the case was filed when the page was made, once the form is valid."""
        patient_id, version = map(int, self.shown.data.split())
        return Shown(patient_id, version)

    def destination(self) -> Destination:
        """Where the case is to go, once the form is valid."""
        return Destination(
            identifier=self.identifier.data,
            registers=self.registers.data,
            reason=self.reason.data,
            confirm_duplicates=self.confirm_duplicates.data,
        )

    def explain(self, conflict: Conflict, case: Case) -> None:
        """Say what stands against it; of what has changed meanwhile, both versions."""
        entered = self.identifier.data
        match conflict.reason:
            case "unknown_patient":
                add_errors(
                    self.registers,
                    _("The site knows nobody by the identifier %(entered)s.", entered=entered),
                )
            case "same_patient":
                add_errors(self.identifier, _("The case is filed for this patient already."))
            case "filed_elsewhere":
                sentences = map(filed_elsewhere, conflict.facts["images"])
                add_errors(self.confirm_duplicates, *sentences)
            case "case_moved":
                self._ask_again(
                    _("filed for %(identifier)s", identifier=conflict.facts["on_record"].identifier)
                )
                self._show(conflict.facts["on_record"].id, latest_reviews([case.id]).get(case.id))
            case "decided":
                review = conflict.facts["review"]
                self._ask_again(review_in_words(review) if review else _("nothing is signed"))
                self._show(self.was_shown().patient_id, review)
            case "void":
                self.form_errors.append(_("This case is void. It stays where it is."))
            case _:
                raise conflict

    def _ask_again(self, on_record: str) -> None:
        self.form_errors.append(
            _(
                "Someone has changed this case meanwhile. On record now: %(recorded)s. You entered:"
                " %(entered)s. Send it again to move the case all the same.",
                recorded=on_record,
                entered=self.identifier.data,
            )
        )

    def _show(self, patient_id: int, review: Review | None) -> None:
        self.shown.data = f"{patient_id} {review.version if review else 0}"


def filed_elsewhere(image: Image) -> str:
    """A sentence on an image that is filed for another patient already."""
    return _(
        "This image is already filed for another patient: %(identifier)s, case %(case_id)s.",
        identifier=image.case.patient.identifier,
        case_id=image.case_id,
    )


def not_read_again(conflict: Conflict) -> str:
    """A sentence on why a case is not read again."""
    return str(_NOT_READ_AGAIN[conflict.reason])
