"""Refusals as programs are told of them."""

from flask import Response
from flask_babel import lazy_gettext as _l

from webapp.error_pages import problem
from webapp.errors import Conflict, DomainError, Invalid, Throttled

_SENTENCES = {
    "insufficient_scope": _l("The access token does not allow this."),
    "bad_input": _l("What was sent cannot be accepted; the errors say what, field by field."),
    "no_model": _l("No model reads this reading task at present."),
    "patient_differs": _l(
        "The patient on record has another birth year or sex. Check the identifier, or correct the"
        " patient on record first."
    ),
    "filed_elsewhere": _l(
        "Images are filed for another patient already. If that is right, send the case with"
        " confirm_duplicates."
    ),
    "other_modality": _l("A DICOM file shows something else than this reading task reads."),
    "form_used": _l("This Idempotency-Key was used before, with other content."),
    "impression_first": _l("Save your own impression of this case first, on its page."),
    "changed": _l("This has changed since the result was read. Read it again and look."),
    "no_answer": _l("There is no answer of the model's to agree with."),
    "finding_needed": _l("Name a finding of the reading task that is not the model's own."),
    "finding_not_needed": _l("Only an override names a finding."),
    "reason_needed": _l("Give the reason of the amendment."),
}


def refused(error: DomainError) -> Response:
    """Say why a request was refused, and where its fields are why, what is wrong with each."""
    says_why = isinstance(error, Conflict | Invalid) or error.reason in _SENTENCES
    response = problem(
        error.status,
        code=error.reason if says_why else "",
        detail=str(_SENTENCES.get(error.reason, "")),
        errors=error.facts.get("errors", ()),
    )
    if isinstance(error, Throttled):
        response.headers["Retry-After"] = str(error.facts["retry_after_seconds"])
    return response
