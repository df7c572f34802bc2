"""Starting a network from a bundle's weights: ``init = "bundle:<sha256 or folder or name>"``."""

import hashlib
import os
import re
from pathlib import Path

import torch

from ml import bundle as bundles
from ml.bundle import FACTS, INSTALLED, Bundle
from ml.networks import Reader

PREFIX = "bundle:"
SHIPPED = Path(__file__).parent / "bundles"


def bundle_of(init: str) -> Bundle | None:
    """The bundle that a recipe's ``init`` names; None when it names another start.

    Raises as ``find_bundle`` does.
    """
    return find_bundle(init.removeprefix(PREFIX)) if init.startswith(PREFIX) else None


def find_bundle(source: str, shipped: Path = SHIPPED) -> Bundle:
    """The bundle that ``source`` means: its folder, its SHA-256, or the newest of a name.

    Raises ValueError when there is none, BundleError when it is spoilt.
    """
    if (Path(source) / FACTS).is_file():
        return bundles.load(Path(source))
    versions = [file.parent for file in shipped.glob(f"*/*/{FACTS}")]
    named = [folder for folder in versions if folder.parent.name == source]
    if named:
        return bundles.load(max(named, key=_version))
    for folder in versions:
        if hashlib.sha256((folder / FACTS).read_bytes()).hexdigest() == source:
            return bundles.load(folder)
    installed = Path(os.environ.get(INSTALLED, shipped)) / source
    if (installed / FACTS).is_file():
        return bundles.load(installed)
    raise ValueError(f"no bundle {source}: neither a folder, nor a hash or name under {shipped}")


def start_from(reader: Reader, bundle: Bundle, codes: tuple[str, ...]) -> None:
    """Copy the bundle's weights into ``reader``, which is to tell ``codes`` apart.

    The backbone must be the same network's. All else (head, metadata branch) is taken over where
    it fits and the bundle has the very same findings; otherwise it stays as it was made.
    Raises ValueError when the backbone is another.
    """
    prefix = "network."
    stored = {
        name.removeprefix(prefix): torch.from_numpy(value)
        for name, value in bundle.tensors().items()
        if name.startswith(prefix)
    }
    own = reader.state_dict()
    for name, value in stored.items():
        if name in own and own[name].ndim == 0 and value.numel() == 1:
            stored[name] = value.reshape(())  # the first bundles gave scalars a dimension
    for part in (stored, own):
        for name in part:
            if name.startswith("backbone.") and not _fits(name, stored, own):
                raise ValueError(f"{bundle.path} holds another backbone: {name} does not fit")
    kept = own.keys() if bundle.codes == codes else [n for n in own if n.startswith("backbone.")]
    reader.load_state_dict({n: stored[n] for n in kept if _fits(n, stored, own)}, strict=False)


def _fits(name: str, stored: dict[str, torch.Tensor], own: dict[str, torch.Tensor]) -> bool:
    return name in stored and name in own and stored[name].shape == own[name].shape


def _version(folder: Path) -> tuple[int, ...]:
    """Sort key by which 1.10.0 is newer than 1.9.0."""
    return tuple(int(number) for number in re.findall(r"\d+", folder.name))
