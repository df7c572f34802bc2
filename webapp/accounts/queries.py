"""Reads of users, sites, sessions and access tokens."""

import datetime as dt
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Select, func, select
from sqlalchemy.orm import joinedload

from webapp.accounts.models import ApiToken, Site, User, UserRole, UserSession
from webapp.audit import AuditEvent
from webapp.config import current_settings
from webapp.db import db, now
from webapp.errors import NotFound
from webapp.permissions import Permission, Role

ONE_TIME_PASSWORD_AGE = dt.timedelta(days=7)
RECORD_PAGE_SIZE = 50
RECORD_COUNT_CAP = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFilters:
    """Which rows of the record; None and "" leave all."""

    actor_id: int | None = None
    is_without_actor: bool = False
    """What the system did, or someone who was not signed in."""
    action: str = ""
    day: dt.date | None = None
    """In UTC."""


@dataclass(frozen=True, slots=True)
class RecordPage:
    """Some rows of the record, newest first."""

    events: Sequence[AuditEvent]
    has_older: bool
    total: int
    """Rows on all pages, counted no further than `RECORD_COUNT_CAP`."""
    total_is_capped: bool


def get_user(user_id: int) -> User:
    """
    Raises:
        NotFound: there is none.
    """
    user = db.session.get(User, user_id)
    if user is None:
        raise NotFound("user")
    return user


def user_named(username: str) -> User | None:
    """The user of that name, however it is capitalised."""
    if not username.isprintable():
        return None  # no name has such characters, and PostgreSQL takes no NUL even to look for it
    return db.session.scalar(select(User).where(User.username == username.strip().lower()))


def all_users() -> Sequence[User]:
    """Enabled users first, then by name."""
    order = (User.disabled_at.is_not(None), User.full_name, User.id)
    return db.session.scalars(select(User).order_by(*order)).all()


def users_who_may(permission: Permission) -> Sequence[User]:
    """Enabled users with a role that allows something, by name."""
    roles = [role for role in Role if permission in role.permissions]
    return db.session.scalars(
        select(User)
        .where(User.disabled_at.is_(None), User.user_roles.any(UserRole.role.in_(roles)))
        .order_by(User.full_name, User.id)
    ).all()


def any_user() -> bool:
    return db.session.scalar(select(User.id).limit(1)) is not None


def all_sites() -> Sequence[Site]:
    """By name."""
    return db.session.scalars(select(Site).order_by(Site.name)).all()


def sites_by_id(site_ids: Iterable[int]) -> list[Site]:
    """
    Raises:
        NotFound: one of them is not there.
    """
    wanted = set(site_ids)
    sites = db.session.scalars(select(Site).where(Site.id.in_(wanted)).order_by(Site.name)).all()
    if len(sites) != len(wanted):
        raise NotFound("site")
    return list(sites)


def get_site(site_id: int) -> Site:
    """
    Raises:
        NotFound: there is none.
    """
    site = db.session.get(Site, site_id)
    if site is None:
        raise NotFound("site")
    return site


def site_named(name: str) -> Site | None:
    return db.session.scalar(select(Site).where(Site.name == name.strip()))


def token_hash(token: str) -> str:
    """What is stored of a session's or a program's token: the database alone lets nobody in.

    A token is 256 random bits, so a quick hash is enough: there is nothing to guess.
    """
    return hashlib.sha256(token.encode()).hexdigest()


def live_session(token: str) -> UserSession | None:
    """The session of a token, unless it was idle for too long or its user was disabled."""
    session = db.session.scalar(
        select(UserSession)
        .options(joinedload(UserSession.user))
        .where(UserSession.token_sha256 == token_hash(token))
        .execution_options(populate_existing=True)
    )
    if session is None or not session.user.is_active or seconds_left(session) <= 0:
        return None
    return session


def seconds_left(session: UserSession) -> int:
    """How long a session lasts if nothing more is done in it."""
    idle = now() - session.last_active_at
    return int((idle_limit() - idle).total_seconds())


def idle_limit() -> dt.timedelta:
    return dt.timedelta(minutes=current_settings().idle_minutes)


def api_token(token: str) -> ApiToken | None:
    """The access token with this secret, even if it has ended."""
    return db.session.scalar(
        select(ApiToken)
        .where(ApiToken.token_sha256 == token_hash(token))
        .execution_options(populate_existing=True)
    )


def api_tokens(user: User) -> Sequence[ApiToken]:
    """A user's own that were not revoked, the latest first; expired ones are among them."""
    return db.session.scalars(
        select(ApiToken)
        .where(ApiToken.user_id == user.id, ApiToken.revoked_at.is_(None))
        .order_by(ApiToken.id.desc())
    ).all()


def one_time_password_expired(user: User) -> bool:
    """A password that was handed out and not changed in time."""
    age = now() - user.password_changed_at
    return user.password_is_one_time and age > ONE_TIME_PASSWORD_AGE


def names_of_users() -> Sequence[tuple[int, str, str]]:
    """Number, name and user name of every user, by name."""
    rows = db.session.execute(
        select(User.id, User.full_name, User.username).order_by(User.full_name, User.id)
    )
    return [(number, full_name, username) for number, full_name, username in rows]


def record_length() -> int:
    """How many rows the record has: they are numbered without gaps, which `verify` checks."""
    return db.session.scalar(select(func.max(AuditEvent.id))) or 0


def record_page(*, filters: RecordFilters, before: int | None = None) -> RecordPage:
    """The newest rows that fit; those older than row `before`, if it is given.

    The numbers are looked up first: for them an index is enough, however many rows fit.
    """
    matching = _matching_rows(filters)
    total = db.session.scalars(
        select(func.count()).select_from(matching.limit(RECORD_COUNT_CAP + 1).subquery())
    ).one()
    older = matching if before is None else matching.where(AuditEvent.id < before)
    ids = db.session.scalars(older.order_by(AuditEvent.id.desc()).limit(RECORD_PAGE_SIZE + 1)).all()
    events = db.session.scalars(
        select(AuditEvent)
        .where(AuditEvent.id.in_(ids[:RECORD_PAGE_SIZE]))
        .order_by(AuditEvent.id.desc())
    ).all()
    return RecordPage(
        events=events,
        has_older=len(ids) > RECORD_PAGE_SIZE,
        total=min(total, RECORD_COUNT_CAP),
        total_is_capped=total > RECORD_COUNT_CAP,
    )


def _matching_rows(filters: RecordFilters) -> Select[int]:
    """The numbers of the rows that fit.

    Rows are numbered in the order of their times, so a day is a range of numbers, whose ends an
    index gives at once.
    """
    matching = select(AuditEvent.id)
    if filters.actor_id is not None:
        matching = matching.where(AuditEvent.actor_id == filters.actor_id)
    if filters.is_without_actor:
        matching = matching.where(AuditEvent.actor_id.is_(None))
    if filters.action:
        matching = matching.where(AuditEvent.action == filters.action)
    if filters.day:
        start = dt.datetime.combine(filters.day, dt.time.min, dt.UTC)
        end = dt.datetime.combine(filters.day, dt.time.max, dt.UTC)
        at, number = AuditEvent.at, AuditEvent.id
        first = select(number).where(at >= start).order_by(at, number).limit(1)
        last = select(number).where(at <= end).order_by(at.desc(), number.desc()).limit(1)
        matching = matching.where(number.between(first.scalar_subquery(), last.scalar_subquery()))
    return matching
