"""Sites, users, their roles, their sessions and their access tokens."""

import datetime as dt
import enum

from sqlalchemy import JSON, CheckConstraint, Column, ForeignKey, String, Table, false
from sqlalchemy.orm import Mapped, mapped_column, relationship

from webapp.db import Base, now, value_enum
from webapp.permissions import Permission, Role, Scope


class Language(enum.StrEnum):
    """A language that pages are written in."""

    ENGLISH = "en"
    GERMAN = "de"

    @property
    def label(self) -> str:
        """Its own name for itself, which whoever looks for it can read."""
        return _LANGUAGE_LABELS[self]


_LANGUAGE_LABELS = {Language.ENGLISH: "English", Language.GERMAN: "Deutsch"}

user_sites = Table(
    "user_sites",
    Base.metadata,
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("site_id", ForeignKey("sites.id", ondelete="RESTRICT"), primary_key=True),
)


class Site(Base):
    """A hospital or department. Its patients are seen by its users only."""

    __tablename__ = "sites"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(120), unique=True)
    created_at: Mapped[dt.datetime]
    own_impression_first: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Clinicians say what they see before they are shown what the model or a colleague says."""


class UserRole(Base):
    """One role of one user; roles combine."""

    __tablename__ = "user_roles"

    user_id: Mapped[int] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    role: Mapped[Role] = mapped_column(value_enum(Role), primary_key=True)


class User(Base):
    """Someone who can sign in."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("username = lower(username)", name="username_lower"),
        CheckConstraint(
            "password_is_one_time OR password_issued_by_id IS NULL", name="own_password_not_issued"
        ),
    )

    is_anonymous = False
    is_authenticated = True

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(80), unique=True)
    full_name: Mapped[str] = mapped_column(String(120))
    password_hash: Mapped[str] = mapped_column(String(200))
    password_is_one_time: Mapped[bool]
    password_issued_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    """The administrator who handed out the one-time password; None if a terminal showed it."""
    password_changed_at: Mapped[dt.datetime]
    created_at: Mapped[dt.datetime]
    disabled_at: Mapped[dt.datetime | None]
    language: Mapped[Language | None] = mapped_column(value_enum(Language))
    """None for the one that the browser asks for."""

    user_roles: Mapped[list[UserRole]] = relationship(cascade="all, delete-orphan", lazy="selectin")
    sites: Mapped[list[Site]] = relationship(secondary=user_sites, lazy="selectin")

    @property
    def is_active(self) -> bool:
        return self.disabled_at is None

    @property
    def roles(self) -> frozenset[Role]:
        return frozenset(row.role for row in self.user_roles)

    @property
    def permissions(self) -> frozenset[Permission]:
        return frozenset().union(*(role.permissions for role in self.roles))

    @property
    def site_ids(self) -> frozenset[int]:
        return frozenset(site.id for site in self.sites)

    def can(self, permission: Permission) -> bool:
        return permission in self.permissions


class UserSession(Base):
    """A browser in which a user is signed in, known by the hash of its token."""

    __tablename__ = "user_sessions"

    token_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[dt.datetime]
    last_active_at: Mapped[dt.datetime]

    user: Mapped[User] = relationship(lazy="joined")


class ApiToken(Base):
    """What a program acts with in a user's name, known by the hash of a secret that was shown once.

    The row stays when the token has ended: the record speaks of it.
    """

    __tablename__ = "api_tokens"
    __table_args__ = (CheckConstraint("expires_at > created_at", name="expires_after_it_was_made"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    name: Mapped[str] = mapped_column(String(80))
    """What the user calls it, to know it again."""
    token_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[str]] = mapped_column(JSON)
    created_at: Mapped[dt.datetime]
    expires_at: Mapped[dt.datetime]
    last_used_at: Mapped[dt.datetime | None]
    revoked_at: Mapped[dt.datetime | None]

    user: Mapped[User] = relationship(lazy="joined")

    @property
    def has_expired(self) -> bool:
        return self.expires_at <= now()

    @property
    def is_live(self) -> bool:
        """Whether a program can act with it."""
        return self.revoked_at is None and not self.has_expired and self.user.is_active

    @property
    def scope_labels(self) -> list[str]:
        return [str(Scope(scope).label) for scope in self.scopes]


class SignInFailure(Base):
    """A refused attempt to sign in, kept as long as it counts against the next ones."""

    __tablename__ = "sign_in_failures"

    id: Mapped[int] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(String(160), index=True)
    failed_at: Mapped[dt.datetime]
