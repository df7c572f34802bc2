"""Signing in and out, passwords, and what administrators do to users and sites."""

import datetime as dt
import re
import secrets
from collections.abc import Collection
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError

from webapp import audit
from webapp.accounts import queries
from webapp.accounts.models import (
    ApiToken,
    Language,
    Site,
    User,
    UserRole,
    UserSession,
)
from webapp.accounts.passwords import (
    check_rules,
    hash_password,
    needs_rehash,
    new_one_time_password,
    verify_password,
)
from webapp.accounts.reasons import Reason
from webapp.accounts.throttling import count_attempt, forget_attempts, record_refusal
from webapp.db import Lock, db, hold, now, transaction
from webapp.errors import Invalid
from webapp.permissions import Permission, Role

NAME_LENGTH_MAX = 120
USERNAME = re.compile(r"[a-z0-9][a-z0-9._@-]{1,79}")

ACTIVITY_STEP = dt.timedelta(seconds=30)

# Passwords


def change_password(
    *, actor: User, current_password: str, new_password: str, remote_address: str
) -> str:
    """Give oneself another password; ends all of one's sessions and access tokens, and returns a
    new session's token.

    Raises:
        Throttled: too many wrong passwords lately.
        Invalid: the present password is wrong, or the new one breaks a rule.
    """
    check_rules(new_password, username=actor.username)
    if new_password == current_password:
        raise Invalid(Reason.PASSWORD_UNCHANGED)
    checked_hash = actor.password_hash
    _try_own_password(actor, current_password, remote_address)
    password_hash = hash_password(new_password)
    with transaction():
        hold(Lock.SIGN_IN)
        user = locked(actor)
        if user.disabled_at is not None or user.password_hash != checked_hash:
            raise Invalid(Reason.WRONG_PRESENT_PASSWORD)  # changed while it was checked
        forget_attempts(username=user.username, remote_address=remote_address)
        _set_own_password(user, password_hash)
        _end_sessions(user)
        _end_tokens(user)
        token = _start_session(user)
        audit.record(actor=user, action="account.password_changed", subject=user)
    return token


def check_own_password(*, actor: User, password: str, remote_address: str) -> None:
    """Whether it is one's present password; counts against guessing as every attempt does.

    Raises:
        Throttled: too many wrong passwords lately.
        Invalid: it is not.
    """
    _try_own_password(actor, password, remote_address)
    with transaction():
        hold(Lock.SIGN_IN)
        forget_attempts(username=actor.username, remote_address=remote_address)


def _try_own_password(actor: User, password: str, remote_address: str) -> None:
    count_attempt(username=actor.username, remote_address=remote_address)
    if not verify_password(password, actor.password_hash):
        raise Invalid(Reason.WRONG_PRESENT_PASSWORD)


def set_password(*, actor: User | None, user: User, password: str) -> None:
    """Give a user a lasting password, as the command line does; ends all of their sessions and
    access tokens.

    Raises:
        Invalid: it breaks a rule.
    """
    check_rules(password, username=user.username)
    password_hash = hash_password(password)
    with transaction():
        user = locked(user)
        _set_own_password(user, password_hash)
        _end_sessions(user)
        _end_tokens(user)
        audit.record(actor=actor, action="account.password_changed", subject=user)


def reset_password(*, actor: User | None, user: User) -> str:
    """Make a one-time password, which is returned this once; ends all of the user's sessions and
    access tokens."""
    password = new_one_time_password()
    password_hash = hash_password(password)
    with transaction():
        user = locked(user)
        user.password_hash = password_hash
        user.password_is_one_time = True
        user.password_issued_by_id = actor.id if actor else None
        user.password_changed_at = now()
        _end_sessions(user)
        _end_tokens(user)
        audit.record(actor=actor, action="user.password_reset", subject=user)
    return password


def one_time_passwords_standing() -> list[str]:
    """Enabled users whose one-time password was shown in a terminal and would still let them in.

    Those that an administrator handed out from the page are not among them: a restart must not
    fail because a new colleague has not signed in yet.
    """
    handed_out = select(User).where(
        User.password_is_one_time,
        User.password_issued_by_id.is_(None),
        User.disabled_at.is_(None),
    )
    users = db.session.scalars(handed_out.order_by(User.username))
    return [user.username for user in users if not queries.one_time_password_expired(user)]


def _set_own_password(user: User, password_hash: str) -> None:
    user.password_hash = password_hash
    user.password_is_one_time = False
    user.password_issued_by_id = None
    user.password_changed_at = now()


# Sessions


def sign_in(*, username: str, password: str, remote_address: str) -> str:
    """Check a password and start a session; returns its token, which only the browser keeps.

    Unknown, disabled and known users take the same work and get the same answer.

    Raises:
        Throttled: too many failures of this name, known or not, or from this address.
        Invalid: the name or the password is wrong, or a one-time password has expired.
    """
    count_attempt(username=username, remote_address=remote_address)
    user = queries.user_named(username)
    is_right = verify_password(password, user.password_hash if user else None)
    if user is None or not is_right or not user.is_active:
        record_refusal(user, Reason.WRONG_PASSWORD)
        raise Invalid(Reason.WRONG_PASSWORD)
    if queries.one_time_password_expired(user):
        record_refusal(user, Reason.ONE_TIME_PASSWORD_EXPIRED)
        raise Invalid(Reason.ONE_TIME_PASSWORD_EXPIRED)
    checked_hash = user.password_hash
    renewed_hash = hash_password(password) if needs_rehash(checked_hash) else ""
    with transaction():
        hold(Lock.SIGN_IN)
        user = locked(user)
        if user.disabled_at is not None or user.password_hash != checked_hash:
            raise Invalid(Reason.WRONG_PASSWORD)  # changed while the password was checked
        if renewed_hash:
            user.password_hash = renewed_hash
        forget_attempts(username=user.username, remote_address=remote_address)
        db.session.execute(
            delete(UserSession).where(UserSession.last_active_at < now() - queries.idle_limit())
        )
        token = _start_session(user)
        audit.record(actor=user, action="account.signed_in", subject=user)
    return token


def sign_out(*, actor: User, token: str) -> None:
    """End one session."""
    with transaction():
        db.session.execute(
            delete(UserSession).where(UserSession.token_sha256 == queries.token_hash(token))
        )
        audit.record(actor=actor, action="account.signed_out", subject=actor)


def keep_alive(session: UserSession) -> None:
    """Count the session as active now; written at most every 30 seconds."""
    moment = now()
    if moment - session.last_active_at < ACTIVITY_STEP:
        return
    with transaction():
        db.session.execute(
            update(UserSession)
            .where(UserSession.token_sha256 == session.token_sha256)
            .values(last_active_at=moment)
        )


def _start_session(user: User) -> str:
    token = secrets.token_urlsafe(32)
    moment = now()
    db.session.add(
        UserSession(
            token_sha256=queries.token_hash(token),
            user_id=user.id,
            created_at=moment,
            last_active_at=moment,
        )
    )
    return token


def _end_sessions(user: User) -> None:
    db.session.execute(delete(UserSession).where(UserSession.user_id == user.id))


def _end_tokens(user: User) -> None:
    db.session.execute(
        update(ApiToken)
        .where(ApiToken.user_id == user.id, ApiToken.revoked_at.is_(None))
        .values(revoked_at=now())
    )


# Users and sites


FIRST_ACCOUNTS = (
    ("admin", "Administrator", Role.ADMINISTRATOR),
    ("approver", "Approver", Role.APPROVER),
    ("clinician", "Clinician", Role.CLINICIAN),
)


def create_first_accounts() -> list[tuple[str, str]]:
    """For the very first start: a site, an administrator, somebody who approves the models that the
    administrator asks for, a clinician, and their one-time passwords.

    Does nothing where there is any user.
    """
    passwords = {username: new_one_time_password() for username, _, _ in FIRST_ACCOUNTS}
    hashes = {username: hash_password(password) for username, password in passwords.items()}
    with transaction():
        hold(Lock.CHANGE_ADMINISTRATORS)
        if queries.any_user():
            return []
        site = create_site(actor=None, name="Main site")
        for username, full_name, role in FIRST_ACCOUNTS:
            _add_user(
                actor=None,
                username=username,
                full_name=full_name,
                roles={role},
                sites=[site],
                password_hash=hashes[username],
            )
    return list(passwords.items())


def create_user(
    *,
    actor: User | None,
    username: str,
    full_name: str,
    roles: Collection[Role],
    sites: Collection[Site],
) -> tuple[User, str]:
    """Add a user; returns also their one-time password, which is not kept.

    Raises:
        Invalid: with the `Reason`.
    """
    password = new_one_time_password()
    password_hash = hash_password(password)
    with transaction():
        user = _add_user(
            actor=actor,
            username=username.strip().lower(),
            full_name=full_name,
            roles=roles,
            sites=sites,
            password_hash=password_hash,
        )
    return user, password


def update_user(
    *,
    actor: User | None,
    user: User,
    full_name: str | None = None,
    roles: Collection[Role] | None = None,
    sites: Collection[Site] | None = None,
) -> None:
    """Change what is given; other roles or sites end all of the user's sessions.

    Raises:
        Invalid: with the `Reason`.
    """
    with transaction():
        hold(Lock.CHANGE_ADMINISTRATORS)
        user = locked(user)
        old_roles, old_site_ids = user.roles, user.site_ids
        new_roles = frozenset(old_roles if roles is None else roles)
        new_sites = list(user.sites if sites is None else sites)
        new_name = checked_name(user.full_name if full_name is None else full_name)
        if new_roles != old_roles and actor is not None and actor.id == user.id:
            raise Invalid(Reason.OWN_ROLES)
        if Role.ADMINISTRATOR not in new_roles:
            _check_not_last_administrator(user)
        _check_access(new_roles, new_sites)
        changes: dict[str, dict[str, Any]] = {}
        if new_name != user.full_name:
            user.full_name = new_name
            changes["user.renamed"] = {}
        if new_roles != old_roles:
            _give_roles(user, new_roles)
            changes["user.roles_changed"] = {
                "before": sorted(old_roles),
                "after": sorted(new_roles),
            }
        new_site_ids = {site.id for site in new_sites}
        if new_site_ids != old_site_ids:
            user.sites = new_sites
            changes["user.sites_changed"] = {
                "before": sorted(old_site_ids),
                "after": sorted(new_site_ids),
            }
        if changes.keys() - {"user.renamed"}:
            _end_sessions(user)
        for action, detail in changes.items():
            audit.record(actor=actor, action=action, subject=user, **detail)


def choose_language(*, actor: User, language: Language | None) -> None:
    """Have one's pages in this language; None for the one that the browser asks for."""
    with transaction():
        user = locked(actor)
        if user.language is language:
            return
        user.language = language
        audit.record(
            actor=actor, action="account.language_changed", subject=user, language=language
        )


def disable_user(*, actor: User | None, user: User) -> None:
    """Let a user no longer sign in, and end all of their sessions and access tokens. Nothing if
    they are disabled.

    Raises:
        Invalid: it is the actor's own account, or that of the last administrator.
    """
    with transaction():
        hold(Lock.CHANGE_ADMINISTRATORS)
        user = locked(user)
        if actor is not None and actor.id == user.id:
            raise Invalid(Reason.OWN_ACCOUNT)
        _check_not_last_administrator(user)
        if user.disabled_at is not None:
            return
        user.disabled_at = now()
        _end_sessions(user)
        _end_tokens(user)
        audit.record(actor=actor, action="user.disabled", subject=user)


def enable_user(*, actor: User | None, user: User) -> None:
    """Let a disabled user sign in again, with the password that they had."""
    with transaction():
        user = locked(user)
        if user.disabled_at is None:
            return
        user.disabled_at = None
        audit.record(actor=actor, action="user.enabled", subject=user)


def create_site(*, actor: User | None, name: str) -> Site:
    """Add a hospital or department.

    Raises:
        Invalid: the name is empty, too long, or taken.
    """
    site = Site(name=checked_name(name), created_at=now())
    with transaction():
        if queries.site_named(site.name):
            raise Invalid(Reason.SITE_TAKEN)
        db.session.add(site)
        _flush_unique(Reason.SITE_TAKEN)
        audit.record(actor=actor, action="site.created", subject=site, name=site.name)
    return site


def ask_own_impression_first(*, actor: User | None, site: Site, is_asked: bool) -> None:
    """Have the clinicians of a site say what they see before they are shown an answer, or not."""
    with transaction():
        site = db.session.get_one(Site, site.id, with_for_update=True, populate_existing=True)
        if site.own_impression_first == is_asked:
            return
        site.own_impression_first = is_asked
        audit.record(
            actor=actor,
            action="site.own_impression_changed",
            subject=site,
            site_id=site.id,
            is_asked=is_asked,
        )


def _add_user(
    *,
    actor: User | None,
    username: str,
    full_name: str,
    roles: Collection[Role],
    sites: Collection[Site],
    password_hash: str,
) -> User:
    if not USERNAME.fullmatch(username):
        raise Invalid(Reason.USERNAME_FORM)
    _check_access(roles, sites)
    moment = now()
    user = User(
        username=username,
        full_name=checked_name(full_name),
        password_hash=password_hash,
        password_is_one_time=True,
        password_issued_by_id=actor.id if actor else None,
        password_changed_at=moment,
        created_at=moment,
        sites=list(sites),
    )
    _give_roles(user, roles)
    db.session.add(user)
    _flush_unique(Reason.USERNAME_TAKEN)
    audit.record(
        actor=actor,
        action="user.created",
        subject=user,
        username=username,
        roles=sorted(roles),
        sites=sorted(user.site_ids),
    )
    return user


def _flush_unique(reason: Reason) -> None:
    try:
        db.session.flush()
    except IntegrityError as error:
        raise Invalid(reason) from error


def _give_roles(user: User, roles: Collection[Role]) -> None:
    kept = [row for row in user.user_roles if row.role in roles]
    added = [UserRole(role=role) for role in sorted(set(roles) - user.roles)]
    user.user_roles = kept + added


def checked_name(name: str, length_max: int = NAME_LENGTH_MAX) -> str:
    """The name as it is kept: in one line, and without characters that nobody sees."""
    name = "".join(character for character in " ".join(name.split()) if character.isprintable())
    name = name.strip()
    if not 1 <= len(name) <= length_max:
        raise Invalid(Reason.NAME_NEEDED)
    return name


def _check_access(roles: Collection[Role], sites: Collection[Site]) -> None:
    if not roles:
        raise Invalid(Reason.ROLE_NEEDED)
    sees_patients = any(Permission.VIEW_CASES in role.permissions for role in roles)
    if sees_patients and not sites:
        raise Invalid(Reason.SITE_NEEDED)


def _check_not_last_administrator(user: User) -> None:
    others = (
        select(User.id)
        .join(User.user_roles)
        .where(
            UserRole.role == Role.ADMINISTRATOR,
            User.disabled_at.is_(None),
            User.id != user.id,
        )
    )
    is_administrator = user.is_active and Role.ADMINISTRATOR in user.roles
    if is_administrator and db.session.scalar(others.limit(1)) is None:
        raise Invalid(Reason.LAST_ADMINISTRATOR)


def locked(user: User) -> User:
    """The user's row as it is now, held to the end of the transaction."""
    return db.session.get_one(User, user.id, with_for_update=True, populate_existing=True)
