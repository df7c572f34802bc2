"""Pages of the catalogue: what can be found, what it means, and how long it may wait."""

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import ngettext

from webapp.accounts.models import Site
from webapp.accounts.queries import all_sites, get_site
from webapp.catalogue import queries as catalogue
from webapp.catalogue.models import Finding, ReadingTask
from webapp.catalogue.texts import text_of
from webapp.db import MAX_ID
from webapp.errors import Conflict, Invalid, NotFound
from webapp.guidance import queries, services
from webapp.guidance.forms import AS_EVERYWHERE, AllowanceForm, TermsForm
from webapp.permissions import Permission, require, signed_in, signed_in_user
from webapp.registry.queries import champion, get_sample, sample_of_finding
from webapp.rendering import stored_picture

blueprint = Blueprint("guidance", __name__)
for words in (queries.duration, queries.mark_in_words):
    blueprint.add_app_template_filter(words)


@blueprint.get("/findings")
@signed_in
def findings() -> ResponseReturnValue:
    """All that can be found, by reading task."""
    return render_template("guidance/findings.html", tasks=catalogue.reading_tasks())


@blueprint.get("/findings/<int:finding_id>")
@signed_in
def finding(finding_id: int) -> ResponseReturnValue:
    """What a finding is, what it means for the work, and how that was changed."""
    finding = catalogue.get_finding(finding_id)
    sites = queries.known_sites(signed_in_user())
    return render_template(
        "guidance/finding.html",
        finding=finding,
        places=queries.places(finding, sites),
        changes=queries.terms_changes(finding, sites),
        model=champion(finding.reading_task_id),
        text=text_of(finding.reading_task.code, finding.code),
        sample=sample_of_finding(finding.id),
    )


@blueprint.get("/samples/<int:sample_id>")
@signed_in
def sample(sample_id: int) -> ResponseReturnValue:
    """A sample picture of a finding: it is published, and of no patient here."""
    sample = get_sample(sample_id)
    return stored_picture(sample.image_sha256, sample.media_type, f"sample-{sample.id}")


@blueprint.get("/findings/<int:finding_id>/terms")
@require(Permission.MANAGE_CATALOGUE)
def terms(finding_id: int) -> ResponseReturnValue:
    """The form for what a finding means, everywhere or at a site."""
    finding, site = catalogue.get_finding(finding_id), _site()
    return _terms_page(finding, site, _terms_form(finding, site))


@blueprint.post("/findings/<int:finding_id>/terms")
@require(Permission.MANAGE_CATALOGUE)
def change_terms(finding_id: int) -> ResponseReturnValue:
    """Change what a finding means, or show the form again with what stands against it."""
    finding, site = catalogue.get_finding(finding_id), _site()
    form = _terms_form(finding, site)
    if not form.validate():
        return _terms_page(finding, site, form), 422
    try:
        moved = services.change_finding(
            actor=signed_in_user(),
            finding=finding,
            site=site,
            meaning=form.meaning(),
            reason=form.reason.data,
            shown=form.shown_version(),
        )
    except Conflict as conflict:
        form.explain(conflict)
        return _terms_page(finding, site, form), conflict.status
    _say_what_moved(moved)
    return redirect(url_for("guidance.finding", finding_id=finding.id), 303)


@blueprint.get("/allowances")
@signed_in
def allowances() -> ResponseReturnValue:
    """How long cases may wait, everywhere and where it is otherwise."""
    sites = queries.known_sites(signed_in_user())
    return render_template(
        "guidance/allowances.html",
        general=catalogue.allowance_in_force(None),
        exceptions=queries.allowance_exceptions(sites),
        changes=queries.allowance_changes(sites),
        tasks=catalogue.reading_tasks(),
        sites=sites,
    )


@blueprint.get("/allowances/change")
@require(Permission.MANAGE_CATALOGUE)
def allowance() -> ResponseReturnValue:
    """The form for how long cases may wait in one place."""
    task, site = _reading_task(), _site()
    return _allowance_page(task, site, _allowance_form(task, site))


@blueprint.post("/allowances/change")
@require(Permission.MANAGE_CATALOGUE)
def change_allowance() -> ResponseReturnValue:
    """Change how long cases may wait, or show the form again with what stands against it."""
    task, site = _reading_task(), _site()
    form = _allowance_form(task, site)
    if not form.validate():
        return _allowance_page(task, site, form), 422
    try:
        moved = services.change_allowance(
            actor=signed_in_user(),
            reading_task=task,
            site=site,
            minutes=form.minutes(),
            reason=form.reason.data,
            shown=form.shown_version(),
        )
    except Invalid as error:
        form.refuse(error)
        return _allowance_page(task, site, form), error.status
    except Conflict as conflict:
        form.explain(conflict)
        return _allowance_page(task, site, form), conflict.status
    _say_what_moved(moved)
    return redirect(url_for("guidance.allowances"), 303)


def _say_what_moved(moved: int | None) -> None:
    if moved is None:
        flash(_("Nothing was changed: it is so already."))
        return
    sentence = _("Saved. It counts for every case that is read from now on.")
    if moved:
        sentence += " " + ngettext(
            "%(num)s waiting case moved up.", "%(num)s waiting cases moved up.", moved
        )
    flash(sentence, "good")


def _terms_form(finding: Finding, site: Site | None) -> TermsForm:
    site_id = site.id if site else None
    in_force = catalogue.terms_in_force(finding.reading_task_id, site_id)[finding.code]
    return TermsForm(catalogue.latest_terms(finding.id, site_id), in_force, request.form)


def _terms_page(finding: Finding, site: Site | None, form: TermsForm) -> str:
    latest = catalogue.latest_terms(finding.id, site.id if site else None)
    return render_template(
        "guidance/terms.html",
        finding=finding,
        site=site,
        form=form,
        has_own=site is not None and latest is not None and latest.is_own,
        as_everywhere=AS_EVERYWHERE,
        model=champion(finding.reading_task_id),
        sites=all_sites(),
    )


def _allowance_form(task: ReadingTask | None, site: Site | None) -> AllowanceForm:
    place = task.id if task else None, site.id if site else None
    return AllowanceForm(
        catalogue.latest_allowance(*place), catalogue.allowance_in_force(*place), request.form
    )


def _allowance_page(task: ReadingTask | None, site: Site | None, form: AllowanceForm) -> str:
    latest = catalogue.latest_allowance(task.id if task else None, site.id if site else None)
    return render_template(
        "guidance/allowance.html",
        task=task,
        site=site,
        form=form,
        has_own=task is not None and latest is not None and latest.is_own,
        as_everywhere=AS_EVERYWHERE,
    )


def _site() -> Site | None:
    number = _number("site_id")
    return None if number is None else get_site(number)


def _reading_task() -> ReadingTask | None:
    """
    Raises:
        NotFound: there is none, or a site is named without it.
    """
    number = _number("reading_task_id")
    if number is None and _number("site_id") is not None:
        raise NotFound("reading_task")
    return None if number is None else catalogue.get_reading_task(number)


def _number(name: str) -> int | None:
    """A row that the address names; None where it names none, which means everywhere.

    Raises:
        NotFound: it is no number that a row can have.
    """
    text = request.args.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()) or len(text) > 10 or int(text) > MAX_ID:
        raise NotFound(name)
    return int(text)
