"""What can be refused, and the HTTP status that each refusal has.

Errors carry data; templates choose the words.
"""

from typing import Any


class DomainError(Exception):
    """A refusal that the user can be told about. `facts` says what a sentence needs to name."""

    status = 400

    def __init__(self, reason: str = "", **facts: Any) -> None:
        self.reason = str(reason)
        self.facts = facts
        super().__init__(self.reason, facts)


class NotFound(DomainError):
    """There is no such thing, or none that this user may know of."""

    status = 404


class Forbidden(DomainError):
    """The user's roles do not allow this."""

    status = 403


class Conflict(DomainError):
    """The thing has changed since, or is not in a state that allows this."""

    status = 409


class Invalid(DomainError):
    """The input cannot be accepted; `facts` maps field names to reasons where there are several."""

    status = 422


class Throttled(DomainError):
    """Too many attempts; `facts['retry_after_seconds']` says when to come back."""

    status = 429


class ImageRejected(Invalid):
    """An upload is not an image that can be kept; `reason` is an `imaging.Reason`."""
