"""What an administrator fills in to erase a patient."""

from collections.abc import Sequence

from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import Field, SelectField, StringField, TextAreaField
from wtforms.fields import SelectChoice
from wtforms.validators import DataRequired, InputRequired, Length, ValidationError

from webapp.accounts.models import Site
from webapp.cases.queries import normal_identifier
from webapp.erasures.services import REASON_LENGTH_MAX

IDENTIFIER_LENGTH = 64


def _normal(text: str | None) -> str:
    return normal_identifier(text or "")


class ErasureForm(FlaskForm):
    """Who is erased, said twice, and why."""

    site_id = SelectField(
        _l("Site"),
        [InputRequired(_l("Choose the patient's site."))],
        coerce=lambda text: int(text) if text else None,
    )
    identifier = StringField(
        _l("Patient identifier"),
        [
            DataRequired(_l("Enter the identifier that the site knows the patient by.")),
            Length(max=IDENTIFIER_LENGTH, message=_l("At most %(max)d characters.")),
        ],
        filters=[_normal],
    )
    again = StringField(
        _l("The same identifier once more"),
        [DataRequired(_l("Enter the identifier a second time."))],
        filters=[_normal],
    )
    reason = TextAreaField(
        _l("Reason"),
        [
            DataRequired(_l("Say why the patient is erased.")),
            Length(max=REASON_LENGTH_MAX, message=_l("At most %(max)d characters.")),
        ],
        filters=[lambda text: (text or "").strip()],
    )

    def __init__(self, sites: Sequence[Site]) -> None:
        super().__init__()
        prompt = [SelectChoice("", _l("Choose"))]
        self.site_id.choices = prompt + [SelectChoice(str(site.id), site.name) for site in sites]

    def validate_again(self, field: Field) -> None:
        """Typed twice, so that a slip erases nobody."""
        if field.data != self.identifier.data:
            raise ValidationError(_l("The two identifiers differ."))

    def explain(self, reason: str) -> None:
        """Show with its field why a service refused."""
        if reason == "reason_names_patient":
            self.reason.errors = [_l("Leave the identifier out: the reason is kept.")]
        else:
            self.identifier.errors = [_l("This site knows nobody by this identifier.")]
