"""Access tokens: what a program shows in place of a password."""

import datetime as dt
import secrets
from collections.abc import Collection

from webapp import audit
from webapp.accounts import queries
from webapp.accounts.models import ApiToken, User
from webapp.accounts.reasons import Reason
from webapp.accounts.services import ACTIVITY_STEP, check_own_password, checked_name, locked
from webapp.accounts.throttling import count_wrong_token
from webapp.db import db, now, transaction
from webapp.errors import Conflict, Invalid, NotFound
from webapp.permissions import Scope

TOKEN_MARK = "firstlook_"
"""What every access token begins with, so that tools which look for lost secrets know one."""
TOKEN_LIFETIME_MAX = dt.timedelta(days=366)
TOKENS_MAX = 20


def create_token(
    *,
    actor: User,
    name: str,
    scopes: Collection[Scope],
    lifetime: dt.timedelta,
    password: str,
    remote_address: str,
) -> str:
    """Make an access token for a program; returns its secret, which is not kept.

    It outlives the session in which it is made, so that takes the password.

    Raises:
        Throttled: too many wrong passwords lately.
        Invalid: the password is wrong, or with another `Reason`.
        Conflict: `too_many_tokens`: the actor has `limit` of them.
    """
    name = checked_name(name, ApiToken.name.type.length)
    if not scopes or not all(actor.can(scope.permission) for scope in scopes):
        raise Invalid(Reason.SCOPE_NEEDED)
    if not dt.timedelta() < lifetime <= TOKEN_LIFETIME_MAX:
        raise Invalid(Reason.LIFETIME)
    checked_hash = actor.password_hash
    check_own_password(actor=actor, password=password, remote_address=remote_address)
    secret = TOKEN_MARK + secrets.token_urlsafe(32)
    moment = now()
    with transaction():
        user = locked(actor)
        if user.disabled_at is not None or user.password_hash != checked_hash:
            raise Invalid(Reason.WRONG_PRESENT_PASSWORD)  # changed while it was checked
        if len(queries.api_tokens(user)) >= TOKENS_MAX:
            raise Conflict("too_many_tokens", limit=TOKENS_MAX)
        token = ApiToken(
            user=user,
            name=name,
            token_sha256=queries.token_hash(secret),
            scopes=sorted(scopes),
            created_at=moment,
            expires_at=moment + lifetime,
        )
        db.session.add(token)
        audit.record(
            actor=actor,
            action="token.created",
            subject=token,
            scopes=token.scopes,
            expires_at=token.expires_at.isoformat(timespec="seconds"),
        )
    return secret


def revoke_token(*, actor: User, token_id: int) -> None:
    """End one of one's own access tokens.

    Raises:
        NotFound: the actor has no such token.
    """
    with transaction():
        token = db.session.get(ApiToken, token_id, with_for_update={"of": ApiToken})
        if token is None or token.user_id != actor.id or token.revoked_at is not None:
            raise NotFound("token", token_id=token_id)
        token.revoked_at = now()
        audit.record(actor=actor, action="token.revoked", subject=token)


def use_token(*, secret: str, remote_address: str) -> ApiToken | None:
    """The access token with this secret, counted as used; None if there is none or it has ended.

    Nobody guesses one, so a right one is never kept waiting, whatever its neighbours at the same
    address send.

    Raises:
        Throttled: it is wrong, as too many from this address were lately.
    """
    token = queries.api_token(secret)
    if token is None or not token.is_live:
        with transaction():
            count_wrong_token(remote_address=remote_address)
            audit.record(actor=None, action="token.refused", subject=token)
        return None
    moment = now()
    if token.last_used_at is None or moment - token.last_used_at >= ACTIVITY_STEP:
        with transaction():
            token.last_used_at = moment
    return token
