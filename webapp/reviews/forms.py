"""What clinicians fill in on a case that was read, and what its page needs for it."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import Field, HiddenField, RadioField, SelectField, TextAreaField, ValidationError
from wtforms.fields import SelectChoice
from wtforms.validators import DataRequired, Length

from webapp.accounts.models import User
from webapp.cases.models import Case
from webapp.catalogue.models import Finding
from webapp.errors import Conflict, Invalid
from webapp.permissions import Permission
from webapp.rendering import percent
from webapp.reviews import queries
from webapp.reviews.models import Decision, Review
from webapp.reviews.queries import Basis
from webapp.reviews.services import TEXT_LENGTH_MAX, Verdict

TOKEN_LENGTH_MAX = Review.form_token.type.length

_REFUSALS = {
    "no_answer": ("decision", _l("There is no answer of the model's to agree with.")),
    "finding_needed": ("finding", _l("Choose the finding.")),
    "reason_needed": ("reason", _l("Give the reason.")),
    "form_used": ("", _l("This form was signed before, with other content. Look at it first.")),
    "signed": ("", _l("This case is signed. It can be voided by an amendment.")),
}


def _one_line_end(text: str | None) -> str:
    """Browsers send each line end as two characters, which must not count against the limit."""
    return (text or "").replace("\r\n", "\n")


def _text_field(label: str) -> TextAreaField:
    too_long = _l("At most %(max)d characters.")
    return TextAreaField(label, [Length(max=TEXT_LENGTH_MAX, message=too_long)], [_one_line_end])


def _decision(value: str | None) -> Decision | None:
    return Decision(value) if value in list(Decision) else None


def _number_or_none(text: str | int | None) -> int | None:
    """A number of a row; 0, which none has, for what is no number."""
    return (int(text) if str(text).isdecimal() else 0) if text else None


def findings_to_choose(findings: Sequence[Finding]) -> list[SelectChoice]:
    """None is chosen beforehand: nobody would notice the wrong one."""
    return [SelectChoice("", _l("Choose")), *(SelectChoice(str(f.id), f.name) for f in findings)]


class BasisForm(FlaskForm):
    """A form that is signed on what its page showed, and that is sent once."""

    form_token = HiddenField()
    shown = HiddenField()

    def __init__(self, basis: Basis) -> None:
        super().__init__()
        self.basis = basis
        if not self.is_submitted():
            self.form_token.data = secrets.token_hex(16)
            self.shown.data = basis.mark

    def validate_form_token(self, field: Field) -> None:
        """A form without one cannot be told from another one."""
        if not 1 <= len(field.data or "") <= TOKEN_LENGTH_MAX:
            raise ValidationError(_("Load this page again before you sign."))

    def refuse(self, error: Invalid | Conflict) -> None:
        """Put the sentence for a refusal beside the field that it is about."""
        name, sentence = _REFUSALS[error.reason]
        if name in self._fields:
            self[name].errors = [*self[name].errors, sentence]
        else:
            self.form_errors.append(sentence)

    def explain(self, conflict: Conflict) -> None:
        """Say what has changed; sending the form again is then a decision on what it shows now."""
        if conflict.reason != "changed":
            self.refuse(conflict)
            return
        self.form_errors.append(
            _(
                "This has changed since the page was loaded. Now: %(now)s. You entered:"
                " %(entered)s. Look again, and sign if it still holds.",
                now=basis_in_words(self.basis),
                entered=self.in_words(),
            )
        )
        self.shown.data = self.basis.mark

    def in_words(self) -> str:
        """What was filled in, for a sentence."""
        raise NotImplementedError


class DecisionForm(BasisForm):
    """The decision on a case: the first, or an amendment of a signed one."""

    decision = RadioField(
        _l("Decision"),
        [DataRequired(_l("Choose what you decide."))],
        coerce=_decision,
        validate_choice=False,  # what was offered may have changed since; the service says so
    )
    finding = SelectField(_l("Finding"), validate_choice=False)
    comment = _text_field(_l("Comment"))
    reason = _text_field(_l("Reason for the amendment"))

    def __init__(self, case: Case, basis: Basis) -> None:
        super().__init__(basis)
        named = basis.assessment.finding if basis.assessment and basis.has_answer else None
        findings = [finding for finding in case.reading_task.findings if finding is not named]
        self.finding.choices = findings_to_choose(findings)
        self._names = {str(finding.id): finding.name for finding in findings}
        own = _("Another finding") if named else _("A finding of my own")
        offered = {Decision.OVERRIDE: own, Decision.UNCERTAIN: _("Uncertain")}
        if named:
            offered = {Decision.AGREE: _("Agree: %(finding)s", finding=named.name)} | offered
        if basis.review is None:
            del self.reason
        else:
            offered[Decision.VOID] = _("Void: this case should not be there")
        self.decision.choices = [SelectChoice(value, words) for value, words in offered.items()]

    def verdict(self) -> Verdict:
        """What was decided, once the form is valid."""
        chosen = self.finding.data or ""
        return Verdict(
            decision=self.decision.data,
            finding_id=int(chosen) if chosen in self._names else None,
            comment=self.comment.data,
            reason=self.reason.data if self.reason else "",
        )

    def in_words(self) -> str:
        decision = self.decision.data
        name = self._names.get(self.finding.data) if decision is Decision.OVERRIDE else None
        words = f"{decision.label}: {name}" if name else str(decision.label)
        return f"{words} ({self.comment.data})" if self.comment.data else words


class VoidForm(BasisForm):
    """Voiding a case that nobody has signed."""

    reason = _text_field(_l("Reason"))

    def in_words(self) -> str:
        return _("void (%(reason)s)", reason=self.reason.data)


class AssignmentForm(FlaskForm):
    """Who takes a case."""

    to = SelectField(_l("Colleague"), coerce=_number_or_none, validate_choice=False)
    shown = HiddenField(filters=[_number_or_none])

    def __init__(self, case: Case, colleagues: Sequence[User]) -> None:
        super().__init__()
        self._colleagues = {colleague.id: colleague for colleague in colleagues}
        others = [person for person in colleagues if person.id != case.assigned_to_id]
        self.to.choices = [
            SelectChoice("", _l("Choose")),
            *(SelectChoice(str(person.id), person.full_name) for person in others),
        ]
        if not self.is_submitted():
            self.shown.data = case.assigned_to_id

    def chosen(self) -> User | None:
        """Who was named; None to release the case.

        Raises:
            Invalid: nobody who may decide on it.
        """
        if self.to.data is None:
            return None
        if self.to.data not in self._colleagues:
            raise Invalid("colleague")
        return self._colleagues[self.to.data]


@dataclass(frozen=True, slots=True)
class Panels:
    """What a case's page shows of decisions, and the forms for them; None for those who may not."""

    basis: Basis
    reviews: Sequence[Review]
    """The latest first."""
    decision: DecisionForm | None
    void: VoidForm | None
    assignment: AssignmentForm | None


def panels(*, actor: User, case: Case) -> Panels:
    """What a case's page needs."""
    basis = queries.basis(case)
    may_decide = actor.can(Permission.REVIEW_CASES)
    return Panels(
        basis=basis,
        reviews=queries.reviews(case),
        decision=DecisionForm(case, basis) if may_decide else None,
        void=VoidForm(basis) if may_decide and basis.review is None else None,
        assignment=AssignmentForm(case, queries.colleagues(case)) if may_decide else None,
    )


def basis_in_words(basis: Basis) -> str:
    """What is on record of a case, for a sentence."""
    words = _answer_in_words(basis)
    return f"{words}; {review_in_words(basis.review)}" if basis.review else words


def review_in_words(review: Review) -> str:
    """One version of a decision, for a sentence."""
    return _(
        "version %(version)s by %(name)s: %(decision)s",
        version=review.version,
        name=review.reviewer.full_name,
        decision=review.in_words,
    )


def _answer_in_words(basis: Basis) -> str:
    assessment = basis.assessment
    if assessment is None:
        return _("no model has read this case")
    if not basis.has_answer or assessment.finding is None or assessment.probability is None:
        return _("the model: %(state)s", state=assessment.state.label)
    return _(
        "the model: %(finding)s, %(probability)s",
        finding=assessment.finding.name,
        probability=percent(assessment.probability),
    )
