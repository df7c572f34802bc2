"""How the installation does, for people and for programs that watch it. No page shows a patient."""

import hmac

from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from prometheus_client import CONTENT_TYPE_LATEST

from webapp.catalogue.queries import reading_tasks
from webapp.config import current_settings, is_loopback
from webapp.db import MAX_ID
from webapp.errors import Conflict, Forbidden, Invalid
from webapp.monitoring import queries, services
from webapp.monitoring.forms import PeriodForm
from webapp.monitoring.metrics import exposition
from webapp.monitoring.overview import figure_name, rough, stretch, watch
from webapp.monitoring.readiness import checks
from webapp.permissions import Permission, public, require, signed_in_user

blueprint = Blueprint("monitoring", __name__)
for words in (figure_name, rough, stretch):
    blueprint.add_app_template_filter(words)


@blueprint.get("/readyz")
@public
def readyz() -> ResponseReturnValue:
    """Whether the installation does its work; what keeps it from it, a line each."""
    problems = [f"{check.name}: {check.problem.value}\n" for check in checks() if check.problem]
    said = "".join(["not ready\n", *problems]) if problems else "ready\n"
    return Response(said, 503 if problems else 200, content_type="text/plain")


@blueprint.get("/metrics")
@public
def metrics() -> ResponseReturnValue:
    """Figures for Prometheus, for whoever has the token or is on this machine.

    Raises:
        Forbidden: neither is so.
    """
    if not (_has_token() or _is_from_here()):
        raise Forbidden("metrics")
    return Response(exposition(), content_type=CONTENT_TYPE_LATEST)


def _has_token() -> bool:
    token, sent = current_settings().metrics_token, request.authorization
    if not token or sent is None or sent.type != "bearer":
        return False
    return hmac.compare_digest((sent.token or "").encode(), token.encode())


def _is_from_here() -> bool:
    """What a proxy on this machine hands on is not, even where nobody said that there is one."""
    is_handed_on = {"X-Forwarded-For", "Forwarded"} & set(request.headers.keys())
    if is_handed_on and not current_settings().trusted_proxies:
        return False
    return is_loopback(request.remote_addr or "")


@blueprint.get("/work")
@require(Permission.MONITOR)
def work() -> ResponseReturnValue:
    """What waits, who holds what, what has failed and why, and which workers live."""
    return render_template(
        "monitoring/work.html",
        problems=[check for check in checks() if check.problem],
        backlogs=[queries.backlog(kind) for kind in queries.kinds()],
        workers=queries.workers(),
        is_alive=queries.is_alive,
        shown=queries.SHOWN,
    )


@blueprint.get("/monitoring")
@require(Permission.MONITOR)
def overview() -> ResponseReturnValue:
    """How answers fare: agreement, abstention, calibration, times; and what drifts."""
    form = PeriodForm(request.args, reading_tasks())
    if not form.reading_task.data:
        return render_template("monitoring/nothing.html")
    watched = watch(
        form.chosen_task(),
        period=form.period(),
        step=form.step(),
        mark=request.args.get("group", ""),
    )
    return render_template("monitoring/overview.html", form=form, watch=watched)


@blueprint.post("/work/retry")
@require(Permission.RETRY_WORK)
def retry() -> ResponseReturnValue:
    """Have failed work done again, and go back to where it was listed."""
    kind, work_id = request.form.get("kind", ""), request.form.get("work_id", 0, type=int)
    if not 0 < work_id <= MAX_ID:
        raise Invalid("work_id")
    try:
        services.retry(actor=signed_in_user(), kind=kind, work_id=work_id)
    except Conflict:
        flash(_("This has not failed, or something else has taken its place."), "warning")
    else:
        flash(_("It is done again."), "good")
    return redirect(url_for("monitoring.work", _anchor=kind), 303)
