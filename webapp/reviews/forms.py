"""What clinicians fill in on a case that was read, and what its page needs for it."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import (
    DateField,
    Field,
    HiddenField,
    RadioField,
    SelectField,
    TextAreaField,
    ValidationError,
)
from wtforms.fields import SelectChoice
from wtforms.validators import DataRequired, InputRequired, Length

from webapp.accounts.models import User
from webapp.cases.models import Case
from webapp.catalogue.models import Finding
from webapp.catalogue.wording import translated
from webapp.errors import Conflict, Invalid
from webapp.permissions import Permission
from webapp.rendering import also_over_mark, percent
from webapp.reviews import queries
from webapp.reviews.models import (
    Decision,
    Impression,
    Outcome,
    OutcomeSource,
    Review,
    SecondRead,
    outcome_in_words,
)
from webapp.reviews.queries import Basis
from webapp.reviews.services import TEXT_LENGTH_MAX, Found, Verdict

TOKEN_LENGTH_MAX = Review.form_token.type.length

_REFUSALS = {
    "no_answer": ("decision", _l("There is no answer of the model's to agree with.")),
    "finding_needed": ("finding", _l("Choose the finding.")),
    "note_needed": ("note", _l("Say it in the note.")),
    "future": ("found_on", _l("This day has not come yet.")),
    "reason_needed": ("reason", _l("Give the reason.")),
    "form_used": ("", _l("This form was signed before, with other content. Look at it first.")),
    "impression_first": ("", _l("Save your own impression of this case first.")),
    "not_signed": ("", _l("There is no signed decision to read again.")),
    "own_review": ("", _l("You signed this decision yourself. Somebody else reads it again.")),
    "read_before": ("", _l("You read this decision before. What you said is kept as it was.")),
    "signed": ("", _l("This case is signed. It can be voided by an amendment.")),
}


def _one_line_end(text: str | None) -> str:
    """Browsers send each line end as two characters, which must not count against the limit."""
    return (text or "").replace("\r\n", "\n")


def _text_field(label: str, *validators: InputRequired) -> TextAreaField:
    length = Length(max=TEXT_LENGTH_MAX, message=_l("At most %(max)d characters."))
    return TextAreaField(label, [*validators, length], [_one_line_end])


def _reason_needed() -> InputRequired:
    return InputRequired(_l("Give the reason."))


def _decision(value: str | None) -> Decision | None:
    return Decision(value) if value in list(Decision) else None


def _source(value: str | None) -> OutcomeSource | None:
    return OutcomeSource(value) if value in list(OutcomeSource) else None


def _number_or_none(text: str | int | None) -> int | None:
    """A number of a row; 0, which none has, for what is no number."""
    return (int(text) if str(text).isdecimal() else 0) if text else None


def _chosen(field: SelectField) -> str:
    """The words of what was chosen."""
    return next(str(choice.label) for choice in field.choices if choice.value == field.data)


def _choice_of(finding: Finding) -> SelectChoice:
    return SelectChoice(str(finding.id), translated(finding.name))


def findings_to_choose(findings: Sequence[Finding]) -> list[SelectChoice]:
    """None is chosen beforehand: nobody would notice the wrong one."""
    return [SelectChoice("", _l("Choose")), *map(_choice_of, findings)]


class OnceForm(FlaskForm):
    """A form that is sent once, and on what its page showed."""

    form_token = HiddenField()
    shown = HiddenField()

    def __init__(self, mark: str) -> None:
        super().__init__()
        self._mark = mark
        if not self.is_submitted():
            self.form_token.data = secrets.token_hex(16)
            self.shown.data = mark

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
        """Say what has changed; sending the form again is then meant for what there is now."""
        if conflict.reason != "changed":
            self.refuse(conflict)
            return
        self.form_errors.append(
            _(
                "This has changed since the page was loaded. Now: %(now)s. You entered:"
                " %(entered)s. Look again, and send it if it still holds.",
                now=self.on_record(),
                entered=self.in_words(),
            )
        )
        self.shown.data = self._mark

    def on_record(self) -> str:
        """What there is now, for a sentence."""
        raise NotImplementedError  # each form says it; WTForms' metaclass rules out an ABC

    def in_words(self) -> str:
        """What was filled in, for a sentence."""
        raise NotImplementedError  # as above


class BasisForm(OnceForm):
    """A decision on a case."""

    def __init__(self, basis: Basis) -> None:
        super().__init__(basis.mark)
        self.basis = basis

    def on_record(self) -> str:
        return basis_in_words(self.basis)


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
        self._names = {str(finding.id): translated(finding.name) for finding in findings}
        own = _("Another finding") if named else _("A finding of my own")
        offered = {Decision.OVERRIDE: own, Decision.UNCERTAIN: _("Uncertain")}
        if named:
            agree = _("Agree: %(finding)s", finding=translated(named.name))
            offered = {Decision.AGREE: agree} | offered
        if basis.review is None:
            del self.reason
        else:
            # Shown as needed, and left to the service: a form that is sent again needs no reason.
            self.reason.flags.required = True
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

    reason = _text_field(_l("Reason"), _reason_needed())

    def in_words(self) -> str:
        return _("void (%(reason)s)", reason=self.reason.data)


class OutcomeForm(OnceForm):
    """What a case turned out to be."""

    NONE = "none"

    outcome = SelectField(_l("It turned out to be"), [InputRequired(_l("Choose the finding."))])
    source = SelectField(
        _l("Known from"),
        [DataRequired(_l("Choose the source."))],
        coerce=_source,
        choices=[
            SelectChoice("", _l("Choose")),
            *(SelectChoice(source.value, source.label) for source in OutcomeSource),
        ],
        validate_choice=False,
    )
    found_on = DateField(_l("Day"), [InputRequired(_l("Enter the day."))])
    note = _text_field(_l("Note"))

    def __init__(self, case: Case, outcomes: Sequence[Outcome]) -> None:
        super().__init__(str(len(outcomes)))
        self._latest = outcomes[0].in_words if outcomes else _("nothing is recorded")
        self.outcome.choices = [
            *findings_to_choose(case.reading_task.findings),
            SelectChoice(self.NONE, _l("None of these; see the note")),
        ]

    def found(self) -> Found:
        """What was found, once the form is valid."""
        chosen = self.outcome.data
        return Found(
            finding_id=None if chosen == self.NONE else int(chosen),
            source=self.source.data,
            found_on=self.found_on.data,
            note=self.note.data,
        )

    def on_record(self) -> str:
        return self._latest

    def in_words(self) -> str:
        return outcome_in_words(_chosen(self.outcome), self.source.data, self.found_on.data)


class ImpressionForm(FlaskForm):
    """What a clinician sees in a case by themselves."""

    UNCERTAIN = "uncertain"

    impression = RadioField(
        _l("What do you see?"),
        [InputRequired(_l("Choose a finding, or uncertain."))],
    )

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.impression.choices = [
            *map(_choice_of, case.reading_task.findings),
            SelectChoice(self.UNCERTAIN, _l("Uncertain")),
        ]

    def finding_id(self) -> int | None:
        """What was chosen, once the form is valid; None for uncertain."""
        chosen = self.impression.data
        return None if chosen == self.UNCERTAIN else int(chosen)


class SecondReadForm(OnceForm):
    """What a second reader says of a signed case."""

    reading = RadioField(_l("What do you see?"), [InputRequired(_l("Choose a finding."))])
    reading_comment = _text_field(_l("Comment"))

    def __init__(self, case: Case, review: Review | None) -> None:
        super().__init__(str(review.version) if review else "")
        self._review = review
        self.reading.choices = [
            *map(_choice_of, case.reading_task.findings),
            SelectChoice(ImpressionForm.UNCERTAIN, _l("Uncertain")),
        ]

    def finding_id(self) -> int | None:
        """What was chosen, once the form is valid; None for uncertain."""
        chosen = self.reading.data
        return None if chosen == ImpressionForm.UNCERTAIN else int(chosen)

    def on_record(self) -> str:
        return review_in_words(self._review) if self._review else _("nothing is signed")

    def in_words(self) -> str:
        return _chosen(self.reading)


class AssignmentForm(FlaskForm):
    """Who takes a case."""

    to = SelectField(_l("Colleague"), coerce=_number_or_none, validate_choice=False)
    shown = HiddenField(filters=[_number_or_none])

    def __init__(self, case: Case, colleagues: Sequence[User], *, reader: User) -> None:
        """It lists whom the reader may hand the case over to."""
        super().__init__()
        self._colleagues = {colleague.id: colleague for colleague in colleagues}
        not_listed = (case.assigned_to_id, reader.id)
        others = [person for person in colleagues if person.id not in not_listed]
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

    shows_answer: bool
    """Whether the reader may be told what others found; if not, all of that is left out."""
    basis: Basis
    reviews: Sequence[Review]
    """The latest first."""
    impressions: Sequence[Impression]
    impression: ImpressionForm | None
    decision: DecisionForm | None
    void: VoidForm | None
    second_reads: Sequence[SecondRead]
    """The latest first."""
    second_read: SecondReadForm | None
    assignment: AssignmentForm | None
    outcomes: Sequence[Outcome]
    """The latest first."""
    outcome: OutcomeForm | None


def panels(*, actor: User, case: Case) -> Panels:
    """What a case's page needs."""
    basis = queries.basis(case)
    shows_answer = case.id in queries.may_see_answer(actor=actor, case_ids=[case.id])
    may_review = actor.can(Permission.REVIEW_CASES)
    may_decide = may_review and shows_answer
    outcomes = queries.outcomes(case) if shows_answer else []
    second_reads = queries.second_reads(case)
    may_second = _may_second_read(actor, basis.review, second_reads)
    is_unseen = not shows_answer and not may_second
    return Panels(
        shows_answer=shows_answer,
        basis=basis,
        reviews=queries.reviews(case) if shows_answer else [],
        impressions=queries.impressions(case) if shows_answer else [],
        impression=ImpressionForm(case) if may_review and is_unseen else None,
        decision=DecisionForm(case, basis) if may_decide else None,
        void=VoidForm(basis) if may_decide and basis.review is None else None,
        second_reads=second_reads if shows_answer else [],
        second_read=SecondReadForm(case, basis.review) if may_second else None,
        assignment=(
            AssignmentForm(case, queries.colleagues(case), reader=actor) if may_review else None
        ),
        outcomes=outcomes,
        outcome=OutcomeForm(case, outcomes) if may_decide else None,
    )


def _may_second_read(
    actor: User, review: Review | None, second_reads: Sequence[SecondRead]
) -> bool:
    """Whether the actor can still say something of a decision."""
    return (
        actor.can(Permission.SECOND_READ)
        and review is not None
        and review.decision is not Decision.VOID
        and review.reviewer_id != actor.id
        and (review.id, actor.id) not in [(s.review_id, s.reader_id) for s in second_reads]
    )


def basis_in_words(basis: Basis) -> str:
    """What is on record of a case, for a sentence."""
    words = f"{_answer_in_words(basis)}; {basis.particulars.in_words}; {basis.said.in_words}"
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
    words = _(
        "the model: %(finding)s, %(probability)s",
        finding=translated(assessment.finding.name),
        probability=percent(assessment.probability),
    )
    also = assessment.also
    return f"{words} ({also_over_mark(also.finding.name, also.probability)})" if also else words
