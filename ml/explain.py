"""Why an answer is what it is: where the network looked, and what the metadata changed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ml.torchvision_shim  # noqa: F401  # isort: skip  (mends torchvision before Captum loads it)
import numpy as np
import numpy.typing as npt
import torch
from captum.attr import LayerGradCam
from PIL import Image
from torch import nn

from ml.bundle import Bundle
from ml.engines import TorchEngine
from ml.networks import Reader
from ml.predictor import Predictor

Array = npt.NDArray[np.float32]


class NoHeatMap(ValueError):
    """A network without convolutions has no layer whose activations lie over the picture."""


@dataclass(frozen=True)
class HeatMap:
    """Where a picture speaks for a finding."""

    finding: str
    warmth: Array
    """(rows, columns) of 0 to 1 over the frame that the network saw; all 0 where nothing did."""


class HeatMaps:
    """Makes heat maps with one bundle; keep it, since loading is what takes time."""

    def __init__(self, bundle: Bundle):
        """Load the network. Raises NoHeatMap when it has none of the layers that are looked at."""
        self.bundle = bundle
        self._reader = TorchEngine(bundle, "cpu").reader
        self._gradients = LayerGradCam(self._logits, last_convolution(self._reader))

    def _logits(self, pixels: torch.Tensor, metadata: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self._reader(pixels, metadata)[0]
        return logits

    def of(
        self, image: Image.Image, finding: str, metadata: Mapping[str, Any] | None = None
    ) -> HeatMap:
        """Grad-CAM (Selvaraju et al. 2017) of a finding, by its code, at the frame's resolution.

        Raises ValueError for a finding that the bundle does not know.
        """
        if finding not in self.bundle.codes:
            known = ", ".join(self.bundle.codes)
            raise ValueError(f"unknown finding {finding}; known are {known}")
        spec, target = self.bundle.preprocess, self.bundle.codes.index(finding)
        pixels = torch.from_numpy(spec.to_input([spec.frame(image)]))
        vector = self.bundle.metadata.encode(metadata or {}).vector
        warmth = self._gradients.attribute(
            pixels,
            target=target,
            additional_forward_args=(torch.from_numpy(vector[None]),),
            relu_attributions=True,
        )
        size = (spec.size_px, spec.size_px)
        smooth = nn.functional.interpolate(warmth.detach(), size, mode="bilinear")[0, 0]
        scaled = smooth / smooth.max().clamp(min=1e-12)
        return HeatMap(finding, scaled.numpy().astype(np.float32))


def last_convolution(reader: Reader) -> nn.Module:
    """The convolution nearest the head. Raises NoHeatMap when there is none."""
    layers = [layer for layer in reader.backbone.modules() if isinstance(layer, nn.Conv2d)]
    if not layers:
        raise NoHeatMap("this network has no convolution")
    return layers[-1]


def metadata_effects(
    predictor: Predictor, image: Image.Image, metadata: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    """How much each particular changed each finding's probability, by blanking it.

    By field, and by finding code: probability with everything known less that without the field.
    Fields that are missing anyway, and those that the bundle does not use, are left out.
    """
    spec = predictor.bundle.metadata
    missing = spec.encode(metadata).missing
    fields = [name for name in spec.fields if name not in missing]
    without = [{**metadata, name: None} for name in fields]
    answers = predictor.predict([image] * (1 + len(fields)), [metadata, *without])
    whole = answers[0].probabilities
    return {
        name: {code: whole[code] - blanked.probabilities[code] for code in whole}
        for name, blanked in zip(fields, answers[1:], strict=True)
    }
