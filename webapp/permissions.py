"""Who may do what: roles are sets of permissions, and every route names its rule."""

import enum
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from flask import current_app
from flask_babel import lazy_gettext as _l
from flask_login import current_user

from webapp.errors import Forbidden

if TYPE_CHECKING:
    from webapp.accounts.models import User  # which needs the roles

P = ParamSpec("P")
R = TypeVar("R")


class Permission(enum.StrEnum):
    """Something that a role allows."""

    VIEW_CASES = "view_cases"
    SUBMIT_CASES = "submit_cases"
    REVIEW_CASES = "review_cases"
    SECOND_READ = "second_read"
    VIEW_MODELS = "view_models"
    MANAGE_USERS = "manage_users"
    ERASE_PATIENTS = "erase_patients"
    """By their identifier, which somebody else has to tell: it lets nobody see a patient."""
    MANAGE_CATALOGUE = "manage_catalogue"
    READ_AUDIT = "read_audit"
    MANAGE_MODELS = "manage_models"
    """Data sets, snapshots, training, bundles; to ask that a model serve, and to take it back."""
    APPROVE_MODELS = "approve_models"
    MONITOR = "monitor"
    """How the installation does: queues, workers, agreement, drift; no patients."""
    RETRY_WORK = "retry_work"
    """Have failed work of anyone's done again, without a look at it."""


class Role(enum.StrEnum):
    """A set of permissions that a user can be given; a user's roles combine."""

    CLINICIAN = "clinician"
    REVIEWER = "reviewer"
    """Reads signed cases a second time."""
    ADMINISTRATOR = "administrator"
    APPROVER = "approver"
    """Lets models serve that administrators ask for; no one approves what they asked for."""

    @property
    def label(self) -> str:
        return _LABELS[self]

    @property
    def permissions(self) -> frozenset[Permission]:
        return _GRANTS[self]


class Scope(enum.StrEnum):
    """What a program with a token may do, as far as its user may."""

    CASES_READ = "cases:read"
    CASES_WRITE = "cases:write"
    REVIEWS_WRITE = "reviews:write"

    @property
    def label(self) -> str:
        return _SCOPE_LABELS[self]

    @property
    def permission(self) -> Permission:
        """What its user needs for it to be worth anything."""
        return _SCOPE_PERMISSIONS[self]


_SCOPE_LABELS = {
    Scope.CASES_READ: _l("Read cases, and what was found in them"),
    Scope.CASES_WRITE: _l("Send cases"),
    Scope.REVIEWS_WRITE: _l("Sign decisions in your name"),
}
_SCOPE_PERMISSIONS = {
    Scope.CASES_READ: Permission.VIEW_CASES,
    Scope.CASES_WRITE: Permission.SUBMIT_CASES,
    Scope.REVIEWS_WRITE: Permission.REVIEW_CASES,
}
_LABELS = {
    Role.CLINICIAN: _l("Clinician"),
    Role.REVIEWER: _l("Second reader"),
    Role.ADMINISTRATOR: _l("Administrator"),
    Role.APPROVER: _l("Approver of models"),
}
_GRANTS = {
    Role.CLINICIAN: frozenset(
        {
            Permission.VIEW_CASES,
            Permission.SUBMIT_CASES,
            Permission.REVIEW_CASES,
            Permission.VIEW_MODELS,
        }
    ),
    Role.REVIEWER: frozenset(
        {Permission.VIEW_CASES, Permission.SECOND_READ, Permission.VIEW_MODELS}
    ),
    Role.ADMINISTRATOR: frozenset(
        {
            Permission.MANAGE_USERS,
            Permission.ERASE_PATIENTS,
            Permission.MANAGE_CATALOGUE,
            Permission.VIEW_MODELS,
            Permission.READ_AUDIT,
            Permission.MANAGE_MODELS,
            Permission.MONITOR,
            Permission.RETRY_WORK,
        }
    ),
    Role.APPROVER: frozenset(
        {Permission.VIEW_MODELS, Permission.APPROVE_MODELS, Permission.MONITOR}
    ),
}


def public(view: Callable[P, R]) -> Callable[P, R]:
    """Rule of a route that anyone may use."""
    view.rule = "public"  # type: ignore[attr-defined]  # a function carries its rule for the test
    return view


def poll(view: Callable[P, R]) -> Callable[P, R]:
    """Mark a route that pages call by themselves: it does not keep a session from ending."""
    view.is_poll = True  # type: ignore[attr-defined]  # carried for `security`
    return view


def takes_images(view: Callable[P, R]) -> Callable[P, R]:
    """Mark a route that may be sent images: from signed-in users only, and much at once."""
    view.takes_images = True  # type: ignore[attr-defined]  # carried for `security`
    return view


def takes_archive(view: Callable[P, R]) -> Callable[P, R]:
    """As `takes_images`, and one file may be as large as an archive of them."""
    view.takes_archive = True  # type: ignore[attr-defined]  # carried for `security`
    return takes_images(view)


def signed_in_user() -> "User":
    """Who acts: the user behind Flask-Login's proxy, which knows them in this thread only."""
    user: User = current_user._get_current_object()
    return user


def signed_in(view: Callable[P, R]) -> Callable[P, R]:
    """Rule of a route that every signed-in user may use."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        if not current_user.is_authenticated:
            manager = current_app.login_manager  # type: ignore[attr-defined]  # Flask-Login's
            return manager.unauthorized()
        return view(*args, **kwargs)

    guarded.rule = "signed_in"  # type: ignore[attr-defined]  # carried for the test
    return guarded


def require(permission: Permission) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Rule of a route that needs a permission.

    Raises:
        Forbidden: the signed-in user's roles do not grant it.
    """

    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        @signed_in
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            if not current_user.can(permission):
                raise Forbidden(permission)
            return view(*args, **kwargs)

        guarded.rule = permission  # type: ignore[attr-defined]  # carried for the test
        return guarded

    return decorate
