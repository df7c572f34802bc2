"""Libraries that take longer to load than torch itself: each is loaded at its first use."""

from importlib import import_module
from typing import Any


def library(name: str) -> Any:
    """A library of networks, or a part of one, beside any torch (see ``ml.torchvision_shim``)."""
    import_module("ml.torchvision_shim")
    return import_module(name)
