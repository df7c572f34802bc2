"""Pages of what can be learnt from: data sets, and snapshots of what was decided. Administrators
see counts and hashes here, and no patient."""

import logging

from flask import Blueprint, Response, jsonify, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from webapp import audit, imaging, storage
from webapp.catalogue.queries import get_reading_task, reading_tasks
from webapp.config import current_settings
from webapp.datasets import queries, services
from webapp.datasets.forms import MAX_TABLE_BYTES, DatasetForm, SnapshotForm
from webapp.datasets.gathering import UNKNOWN, base_subgroups, document, subgroup_words
from webapp.datasets.models import LabelSource, LeftOut, Problem, Side, Snapshot
from webapp.datasets.services import Upload
from webapp.errors import Invalid
from webapp.permissions import Permission, poll, require, signed_in_user, takes_archive
from webapp.rendering import fragment

log = logging.getLogger(__name__)
blueprint = Blueprint("datasets", __name__)
blueprint.add_app_template_filter(subgroup_words)


@blueprint.get("/datasets")
@require(Permission.MANAGE_MODELS)
def datasets() -> ResponseReturnValue:
    """What is registered, what models can be compared on, and a form to register more."""
    return _datasets_page(_dataset_form())


@blueprint.post("/datasets")
@require(Permission.MANAGE_MODELS)
@takes_archive
def submit_dataset() -> ResponseReturnValue:
    """Have a data set checked, or say what stands against the form."""
    form = _dataset_form()
    if not form.validate():
        return _datasets_page(form), 422
    files = form.chosen_folder or Upload(
        storage.put(form.table_bytes), storage.put(form.archive_bytes)
    )
    dataset = services.register(
        actor=signed_in_user(),
        reading_task=get_reading_task(form.reading_task_id.data),
        name=form.name.data,
        source=form.source.data,
        licence=form.licence.data,
        files=files,
    )
    return redirect(url_for("datasets.dataset", dataset_id=dataset.id), 303)


@blueprint.get("/datasets/<int:dataset_id>")
@require(Permission.MANAGE_MODELS)
def dataset(dataset_id: int) -> ResponseReturnValue:
    """What was found in a data set."""
    return render_template("datasets/dataset.html", **_status(dataset_id))


@blueprint.get("/datasets/<int:dataset_id>/status")
@require(Permission.MANAGE_MODELS)
@poll
def dataset_status(dataset_id: int) -> ResponseReturnValue:
    """The part of that page that changes by itself."""
    return fragment("datasets/_status.html", **_status(dataset_id))


@blueprint.get("/snapshots")
@require(Permission.MANAGE_MODELS)
def snapshots() -> ResponseReturnValue:
    """What was frozen, and a form to freeze what there is now."""
    return _snapshots_page(_snapshot_form())


@blueprint.post("/snapshots")
@require(Permission.MANAGE_MODELS)
def freeze() -> ResponseReturnValue:
    """Freeze what there is, or say what stands against it."""
    form = _snapshot_form()
    if not form.validate():
        return _snapshots_page(form), 422
    try:
        snapshot = services.freeze(
            actor=signed_in_user(),
            reading_task=get_reading_task(form.reading_task_id.data),
            dataset=form.dataset,
            includes_agreement=form.includes_agreement.data,
            note=form.note.data,
        )
    except Invalid as error:
        form.form_errors.append(
            _("There is nothing to learn from: choose a data set, or ask patients for consent.")
        )
        return _snapshots_page(form), error.status
    return redirect(url_for("datasets.snapshot", snapshot_id=snapshot.id), 303)


@blueprint.get("/snapshots/<int:snapshot_id>")
@require(Permission.MANAGE_MODELS)
def snapshot(snapshot_id: int) -> ResponseReturnValue:
    """What a snapshot holds, by finding, subgroup and label source, and what it leaves out."""
    snapshot = queries.get_snapshot(snapshot_id)
    return render_template(
        "datasets/snapshot.html",
        snapshot=snapshot,
        findings={finding.code: finding for finding in snapshot.reading_task.findings},
        label_sources=list(LabelSource),
        reasons=list(LeftOut),
        sides=list(Side),
        subgroups={
            kind: groups
            for kind, groups in snapshot.counts["subgroups"].items()
            if groups.keys() - {UNKNOWN}
        },
        base_subgroups=_base_subgroups(snapshot),
        left_out=queries.LEFT_OUT,
        withdrawn_count=len(queries.withdrawn_pseudonyms(snapshot)),
    )


def _base_subgroups(snapshot: Snapshot) -> dict[str, dict[str, int]]:
    """Nothing while the store is away: the rest of the page is in the database."""
    try:
        return base_subgroups(snapshot.dataset) if snapshot.dataset else {}
    except (storage.Away, storage.CorruptBlob):
        log.warning("the base data set of snapshot %s cannot be read", snapshot.id, exc_info=True)
        return {}


@blueprint.get("/snapshots/<int:snapshot_id>/manifest.csv")
@require(Permission.MANAGE_MODELS)
def manifest(snapshot_id: int) -> ResponseReturnValue:
    """The table of the house's pictures, as it was frozen: hashes and pseudonyms."""
    snapshot = queries.get_snapshot(snapshot_id)
    content = storage.get(snapshot.manifest_sha256)
    audit.record_look(actor=signed_in_user(), action="snapshot.exported", subject=snapshot)
    response = Response(content, mimetype="text/csv")
    name = f"snapshot-{snapshot.id}.csv"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.get("/snapshots/<int:snapshot_id>.json")
@require(Permission.MANAGE_MODELS)
def description(snapshot_id: int) -> ResponseReturnValue:
    """What a snapshot is made of: the base and the house's own by content hash, in counts."""
    snapshot = queries.get_snapshot(snapshot_id)
    audit.record_look(actor=signed_in_user(), action="snapshot.exported", subject=snapshot)
    response = jsonify(document(snapshot))
    name = f"snapshot-{snapshot_id}.json"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _dataset_form() -> DatasetForm:
    return DatasetForm(reading_tasks(), queries.folders())


def _datasets_page(form: DatasetForm) -> str:
    return render_template(
        "datasets/datasets.html",
        form=form,
        datasets=queries.datasets(),
        coverage=queries.coverage(),
        table_mb=MAX_TABLE_BYTES // 1_000_000,
        archive_mb=imaging.MAX_ARCHIVE_BYTES // 1_000_000,
        root=current_settings().datasets_root,
    )


def _status(dataset_id: int) -> dict[str, object]:
    dataset = queries.get_dataset(dataset_id)
    return {
        "dataset": dataset,
        "findings": {finding.code: finding for finding in dataset.reading_task.findings},
        "problems": [(Problem(found["kind"]), found) for found in dataset.problems],
        "sides": list(Side),
        "left_out": queries.LEFT_OUT,
    }


def _snapshot_form() -> SnapshotForm:
    tasks = reading_tasks()
    return SnapshotForm(tasks, [each for task in tasks for each in queries.registered(task.id)])


def _snapshots_page(form: SnapshotForm) -> str:
    return render_template("datasets/snapshots.html", form=form, snapshots=queries.snapshots())
