"""Hashing passwords, what a good one is, and making one-time passwords."""

import secrets
from functools import cache
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from webapp.accounts.reasons import Reason
from webapp.errors import Invalid

LENGTH_MIN = 12
LENGTH_MAX = 200

_ONE_TIME_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # nothing that reads like something else


def hash_password(password: str) -> str:
    """argon2id: 19 MiB, two passes, one lane."""
    return _hasher().hash(password)


def verify_password(password: str, password_hash: str | None) -> bool:
    """Whether it is the password; without a hash the same work is done, and the answer is no."""
    fallback = _nobodys_hash()  # asked for always, so that making it gives nothing away
    try:
        return _hasher().verify(password_hash or fallback, password)
    except (VerificationError, InvalidHashError):
        return False


def needs_rehash(password_hash: str) -> bool:
    """It was made with other parameters than today's."""
    return _hasher().check_needs_rehash(password_hash)


def broken_rules(password: str, *, username: str) -> list[Reason]:
    """Every rule that a new password breaks; none if it is a good one."""
    plain = password.strip().lower()
    rules = {
        Reason.PASSWORD_TOO_SHORT: len(password) < LENGTH_MIN,
        Reason.PASSWORD_TOO_LONG: len(password) > LENGTH_MAX,
        Reason.PASSWORD_IS_USERNAME: plain == username.lower(),
        Reason.PASSWORD_TOO_COMMON: plain in _commonest() or len(set(plain)) < 4,
    }
    return [reason for reason, is_broken in rules.items() if is_broken]


def check_rules(password: str, *, username: str) -> None:
    """
    Raises:
        Invalid: with the `Reason` of the first rule that is broken.
    """
    for reason in broken_rules(password, username=username):
        raise Invalid(reason)


def new_one_time_password() -> str:
    """Random, and easy to read out and type: 79 bits in groups of four."""
    groups = ("".join(secrets.choice(_ONE_TIME_ALPHABET) for _ in range(4)) for _ in range(4))
    return "-".join(groups)


@cache
def _hasher() -> PasswordHasher:
    return PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


@cache
def _nobodys_hash() -> str:
    return hash_password(secrets.token_hex())


@cache
def _commonest() -> frozenset[str]:
    return frozenset(Path(__file__).with_name("common_passwords.txt").read_text().split())
