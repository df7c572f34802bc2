"""What every network is: pixels, and for some metadata, in; logits and features out.

The features below the head feed the out-of-distribution gate, so they are part of what is exported
and served.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

NO_METADATA = "this network reads metadata and was given none"

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)


@dataclass(frozen=True)
class Body:
    """A backbone, the length of its features, its stages in order and what lies before them."""

    backbone: nn.Module
    feature_count: int
    blocks: list[nn.Module]
    stem: list[nn.Module] = field(default_factory=list)


class Reader(nn.Module):
    """A backbone that yields features, and the head that reads them.

    The head is ``neck`` (nothing, unless given), dropout and a linear layer.
    """

    metadata_count = 0
    """Entries of the metadata vector that is read, m; 0 for pixels alone."""

    def __init__(
        self,
        body: Body,
        class_count: int,
        dropout: float,
        *,
        neck: nn.Module | None = None,
        neck_count: int = 0,
    ):
        super().__init__()
        self.backbone = body.backbone
        self.neck = neck or nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(neck_count or body.feature_count, class_count)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)
        self.feature_count, self.class_count = body.feature_count, class_count
        self.stem, self.blocks = body.stem, body.blocks
        """The backbone's stages in order, and what lies before them; parts of it, not copies."""
        self.image_network: list[nn.Module] = [self.backbone]
        """What freezing all of it holds still."""
        self.still: list[nn.Module] = []
        """What is frozen."""

    def forward(self, pixels: Tensor, metadata: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(n, channels, size, size) to logits (n, classes) and features (n, feature_count).

        ``metadata`` (n, m) is read by readers whose ``metadata_count`` is not 0; these raise
        ValueError without it.
        """
        features = self.backbone(pixels)
        return self.head(self.dropout(self.neck(features))), features

    def train(self, mode: bool = True) -> "Reader":
        """As torch's, but what is frozen keeps its running statistics and drops nothing."""
        super().train(mode)
        for module in self.still:
            module.eval()
        return self


class FusionReader(Reader):
    """Features and what ``metadata_layers`` make of the metadata, joined for one head.

    ``metadata_layers`` take (n, m); ``neck`` takes the features followed by what they give.
    """

    def __init__(
        self,
        body: Body,
        class_count: int,
        dropout: float,
        *,
        metadata_layers: nn.Module,
        metadata_count: int,
        neck: nn.Module,
        neck_count: int,
    ):
        super().__init__(body, class_count, dropout, neck=neck, neck_count=neck_count)
        self.metadata_layers, self.metadata_count = metadata_layers, metadata_count

    def forward(self, pixels: Tensor, metadata: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See Reader."""
        features = self.backbone(pixels)
        joined = _join(features, self.metadata_layers, metadata)
        return self.head(self.dropout(self.neck(joined))), features


class CorrectedReader(Reader):
    """The image's logits plus the evidence of the metadata.

    ``evidence`` takes (n, m) to logits, and what it says of ``unknown`` (m,), the vector of someone
    of whom nothing is known, is taken off: for them this reader answers exactly as its image-only
    kin. It sees no features, so that it cannot learn pictures by heart.
    """

    def __init__(self, body: Body, class_count: int, dropout: float, *, metadata_count: int):
        super().__init__(body, class_count, dropout)
        self.metadata_count = metadata_count
        self.image_network += [self.dropout, self.head]
        last = nn.Linear(32, class_count)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.evidence = nn.Sequential(
            nn.Linear(metadata_count, 32), nn.ReLU(), nn.Dropout(dropout), last
        )
        self.unknown: Tensor
        self.register_buffer("unknown", torch.zeros(metadata_count))

    def forward(self, pixels: Tensor, metadata: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See Reader."""
        if metadata is None:
            raise ValueError(NO_METADATA)
        features = self.backbone(pixels)
        evidence = self.evidence(metadata) - self.evidence(self.unknown.expand_as(metadata))
        return self.head(self.dropout(features)) + evidence, features


def _join(features: Tensor, layers: nn.Module, metadata: Tensor | None) -> Tensor:
    if metadata is None:
        raise ValueError(NO_METADATA)
    return torch.cat((features, layers(metadata)), dim=1)


def freeze(reader: Reader, blocks: int, norms: bool = False) -> None:
    """Let a part of the backbone keep its weights and running statistics; all else learns.

    ``blocks`` leading blocks are frozen and what lies before them; -1 freezes the whole backbone,
    and the head of a ``CorrectedReader`` with it; 0 none of it. ``norms`` freezes the norm layers
    of every block. A later call undoes an earlier one. Raises ValueError when there are fewer
    blocks.
    """
    if not -1 <= blocks <= len(reader.blocks):
        raise ValueError(f"{blocks} blocks cannot be frozen: there are {len(reader.blocks)}")
    if blocks == -1:
        still = list(reader.image_network)
    else:
        still = [*reader.stem, *reader.blocks[:blocks]] if blocks else []
    if norms:
        inside = (module for block in reader.blocks for module in block.modules())
        still += [module for module in inside if isinstance(module, NORMS)]
    reader.requires_grad_(True)
    for module in still:
        module.requires_grad_(False)
    reader.still = still
    reader.train(reader.training)
