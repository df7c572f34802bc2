"""What clinicians correct of what was said of a case when it was sent."""

import re
from collections.abc import Sequence

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import Field, HiddenField, SelectField
from wtforms.fields import SelectChoice
from wtforms.validators import ValidationError

from webapp.cases.models import Case, CaseParticulars, Laterality
from webapp.cases.services import plain_text
from webapp.catalogue.models import Priority
from webapp.catalogue.wording import translated
from webapp.db import now
from webapp.errors import Conflict
from webapp.reviews.forms import review_in_words
from webapp.reviews.models import Review
from webapp.triage.forms import age_field, choices, note_field, reason_field


class CaseCorrectionForm(FlaskForm):
    """What is to be said of a case, and what was when the page was made."""

    priority = SelectField(_l("Priority"), coerce=Priority)
    age_at_acquisition_years = age_field()
    body_site = SelectField(_l("Body site"))
    laterality = SelectField(_l("Side"), choices=choices(Laterality), coerce=Laterality)
    note = note_field()
    reason = reason_field()
    shown = HiddenField()

    def __init__(self, case: Case, review: Review | None, body_sites: Sequence[str]) -> None:
        self._said = CaseParticulars.of(case)
        super().__init__(obj=self._said)
        self._birth_year = case.patient.birth_year
        # It can be asked for sooner than it was, and not later: somebody may count on it.
        self.priority.choices = choices(
            one for one in Priority if one.rank >= self._said.priority.rank
        )
        if body_sites or self._said.body_site:
            known = dict.fromkeys((*body_sites, self._said.body_site or ""))
            self.body_site.choices = [
                SelectChoice("", _("Unknown")),
                *(SelectChoice(site, translated(site)) for site in known if site),
            ]
        else:
            del self.body_site
        if not case.reading_task.has_sides and self._said.laterality is Laterality.UNKNOWN:
            del self.laterality
        if not self.is_submitted():
            self._show(self._said, review.version if review else 0)

    def validate_age_at_acquisition_years(self, field: Field) -> None:
        """Nobody was older when an image was taken than they can be today."""
        if self._birth_year is not None and field.data > max(0, now().year - self._birth_year):
            raise ValidationError(
                _("Someone born in %(year)s cannot have been so old.", year=self._birth_year)
            )

    def validate_reason(self, field: Field) -> None:
        """Spaces alone are none."""
        if not plain_text(field.data):
            raise ValidationError(_("Give the reason."))

    def validate_shown(self, field: Field) -> None:
        """A page that does not say what it showed cannot be told from a stale one."""
        if not re.fullmatch(r"[0-9a-f]{16} [0-9]{1,9}", field.data or ""):
            raise ValidationError(_("Load this page again before you correct anything."))

    @property
    def shown_mark(self) -> str:
        """Of what was said when the page was made, once the form is valid."""
        return str(self.shown.data.split()[0])

    @property
    def shown_version(self) -> int:
        """Of the decision that was signed then; 0 where there was none."""
        return int(self.shown.data.split()[1])

    def corrected(self) -> CaseParticulars:
        """What is to be said, once the form is valid."""
        return CaseParticulars(
            priority=self.priority.data,
            age_at_acquisition_years=self.age_at_acquisition_years.data,
            body_site=(self.body_site.data or None) if self.body_site else self._said.body_site,
            laterality=self.laterality.data if self.laterality else self._said.laterality,
            note=self.note.data or "",
        )

    def explain(self, conflict: Conflict) -> None:
        """Show both versions; sending the form again then keeps the one in its fields."""
        match conflict.reason:
            case "case_changed":
                on_record: CaseParticulars = conflict.facts["on_record"]
                self._ask_again(on_record.in_words)
                self._show(on_record, self.shown_version)
            case "decided":
                review = conflict.facts["review"]
                self._ask_again(review_in_words(review) if review else _("nothing is signed"))
                self.shown.data = f"{self.shown_mark} {review.version if review else 0}"
            case "void":
                self.form_errors.append(_("This case is void. It stays as it is."))
            case _:
                raise conflict

    def _ask_again(self, on_record: str) -> None:
        self.form_errors.append(
            _(
                "Someone has changed this case meanwhile. On record now: %(recorded)s. You entered:"
                " %(entered)s. Save again to keep what you entered.",
                recorded=on_record,
                entered=self.corrected().in_words,
            )
        )

    def _show(self, said: CaseParticulars, version: int) -> None:
        self.shown.data = f"{said.mark} {version}"
