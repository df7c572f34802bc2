"""How often a password or an access token may be tried.

Failures are rows: they hold for all web processes and after a restart. A library for rate limits
would count in one process's memory, or in the broker, without which signing in must still work.
"""

import datetime as dt
import hashlib
import ipaddress
import math
from collections.abc import Sequence

from sqlalchemy import delete, func, select

from webapp import audit
from webapp.accounts import queries
from webapp.accounts.models import SignInFailure, User
from webapp.accounts.reasons import Reason
from webapp.db import Lock, db, hold, now, transaction
from webapp.errors import Throttled

FAILURE_WINDOW = dt.timedelta(minutes=15)
# A password is guessed from one place: there a name has few attempts. Were they counted wherever
# they come from, anyone who knows a colleague's name could keep them signed out. All places
# together have more, so that guessing from many gets nowhere either.
FAILURES_PER_USER_AND_ADDRESS = 5
FAILURES_PER_USER = 30
FAILURES_PER_ADDRESS = 30
WRONG_TOKENS_PER_ADDRESS = 30


def count_attempt(*, username: str, remote_address: str) -> None:
    """Count an attempt before its password is hashed; a success takes it back.

    Raises:
        Throttled: the name or the address has had its share.
    """
    moment = now()
    limits = {
        _pair_subject(username, remote_address): FAILURES_PER_USER_AND_ADDRESS,
        _name_subject(username): FAILURES_PER_USER,
        _address_subject(remote_address): FAILURES_PER_ADDRESS,
    }
    with transaction():
        hold(Lock.SIGN_IN)
        db.session.execute(
            delete(SignInFailure).where(SignInFailure.failed_at <= moment - FAILURE_WINDOW)
        )
        free_at = {subject: _free_at(subject, limit) for subject, limit in limits.items()}
        blocked = {subject: free for subject, free in free_at.items() if free}
        if not blocked:
            db.session.add_all(SignInFailure(subject=name, failed_at=moment) for name in limits)
            return
        # One row of the record says that a name or an address is blocked. One for each attempt
        # would let anyone fill the disk.
        unsaid = [f"said {subject}" for subject in blocked if not _attempts(f"said {subject}", 1)]
        if unsaid:
            db.session.add_all(SignInFailure(subject=name, failed_at=moment) for name in unsaid)
            user = queries.user_named(username)
            record_refusal(user, Reason.WRONG_PASSWORD, throttled=True)
    wait = max(blocked.values()) - moment
    raise Throttled(retry_after_seconds=math.ceil(wait.total_seconds()))


def count_wrong_token(*, remote_address: str) -> None:
    """Count a wrong access token; what is limited is how much such ones can write.

    Raises:
        Throttled: too many from this address were counted lately.
    """
    subject = f"token {_address_subject(remote_address)}"
    moment = now()
    free_at = _free_at(subject, WRONG_TOKENS_PER_ADDRESS)
    if free_at is not None and free_at > moment:
        raise Throttled(retry_after_seconds=math.ceil((free_at - moment).total_seconds()))
    with transaction():
        db.session.add(SignInFailure(subject=subject, failed_at=moment))


def _free_at(subject: str, limit: int) -> dt.datetime | None:
    """When the oldest of the attempts that fill the limit no longer counts."""
    attempts = _attempts(subject, limit)
    return attempts[-1] + FAILURE_WINDOW if len(attempts) == limit else None


def _attempts(subject: str, limit: int) -> Sequence[dt.datetime]:
    latest_first = select(SignInFailure.failed_at).order_by(SignInFailure.id.desc()).limit(limit)
    return db.session.scalars(latest_first.where(SignInFailure.subject == subject)).all()


def forget_attempts(*, username: str, remote_address: str) -> None:
    """After a success: all of this name's, but for those from elsewhere to the few that one place
    has; and the one just counted of the address."""
    forgotten = _name_subject(username), _pair_subject(username, remote_address)
    db.session.execute(delete(SignInFailure).where(SignInFailure.subject.in_(forgotten)))
    latest = select(func.max(SignInFailure.id)).where(
        SignInFailure.subject == _address_subject(remote_address)
    )
    db.session.execute(delete(SignInFailure).where(SignInFailure.id == latest.scalar_subquery()))


def _name_subject(username: str) -> str:
    return f"name {hashlib.sha256(username.strip().lower().encode()).hexdigest()}"


def _pair_subject(username: str, remote_address: str) -> str:
    return f"{_name_subject(username)} {_address_subject(remote_address)}"


def _address_subject(remote_address: str) -> str:
    """An IPv6 customer has a whole /64 to try from."""
    try:
        address = ipaddress.ip_address(remote_address)
    except ValueError:
        return "address unknown"
    if address.version == 6:
        return f"address {ipaddress.ip_network((address, 64), strict=False)}"
    return f"address {address}"


def record_refusal(user: User | None, reason: Reason, *, throttled: bool = False) -> None:
    """What was typed as an unknown name is not kept: it may be a password in the wrong field."""
    with transaction():
        audit.record(
            actor=None,
            action="account.sign_in_refused",
            subject=user,
            username=user.username if user else None,
            reason=reason,
            throttled=throttled,
        )
