"""What administrators fill in to change what a finding means, and how long cases may wait."""

from collections.abc import Mapping, Sequence
from typing import Any

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import Field as FormField
from wtforms import HiddenField, SelectField, StringField, TextAreaField, ValidationError
from wtforms.fields import SelectChoice
from wtforms.validators import DataRequired, InputRequired, Length, NumberRange

from webapp.catalogue.models import Allowance, FindingTerms, Malignancy, Priority
from webapp.catalogue.services import REASON_LENGTH_MAX, Meaning, Minutes
from webapp.errors import Conflict, Invalid
from webapp.guidance.queries import MINUTES_FIELDS, TERMS_FIELDS, Difference, Field
from webapp.triage.forms import WholeNumberField

AS_EVERYWHERE = "as_everywhere"
"""Name of the button that gives up what a place has of its own."""

MINUTES_MAX = 60 * 24 * 90


def _one_line_end(text: str | None) -> str:
    """Browsers send each line end as two characters, which must not count against the limit."""
    return (text or "").replace("\r\n", "\n").strip()


def _text(label: str, limit: int, *, is_needed: bool = True, hint: str = "") -> TextAreaField:
    length = Length(max=limit, message=_l("At most %(max)d characters."))
    needed = [DataRequired(_l("This is needed."))] if is_needed else []
    return TextAreaField(label, [*needed, length], [_one_line_end], description=hint)


def _minutes(priority: Priority) -> WholeNumberField:
    limits = NumberRange(0, MINUTES_MAX, _l("Enter a number from %(min)s to %(max)s."))
    return WholeNumberField(priority.label, [InputRequired(_l("This is needed.")), limits])


class VersionForm(FlaskForm):
    """A form that makes a new version of what its page showed."""

    shown = HiddenField()
    reason = _text(_l("Reason"), REASON_LENGTH_MAX, hint=_l("It is kept with the change."))

    fields: Mapping[str, Field] = {}
    collisions: Sequence[Difference] = ()
    """What was changed by somebody else since the page was loaded: now, and as entered."""

    def shown_version(self) -> int:
        """The version that the page showed, 0 for none.

        Raises:
            Invalid: the form does not say.
        """
        if not (self.shown.data or "").isdecimal() or len(self.shown.data) > 9:
            raise Invalid("shown")
        return int(self.shown.data)

    def is_as_everywhere(self) -> bool:
        """Whether the place is to have nothing of its own any more."""
        return AS_EVERYWHERE in self._sent

    def explain(self, conflict: Conflict) -> None:
        """Say what has changed; sending the form again is then meant for what there is now."""
        latest = conflict.facts["latest"]
        self.form_errors.append(
            _(
                "This has changed since the page was loaded. Both versions stand below. Look again,"
                " and save it if yours still holds."
            )
        )
        entered = self.entered()
        self.collisions = [
            Difference(field, getattr(latest, name), entered[name])
            for name, field in self.fields.items()
            if getattr(latest, name) != entered[name]
        ]
        self.shown.data = str(latest.version)

    def entered(self) -> dict[str, Any]:
        """What was filled in, by the names of the columns."""
        raise NotImplementedError  # each form says it; WTForms' metaclass rules out an ABC

    def __init__(self, latest: FindingTerms | Allowance | None, sent: Mapping[str, str]) -> None:
        super().__init__()
        self._sent = sent
        if not self.is_submitted():
            self.shown.data = str(latest.version) if latest else "0"


class TermsForm(VersionForm):
    """What a finding means, everywhere or at a site."""

    malignancy = SelectField(
        _l("Malignant or benign"),
        coerce=Malignancy,
        choices=[SelectChoice(one.value, one.label) for one in Malignancy],
    )
    urgency = SelectField(
        _l("How soon"),
        coerce=Priority,
        choices=[SelectChoice(one.value, one.label) for one in reversed(Priority)],
    )
    mark = StringField(
        _l("Operating point, in per cent"),
        description=_l(
            "From this probability on the finding counts for how soon a case is due, also where it"
            " is not the answer. Empty: each model's own."
        ),
    )
    recommendation = _text(_l("Recommendation"), 1000)
    description = _text(_l("In a sentence"), 500)
    about = _text(
        _l("Text of its page"),
        6000,
        is_needed=False,
        hint=_l("Empty: the text that comes with Firstlook, if it has one."),
    )

    fields = TERMS_FIELDS

    def __init__(
        self, latest: FindingTerms | None, in_force: FindingTerms, sent: Mapping[str, str]
    ) -> None:
        super().__init__(latest, sent)
        if self.is_submitted():
            return
        for name in ("malignancy", "urgency", "recommendation", "description", "about"):
            self[name].data = getattr(in_force, name)
        self.mark.data = "" if in_force.mark is None else f"{in_force.mark * 100:g}"

    def validate_mark(self, field: FormField) -> None:
        """A share of more than nothing."""
        try:
            share = self._share()
        except ValueError as error:
            raise ValidationError(_("Enter a number, such as 20 or 12.5.")) from error
        if share is not None and not 0 < share <= 1:
            raise ValidationError(_("Enter a number above 0, up to 100."))

    def _share(self) -> float | None:
        text = (self.mark.data or "").replace(",", ".").strip()
        return round(float(text) / 100, 6) if text else None

    def entered(self) -> dict[str, Any]:
        return {
            "malignancy": self.malignancy.data,
            "urgency": self.urgency.data,
            "mark": self._share(),
            "recommendation": self.recommendation.data,
            "description": self.description.data,
            "about": self.about.data or None,
        }

    def meaning(self) -> Meaning | None:
        """What was filled in, once the form is valid; None to be as everywhere."""
        return None if self.is_as_everywhere() else Meaning(**self.entered())


class AllowanceForm(VersionForm):
    """How long cases may wait, for all, a reading task, or one at a site."""

    stat_minutes = _minutes(Priority.STAT)
    asap_minutes = _minutes(Priority.ASAP)
    urgent_minutes = _minutes(Priority.URGENT)
    routine_minutes = _minutes(Priority.ROUTINE)

    fields = MINUTES_FIELDS

    def __init__(
        self, latest: Allowance | None, in_force: Allowance, sent: Mapping[str, str]
    ) -> None:
        super().__init__(latest, sent)
        if not self.is_submitted():
            for name in self.fields:
                self[name].data = getattr(in_force, name)

    def refuse(self, error: Invalid) -> None:
        """Put the sentence for a refusal beside the fields that it is about.

        Raises:
            Invalid: it is about none of them.
        """
        if error.reason != "order":
            raise error
        sentence = _("What is more urgent may not wait longer than what is less urgent.")
        self.routine_minutes.errors = [*self.routine_minutes.errors, sentence]

    def entered(self) -> dict[str, Any]:
        return {name: self[name].data for name in self.fields}

    def minutes(self) -> Minutes | None:
        """What was filled in, once the form is valid; None to have none of its own."""
        if self.is_as_everywhere():
            return None
        return Minutes(**{name.removesuffix("_minutes"): v for name, v in self.entered().items()})
