"""The record in words, for administrators, who see no patient in it."""

from collections.abc import Mapping
from typing import Any

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from webapp.audit import ANCHORS_STARTED, AuditEvent

ACTIONS = {
    "account.signed_in": _l("Signed in"),
    "account.sign_in_refused": _l("Was refused at sign-in"),
    "account.signed_out": _l("Signed out"),
    "account.password_changed": _l("Changed the own password"),
    "account.language_changed": _l("Chose a language"),
    "token.created": _l("Made an access token"),
    "token.revoked": _l("Revoked an access token"),
    "token.refused": _l("Was refused with an access token"),
    "user.created": _l("Added a user"),
    "user.renamed": _l("Renamed a user"),
    "user.disabled": _l("Disabled a user"),
    "user.enabled": _l("Enabled a user"),
    "user.roles_changed": _l("Changed a user's roles"),
    "user.sites_changed": _l("Changed a user's sites"),
    "user.password_reset": _l("Made a one-time password"),
    "site.created": _l("Added a site"),
    "site.own_impression_changed": _l("Changed whether an own impression comes first"),
    "backup.made": _l("Backed up the installation"),
    "backup.restored": _l("Restored the installation from a backup"),
    "store.cleaned": _l("Removed pictures that no row named from the store"),
    "case.submitted": _l("Sent a case"),
    "case.opened": _l("Opened a case"),
    "case.searched": _l("Searched the cases"),
    "filter.saved": _l("Saved filters of the worklist"),
    "filter.removed": _l("Removed saved filters of the worklist"),
    "case.read_again": _l("Had a case read by the model of the day"),
    "case.moved": _l("Filed a case for another patient"),
    "case.corrected": _l("Corrected what is said of a case"),
    "case.taken": _l("Took a case"),
    "case.handed_over": _l("Handed a case over"),
    "case.released": _l("Released a case"),
    "case.voided": _l("Voided a case"),
    "case.region_named": _l("Said which lesion or eye a case shows"),
    "region.opened": _l("Opened the course of a lesion or an eye"),
    "region.suggested": _l("Was shown a patient's lesions or eyes"),
    "patient.opened": _l("Opened a patient"),
    "patient.consent_recorded": _l("Recorded whether a patient consents to training"),
    "patient.erased": _l("Erased a patient"),
    "erasure.found_nobody": _l("Wanted to erase a patient whom the site does not know"),
    "erasure.opened": _l("Opened an erasure"),
    "patient.corrected": _l("Corrected a patient's particulars"),
    "image.opened": _l("Opened an image"),
    "report.exported": _l("Took a report out"),
    "result.exported": _l("Took a result out through the API"),
    "case.exported": _l("Took a list of cases out"),
    "duplicates.shown": _l("Was shown images that are filed for another patient"),
    "import.started": _l("Sent a table of cases to be checked"),
    "import.checked": _l("A table of cases was checked"),
    "import.confirmed": _l("Had the cases of a table filed"),
    "import.cancelled": _l("Cancelled an import"),
    "import.expired": _l("Nobody had the cases of a table filed in time: it is forgotten"),
    "import.finished": _l("All cases of a table are filed"),
    "import.opened": _l("Opened an import"),
    "impression.saved": _l("Saved an own impression"),
    "review.signed": _l("Signed a decision"),
    "review.amended": _l("Amended a signed decision"),
    "review.second_read": _l("Read a signed case a second time"),
    "second_reads.opened": _l("Opened the list of second readings"),
    "read_otherwise.opened": _l("Opened the cases that today's model reads otherwise"),
    "outcome.recorded": _l("Recorded what a case turned out to be"),
    "assessment.completed": _l("The model gave an answer"),
    "assessment.abstained": _l("The model held its answer back"),
    "assessment.failed": _l("The model could not read a case"),
    "assessment.retried": _l("Had a case read again"),
    "work.retried": _l("Had failed work done again"),
    "shadow.completed": _l("A model gave an answer, unseen"),
    "shadow.abstained": _l("A model held its answer back, unseen"),
    "shadow.failed": _l("A model could not read a case, unseen"),
    "explanation.requested": _l("Asked where the model looked"),
    "explanation.completed": _l("A heat map was made"),
    "explanation.failed": _l("A heat map could not be made"),
    "explanation.opened": _l("Opened a heat map"),
    "reproduction.requested": _l("Asked whether an answer can be had again"),
    "reproduction.completed": _l("An answer was compared with the same input read again"),
    "reproduction.failed": _l("The same input could not be read again"),
    "installation.requested": _l("Sent a bundle to be installed"),
    "installation.completed": _l("A bundle was installed"),
    "installation.refused": _l("A bundle was refused"),
    "installation.failed": _l("A bundle could not be installed"),
    "training.requested": _l("Asked for a training"),
    "training.cancelled": _l("Cancelled a training"),
    "training.retried": _l("Had a failed training taken up again"),
    "training.completed": _l("A training gave a model"),
    "training.failed": _l("A training failed"),
    "model.installed": _l("Installed a model"),
    "model.promoted": _l("Let a model serve"),
    "dataset.requested": _l("Had a data set checked"),
    "dataset.registered": _l("A data set is registered"),
    "dataset.refused": _l("A data set was refused"),
    "dataset.failed": _l("A data set could not be checked"),
    "snapshot.frozen": _l("Froze what can be learnt from"),
    "snapshot.exported": _l("Took the table of a snapshot out"),
    "model.rolled_back": _l("Had the model serve again that served before"),
    "model.shadow_started": _l("Had a model read new cases unseen"),
    "model.shadow_ended": _l("Had a model read new cases unseen no longer"),
    "plan.changed": _l("Changed what a model has to show before it serves"),
    "comparison.requested": _l("Asked that a model be compared with the one that serves"),
    "comparison.completed": _l("A model was compared with the one that serves"),
    "comparison.exported": _l("Took out what two models said of a locked test set"),
    "comparison.failed": _l("A model could not be compared with the one that serves"),
    "promotion.requested": _l("Asked that a model serve"),
    "promotion.approved": _l("Approved that a model serve"),
    "promotion.declined": _l("Declined that a model serve"),
    "promotion.withdrawn": _l("Withdrew that a model serve"),
    "finding.changed": _l("Changed what a finding means"),
    "allowance.changed": _l("Changed how long cases may wait"),
    "audit.searched": _l("Read the record"),
    ANCHORS_STARTED: _l("Began the anchors of the record"),
}
_SUBJECTS = {
    "ApiToken": _l("Access token"),
    "User": _l("User"),
    "Site": _l("Site"),
    "Patient": _l("Patient"),
    "Case": _l("Case"),
    "Image": _l("Image"),
    "Region": _l("Lesion or eye"),
    "Assessment": _l("Assessment"),
    "Explanation": _l("Heat map"),
    "Reproduction": _l("Reading of the same input again"),
    "Import": _l("Import"),
    "Impression": _l("Impression"),
    "Outcome": _l("Outcome"),
    "SecondRead": _l("Second reading"),
    "Review": _l("Decision"),
    "ModelVersion": _l("Model"),
    "Installation": _l("Bundle from outside"),
    "Dataset": _l("Data set"),
    "Snapshot": _l("Snapshot"),
    "TrainingRun": _l("Training"),
    "ChangePlan": _l("Plan for changes of a model"),
    "Comparison": _l("Comparison of models"),
    "PromotionRequest": _l("Request that a model serve"),
    "SavedFilter": _l("Saved filters"),
    "Finding": _l("Finding"),
    "Allowance": _l("Waiting times"),
}

_NOT_OF_PATIENTS = {
    None,
    "ApiToken",
    "User",
    "Site",
    "Import",
    "Installation",
    "ModelVersion",
    "Dataset",
    "Snapshot",
    "TrainingRun",
    "ChangePlan",
    "Comparison",
    "PromotionRequest",
    "Finding",
    "Allowance",
}
_SAYS_NOTHING_OF_A_PATIENT = {
    "assessment_id",
    "attempt",
    "case_id",
    "case_ids",
    "cause",
    "changed",
    "failure",
    "former_region_id",
    "from_patient_id",
    "image_count",
    "image_id",
    "is_same",
    "kind",
    "patient_id",
    "reading_task",
    "region_id",
    "to_user_id",
    "token_id",
    "version",
}


def action_words(action: str) -> str:
    """What was done; a code that has no words yet as it is."""
    return str(ACTIONS.get(action, action))


def subject_words(event: AuditEvent) -> str:
    """What it was done to: its kind and number."""
    if event.subject_type is None:
        return ""
    kind = str(_SUBJECTS.get(event.subject_type, event.subject_type))
    return kind if event.subject_id is None else f"{kind} {event.subject_id}"


def actor_words(event: AuditEvent) -> str:
    """Who did it, by the name that they had; whoever is refused at sign-in is nobody yet."""
    if event.actor_name:
        return event.actor_name
    return _("not signed in") if event.remote_address else _("the system")


def shown_detail(event: AuditEvent) -> list[tuple[str, str]]:
    """Particulars by name. What may tell something of a patient is named, and kept back."""
    is_harmless = event.subject_type in _NOT_OF_PATIENTS
    return [
        (
            name.replace("_", " "),
            _value(value)
            if is_harmless or name in _SAYS_NOTHING_OF_A_PATIENT
            else _("kept back: it is a patient's"),
        )
        for name, value in event.detail.items()
        if value is not None
    ]


def _value(value: Any) -> str:
    if value is None:
        return _("none")
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value(part)}" for name, part in value.items())
    if isinstance(value, list):
        return ", ".join(map(_value, value)) or _("none")
    return str(value)
