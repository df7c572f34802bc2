"""What administrators fill in to change a plan, and to ask that a model serve."""

from collections.abc import Mapping, Sequence
from typing import Any

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import (
    FloatField,
    HiddenField,
    IntegerField,
    RadioField,
    SelectField,
    SelectMultipleField,
    TextAreaField,
    ValidationError,
)
from wtforms.fields import DateTimeLocalField, SelectChoice
from wtforms.validators import DataRequired, InputRequired, Length, NumberRange, Optional

from webapp.accounts.queries import users_who_may
from webapp.db import MAX_ID
from webapp.errors import Conflict, Invalid
from webapp.permissions import Permission
from webapp.promotion.models import ChangePlan
from webapp.promotion.plans import METRICS, PARTS, SUBGROUPS, Plan
from webapp.promotion.services import SHADOW_DAYS
from webapp.promotion.wording import refusal, refused
from webapp.registry.models import ModelVersion

REASON_LENGTH_MAX = 1000
SHADOW_DAYS_MAX = 365


def _one_line_end(text: str | None) -> str:
    """Browsers send each line end as two characters, which must not count against the limit."""
    return (text or "").replace("\r\n", "\n").strip()


def _reason(hint: str) -> TextAreaField:
    length = Length(max=REASON_LENGTH_MAX, message=_l("At most %(max)d characters."))
    needed = DataRequired(_l("This is needed."))
    return TextAreaField(_l("Reason"), [needed, length], [_one_line_end], description=hint)


class NumberField(FloatField):
    """A number, with a comma or a point."""

    def process_formdata(self, valuelist: list[Any]) -> None:
        try:
            super().process_formdata([value.strip().replace(",", ".") for value in valuelist])
        except ValueError as error:
            raise ValueError(_("Enter a number, such as 3 or 2.5.")) from error


class CountField(IntegerField):
    """A whole number."""

    def process_formdata(self, valuelist: list[Any]) -> None:
        try:
            super().process_formdata(valuelist)
        except ValueError as error:
            raise ValueError(_("Enter a whole number.")) from error


def _number(label: str, most: float, hint: str = "", *, least: float = 0) -> NumberField:
    limits = NumberRange(least, most, _l("Enter a number from %(min)s to %(max)s."))
    needed = InputRequired(_l("This is needed."))
    return NumberField(label, [needed, limits], description=hint)


def _choices(labels: Mapping[str, str]) -> list[SelectChoice]:
    return [SelectChoice(value, label) for value, label in labels.items()]


def _count(label: str) -> CountField:
    limits = NumberRange(1, 1_000_000, _l("Enter a number from %(min)s to %(max)s."))
    return CountField(label, [InputRequired(_l("This is needed.")), limits])


SHARES = ("margin", "subgroup_margin", "calibration_margin", "abstention_margin")
"""Parts of a plan that are shares of 1, and are entered in percentage points."""


ANYBODY, NAMED = "anybody", "named"
"""Who approves: whoever has the role, or only people whom the plan names."""


class PlanForm(FlaskForm):
    """A new version of a plan."""

    shown = HiddenField()
    metric = SelectField(_l("What counts"), choices=_choices(METRICS))
    margin = _number(
        _l("Margin, in percentage points"),
        50,
        _l(
            "The lower 95 % limit of the difference from the model that serves must be above minus"
            " this."
        ),
        least=0.01,
    )
    subgroups = SelectMultipleField(
        _l("Groups whose sensitivity counts too"), choices=_choices(SUBGROUPS)
    )
    subgroup_margin = _number(_l("Margin in a group, in percentage points"), 50, least=0.01)
    subgroup_subjects_min = _count(_l("A group counts from so many subjects on"))
    subgroup_finding_min = _count(_l("A finding counts in a group from so many subjects on"))
    calibration_margin = _number(
        _l("Calibration error may grow by, in percentage points"),
        50,
        _l("The upper 95 % limit of the difference must be below this."),
        least=0.01,
    )
    abstention_margin = _number(
        _l("Images without an answer may grow by, in percentage points"),
        100,
        _l("The upper 95 % limit of the difference must be below this."),
        least=0.01,
    )
    latency_ratio_max = _number(_l("An image may take so many times as long"), 100, least=0.1)
    size_mb_max = _number(_l("Size of the bundle at most, in MB"), 100_000, least=0.1)
    may_change = SelectMultipleField(
        _l("What may change, beside the weights"),
        choices=_choices(PARTS),
        description=_l("A model's findings never may."),
    )
    approvals_needed = SelectField(
        _l("How many people have to approve"),
        choices=[SelectChoice(1, _l("One person")), SelectChoice(2, _l("Two people"))],
        coerce=int,
        description=_l("Who asks that a version serve is never one of them."),
    )
    approved_by = RadioField(
        _l("Who approves"),
        choices=[
            SelectChoice(ANYBODY, _l("Anybody with the role that approves models")),
            SelectChoice(NAMED, _l("Only these, as long as they have that role")),
        ],
    )
    approvers = SelectMultipleField(_l("People who approve"))
    reason = _reason(_l("It is kept with the plan."))

    def __init__(self, in_force: ChangePlan) -> None:
        super().__init__()
        self.approvers.choices = [
            SelectChoice(user.username, f"{user.full_name} ({user.username})")
            for user in users_who_may(Permission.APPROVE_MODELS)
        ]
        if self.is_submitted():
            return
        self.approved_by.data = NAMED if in_force.plan.approvers else ANYBODY
        self.shown.data = str(in_force.version)
        for name, value in in_force.plan.document.items():
            self[name].data = round(value * 100, 6) if name in SHARES else value

    def shown_version(self) -> int:
        """The version that the page showed.

        Raises:
            Invalid: the form does not say.
        """
        if not (self.shown.data or "").isdecimal() or len(self.shown.data) > 9:
            raise Invalid("shown")
        return int(self.shown.data)

    def validate_approvers(self, field: SelectMultipleField) -> None:
        """None named would be anybody."""
        needed = self.approvals_needed.data or 1
        if self.approved_by.data == NAMED and len(field.data) < needed:
            raise ValidationError(refused("too_few_approvers"))

    def plan(self) -> Plan:
        """What was filled in, once the form is valid."""
        names = [name for name in Plan().document if name not in SHARES]
        values = {name: self[name].data for name in names}
        values |= {name: round(self[name].data / 100, 8) for name in SHARES}
        if self.approved_by.data == ANYBODY:
            values["approvers"] = ()
        return Plan.from_document(values)

    def explain(self, conflict: Conflict) -> None:
        """Say why it was not saved; where the plan has changed, sending the form again is then
        meant for what there is now."""
        self.form_errors.append(refusal(conflict))
        if "latest" in conflict.facts:
            self.shown.data = str(conflict.facts["latest"].version)


class RequestForm(FlaskForm):
    """Asks that a model serve."""

    reason = _reason(_l("Whoever decides reads it, and it is kept in the ledger."))


class FirstForm(RequestForm):
    """Asks that a version serve a reading task that none serves."""

    version = SelectField(_l("Version"), coerce=int)

    def __init__(self, versions: Sequence[ModelVersion]) -> None:
        super().__init__()
        self.version.choices = [(one.id, one.version) for one in versions]


class UnseenForm(FlaskForm):
    """Says how long a version reads new cases unseen."""

    days = CountField(
        _l("For how many days"),
        [
            InputRequired(_l("This is needed.")),
            NumberRange(1, SHADOW_DAYS_MAX, _l("Enter a number from %(min)s to %(max)s.")),
        ],
        default=SHADOW_DAYS,
    )


class MomentForm(FlaskForm):
    """Asks which version served a case at a moment."""

    class Meta:
        csrf = False  # it changes nothing

    case = CountField(
        _l("Number of the case"),
        [
            InputRequired(_l("This is needed.")),
            NumberRange(1, MAX_ID, _l("There is no such case.")),
        ],
    )
    at = DateTimeLocalField(
        _l("Moment (UTC)"),
        [Optional()],
        format=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"],
        description=_l("Empty: now."),
    )
