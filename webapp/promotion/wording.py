"""Checks, refusals and figures in words, for the pages of comparisons."""

from collections.abc import Mapping
from typing import Any

from flask_babel import format_decimal
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from webapp.catalogue.wording import translated
from webapp.errors import Conflict
from webapp.promotion.plans import METRICS, PARTS, SUBGROUPS
from webapp.promotion.verdicts import Rule

MINUS = "\N{MINUS SIGN}"
NO_BREAK = "\N{NO-BREAK SPACE}"

FIGURES = {
    **METRICS,
    "expected_calibration_error": _l("Calibration error"),
}
"""Those that a comparison shows, all of 0 to 1."""

_RULES = {
    Rule.CALIBRATION: _l("Calibration error: upper limit of how much it grows"),
    Rule.ABSTENTION: _l("Images without an answer: upper limit of how much their share grows"),
    Rule.LATENCY: _l("Time an image takes, against the version that serves"),
    Rule.SIZE: _l("Size of the bundle"),
}

_REFUSALS = {
    "no_model": _l("No model serves this reading task, so there is nothing to compare with."),
    "serves": _l("This version serves now."),
    "not_to_serve": _l("This version was made only to be compared with."),
    "not_passed": _l("Only a version that has passed a comparison can be asked for."),
    "outdated": _l(
        "Another version serves, or another plan holds, than this comparison was made by. Compare"
        " again."
    ),
    "compare_first": _l("A version serves this reading task. Compare this one with it."),
    "not_first": _l(
        "Another version serves by now, or another plan holds than when this was asked for."
    ),
    "requested": _l("A request for this reading task is open. Decide on it first."),
    "decided": _l("Somebody has decided on this request."),
    "own_request": _l("You asked for this yourself: it takes a second person to approve it."),
    "not_named": _l("The plan for changes names others who approve."),
    "approved_already": _l("You have approved this. It takes one more person."),
    "too_few_approvers": _l(
        "Fewer people are named who may approve models than have to approve: nothing could ever"
        " serve."
    ),
    "changed": _l("Another version serves by now. Nothing was changed."),
    "nothing_before": _l("No version served before this one."),
    "plan_changed": _l(
        "The plan has changed since the page was loaded. Look at it again, and save yours if it"
        " still holds."
    ),
}


def refusal(conflict: Conflict) -> str:
    """Why something was not done."""
    return refused(conflict.reason)


def refused(reason: str) -> str:
    """The same of a code."""
    return str(_REFUSALS[reason])


def check_label(check: Mapping[str, Any], findings: Mapping[str, str]) -> str:
    """What a check is about; `findings` are names by codes."""
    about = check["about"]
    match Rule(check["rule"]):
        case Rule.METRIC:
            metric = METRICS[about["metric"]]
            return _("%(metric)s: lower limit of the difference", metric=metric)
        case Rule.CHANGE:
            return _("Changed: %(part)s", part=PARTS[about["part"]])
        case Rule.SUBGROUP:
            return _(
                "Sensitivity for %(finding)s, %(group)s: lower limit of the difference",
                finding=translated(findings[about["finding"]]),
                group=group_name(about),
            )
        case rule:
            return str(_RULES[rule])


def group_name(group: Mapping[str, Any]) -> str:
    """A subgroup by its `kind` and `name`, such as “Sex: female”."""
    return f"{SUBGROUPS.get(group['kind'], group['kind'])}: {group['name']}"


def check_value(check: Mapping[str, Any], name: str) -> str:
    """The `value` or the `limit` of a check in its unit; a word where there is none."""
    number = check[name]
    if number is None:
        return "" if Rule(check["rule"]) is Rule.CHANGE else _("undefined")
    match Rule(check["rule"]):
        case Rule.LATENCY:
            return _("%(ratio)s times", ratio=format_decimal(number, "0.00"))
        case Rule.SIZE:
            return f"{format_decimal(number, '0.0')}{NO_BREAK}MB"
        case _:
            return signed_points(number)


def signed_points(difference: float | None) -> str:
    """A difference of shares in percentage points, with its sign."""
    if difference is None:
        return _("undefined")
    sign = "+" if difference > 0 else MINUS if difference < 0 else ""
    return f"{sign}{format_decimal(abs(difference) * 100, '0.0')}"
