"""The heartbeat: keeps a claim while its process lives and is within its time."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Self

from flask import Flask, current_app
from sqlalchemy.exc import SQLAlchemyError

from webapp.assessments import services
from webapp.config import current_settings

log = logging.getLogger(__name__)

KEPT_SECONDS = 60
"""A claim is not kept for longer than this: a model that hangs gives its work back."""


class Heartbeat:
    """Extends the lease of the latest claim, in a thread of its own, until the `with` ends.

    `extend` is the service that keeps this kind of work.
    """

    def __init__(
        self, extend: Callable[..., bool] | None = None, *, kept_seconds: float = KEPT_SECONDS
    ) -> None:
        self._extend = extend or services.extend_lease
        # Behind the proxy, which knows its application in this thread only.
        self._app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
        self._lease_seconds = current_settings().lease_seconds
        self._kept_seconds = kept_seconds
        self._held: tuple[str, float] | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def keep(self, lease_token: str) -> None:
        """Keep this claim from now on, in place of the one before."""
        self._held = (lease_token, time.monotonic() + self._kept_seconds)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._ended.wait(self._lease_seconds / 3):
            if self._held is None:
                continue
            lease_token, until = self._held
            if time.monotonic() > until:
                continue
            try:
                with self._app.app_context():
                    self._extend(lease_token=lease_token, lease_seconds=self._lease_seconds)
            except SQLAlchemyError:
                log.warning("the lease could not be extended", exc_info=True)
