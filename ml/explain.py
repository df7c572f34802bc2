"""Why an answer is what it is: where the network looked, and what the metadata changed."""

import io
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


LONGEST_PX = 512
"""Of the picture of a heat map: what it shows is far coarser."""
RAMP = ((33, 145, 140), (94, 201, 98), (253, 231, 37))
"""From cool to warm: teal, green, yellow, which stand out from skin, stained cells and grey alike,
and grow lighter, so that whoever does not tell the colours apart sees it too."""
MOST_OPAQUE = 0.85


class NoHeatMap(ValueError):
    """The network has no last stage whose activations lie over the picture."""


@dataclass(frozen=True)
class HeatMap:
    """Where a picture speaks for a finding."""

    finding: str
    warmth: Array
    """(rows, columns) of 0 to 1 over the frame that the network saw; all 0 where nothing did."""
    size: tuple[int, int]
    """Width and height of the picture."""
    frame: tuple[float, float, float, float]
    """Where the frame lies over the picture, as ``PreprocessSpec.shown`` says it."""

    def png(self) -> bytes:
        """A PNG to be laid over the whole picture: lighter and less transparent where it is warmer.

        What the network did not see is transparent, like what says nothing.
        """
        scale = LONGEST_PX / max(self.size)
        width, height = (max(1, round(side * scale)) for side in self.size)
        left, top, right, bottom = self.frame
        box = round(left * width), round(top * height), round(right * width), round(bottom * height)
        seen = Image.fromarray((self.warmth * 255).round().astype(np.uint8)).resize(
            (max(1, box[2] - box[0]), max(1, box[3] - box[1]))
        )
        drawn = Image.new("P", (width, height))
        drawn.putpalette(_palette())
        drawn.paste(seen, box[:2])
        file = io.BytesIO()
        opacity = bytes(round(MOST_OPAQUE * level) for level in range(256))
        drawn.save(file, "PNG", transparency=opacity, optimize=True)
        return file.getvalue()


class HeatMaps:
    """Makes heat maps with one bundle; keep it, since loading is what takes time."""

    def __init__(self, bundle: Bundle):
        """Load the network. Raises NoHeatMap when it has no stage that can be looked at."""
        self.bundle = bundle
        engine = TorchEngine(bundle, "cpu")
        self.engine = engine.name
        """What made a map, for the record: kind, version, device."""
        self._reader = engine.reader
        spec = bundle.preprocess
        nothing = torch.zeros(1, spec.channels, spec.size_px, spec.size_px)
        self._gradients = LayerGradCam(self._logits, last_stage(self._reader, nothing))

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
        warmth_of_frame = scaled.numpy().astype(np.float32)
        return HeatMap(finding, warmth_of_frame, image.size, spec.shown(image.size))


def last_stage(reader: Reader, pixels: torch.Tensor) -> nn.Module:
    """The last of the network's stages, whose sum of all its branches is what the head reads.

    A convolution alone may be one branch only, such as a shortcut. ``pixels`` (1, channels, size,
    size) are tried. Raises NoHeatMap when the stage does not yield (1, c, rows, columns).
    """
    stage = reader.blocks[-1]
    yielded: list[Any] = []
    watch = stage.register_forward_hook(lambda _module, _given, result: yielded.append(result))
    with torch.no_grad():
        reader(pixels, torch.zeros(1, reader.metadata_count))
    watch.remove()
    if not isinstance(yielded[0], torch.Tensor) or yielded[0].ndim != 4:
        raise NoHeatMap("what this network's last stage yields does not lie over the picture")
    return stage


def _palette() -> list[int]:
    """Red, green and blue of 256 levels along RAMP."""
    places = np.linspace(0, 255, len(RAMP))
    channels = [np.interp(np.arange(256), places, values) for values in zip(*RAMP, strict=True)]
    return np.stack(channels, axis=1).round().astype(int).flatten().tolist()


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
