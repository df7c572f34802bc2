"""Sending many cases at once, and following what becomes of them."""

import csv
import io
from collections import Counter

from flask import Blueprint, Response, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from webapp import audit, imaging
from webapp.errors import Conflict
from webapp.imports import queries, services
from webapp.imports.forms import ImportForm
from webapp.imports.models import Import, RowState
from webapp.imports.problems import Problem, Trouble
from webapp.imports.reading import COLUMNS, MAX_ROWS, SEVERAL_FILES
from webapp.permissions import Permission, poll, require, signed_in_user, takes_archive
from webapp.rendering import fragment
from webapp.triage.queries import body_sites, offered_reading_tasks

blueprint = Blueprint("imports", __name__)

EXAMPLE = (
    {"file": "one.jpg", "identifier": "A-0001", "birth_year": "1961", "sex": "female"},
    {
        "file": f"two-a.png{SEVERAL_FILES}two-b.png",
        "identifier": "A-0002",
        "sex": "male",
        "priority": "urgent",
        "age": "58",
        "note": "Two images of one case",
    },
    {"file": "folder/three.dcm"},
)


@blueprint.get("/imports")
@require(Permission.SUBMIT_CASES)
def imports() -> ResponseReturnValue:
    """How a table is made, a form to send one, and what was sent lately."""
    return _form_page(ImportForm(actor=signed_in_user()))


@blueprint.get("/imports/example.csv")
@require(Permission.SUBMIT_CASES)
def example() -> ResponseReturnValue:
    """A table to begin with, for the reading task that comes first."""
    tasks = offered_reading_tasks()
    task = {"reading_task": tasks[0].code} if tasks else {}
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows({**row, **task} for row in EXAMPLE)
    response = Response(text.getvalue().encode("utf-8-sig"), mimetype="text/csv")
    response.headers["Content-Disposition"] = 'attachment; filename="cases.csv"'
    return response


@blueprint.post("/imports")
@require(Permission.SUBMIT_CASES)
@takes_archive
def submit_import() -> ResponseReturnValue:
    """Take a table and its archive to be checked, or say what stands against them."""
    form = ImportForm(actor=signed_in_user())
    if not form.validate():
        return _form_page(form), 422
    begun = services.start(
        actor=signed_in_user(),
        site_id=form.chosen_site_id,
        table=form.rows,
        file_name=form.table.data.filename or "",
        archive=form.archive_bytes,
    )
    return redirect(url_for("imports.one_import", import_id=begun.id), 303)


@blueprint.get("/imports/<int:import_id>")
@require(Permission.SUBMIT_CASES)
def one_import(import_id: int) -> ResponseReturnValue:
    """Where an import stands: what was found, what can be decided, what was filed."""
    subject = queries.get_import(actor=signed_in_user(), import_id=import_id)
    _record_look(subject)
    return render_template("imports/import.html", **_status(subject))


@blueprint.get("/imports/<int:import_id>/status")
@require(Permission.SUBMIT_CASES)
@poll
def import_status(import_id: int) -> ResponseReturnValue:
    """The part of that page that changes by itself."""
    subject = queries.get_import(actor=signed_in_user(), import_id=import_id)
    if not subject.state.is_open:  # it does not ask again, and shows the rows now
        _record_look(subject)
    return fragment("imports/_status.html", **_status(subject))


@blueprint.post("/imports/<int:import_id>/confirm")
@require(Permission.SUBMIT_CASES)
def submit_cases(import_id: int) -> ResponseReturnValue:
    """Have the rows filed that nothing stands against."""
    subject = queries.get_import(actor=signed_in_user(), import_id=import_id)
    try:
        services.confirm(actor=signed_in_user(), subject=subject)
    except Conflict:
        flash(_("This import does not wait for a decision any more."))
    return redirect(url_for("imports.one_import", import_id=subject.id), 303)


@blueprint.post("/imports/<int:import_id>/cancel")
@require(Permission.SUBMIT_CASES)
def void_import(import_id: int) -> ResponseReturnValue:
    """Forget what was sent, before any of it is filed."""
    subject = queries.get_import(actor=signed_in_user(), import_id=import_id)
    try:
        services.cancel(actor=signed_in_user(), subject=subject)
    except Conflict:
        flash(_("It is too late to cancel this import."))
        return redirect(url_for("imports.one_import", import_id=subject.id), 303)
    flash(_("The import is cancelled. Nothing of it is kept."), "good")
    return redirect(url_for("imports.imports"), 303)


def _record_look(subject: Import) -> None:
    """Warnings may name other patients: how many were shown is on record."""
    troubles = [problem["trouble"] for row in subject.rows for problem in row.problems]
    audit.record_look(
        actor=signed_in_user(),
        action="import.opened",
        subject=subject,
        duplicates_shown=troubles.count(Trouble.FILED_ELSEWHERE),
    )


def _form_page(form: ImportForm) -> str:
    return render_template(
        "imports/imports.html",
        form=form,
        latest=queries.latest_imports(actor=signed_in_user()),
        reading_tasks=offered_reading_tasks(),
        body_sites=body_sites(),
        limits={"rows": MAX_ROWS, "archive_mb": imaging.MAX_ARCHIVE_BYTES // 1_000_000},
        several_files=SEVERAL_FILES,
    )


def _status(subject: Import) -> dict[str, object]:
    problems = {
        row.id: [Problem.from_plain(plain) for plain in row.problems] for row in subject.rows
    }
    counts = Counter(row.state for row in subject.rows)
    return {
        "subject": subject,
        "problems": problems,
        "counts": {state.value: counts[state] for state in RowState},
    }
